"""A test set of photos of pages full of words in columns, for `reading.py`.

    python benchmarks/written_pages.py FOLDER --fonts /usr/share/fonts

Writes FOLDER/*.jpg and FOLDER/words.json, as `written_words.py` does, with the lines in the order in which they are
read: column by column. Pages are as photos of 12 megapixels, and as screens of 2 megapixels; the letters are as large
as the number of words lets them be. The font is that of Debian's fonts-noto-core or fonts-dejavu-core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from written_words import LATIN, SANS, SERIF

SPACING = 1.25  # sizes of a letter from line to line
FILLING = """the of and to in is that for it with as was on at by from this are be or an have which one all their has
been more when who will no there out so about into than them can only other new some could time these two may then do
first any my now such like our over even most after also"""


@dataclass(frozen=True)
class Page:
    """How many words a page has in how many columns, its pixels, and how far it is turned in degrees."""

    words: int
    columns: int
    size: tuple[int, int] = (3000, 4000)
    turn: float = 0.0


PAGES = {
    "a letter of 400 words": Page(400, 1),
    "a page of 1,000 words, 2 columns": Page(1000, 2),
    "a page of 2,000 words, 3 columns, turned 3°": Page(2000, 3, turn=3),
    "a page of 5,000 words, 5 columns": Page(5000, 5),
    "a screen of 1,000 words, 2 columns": Page(1000, 2, (1920, 1080)),
}


def make(folder: Path, fonts: Path) -> None:
    """Write the pages and words.json."""
    folder.mkdir(parents=True, exist_ok=True)
    there = {path.stem: path for path in sorted(fonts.rglob("*.ttf"))}
    font = next(there[name] for name in (SERIF, SANS, "DejaVuSerif", "DejaVuSans") if name in there)
    rows = []
    for number, (name, page) in enumerate(PAGES.items()):
        image, lines, capital = picture(page, font, np.random.default_rng(number))
        image.save(folder / f"{number}.jpg", quality=88)
        rows.append({"file": f"{number}.jpg", "kind": name, "size": capital, "lines": lines})
    (folder / "words.json").write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", "utf-8")


def picture(page: Page, font_file: Path, random: np.random.Generator) -> tuple[Image.Image, list[str], float]:
    """A page, its lines in reading order, and the height of a capital in thousandths of the longer side."""
    words = [str(word) for word in random.choice(FILLING.split() + LATIN.split(), page.words)]
    width, height = page.size
    edge, gap = width // 25, width // 50
    column = (width - 2 * edge - (page.columns - 1) * gap) // page.columns
    size, lines, rows = largest(words, font_file, column, height - 2 * edge, page.columns)
    font = ImageFont.truetype(str(font_file), size)
    image = Image.new("RGB", page.size, (235, 232, 224))
    drawn = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        place, row = divmod(number, rows)
        drawn.text((edge + place * (column + gap), edge + row * size * SPACING), line, (30, 30, 40), font)
    if page.turn:
        image = image.rotate(page.turn, Image.Resampling.BICUBIC, fillcolor=(235, 232, 224))
    return image, lines, round(720 * size / max(page.size), 1)


def largest(words: Sequence[str], font_file: Path, width: int, height: int, columns: int) -> tuple[int, list[str], int]:
    """The largest size of letters with which all words fit into columns, their lines, and how many a column has."""
    small, large = 4, 200
    while True:
        size = (small + large) // 2
        lines = broken(words, ImageFont.truetype(str(font_file), size), width)
        rows = int(height // (size * SPACING))
        if len(lines) > rows * columns:
            large = size
        elif small < size:
            small = size
        else:
            return size, lines, rows


def broken(words: Sequence[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Words in lines that are at most so many pixels wide."""
    lengths = {word: font.getlength(word + " ") for word in set(words)}
    lines: list[list[str]] = [[]]
    taken = 0.0
    for word in words:
        if lines[-1] and taken + lengths[word] > width:
            lines.append([])
            taken = 0.0
        lines[-1].append(word)
        taken += lengths[word]
    return [" ".join(line) for line in lines]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    given = parser.parse_args(arguments)
    make(given.folder, given.fonts)


if __name__ == "__main__":
    main()
