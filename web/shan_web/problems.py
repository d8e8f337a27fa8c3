"""What goes wrong becomes one sentence with a status; the log never says what was asked."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from collections.abc import Awaitable, Callable

from shan_engine.base.errors import InputError, ShanError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shan_web.answers import JsonAnswer
from shan_web.queue import BusyError, GoneError
from shan_web.work import NotThereError

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
CLOSED = 499  # what others answer whoever has gone


def told(handler: Handler) -> Handler:
    """The handler, whose errors are answers."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except HTTPException:
            raise
        except Exception as error:
            return _answer(request, error)

    return handle


def problem(status: int, sentence: str, **headers: str) -> Response:
    """An answer that says what is wrong."""
    return JsonAnswer({"error": sentence}, status, {name.replace("_", "-"): value for name, value in headers.items()})


async def http_problem(request: Request, error: Exception) -> Response:
    """What the router itself refuses: no such address, no such method."""
    assert isinstance(error, HTTPException)
    sentences = {404: "there is no such page here", 405: "this address takes another method"}
    named = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return problem(error.status_code, sentences.get(error.status_code, error.detail), **named)


def _answer(request: Request, error: Exception) -> Response:
    if isinstance(error, GoneError):
        return Response(status_code=CLOSED)
    if isinstance(error, BusyError):
        return problem(503, str(error), retry_after=str(error.seconds))
    if isinstance(error, NotThereError):
        return problem(404, str(error))
    if isinstance(error, InputError):
        return problem(400, str(error))
    if isinstance(error, ShanError):
        return problem(503, str(error), retry_after="5")
    if isinstance(error, OSError | sqlite3.Error | MemoryError):  # a gallery that is deleted meanwhile, a full disk
        log.warning("%s: %s", request.url.path, type(error).__name__)
        return problem(503, "the gallery cannot be read now: look at its folder and its disk", retry_after="5")
    where = "".join(traceback.format_tb(error.__traceback__))  # the message might say what was asked
    log.error("%s failed with %s at\n%s", request.url.path, type(error).__name__, where)
    return problem(500, "the server made a mistake: its log says where")
