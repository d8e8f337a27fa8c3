"""What strangers ask of a gallery: conditions in SQL, and requests to the page's server as bytes on a socket."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from file_readers import text_of
from reader import Reader, Shared

CONDITIONS = (
    "year >= 1995 and not (path like '%1.jpg' or id in ('photo3', 'photo4'))",
    "distance_km(year, length(id), 48.85, 2.35) < 5",
    "substr(id, 6) between '2' and '5' -- note",
    'case when "year" is null then 1 else abs(year % 7) >= 3.5e0 end',
    "path glob 'photos/*[0-9].jpg' escape '!' /* x */",
)
WORDS = (
    b"select",
    b"(select 1)",
    b"union",
    b"sqlite_master",
    b"photos",
    b"pragma",
    b"attach",
    b"randomblob(1000000000)",
    b"zeroblob(2147483647)",
    b"printf('%2147483647d',1)",
    b"load_extension('x')",
    b"like",
    b"glob",
    b"match",
    b"regexp",
    b"hex(",
    b"replace(",
    b"cast(",
    b"id",
    b"year",
    b"))) --",
    b";",
    b"/*",
    b"x'00'",
    b"collate nocase",
    b"?1",
    b":a",
)
PATHS = (
    "/",
    "/static/look.css",
    "/openapi.json",
    "/metrics",
    "/api/health",
    "/api/galleries",
    "/api/columns",
    "/api/search?q=a+dog&with=grass:0.5&without=water&where=width+%3E+300&skip=1&limit=3&grouped=true&cards=true",
    "/api/search?q=a%20dog&near=48.85,2.35,5km&threshold=0.5&like=dog.jpg",
    "/api/photos?limit=2&where=taken+is+not+null",
    "/api/explain?id=x.jpg&q=a+dog&fine=false",
    "/api/similar?id=x.jpg&limit=2",
    "/api/thumbnail?id=x.jpg&side=160",
    "/api/original?id=x.jpg",
    "/api/captions?upload=0123456789abcdef",
)
TOKENS = (
    b"%00",
    b"%",
    b"&",
    b"=",
    b"..%2f",
    b"%ff",
    b"%C3%28",
    b"Range: bytes=5-1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: -1\r\n",
    b"Host: x\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n\r\n",
    b"HTTP/9.9",
    b'Cookie: a="\r\n',
)


def make_conditions(shared: Shared) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for number, text in enumerate(CONDITIONS):
            (folder / f"{number}.sql").write_text(text, "utf-8")

    return make


def read_condition(shared: Shared) -> Callable[[Path, Path], Any]:
    @cache
    def gallery() -> Any:
        from shan_engine.gallery.reader import Gallery

        return Gallery.open(shared.folder.parent / "gallery" / "gallery")

    def read(folder: Path, path: Path) -> Any:
        from shan_engine.gallery.filters import matching

        found = matching(gallery(), text_of(path), seconds=0.5)
        assert set(found.ids()) <= set(gallery().ids())

    return read


def make_requests(shared: Shared) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from shan_engine.locate import demo_folder

        demo = demo_folder()
        assert demo is not None
        photo = next((demo / "photos").glob("*.jpg")).name
        for number, path in enumerate(PATHS):
            lines = [f"GET {path.replace('x.jpg', photo)} HTTP/1.1", "Host: 127.0.0.1", "Accept-Encoding: gzip"]
            (folder / f"{number:02}.http").write_bytes("\r\n".join([*lines, "", ""]).encode())
        body = np.zeros(200, np.uint8).tobytes()
        for name, more in (("post", ""), ("typed", "Content-Type: image/png\r\nOrigin: http://127.0.0.1\r\n")):
            head = f"POST /api/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}Content-Length: {len(body)}\r\n\r\n"
            (folder / f"{name}.http").write_bytes(head.encode() + body)
        session = b'POST /api/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n\r\n{"token": "abc"}'
        (folder / "session.http").write_bytes(session)

    return make


@cache
def _port() -> int:
    """The port of a server in this process, which shows the demo."""
    import tempfile

    import uvicorn
    from shan_web.app import App
    from shan_web.galleries import Galleries
    from shan_web.safety import Access

    # The server notes each request that is no HTTP; its log is not under test.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    folder = Path(tempfile.mkdtemp(prefix="shan-fuzz-page-"))
    app = App(Galleries.open([], device="cpu", threads=1), Access.to("127.0.0.1"), folder, can_open=False)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app.asgi(), log_config=None, access_log=False, ws="none", http="h11", loop="asyncio")
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return int(listening.getsockname()[1])


def read_answer(folder: Path, path: Path) -> Any:
    """Send a request's bytes; what comes back is an answer that is no fault of the server, or a closed connection."""
    with socket.create_connection(("127.0.0.1", _port()), timeout=60) as connection:
        connection.sendall(path.read_bytes())
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < 1 << 20 and (part := connection.recv(1 << 16)):
            answer += part
    if answer:
        version, status = answer[:12].split(b" ")[:2]
        assert version == b"HTTP/1.1"
        assert 200 <= int(status) < 500, answer[:300]
        assert b"Traceback" not in answer


def page_readers(shared: Shared) -> list[Reader]:
    return [
        Reader(name="where", make=make_conditions(shared), read=read_condition(shared), tokens=WORDS),
        Reader(name="requests", make=make_requests(shared), read=read_answer, tokens=TOKENS),
    ]
