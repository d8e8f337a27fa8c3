"""Captioned images: a tab-separated table of split, image id and caption."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

COLUMNS = ("split", "image", "caption")


@dataclass(frozen=True)
class CaptionSplit:
    """One split: image ids, captions, and for every caption the place of its image in `images`."""

    images: tuple[str, ...]
    captions: tuple[str, ...]
    caption_images: NDArray[np.int64]

    def first_images(self, count: int) -> CaptionSplit:
        """The first `count` images with their captions."""
        kept = np.flatnonzero(self.caption_images < count)
        captions = tuple(self.captions[i] for i in kept)
        return CaptionSplit(self.images[:count], captions, self.caption_images[kept])


@dataclass(frozen=True)
class CaptionTable:
    """Rows of (split, image, caption) in the file's order."""

    path: Path
    rows: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, path: Path) -> CaptionTable:
        """Read a table with the header `split, image, caption`, tab-separated, no quoting.

        Raises InputError naming the line that has other columns or an empty field.
        """
        try:
            text = path.read_text("utf-8-sig")
        except OSError as error:
            raise InputError(f"there is no caption file {path}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"the caption file {path} is not UTF-8: {error}") from error
        # Not splitlines: it also splits at characters such as U+2028 that may stand inside a caption.
        lines = text.removesuffix("\n").split("\n")
        if tuple(lines[0].split("\t")) != COLUMNS:
            raise InputError(f"{path}, line 1: expected the tab-separated header {', '.join(COLUMNS)}")
        rows = []
        for number, line in enumerate(lines[1:], 2):
            fields = line.split("\t")
            if len(fields) != 3 or not all(field.strip() for field in fields):
                raise InputError(f"{path}, line {number}: expected a split, an image and a caption between tabs")
            rows.append((fields[0], fields[1], fields[2]))
        return cls(path, tuple(rows))

    def split(self, name: str) -> CaptionSplit:
        """The rows of one split. Raises InputError where it has none."""
        rows = [row for row in self.rows if row[0] == name]
        if not rows:
            names = ", ".join(sorted({row[0] for row in self.rows})) or "none"
            raise InputError(f"{self.path} has no split '{name}': it has {names}")
        places = {image: place for place, image in enumerate(dict.fromkeys(row[1] for row in rows))}
        return CaptionSplit(
            tuple(places), tuple(row[2] for row in rows), np.array([places[row[1]] for row in rows], np.int64)
        )
