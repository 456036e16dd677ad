"""The WSGI application at `/lyapopt`: files of the page, and what it asks for as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import plotly
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.figures.registry import FIGURES
from lyapopt.web.layouts import Layout, shipped_layouts
from lyapopt.web.pages.drawing import as_json, figure_beside, figure_of
from lyapopt.web.pages.facts import study_facts, trial_facts
from lyapopt.web.pages.filters import filters_of
from lyapopt.web.pages.shelf import Shelf, Shelved

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["Pages"]

_STATIC: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""Scripts are files of ours only. Plotly writes styles, and draws a picture to be saved."""

_MOST_STUDIES: Final = 12  # beside each other


class Pages:
    """Answers for the page.

    Args:
        shelf: The studies.
        layout: The dashboard that the page opens with, beside those that are shipped.
        study: Name of the study that it opens with; by default the last that was made.
    """

    def __init__(
        self, shelf: Shelf, layout: Layout | None = None, study: str | None = None
    ) -> None:
        self._shelf, self._study = shelf, study
        own = {} if layout is None else {layout.name: layout}
        self._layouts: dict[str, Layout] = {**own, **shipped_layouts(), **own}
        self._routes = Map(
            [
                Rule("/", endpoint=self._page, methods=["GET"]),
                Rule("/static/<name>", endpoint=self._static, methods=["GET"]),
                Rule("/plotly.js", endpoint=self._plotly, methods=["GET"]),
                Rule("/api/start", endpoint=self._start, methods=["GET"]),
                Rule("/api/state", endpoint=self._state, methods=["GET"]),
                Rule("/api/page", endpoint=self._contents, methods=["GET"]),
                Rule("/api/figure", endpoint=self._figure, methods=["GET"]),
                Rule("/api/trial", endpoint=self._trial, methods=["GET"]),
            ]
        )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except HTTPException as error:
            response = _failed(error.code or 500, error.description or "")
        except UserError as error:
            response = _failed(404, one_line(error, 500))
        except Exception as error:  # one figure that fails must not end the page
            print(traceback.format_exc(), file=sys.stderr, flush=True)
            response = _failed(500, one_line(f"{type(error).__name__}: {error}", 300))
        response.headers["Content-Security-Policy"] = _POLICY
        return response(environ, start_response)

    def warm(self) -> None:
        """Begin to read what the page opens with, and to draw its figures, before anybody asks."""
        threading.Thread(target=self._warm, name="lyapopt-warm", daemon=True).start()

    def _warm(self) -> None:
        with contextlib.suppress(UserError):  # said to whoever asks
            self._open_first()

    def _open_first(self) -> None:
        names = self._shelf.names()
        layout = next(iter(self._layouts.values()))
        study = self._study or (names[-1] if names else None)
        if study is None or layout.several:
            return
        shelved = self._shelf.study(study)
        self._facts(shelved, layout)
        for index in range(len(layout.panels)):
            self._drawn(shelved, layout, index, {}, None)

    def _answer(self, request: Request) -> Response:
        if request.path in ("", "/") and not request.environ["PATH_INFO"]:
            return redirect(f"{request.script_root}/", 308)
        adapter = self._routes.bind_to_environ(request.environ)
        endpoint, values = adapter.match()
        handler: Callable[..., Response] = endpoint
        return handler(request, **values)

    # files

    def _page(self, request: Request) -> Response:
        return self._static(request, "index.html")

    def _static(self, request: Request, name: str) -> Response:
        kind = _STATIC.get(Path(name).suffix)
        file = files("lyapopt.web") / "static" / name
        if kind is None or "/" in name or "\\" in name or not file.is_file():
            raise NotFound(f"there is no file {one_line(name, 80)}")
        return _kept(request, file.read_bytes(), kind)

    def _plotly(self, request: Request) -> Response:
        path = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        return _kept(request, path.read_bytes(), _STATIC[".js"], seconds=86_400)

    # what the page asks for

    def _start(self, request: Request) -> Response:
        names = self._shelf.names()
        layouts = [
            {"name": each.name, "title": each.title, "several": each.several}
            for each in self._layouts.values()
        ]
        first = self._study if self._study in names else (names[-1] if names else None)
        return _json(request, {"studies": names, "layouts": layouts, "study": first})

    def _state(self, request: Request) -> Response:
        stamps = [self._shelf.stamp(name) for name in _studies(request)]
        return _json(request, {"stamp": "-".join(stamps)})

    def _contents(self, request: Request) -> Response:
        layout = self._layout(request)
        shelved = [self._shelf.study(name) for name in _studies(request)]
        facts = [json.loads(self._facts(each, layout)) for each in shelved]
        panels = [
            {
                "index": index,
                "name": panel.figure,
                "of_trial": FIGURES[panel.figure].of_trial,
                "wide": panel.wide,
                "description": FIGURES[panel.figure].description,
            }
            for index, panel in enumerate(layout.panels)
            if not (layout.several and FIGURES[panel.figure].of_trial)
        ]
        answer = {
            "stamp": "-".join(each.stamp for each in shelved),
            "title": layout.title,
            "description": layout.description,
            "several": layout.several,
            "panels": panels,
            "studies": facts,
        }
        return _json(request, answer)

    def _figure(self, request: Request) -> Response:
        layout = self._layout(request)
        index = request.args.get("index", -1, type=int)
        if not 0 <= index < len(layout.panels):
            raise NotFound(f"dashboard {layout.name} has no figure {index}")
        only = _chosen(request)
        shelved = [self._shelf.study(name) for name in _studies(request)]
        if layout.several:
            figure = figure_beside(layout.panels[index], [each.data for each in shelved])
            return _kept(request, as_json(figure), "application/json")
        trial = request.args.get("trial", None, type=int)
        body = self._drawn(shelved[0], layout, index, only, trial)
        return _kept(request, body, "application/json")

    def _trial(self, request: Request) -> Response:
        shelved = self._shelf.study(_studies(request)[0])
        number = request.args.get("number", -1, type=int)
        with shelved.lock:
            found = trial_facts(shelved.data, number)
        if found is None:
            raise NotFound(f"study {one_line(shelved.data.name, 80)} has no trial {number}")
        return _json(request, found)

    # what is kept until the study changes

    def _facts(self, shelved: Shelved, layout: Layout) -> bytes:
        def make() -> bytes:
            facts = study_facts(shelved.data, shelved.damage)
            facts["filters"] = filters_of(shelved.data.trials, layout.filters)
            return _encoded(facts)

        return shelved.answer(f"facts {layout.name}", make)

    def _drawn(
        self,
        shelved: Shelved,
        layout: Layout,
        index: int,
        only: Mapping[str, list[str]],
        trial: int | None,
    ) -> bytes:
        panel = layout.panels[index]
        if not FIGURES[panel.figure].of_trial:
            trial = None
        question = json.dumps([layout.name, index, sorted(only.items()), trial])
        return shelved.answer(
            question, lambda: as_json(figure_of(panel, shelved.data, only, trial))
        )

    def _layout(self, request: Request) -> Layout:
        name = request.args.get("layout") or next(iter(self._layouts))
        if name not in self._layouts:
            raise NotFound(f"there is no dashboard {one_line(name, 80)}")
        return self._layouts[name]


