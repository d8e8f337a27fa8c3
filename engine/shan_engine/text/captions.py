"""Captioned images: a tab-separated table of split, image id and caption, or SCAN's folder of caption files.

A table may have a column `language`, such as that of Multi30k, and one file may hold several languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError

COLUMNS = ("split", "image", "caption")
LANGUAGE = "language"
SCAN_CAPTIONS = "_caps.txt"
SCAN_FEATURES = "_ims.npy"
CAPTIONS_AN_IMAGE = 5  # in SCAN's files


@dataclass(frozen=True)
class CaptionSplit:
    """One split: image ids, captions, and for every caption its image's index in `images`."""

    images: tuple[str, ...]
    captions: tuple[str, ...]
    caption_images: NDArray[np.int64]

    def images_between(self, first: int, last: int) -> CaptionSplit:
        """The images `first` to `last` (exclusive) with their captions."""
        kept = np.flatnonzero((self.caption_images >= first) & (self.caption_images < last))
        captions = tuple(self.captions[i] for i in kept)
        return CaptionSplit(self.images[first:last], captions, self.caption_images[kept] - first)


@dataclass(frozen=True)
class CaptionTable:
    """Rows of (split, image, caption) in the file's order."""

    path: Path
    rows: tuple[tuple[str, str, str], ...]

    @classmethod
    def read(cls, path: Path, languages: Sequence[str] = ()) -> CaptionTable:
        """Read a table whose header names the columns split, image and caption, tab-separated, perhaps quoted.

        With `languages`, only the rows that have one of them in a further column `language`. Or a folder in SCAN's
        layout: `<split>_caps.txt`, one caption a line, five for each image; its images are `<split>-0`, `<split>-1` and
        so on, as `import` names those of `<split>_ims.npy`. Empty lines at the end do not count. Raises InputError,
        naming the line, if it has other columns or an empty field, or if no row has one of the languages.
        """
        if path.is_dir():
            if languages:
                raise InputError(f"{path} does not tell languages apart: leave the language out")
            return cls(path, tuple(_scan_rows(path)))
        text = _read(path)
        # Not splitlines: it also splits at characters such as U+2028 that may stand inside a caption.
        header, *lines = text.rstrip().split("\n")
        rows = list(_rows(path, [unquoted(name) for name in header.split("\t")], lines))
        held = {row[3] for row in rows if row[3]}
        for language in languages:
            if language not in held:
                known = ", ".join(sorted(held)) or "none"
                raise InputError(f"{path} has no caption of the language '{language}': it has {known}")
        return cls(path, tuple(row[:3] for row in rows if not languages or row[3] in languages))

    def and_rows(self, others: Sequence[CaptionTable]) -> CaptionTable:
        """This table, and the captions that `others` add to images of its splits, after its own."""
        images = {(split, image) for split, image, _ in self.rows}
        added = [row for other in others for row in other.rows if row[:2] in images]
        return CaptionTable(self.path, (*self.rows, *added))

    def split(self, name: str) -> CaptionSplit:
        """The rows of one split. Raises InputError if there are none."""
        rows = [row for row in self.rows if row[0] == name]
        if not rows:
            names = ", ".join(sorted({row[0] for row in self.rows})) or "none"
            raise InputError(f"{self.path} has no split '{name}': it has {names}")
        places = {image: place for place, image in enumerate(dict.fromkeys(row[1] for row in rows))}
        return CaptionSplit(
            tuple(places), tuple(row[2] for row in rows), np.array([places[row[1]] for row in rows], np.int64)
        )


def _rows(path: Path, header: Sequence[str], lines: Sequence[str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Split, image, caption and perhaps language of each line."""
    known = (*COLUMNS, LANGUAGE)
    if not set(COLUMNS) <= set(header) <= set(known) or len(set(header)) < len(header):
        raise InputError(
            f"{path}, line 1: expected the tab-separated header {', '.join(COLUMNS)}, perhaps with {LANGUAGE}"
        )
    order = [header.index(name) for name in COLUMNS]
    spoken = header.index(LANGUAGE) if LANGUAGE in header else None
    for number, line in enumerate(lines, 2):
        fields = [unquoted(field) for field in line.split("\t")]
        if len(fields) != len(header) or not all(field.strip() for field in fields):
            said = "a split, an image and a caption" if len(header) == len(COLUMNS) else ", ".join(header)
            raise InputError(f"{path}, line {number}: expected {said} between tabs")
        split, image, caption = (fields[place] for place in order)
        yield split, image, caption, None if spoken is None else fields[spoken]


def unquoted(field: str) -> str:
    """A field of a table; without the quotation marks that csv writers put around one, doubling those inside."""
    inner = field[1:-1]
    quoted = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else field


def scan_image(split: str, row: int) -> str:
    """The id of an image of SCAN's files, by its split and row."""
    return f"{split}-{row}"


def _scan_rows(folder: Path) -> Iterator[tuple[str, str, str]]:
    files = sorted(folder.glob(f"*{SCAN_CAPTIONS}"))
    if not files:
        raise InputError(f"{folder} has no caption file such as test{SCAN_CAPTIONS}: give SCAN's folder or a table")
    for file in files:
        split = file.name.removesuffix(SCAN_CAPTIONS)
        captions = _read(file).rstrip().split("\n")
        if len(captions) % CAPTIONS_AN_IMAGE:
            raise InputError(f"{file} has {len(captions)} lines: expected {CAPTIONS_AN_IMAGE} captions for each image")
        for number, caption in enumerate(captions):
            if not caption.strip():
                raise InputError(f"{file}, line {number + 1} is empty: expected a caption")
            yield split, scan_image(split, number // CAPTIONS_AN_IMAGE), caption.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"there is no caption file {path}: give a table of captions or SCAN's folder") from error
    except OSError as error:
        raise InputError(f"cannot read the caption file {path}: {error.strerror}; check its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the caption file {path} is not UTF-8 ({error}): save it as UTF-8") from error
