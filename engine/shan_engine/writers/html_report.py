"""Write search results as one self-contained HTML file: thumbnails, scores, and the region behind each word."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.photos.decode import thumbnail
from shan_engine.writers.cards import Card, Picture, cards_of, environment, texts

if TYPE_CHECKING:
    from shan_engine.search.results import QueryHits

THUMBNAIL_PIXELS = 320


def write_report(path: Path, results: Sequence[QueryHits], *, with_text: bool = False) -> None:
    """Write the report of `results`, one section for each query; `with_text` with what is written in photos.

    A photo that is missing or cannot be decoded leaves a placeholder. Raises InputError if the disk is full or the
    folder cannot be written.
    """

    picture = lru_cache(maxsize=256)(_picture)  # several queries often find the same photo

    def sections() -> Iterator[tuple[str, Iterator[Card]]]:
        keys = (f"w{number}" for number in itertools.count())
        for result in results:
            shown = (
                result if with_text else replace(result, hits=tuple(replace(hit, written=()) for hit in result.hits))
            )
            yield result.query, cards_of(shown, lambda hit: picture(hit.image.path), keys)

    pieces = environment().get_template("report.html").generate(sections=sections())
    # A file name that is not valid UTF-8 contains lone surrogates, which cannot be written.
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(pieces)


def _picture(photo: str) -> Picture:
    t = texts()
    if not photo:
        return Picture(problem=t["no_photo"])
    path = Path(photo)
    try:
        if not path.is_file():
            return Picture(problem=f"{t['photo_not_found']} {path}")
        image = thumbnail(path, THUMBNAIL_PIXELS)
    except (InputError, OSError, ValueError) as error:
        return Picture(problem=f"{t['photo_unreadable']} {error}")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    return Picture(source, path.as_uri() if path.is_absolute() else "")
