"""The dashboard as a process of its own, and a real browser that looks at it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# The page draws in software, beside whatever else the machine does.
PATIENCE = 240_000
READY = "#live[data-state=idle]"
SCREENSHOTS = Path(os.environ.get("LYAPOPT_SCREENSHOTS") or ROOT / "screenshots")


@contextlib.contextmanager
def served(storage: str, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`lyapopt dashboard` with these options: the process and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lyapopt", "dashboard", storage, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://[\w.-]+:(\d+)/", line)
        assert found, line + str(process.communicate(timeout=10))
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@dataclass
class Seen:
    """What a browser shows, and all that went wrong in it.

    Attributes:
        page: Playwright's page.
        address: Of the server.
        wrong: Errors of the console, exceptions, dialogs, and requests to elsewhere.
    """

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)

    def open(self, query: str = "") -> None:
        """Open our page, and wait until its figures are drawn, those below the edge as well."""
        self.page.goto(f"{self.address}lyapopt/{query}")
        self.page.wait_for_selector(READY)
        self.page.wait_for_selector("article:not([data-drawn])", state="detached")

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)


@contextlib.contextmanager
def browser(port: int, scheme: str = "light", width: int = 1300) -> Iterator[Seen]:
    """A fresh browser for the server on this port."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    address = f"http://127.0.0.1:{port}/"
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=BROWSER_FLAGS)
        size: Any = {"width": width, "height": 900}
        schemes: Any = scheme
        context = launched.new_context(viewport=size, color_scheme=schemes)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        seen = Seen(page, address)
        wrong = seen.wrong
        page.on("pageerror", lambda error: wrong.append(f"exception: {error}"))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"),
                                          dialog.dismiss()))  # fmt: skip
        page.on("console", lambda said: wrong.append(f"console: {said.text}")
                if said.type in ("error", "warning") else None)  # fmt: skip
        page.on("request", lambda request: wrong.append(f"request: {request.url}")
                if not request.url.startswith((address, "data:", "blob:")) else None)  # fmt: skip
        yield seen
        launched.close()
