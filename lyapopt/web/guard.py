"""What stands between a browser and a dashboard that knows no login.

The dashboard can delete studies, and a browser sends requests to it for any web page that its user
looks at. So a request must name this server as its host (a page that rebinds its own name to
127.0.0.1 does not), and one that writes must come from the dashboard's own pages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Guard"]

_READING = ("GET", "HEAD", "OPTIONS")
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_HEADERS = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "SAMEORIGIN"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Guard:
    """WSGI middleware that refuses requests from elsewhere, and writes where only reading is meant.

    Args:
        app: What it guards.
        host: Address that it is served on.
        port: Port that it is served on.
        read_only: Whether every request that could write is refused.
    """

    def __init__(
        self, app: WSGIApplication, host: str, port: int, *, read_only: bool = False
    ) -> None:
        self._app = app
        named = f"[{host}]" if ":" in host else host
        names = dict.fromkeys((named, *_LOOPBACK_NAMES))
        self._hosts = {f"{name}:{port}" for name in names}
        if port == 80:
            self._hosts |= set(names)
        self._read_only = read_only

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        refusal = self._refusal(environ)
        if refusal is not None:
            return _refuse(start_response, *refusal)

        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            present = {name.lower() for name, _ in headers}
            added = [pair for pair in _HEADERS if pair[0].lower() not in present]
            kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
            return start_response(status, kept + added, *rest)  # type: ignore[arg-type]

        return self._app(environ, start)  # type: ignore[arg-type]

    def _refusal(self, environ: WSGIEnvironment) -> tuple[str, str] | None:
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts:
            return "421 Misdirected Request", "This server does not answer to that host name."
        if environ["REQUEST_METHOD"] in _READING:
            return None
        if self._read_only:
            return "403 Forbidden", "This dashboard is read-only."
        if not self._is_our_own(environ, host):
            return "403 Forbidden", "Writing is allowed from this dashboard's own pages only."
        return None

    def _is_our_own(self, environ: WSGIEnvironment, host: str) -> bool:
        """Whether a browser's request comes from a page of this server.

        Browsers send `Origin` with every request that writes; a program that is no browser cannot
        be tricked into a request, and sends none.
        """
        site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
        origin = environ.get("HTTP_ORIGIN")
        if site not in ("same-origin", "none"):
            return False
        return origin is None or urlsplit(origin).netloc.lower() == host


def _refuse(start_response: StartResponse, status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, [*headers, *_HEADERS])
    return [body]
