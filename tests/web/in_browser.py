"""What the tests of the page in a browser share."""

from __future__ import annotations

import shutil

from shan_engine.locate import demo_folder

CHROMIUM = shutil.which("chromium")
PHOTOS = demo_folder() / "photos"


def first(page, id):
    page.locator(f'#grid li:first-child img[alt="{id}"]').wait_for()


def status(page, text):
    page.locator("#status", has_text=text).wait_for()


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
