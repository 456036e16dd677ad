"""Figures in a real browser: they render in light and dark, and nothing in them executes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from made import Made, whole_study
from plotly.offline import get_plotlyjs
from test_strange_studies import hostile

from lyapopt.figures import FIGURES
from lyapopt.figures.registry import draw

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
GROUNDS = {"light": ("#ffffff", "#222222"), "dark": ("#16181c", "#dddddd")}

OVERLAPS = """() => {
  const found = [];
  for (const figure of document.querySelectorAll('.plotly-graph-div')) {
    const labels = [...figure.querySelectorAll(
      '.annotation text, .legendtext, text[class$=title], .xtick text, .ytick text')]
      .map((each) => [each.textContent.slice(0, 40), each.getBoundingClientRect()])
      .filter(([text, at]) => text.trim() && at.width > 0);
    labels.forEach(([a, r], i) => labels.slice(i + 1).forEach(([b, s]) => {
      const across = Math.min(r.right, s.right) - Math.max(r.left, s.left);
      const down = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
      if (across > 2 && down > 3) found.push([figure.id, a, b]);
    }));
  }
  return found;
}"""


def page_of(made: Made, ground: str) -> str:
    back, ink = GROUNDS[ground]
    drawn = [
        draw(name, made).to_html(
            full_html=False, include_plotlyjs=False, div_id=name, config={"responsive": True}
        )
        for name in FIGURES
    ]
    return (
        f"<html><meta charset=utf-8><body style='background:{back};color:{ink};max-width:1000px'>"
        f"<script>{get_plotlyjs()}</script>{''.join(drawn)}</body></html>"
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("study", ["whole", "hostile"])
def test_every_figure_renders_and_nothing_executes(study: str, ground: str, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    made = whole_study(40) if study == "whole" else hostile()
    (tmp_path / "page.html").write_text(page_of(made, ground), encoding="utf-8")
    wrong: list[Any] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1020, "height": 900})
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: wrong.append(request.url) if "http" in request.url[:4]
                else None)  # fmt: skip
        page.goto(f"file://{tmp_path}/page.html")
        page.wait_for_function(
            f"document.querySelectorAll('.plotly-graph-div .main-svg').length >= {len(FIGURES)}"
        )
        titles = page.locator(".gtitle").all_text_contents()
        images = page.locator("img").count()
        if folder := os.environ.get("LYAPOPT_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/figures-{study}-{ground}.png", full_page=True)
        overlaps = page.evaluate(OVERLAPS)
        page.set_viewport_size({"width": 375, "height": 900})
        page.wait_for_function(
            "[...document.querySelectorAll('.main-svg')].every((each) => each.clientWidth < 376)"
        )
        overlaps += page.evaluate(OVERLAPS)
        browser.close()
    assert wrong == []
    assert study == "hostile" or overlaps == []
    assert images == 0
    assert len([title for title in titles if title]) == len(FIGURES), json.dumps(titles)
