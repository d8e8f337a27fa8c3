"""The process that serves: its socket, its address, and how it stops."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from platformdirs import user_cache_path
from shan_engine.base.errors import InputError

from shan_web.app import App
from shan_web.galleries import Galleries
from shan_web.safety import SHORTEST_TOKEN, Access, is_loopback, is_name

PORT = 8750
_STOP_SECONDS = 20
_LONGEST_HEAD = 1 << 20
"""Bytes of an address with its headers: up to here the application says what is wrong, beyond it h11 refuses."""


def check_token(host: str, token: str, names: Sequence[str] = ()) -> None:
    """Raise InputError where others reach `host` or one of `names`, and there is no token, or one that can be guessed.

    Raises it for a name that no Host header can have, too.
    """
    for name in names:
        if not is_name(name):
            raise InputError(
                f"'{name}' is not a host name: give one such as photos.example.org, without http:// or port"
            )
    if not token and (names or not is_loopback(host)):
        raise InputError(
            f"other machines reach {next(iter(names), host)}, so the page needs a token: give one with --token or in "
            "SHAN_TOKEN, such as the output of `openssl rand -hex 16`"
        )
    if token and (len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise InputError(f"the token can be guessed: give at least {SHORTEST_TOKEN} letters and digits")


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that nobody listens on yet. Raises InputError where the address cannot be had."""
    try:
        address = "127.0.0.1" if host.lower() == "localhost" else host  # asks nobody for the name
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
        except BaseException:
            made.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from error
    return made


def serve(
    galleries: Galleries,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    names: Sequence[str] = (),
    token: str = "",
    cache: Path | None = None,
    log_requests: bool = False,
    on_ready: Callable[[str, str], None] = lambda address, others: None,
) -> None:
    """Answer requests until a signal comes, then end those that are in flight.

    `names` are those that a proxy before it has. `on_ready` is called with the page's address, and with the one for
    other machines if there is another. Raises InputError where the socket cannot be had.
    """
    check_token(host, token, names)
    with bound_socket(host, port) as listening:
        own = listening.getsockname()[1]
        access = Access.to(host, token, names)
        here = is_loopback(host) and not names  # through a proxy, others too seem to be on this machine
        app = App(galleries, access, cache or cache_folder(), can_open=here)
        server = _Server(
            uvicorn.Config(
                app.asgi(),
                log_config=None,
                log_level="info" if log_requests else "warning",
                access_log=log_requests,
                server_header=False,
                date_header=False,
                ws="none",
                http="h11",
                h11_max_incomplete_event_size=_LONGEST_HEAD,
                loop="asyncio",
                lifespan="on",
                timeout_keep_alive=30,
                timeout_graceful_shutdown=_STOP_SECONDS,
                backlog=512,
            )
        )
        if log_requests:
            logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler())
        spelled = {"localhost": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}
        shown = spelled.get(host.lower(), f"[{host}]" if ":" in host else host)
        end = f":{own}/{f'#token={token}' if token else ''}"
        others = f"http://{socket.gethostname()}{end}" if host in ("0.0.0.0", "::") else ""
        server.on_ready = lambda: on_ready(f"http://{shown}{end}", others)
        server.run(sockets=[listening])


def cache_folder() -> Path:
    """Where thumbnails are kept: in the user's folder for caches."""
    return user_cache_path("shan-engine", appauthor=False) / "thumbnails"


class _Server(uvicorn.Server):
    """Tells when it listens."""

    on_ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self.on_ready()
