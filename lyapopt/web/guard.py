"""What stands between a browser and a dashboard that knows no login.

The dashboard can delete studies, and a browser sends requests to it for any web page that its user
looks at. So a request must name this server as its host (a page that rebinds its own name to
127.0.0.1 does not), and one that writes must come from the dashboard's own pages, as JSON, which no
form of another page sends. On an address that others reach, each request must know a token as well.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Guard"]

_READING = ("GET", "HEAD", "OPTIONS")
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_COOKIE = "lyapopt_token"
_ARTIFACTS = "/artifacts/"
_SANDBOX = ("Content-Security-Policy", "sandbox; default-src 'none'")
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
        token: What each request must know, if anything: as a cookie, which the address
            `?token=TOKEN` sets, or as `Authorization: Bearer TOKEN`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        host: str,
        port: int,
        *,
        read_only: bool = False,
        token: str | None = None,
    ) -> None:
        self._app, self._port = app, port
        self._is_everywhere = ipaddress.ip_address(host).is_unspecified
        own = (socket.gethostname().lower(), socket.getfqdn().lower())
        named = f"[{host}]" if ":" in host else host
        names = dict.fromkeys((named, *_LOOPBACK_NAMES, *(own if self._is_everywhere else ())))
        self._hosts = {f"{name}:{port}" for name in names}
        if port == 80:
            self._hosts |= set(names)
        self._read_only, self._token = read_only, token

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        refusal = self._refusal(environ)
        if refusal is not None:
            return _refuse(start_response, *refusal)
        if self._token is not None and not self._knows_token(environ):
            return self._ask_for_token(environ, start_response, self._token)
        is_artifact = environ.get("PATH_INFO", "").startswith(_ARTIFACTS)
        more = (*_HEADERS, _SANDBOX) if is_artifact else _HEADERS

        def start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
            present = {name.lower() for name, _ in headers}
            added = [pair for pair in more if pair[0].lower() not in present]
            kept = [pair for pair in headers if not pair[0].lower().startswith("access-control-")]
            return start_response(status, kept + added, *rest)  # type: ignore[arg-type]

        return self._app(environ, start)  # type: ignore[arg-type]

    def _refusal(self, environ: WSGIEnvironment) -> tuple[str, str] | None:
        host = environ.get("HTTP_HOST", "").lower()
        if host not in self._hosts and not (self._is_everywhere and self._is_address(host)):
            return "421 Misdirected Request", "This server does not answer to that host name."
        if environ["REQUEST_METHOD"] in _READING:
            return None
        if self._read_only:
            return "403 Forbidden", "This dashboard is read-only."
        if not self._is_our_own(environ, host):
            return "403 Forbidden", "Writing is allowed from this dashboard's own pages only."
        kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
        if environ["REQUEST_METHOD"] != "DELETE" and kind != "application/json":
            return "415 Unsupported Media Type", "What is written comes as application/json."
        return None

    def _is_address(self, host: str) -> bool:
        """Whether a host is given by a number: no page can rebind that."""
        parts = urlsplit(f"//{host}")
        try:
            ipaddress.ip_address(parts.hostname or "")
            return (parts.port or 80) == self._port
        except ValueError:
            return False

    def _knows_token(self, environ: WSGIEnvironment) -> bool:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(environ.get("HTTP_COOKIE", ""))
        except CookieError:
            return False
        given = cookies[_COOKIE].value if _COOKIE in cookies else ""
        bearer = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        return self._is_token(given) or self._is_token(bearer)

    def _is_token(self, text: str) -> bool:
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())

    def _ask_for_token(
        self, environ: WSGIEnvironment, start_response: StartResponse, token: str
    ) -> list[bytes]:
        """Take a token from the address and keep it as a cookie, or say that one is needed."""
        query = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if not any(name == "token" and self._is_token(value) for name, value in query):
            said = "This dashboard needs its token: open the address that the command printed."
            return _refuse(start_response, "401 Unauthorized", said)
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        path = "/" + quote(environ.get("PATH_INFO", "").lstrip("/"))  # never //other.host
        cookie = f"{_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax"
        place = [("Location", f"{path}?{rest}" if rest else path), ("Set-Cookie", cookie)]
        start_response("303 See Other", [*place, ("Content-Length", "0"), *_HEADERS])
        return [b""]

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
