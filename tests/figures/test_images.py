"""Figures as files."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pandas as pd
import pytest

from lyapopt import figures
from lyapopt.errors import UserError


@pytest.fixture
def figure() -> object:
    return figures.exponent_against_rate(pd.DataFrame({"params_lr": [0.1], "exponent": [0.2]}))


def test_a_picture_without_kaleido_is_refused_with_what_to_install(
    figure: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(UserError, match=r"pip install 'lyapopt\[figures\]'"):
        figures.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_a_page_works_without_a_network_and_another_ending_is_refused(
    figure: object, tmp_path: Path
) -> None:
    page = figures.save(figure, tmp_path / "figure.html").read_text()
    assert "<script src=" not in page
    assert "<link" not in page
    assert "Exponent and final loss" in page
    with pytest.raises(UserError, match=r"saved as .png or .html, not"):
        figures.save(figure, tmp_path / "figure.tiff")


@pytest.mark.slow
def test_a_picture_has_the_size_that_was_asked_for_on_the_ground_that_was(figure: object) -> None:
    pytest.importorskip("kaleido", reason="kaleido is not installed")
    size = {"width": 300, "height": 200, "scale": 1}
    light, dark = (figures.png(figure, **size, ground=ground) for ground in ("light", "dark"))
    assert light[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", light[16:24]) == (300, 200)
    assert light != dark
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
