"""Listening on an address of this machine, and serving until interrupted."""

from __future__ import annotations

import errno
import ipaddress
import re
import secrets
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.interruption import finishing

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["Server", "bind", "checked_token", "new_token"]

_FIRST_PORT = 8080
_PORTS_TRIED = 50
_SHORTEST_TOKEN = 16  # characters


@dataclass(frozen=True)
class Server:
    """A socket that listens.

    Attributes:
        socket: It.
        host: Address.
        port: Port.
    """

    socket: socket.socket
    host: str
    port: int

    @property
    def url(self) -> str:
        """What to open in a browser."""
        named = f"[{self.host}]" if ":" in self.host else self.host
        if ipaddress.ip_address(self.host).is_unspecified:
            named = socket.gethostname()
        return f"http://{named}:{self.port}/"

    def serve(self, app: WSGIApplication) -> None:
        """Serve an application, a thread for each request, until Ctrl-C or SIGTERM.

        Raises:
            Interrupted: After SIGTERM; Ctrl-C is how a server is meant to end.
        """
        # Imported here: an optional extra.
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Silent(WSGIRequestHandler):
            def log_request(self, *args: object, **kwargs: object) -> None:
                """A poll every ten seconds is nothing to tell."""

        with finishing(lambda _: None), self.socket:
            server = make_server(
                self.host,
                self.port,
                app,
                threaded=True,
                request_handler=Silent,
                fd=self.socket.fileno(),
            )
            setattr(server, "service_actions", interruption.poll)  # noqa: B010 (a method, for mypy)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                pass
            finally:
                server.server_close()
            interruption.forget(signal.SIGINT)


def bind(host: str, port: int | None = None, *, has_token: bool = False) -> Server:
    """Listen on an address: without a token, on one that this machine alone reaches.

    Args:
        host: `127.0.0.1`, `::1` or `localhost`, or with a token any address of this machine.
        port: Port; `None` takes 8080, or the next one that is free.
        has_token: Whether requests will have to know a token.

    Raises:
        UserError: If the address is not of this machine alone, or the port is taken.
    """
    address = _address(host, has_token)
    ports = range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED) if port is None else [port]
    for candidate in ports:
        try:
            return Server(_listen(address, candidate), address, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise UserError(
                f"cannot listen on {one_line(host)}:{candidate}: {error.strerror}"
            ) from error
    taken = f"port {port} is" if port is not None else f"ports {ports[0]} to {ports[-1]} are"
    raise UserError(f"{taken} taken; choose another with --port")


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A port that was used a minute ago is free; one that is listened on is not.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def new_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(24)


def checked_token(token: str) -> str:
    """A token of the user's own.

    Raises:
        UserError: If it is short, or cannot stand in a cookie.
    """
    if len(token) < _SHORTEST_TOKEN or re.fullmatch(r"[A-Za-z0-9_.~-]+", token) is None:
        raise UserError(
            f"--token: at least {_SHORTEST_TOKEN} letters, digits or - _ . ~, or auto for a new one"
        )
    return token


def _address(host: str, has_token: bool) -> str:
    name = host.strip("[]")
    if name == "localhost":
        return "127.0.0.1"
    try:
        if ipaddress.ip_address(name).is_loopback or has_token:
            return name
    except ValueError:
        pass
    raise UserError(
        f"--host {one_line(host)}: the dashboard has no login, and everybody who reaches it can "
        "delete studies; it listens on 127.0.0.1 only. From elsewhere, use a tunnel: "
        "ssh -L 8080:127.0.0.1:8080 this-machine; or give --token auto, where nobody listens in"
    )
