"""Screenshots of this project's own pages, with the words that are on them, for `reading.py`.

    python benchmarks/screenshots.py FOLDER

Writes FOLDER/*.png and FOLDER/words.json, as `written_words.py` does: the beginnings of some pages of docs/, as
Chromium shows them on a screen of 1,280 x 800 pixels, in letters of several sizes, dark on light and light on dark.
Needs the program `chromium` and the packages that tests need.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

DOCS = Path(__file__).parents[1] / "docs"
PAGES = "text", "searching", "collections", "serve"
WIDTH, HEIGHT = 1280, 800
CAPITAL = 0.72  # of a letter's size
SIZES = 10, 12, 14, 16, 24  # pixels
LIGHT, DARK = "color: #222; background: #fff", "color: #ddd; background: #161b22"
STYLE = "body {{ font: {size}px/1.5 sans-serif; margin: 2em auto; width: 60em; max-width: 90%; {colours} }}"
# The lines that are seen whole, as they are broken on the screen.
SEEN = """() => {
  const lines = new Map(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    for (const word of node.data.matchAll(/\\S+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      for (const box of [range.getBoundingClientRect()]) {
        if (box.bottom > innerHeight || box.right > innerWidth || !box.width) continue;
        const row = Math.round(box.bottom);
        lines.set(row, [...(lines.get(row) ?? []), { text: word[0], left: box.left, right: box.right }]);
      }
    }
  }
  // Marks that follow a word in another element belong to it.
  return [...lines.values()].map(words => words.map((word, at) =>
    (at && word.left - words[at - 1].right < 1 ? "" : " ") + word.text).join("").trim());
}"""


def shots(page: Any) -> Iterator[tuple[str, str, int, bytes, list[str]]]:
    """A name, a kind, a size in pixels, a picture and its lines for each screenshot."""
    made = MarkdownIt("commonmark").enable("table")
    for number, name in enumerate(PAGES):
        body = made.render((DOCS / f"{name}.md").read_text("utf-8"))
        for size in SIZES:
            for theme, colours in (("light", LIGHT), ("dark", DARK)) if size == SIZES[number] else (("light", LIGHT),):
                page.set_content(f"<style>{STYLE.format(size=size, colours=colours)}</style>{body}")
                kind = f"screenshot, {size} pixels" if theme == "light" else "screenshot, light on dark"
                yield f"{name}-{size}-{theme}.png", kind, size, page.screenshot(), page.evaluate(SEEN)


def make(folder: Path) -> None:
    """Write the screenshots and words.json."""
    from playwright.sync_api import sync_playwright

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        for name, kind, pixels, picture, lines in shots(page):
            (folder / name).write_bytes(picture)
            size = round(1000 * pixels * CAPITAL / WIDTH, 1)
            rows.append({"file": name, "kind": kind, "size": size, "lines": lines})
        browser.close()
    (folder / "words.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", "utf-8")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    make(parser.parse_args(arguments).folder)


if __name__ == "__main__":
    main()
