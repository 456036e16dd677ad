"""Axes, colours and texts that all figures share."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from made import said

from lyapopt.figures import exponent_against_rate
from lyapopt.figures.axes import LossScale, symlog, symlog_axis
from lyapopt.figures.bands import add_bands, verdict_bands
from lyapopt.figures.series import medians, thinned_line
from lyapopt.figures.theme import COLOURS, VERDICTS, looks, notice
from lyapopt.figures.trial_table import hover_texts, shown_texts, thinned, trial_table


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("colour", [*COLOURS, *VERDICTS.values()])
def test_colours_stand_out_on_white_and_on_near_black(colour: str) -> None:
    own = luminance(colour) + 0.05
    assert 1.05 / own >= 3  # contrast as WCAG defines it
    assert own / (luminance("#16181c") + 0.05) >= 3


def test_an_activation_has_one_look_in_whatever_company_and_no_two_share_one() -> None:
    names = ["relu", "tanh", "sigmoid", "gelu", "linear", "silu", "elu", "my_own"]
    together = looks(names)
    assert len({look.colour for look in together.values()}) == 8
    assert len({look.symbol for look in together.values()}) == 8
    for name in names[:-1]:
        assert looks([name])[name] == together[name]
    assert looks(["ReLU"])["ReLU"] == together["relu"]


def test_the_axis_of_exponents_has_four_decades_on_either_side_of_zero() -> None:
    decades = symlog([1e-4, 1e-3, 1e-2, 0.1, 1.0])
    assert np.allclose(np.diff(decades), 1, atol=0.3)
    assert np.allclose(symlog([-1.0, 0.0, 1.0]), [-math.log10(10001), 0, math.log10(10001)])
    assert symlog(5e-5) == pytest.approx(math.log10(1.5))
    axis = symlog_axis([-0.5, 2.0], [math.nan])
    assert axis["ticktext"] == ["−1", "−0.1", "−0.01", "−0.001", "0", "0.001", "0.01", "0.1", "1"]
    assert axis["tickvals"][-1] == pytest.approx(math.log10(10001), abs=1e-6)


def test_a_loss_that_blew_up_is_at_the_edge_of_a_logarithmic_axis() -> None:
    scale = LossScale.of([0.1, 0.2, 0.3, 4e47, math.inf, math.nan])
    assert (scale.kind, scale.low, scale.high) == ("log", 0.1, 200)
    assert scale.clipped([4e47, math.inf, 0.2]).tolist() == [200, 200, 0.2]
    assert scale.is_outside([4e47, math.inf, 0.2, 0.0, math.nan]).tolist() == [1, 1, 0, -1, 0]
    assert LossScale.of([-1.0, 2.0]).kind == "linear"
    assert LossScale.of([]).kind == "log"


def test_bands_follow_the_limits_that_a_study_was_run_with_in_its_own_words() -> None:
    new = verdict_bands({"hot": 0.2, "resolution": 0.01, "fall": 0.01, "blow_up": 1e3})
    assert [(b.verdict, b.low, b.high) for b in new] == [
        ("contracting", -math.inf, -0.01),
        ("neutral", -0.01, 0.01),
        ("edge", 0.01, 0.2),
        ("hot", 0.2, math.inf),
    ]
    old = verdict_bands({"hot": 0.3, "cool": 0.001, "fall": 0.01, "blow_up": 1e3})
    assert [b.verdict for b in old] == ["edge", "cool", "edge", "hot"]
    figure = exponent_against_rate(
        pd.DataFrame({"params_lr": [0.1], "exponent": [0.5]}), limits={"hot": 0.2, "cool": 0.01}
    )
    hot = [shape for shape in figure.layout.shapes if shape.y0 == pytest.approx(symlog(0.2))]
    assert len(hot) == 1
    assert "hot" in said(figure)


SPANS = [(-0.4, 3.5), (-2.0, 2.4), (-0.9, 6.0), (1.9, 2.2), (-6.0, 0.5), (-40.0, 40.0)]


@pytest.mark.parametrize("span", SPANS)
def test_words_of_verdicts_stand_a_line_apart_on_an_upright_axis(span: tuple[float, float]) -> None:
    figure = go.Figure()
    add_bands(figure, span=span, pixels=190)
    words = figure.layout.annotations
    high = 190 / (span[1] - span[0])
    places = sorted((word.y - span[0]) * high for word in words)
    assert all(b - a >= 12 for a, b in pairwise(places))
    assert len(words) >= 1


@pytest.mark.parametrize("span", SPANS)
def test_words_of_verdicts_are_not_written_over_each_other_on_a_telephone(
    span: tuple[float, float],
) -> None:
    figure = go.Figure()
    add_bands(figure, axis="x", span=span)
    taken: list[tuple[float, float, float]] = []
    for word in figure.layout.annotations:
        at, width = (word.x - span[0]) / (span[1] - span[0]) * 280, 5.5 * len(word.text)
        left = at if word.xanchor == "left" else at - width
        assert -1 <= left <= 281 - width
        assert all(
            word.yshift != shift or left >= end or left + width <= start
            for start, end, shift in taken
        )
        taken.append((left, left + width, word.yshift))


def test_hover_has_number_verdict_and_parameters_and_no_markup_of_others() -> None:
    trials = pd.DataFrame(
        {
            "trial_number": [12],
            "state": ["complete"],
            "verdict": ["edge"],
            "value": [0.25],
            "exponent": [0.02],
            "params_init_seed": [7],
            "params_<script>": ["<img onerror=alert(1)>"],
        }
    )
    [text] = hover_texts(trials, trial_table(trials))
    assert text.startswith("<b>trial 12</b>, complete, edge<br>exponent 0.02<br>value 0.25<br>")
    assert text.endswith("&lt;script&gt; &lt;img onerror=alert(1)&gt;<br>init_seed 7")
    assert "<script>" not in text
    assert "<img" not in text


def test_hover_texts_of_many_trials_stay_short_however_many_parameters_there_are() -> None:
    wide = pd.DataFrame({f"params_parameter_{i}": np.arange(1000.0) for i in range(40)})
    texts = shown_texts(wide, trial_table(wide))
    assert len(texts) == 800
    assert sum(map(len, texts)) < 120_000  # heads and notes of what is left out come on top
    few = hover_texts(wide, trial_table(wide).iloc[:1])[0]
    assert few.count("parameter_") == 15
    assert few.endswith("and 25 more parameters")


def test_thinning_keeps_the_best_and_the_extremes() -> None:
    made = pd.DataFrame({"value": np.arange(5000.0), "exponent": np.zeros(5000)})
    made.loc[[1234, 4321], "exponent"] = [9.0, -9.0]
    made.loc[2222, "value"] = -1.0
    kept = thinned(trial_table(made), 100)
    assert len(kept) == 100
    assert {1234, 4321, 2222} <= set(kept.index)
    made.attrs["directions"] = ("maximize",)
    assert 4999 in thinned(trial_table(made), 100).index


def test_lines_keep_their_peaks_or_become_medians() -> None:
    line = np.sin(np.arange(1000.0))
    line[333] = 50
    assert 333 in thinned_line(line, 50)
    steps, middles = medians(np.arange(1000), np.repeat([1.0, 2.0], 500), 10)
    assert len(steps) == 10
    assert middles.tolist() == [1.0] * 5 + [2.0] * 5


def test_what_is_missing_is_said_in_the_figure() -> None:
    figure = notice("A title", "one line", "another")
    assert said(figure) == "A title | None | one line<br>another"
    assert not figure.data
    wide = notice("A title", "Trial 1 was not steered: the sampler edge-of-chaos does that.")
    text = "Trial 1 was not steered: the sampler edge-of-chaos<br>does that."
    assert wide.layout.annotations[0].text == text  # a telephone is not wider
    assert wide.layout.margin.l == wide.layout.margin.r  # so it is in the middle
