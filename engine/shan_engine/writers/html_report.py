"""Write search results as one self-contained HTML file: thumbnails, scores, and the region behind each word."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from PIL import Image

from shan_engine.base.errors import InputError
from shan_engine.base.files import replacing
from shan_engine.photos.decode import decode_photo

if TYPE_CHECKING:
    from shan_engine.search.explain import WordRegion
    from shan_engine.search.results import Hit, QueryHits

THUMBNAIL_PIXELS = 320
DRAWN_WORDS = 3
STOP_WORDS = frozenset(
    """
    a an the this that these those and or but of in on at by to from with for as into onto over under near up down
    is are was were be been being has have had do does did it its he she they them his her their there while who
    which some
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class _Word:
    """A word as the template shows it.

    `rectangle` is x, y, width and height in pixels of the photo. `colour` is a number if the rectangle is drawn from
    the start.
    """

    key: str
    text: str
    title: str
    rectangle: tuple[float, float, float, float] | None
    colour: int | None


@dataclass(frozen=True)
class _Card:
    """A hit as the template shows it. `thumbnail` is a JPEG in base64; if it is None, `problem` says why.

    `parts` are the parts of its score with their names, which are empty where they are not known.
    """

    hit: Hit
    parts: tuple[tuple[str, float], ...]
    thumbnail: str | None
    problem: str
    width: int
    height: int
    words: tuple[_Word, ...]


def write_report(path: Path, results: Sequence[QueryHits]) -> None:
    """Write the report of `results`, one section for each query.

    A photo that is missing or cannot be decoded leaves a placeholder. Raises InputError if the disk is full or the
    folder cannot be written.
    """

    thumbnail = lru_cache(maxsize=256)(_thumbnail)  # several queries often find the same photo

    def sections() -> Iterator[tuple[str, Iterator[_Card]]]:
        keys = (f"w{number}" for number in itertools.count())
        for result in results:
            yield (
                result.query,
                (_card(hit, result.score_parts, keys, *thumbnail(hit.image.path)) for hit in result.hits),
            )

    source = resources.files(__package__).joinpath("report.html").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pieces = environment.from_string(source).generate(sections=sections())
    # A file name that is not valid UTF-8 contains lone surrogates, which cannot be written.
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
        file.writelines(pieces)


def _thumbnail(photo: str) -> tuple[str | None, str]:
    if not photo:
        return None, "no photo: these features were imported without one"
    path = Path(photo)
    try:
        if not path.is_file():
            return None, f"photo not found: {path}"
        image = decode_photo(path)
    except (InputError, OSError, ValueError) as error:
        return None, f"cannot read the photo: {error}"
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), ""


def _card(hit: Hit, names: Sequence[str], keys: Iterator[str], thumbnail: str | None, problem: str) -> _Card:
    named = len(names) == len(hit.step_scores)
    parts = tuple((names[place] if named else "", value) for place, value in enumerate(hit.step_scores))
    known = hit.image.width > 0 and hit.image.height > 0
    colours = {place: colour for colour, place in enumerate(_drawn(hit.words))} if known else {}
    words = tuple(
        _Word(
            key,
            word.word,
            f"region {word.region}, weight {word.weight:.2f}",
            _rectangle(word) if known and thumbnail else None,
            colours.get(place),
        )
        for place, (word, key) in enumerate(zip(hit.words, keys, strict=False))
    )
    return _Card(hit, parts, thumbnail, problem, hit.image.width, hit.image.height, words)


def _drawn(words: Sequence[WordRegion]) -> list[int]:
    """Places of the words drawn from the start: those of greatest weight that have a box and are no stop words."""
    telling = [
        place
        for place, word in enumerate(words)
        if word.box is not None and any(map(str.isalnum, word.word)) and word.word.lower() not in STOP_WORDS
    ]
    return sorted(telling, key=lambda place: -words[place].weight)[:DRAWN_WORDS]


def _rectangle(word: WordRegion) -> tuple[float, float, float, float] | None:
    if word.box is None:
        return None
    left, top, right, bottom = (round(value, 1) for value in word.box)
    return left, top, round(max(0.0, right - left), 1), round(max(0.0, bottom - top), 1)
