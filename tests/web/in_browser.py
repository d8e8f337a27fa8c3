"""What the tests of the page in a browser share: contexts whose waits are long, and what they wait for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shan_engine.locate import demo_folder

CHROMIUM = shutil.which("chromium")
PHOTOS = demo_folder() / "photos"
WAIT = 90_000
"""Milliseconds: a wait ends as soon as what it waits for is there, so that only a failure takes as long."""


@contextmanager
def context(browser: Any, server: Any, **options: Any) -> Iterator[Any]:
    """A browser's profile of its own, whose addresses are the server's."""
    opened = browser.new_context(base_url=server.address, **options)
    opened.set_default_timeout(WAIT)
    try:
        yield opened
    finally:
        opened.close()


def expect(what: Any) -> Any:
    """Playwright's assertions of a page or locator, which wait until they hold."""
    from playwright.sync_api import expect

    expect.set_options(timeout=WAIT)
    return expect(what)


@contextmanager
def held_back(page: Any, address: str) -> Iterator[None]:
    """Requests whose address matches reach the server only at the end."""
    held: list[Any] = []
    page.route(re.compile(address), lambda route: held.append(route))
    yield
    for route in held:
        route.continue_()


def first(page, id):
    expect(page.locator("#grid li:first-child img")).to_have_attribute("alt", id)


def status(page, text):
    expect(page.locator("#status")).to_contain_text(text)


def chip(page, text):
    expect(page.locator(".chip", has_text=text)).to_be_visible()


def drop(page, body):
    data = page.evaluate_handle(
        """bytes => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(bytes)], "mine.jpg", { type: "image/jpeg" }));
          return transfer;
        }""",
        list(body),
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
