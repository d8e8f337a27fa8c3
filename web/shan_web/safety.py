"""Which requests are answered at all: hosts, origins, tokens; and the headers that bind the browser.

A page elsewhere must not read a collection. It can neither use another name for this machine (Host), nor ask from its
own origin (Origin, Sec-Fetch-Site), nor embed what it gets (Cross-Origin-Resource-Policy). What changes anything needs
a header that only the page of this server knows.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
import secrets
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_TOKEN = "x-shan-token"
SHORTEST_TOKEN = 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_OPEN = frozenset({"/", "/api/session", "/api/health"})

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True)
class Access:
    """Who is let in. Without a `token`, whoever reaches the socket, which then is on loopback.

    `page_token` is what the page sends with requests that change something, `session` the value of a cookie.
    """

    token: str = ""
    hosts: frozenset[str] = _LOOPBACK
    any_address: bool = False
    page_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    session: str = field(default_factory=lambda: secrets.token_urlsafe(24))

    @classmethod
    def to(cls, host: str, token: str = "", names: Collection[str] = ()) -> Access:
        """Access to a server bound to `host`, which a proxy serves under `names`."""
        hosts = _LOOPBACK | {host.lower(), *(name.lower() for name in names)}
        if is_loopback(host):
            return cls(token, hosts)
        own = socket.gethostname().lower()
        return cls(token, hosts | {own, f"{own.split('.')[0]}.local"}, any_address=True)

    def serves(self, host: str) -> bool:
        """Whether a Host header names this server. An address is no name that someone else could point here."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = found["name"].strip("[]").lower()
        return name in self.hosts or (self.any_address and _is_address(name))

    def knows(self, token: str) -> bool:
        """Whether this is the token."""
        return bool(self.token) and _same(token, self.token)

    def admits(self, headers: Headers, cookie: str) -> bool:
        """Whether a request may read: nothing is demanded, or it has the token or the cookie that it gave."""
        return not self.token or self.knows(bearer(headers)) or _same(_cookie(headers, cookie), self.session)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is bound to `host`."""
    return host.lower() == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_name(text: str) -> bool:
    """Whether a Host header may be this name, without a port."""
    found = _HOST.fullmatch(text)
    return found is not None and found["port"] is None


def bearer(headers: Headers) -> str:
    """The token that a program sends."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may be answered; refuse another with a sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self._refusal(scope, Headers(scope=scope))

        async def bound(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    held.setdefault(name, value)
                held.setdefault("cache-control", "no-store")
            await send(message)

        if refused is None:
            await self._app(scope, receive, bound)
            return
        status, sentence = refused
        body = json.dumps({"error": sentence}).encode()
        kinds = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await bound({"type": "http.response.start", "status": status, "headers": kinds})
        await bound({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        access, path, reads = self._access, scope["path"], scope["method"] in ("GET", "HEAD")
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not access.serves(host):
            return 421, "this server does not go by that name: open the address that `shan-engine serve` printed"
        origin = headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return 403, "a page from elsewhere may not ask this server"
        opened = reads and path == "/" and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not opened:
            return 403, "a page from elsewhere may not ask this server"
        if not (path in _OPEN or path.startswith("/static/") or access.admits(headers, cookie_name(scope))):
            return 401, "this server needs its token: open the link that `shan-engine serve` printed"
        trusted = access.knows(bearer(headers)) or _same(headers.get(PAGE_TOKEN, ""), access.page_token)
        if not reads and path != "/api/session" and not trusted:
            return 403, f"this needs the page's token in the header {PAGE_TOKEN}: reload the page"
        return None


def cookie_name(scope: Any) -> str:
    """The cookie's name: it has the port, as browsers do not tell servers of one host apart."""
    server = scope.get("server") or ("", 0)
    return f"shan-{server[1]}"


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(given: str, held: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), held.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
