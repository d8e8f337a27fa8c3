"""The demo behind the application, in this process; a server of its own process; and a browser."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shan_engine.locate import demo_folder
from shan_web.app import App
from shan_web.galleries import Galleries
from shan_web.safety import Access
from starlette.testclient import TestClient

sys.path.insert(0, str(Path(__file__).parent))

from in_browser import CHROMIUM, PHOTOS, WAIT, context
from served import served

HOST = "http://127.0.0.1:8750"


@pytest.fixture(scope="session")
def galleries() -> Iterator[Galleries]:
    opened = Galleries.open([], device="cpu", threads=1)
    yield opened
    opened.close()


@pytest.fixture
def app(galleries, tmp_path) -> App:
    return App(galleries, Access.to("127.0.0.1"), tmp_path / "cache", can_open=True)


@pytest.fixture
def client(app) -> TestClient:
    """Without the lifespan, which would close the galleries that tests share."""
    return TestClient(app.asgi(), base_url=HOST, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """The demo's gallery, which a test may change, beside its photos."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(demo_folder() / "gallery", folder / "demo.gallery")
    (folder / "photos").symlink_to(PHOTOS)
    return folder / "demo.gallery"


@pytest.fixture(scope="module")
def server(gallery, tmp_path_factory):
    with served(tmp_path_factory.mktemp("server"), "--gallery", gallery) as started:
        assert started.address
        yield started


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=WAIT)
        yield started
        started.close()


@pytest.fixture
def page(browser, server):
    """A fresh page at the server; what it logs as an error fails the test, unless `page.expected` has a part of it."""
    faults = []
    with context(browser, server, viewport={"width": 1280, "height": 800}) as profile:
        opened = profile.new_page()
        opened.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.expected = []
        yield opened
    assert [fault for fault in faults if not any(part in fault for part in opened.expected)] == []
