"""Exponents and spectra as figures and as tables of a notebook."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import lyapopt
from lyapopt.errors import UserError
from lyapopt.figures.axes import symlog


def stretched(z: Tensor, t: int) -> Tensor:
    return z * torch.tensor([2.0, 0.5], dtype=z.dtype)


def test_the_figure_of_one_exponent_has_its_separations_whatever_the_unit() -> None:
    found = lyapopt.from_neighbours(
        lambda z, t: 2 * z, torch.ones(1, 1, 3).double(), 6, neighbours=2, segment=2
    ).in_units(base=2)
    figure = found.figure()
    lines = {trace.name: trace for trace in figure.data}
    expected = (math.log(1e-6) + math.log(2) * torch.arange(7)).tolist()
    assert lines["mean of 2 neighbours"].y == pytest.approx(expected, rel=1e-5)
    assert lines["growth of a segment"].customdata == pytest.approx([math.log(2)] * 4, rel=1e-5)
    assert lines["rescaled (every 2 steps)"].x == (2, 2, None, 4, 4, None)
    assert any(name.startswith("exponent 0.693") for name in lines)


def test_the_figure_of_several_systems_has_each_as_it_settles_or_the_one_that_is_asked_for() -> (
    None
):
    rates = torch.tensor([2.0, 3.0]).double().view(2, 1, 1)
    found = lyapopt.from_neighbours(lambda z, t: rates * z, torch.ones(2, 1, 2).double(), 4)
    both = found.figure()
    assert [trace.name for trace in both.data] == ["system 0 = 0.693", "system 1 = 1.1"]
    assert both.data[1].x == (1, 2, 3, 4)
    assert both.data[1].y == pytest.approx(symlog([math.log(3)] * 4), rel=1e-5)
    names = [trace.name for trace in found.figure(system=1).data]
    assert any(name.startswith("exponent 1.1") for name in names)
    with pytest.raises(UserError, match="system must be one of the 2 systems, 0 to 1, not 2"):
        found.figure(2)


def test_the_figure_of_a_spectrum_has_all_its_exponents_in_its_unit() -> None:
    found = lyapopt.spectrum(stretched, torch.ones(2, 1, 2).double(), 50, burn_in=40)
    found = found.in_units(base=2)
    figure = found.figure(1)
    assert [trace.name for trace in figure.data] == ["λ1 = 1", "λ2 = -1"]
    assert "bits per step" in figure.layout.yaxis.title.text


def test_a_notebook_shows_numbers_intervals_and_flags() -> None:
    exponent = lyapopt.from_neighbours(lambda z, t: 2 * z, torch.ones(30, 1, 2).double(), 4)
    table = exponent._repr_html_()
    assert "<b>Exponent: finite-time exponent in weights, nats per step</b>" in table
    assert "<td>0</td><td>0.6931</td><td>0.6931</td><td>0.6931</td>" in table
    assert table.count("<tr>") == 21
    assert "and 10 more" in table
    spectrum = lyapopt.spectrum(stretched, torch.ones(1, 1, 2).double(), 50, burn_in=40)
    assert "<th>λ1</th><th>λ2</th>" in spectrum._repr_html_()
    assert "<td>0.6931</td><td>-0.6931</td>" in spectrum._repr_html_()