def _studies(request: Request) -> list[str]:
    names = list(dict.fromkeys(request.args.getlist("study")))[:_MOST_STUDIES]
    if not names:
        raise NotFound("no study is named")
    return names


def _chosen(request: Request) -> dict[str, list[str]]:
    """Filters of a request: `only=[NAME, VALUE]`, a pair as JSON for each value that is on."""
    found: dict[str, list[str]] = {}
    for text in request.args.getlist("only"):
        try:
            name, value = json.loads(text)
        except (ValueError, TypeError):
            raise NotFound("a filter is [name, value]") from None
        found.setdefault(str(name), []).append(str(value))
    return found


def _encoded(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")


def _json(request: Request, data: Any) -> Response:
    return _kept(request, _encoded(data), "application/json")


def _kept(request: Request, body: bytes, kind: str, seconds: int = 0) -> Response:
    """A response that a browser keeps, and asks whether it is still the same."""
    response = Response(body, content_type=kind)
    response.set_etag(hashlib.sha256(body).hexdigest()[:20])
    response.headers["Cache-Control"] = f"private, max-age={seconds}" if seconds else "no-cache"
    return response.make_conditional(request)


def _failed(code: int, text: str) -> Response:
    return Response(_encoded({"error": text}), status=code, content_type="application/json")
