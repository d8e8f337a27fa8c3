"""The ASGI application: routes over `Work`, each on the queue that bounds its kind of work."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
from collections.abc import AsyncIterator, Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct
from shan_engine.base.errors import InputError
from shan_engine.base.threads import usable_cpus
from shan_engine.writers.cards import environment, text_of
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shan_web.answers import JsonAnswer
from shan_web.asked import Browse, Captions, Explain, OfGallery, OfPhoto, Search, Similar, Thumbnail, asked
from shan_web.folders import open_folder
from shan_web.galleries import Galleries
from shan_web.metrics import Measured, Metrics
from shan_web.openapi import document
from shan_web.problems import Handler, http_problem, told
from shan_web.queue import Queue
from shan_web.safety import Access, Guard, bearer, cookie_name, is_loopback
from shan_web.thumbnails import ThumbnailCache
from shan_web.uploads import SECONDS, whole_body
from shan_web.work import NotThereError, Work

WAITING = 256
_SHARED = {"look.css": "text/css", "cards.js": "text/javascript", "texts.json": "application/json"}
_SHOWN = ("image/jpeg", "image/png", "image/gif", "image/webp", "image/avif", "image/bmp", "video/mp4", "video/webm")
_YEAR = "private, max-age=31536000, immutable"


class App:
    """One server's state and its routes."""

    def __init__(self, galleries: Galleries, access: Access, cache: Path, *, can_open: bool) -> None:
        self.work, self.access, self._can_open = Work(galleries, ThumbnailCache(cache)), access, can_open
        self.metrics = Metrics()
        threads = usable_cpus()
        self._searches = Queue("search", workers=threads, waiting=WAITING)
        self._pictures = Queue("thumbnail", workers=threads, waiting=4 * WAITING)
        self._page = _page_files()
        for name, queue in (("search", self._searches), ("thumbnail", self._pictures)):
            self.metrics.gauge("shan_waiting", "Requests that wait.", partial(getattr, queue, "waiting"), queue=name)
            self.metrics.gauge("shan_working", "Requests at work.", partial(getattr, queue, "working"), queue=name)
        for one in galleries:
            self.metrics.gauge("shan_gallery_size", "Photos.", partial(len, one.engine), gallery=one.name)
        self.metrics.gauge("shan_thumbnail_bytes", "Bytes on disk.", lambda: self.work.cache.held_bytes)

    def asgi(self) -> ASGIApp:
        """The application with its middleware."""
        routes = [Route(path, told(handler), methods=[method]) for method, path, handler in self._routes()]
        app = Starlette(routes=routes, lifespan=self._lifespan, exception_handlers={HTTPException: http_problem})
        app.router.redirect_slashes = False
        known = frozenset(path for _, path, _ in self._routes())
        return Measured(Guard(app, self.access), self.metrics, known)

    def _routes(self) -> list[tuple[str, str, Handler]]:
        work = self.work
        return [
            ("GET", "/", self.page),
            ("GET", "/static/{name}", self.static),
            ("GET", "/openapi.json", self.openapi),
            ("GET", "/metrics", self.read_metrics),
            ("GET", "/api/health", self.health),
            ("GET", "/api/galleries", self.galleries),
            ("GET", "/api/columns", self._answering(OfGallery, work.columns)),
            ("GET", "/api/search", self._answering(Search, work.search)),
            ("GET", "/api/similar", self._answering(Similar, work.similar)),
            ("GET", "/api/explain", self._answering(Explain, work.explain)),
            ("GET", "/api/photos", self._answering(Browse, work.browse)),
            ("GET", "/api/captions", self._answering(Captions, work.captions)),
            ("GET", "/api/thumbnail", self.thumbnail),
            ("GET", "/api/original", self.original),
            ("POST", "/api/uploads", self.upload),
            ("POST", "/api/open", self.open),
            ("POST", "/api/session", self.session),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        warming = asyncio.create_task(self._searches.run(self.work.warm))
        yield
        await asyncio.gather(warming, return_exceptions=True)
        for queue in (self._searches, self._pictures):
            queue.close()
        self.work.galleries.close()

    def _answering(self, kind: type[Any], answer: Callable[[Any], dict[str, Any]]) -> Handler:
        """A handler that reads what is asked, waits for its turn and answers in JSON."""

        async def handle(request: Request) -> Response:
            wanted = asked(kind, request.scope["query_string"])
            return JsonAnswer(await self._searches.run(partial(answer, wanted), request.is_disconnected))

        return handle

    async def page(self, request: Request) -> Response:
        """The page, with the token for what it posts if whoever asks may read."""
        admitted = self.access.admits(request.headers, cookie_name(request.scope))
        text = self._page["page.html"][0].decode()
        token = self.access.page_token if admitted else ""
        return HTMLResponse(text.replace("{{ token }}", token))

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        found = self._page.get(request.path_params["name"])
        if found is None:
            raise NotThereError("there is no such page here")
        return Response(found[0], media_type=found[1], headers={"cache-control": "no-cache"})

    async def openapi(self, request: Request) -> Response:
        """The description of the API."""
        asked(_Nothing, request.scope["query_string"])
        return JsonAnswer(document())

    async def read_metrics(self, request: Request) -> Response:
        """Metrics for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def health(self, request: Request) -> Response:
        """Whether every gallery can be searched."""
        asked(_Nothing, request.scope["query_string"])
        overview = await self._searches.run(self.work.overview)
        failing = any(one["problem"] for one in overview)
        return JsonAnswer({"status": "failing" if failing else "ok"}, 503 if failing else 200)

    async def galleries(self, request: Request) -> Response:
        """All galleries."""
        asked(_Nothing, request.scope["query_string"])
        overview = await self._searches.run(self.work.overview)
        return JsonAnswer({"galleries": overview, "can_open": self._can_open})

    async def thumbnail(self, request: Request) -> Response:
        """A small JPEG of a photo, upright."""
        wanted = asked(Thumbnail, request.scope["query_string"])
        made, kept = await self._pictures.run(partial(self.work.thumbnail, wanted), request.is_disconnected)
        self.metrics.thumbnails.labels(str(kept).lower()).inc()
        caching = _YEAR if wanted.v else "private, max-age=60"
        return Response(made, media_type="image/jpeg", headers={"cache-control": caching})

    async def original(self, request: Request) -> Response:
        """The file of a photo; ranges are sent as asked."""
        wanted = asked(OfPhoto, request.scope["query_string"])
        path = await self._pictures.run(partial(self.work.file, wanted.gallery, wanted.id), request.is_disconnected)
        kind = mimetypes.guess_type(path.name)[0]
        shown = kind in _SHOWN
        return FileResponse(
            path,
            media_type=kind if shown else "application/octet-stream",
            filename=path.name.encode("utf-8", "replace").decode(),
            content_disposition_type="inline" if shown else "attachment",
            headers={"content-security-policy": "default-src 'none'; sandbox", "cache-control": "private, no-cache"},
        )

    async def upload(self, request: Request) -> Response:
        """Read a photo to search with, in bounded time, bytes and pixels."""
        wanted = asked(OfGallery, request.scope["query_string"])
        try:
            with anyio.fail_after(SECONDS):
                body = await whole_body(request.stream())
        except TimeoutError as error:
            raise InputError(f"the photo did not arrive within {SECONDS} s: send it again") from error
        return JsonAnswer(await self._searches.run(partial(self.work.upload, wanted, body)))

    async def open(self, request: Request) -> Response:
        """Open the folder of a photo on this machine, for someone who sits at it."""
        wanted = asked(OfPhoto, request.scope["query_string"])
        client = request.client.host if request.client else ""
        if not (self._can_open and is_loopback(client)):
            raise HTTPException(403, "folders are opened only where the page is on the machine that has the photos")
        path = await self._pictures.run(partial(self.work.file, wanted.gallery, wanted.id))
        open_folder(path)
        return JsonAnswer({"done": True})

    async def session(self, request: Request) -> Response:
        """Take the token once, and give a cookie for it."""
        if not self.access.knows(bearer(request.headers)):
            raise HTTPException(401, "this is not the token of the server: copy it again")
        answer = JsonAnswer({"done": True})
        name = cookie_name(request.scope)
        answer.set_cookie(name, self.access.session, httponly=True, samesite="strict", path="/")
        return answer


class _Nothing(Struct, forbid_unknown_fields=True):
    """A request without parameters."""


def _page_files() -> dict[str, tuple[bytes, str]]:
    """The page's files by name, with their types."""
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    kinds |= {".json": "application/json"}
    folder = resources.files("shan_web").joinpath("page")
    own = {path.name: (path.read_bytes(), kinds[Path(path.name).suffix]) for path in folder.iterdir()}
    page = environment().from_string(own["page.html"][0].decode()).render()
    own["page.html"] = page.encode(), "text/html"
    return own | {name: (text_of(name).encode(), kind) for name, kind in _SHARED.items()}
