"""Hits as cards of HTML: what the report of `search --html` and the page of `serve` have in common.

`cards.html` is the template of a card, `look.css` its look, `cards.js` lights up regions, `texts.json` has the words.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from shan_engine.base.metadata import WRITTEN
from shan_engine.base.text_lines import Box
from shan_engine.text.tokenizer import shortened

if TYPE_CHECKING:
    from shan_engine.base.column_types import Value
    from shan_engine.search.explain import WordRegion
    from shan_engine.search.results import Hit, QueryHits

DRAWN_WORDS = 3
STOP_WORDS = frozenset(
    """
    a an the this that these those and or but of in on at by to from with for as into onto over under near up down
    is are was were be been being has have had do does did it its he she they them his her their there while who
    which some
    """.split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Picture:
    """Where a card's picture comes from, and what it links to; without a `source`, `problem` says why."""

    source: str = ""
    link: str = ""
    problem: str = ""


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
class Card:
    """A hit as the template shows it.

    `parts` are the parts of its score with their names, which are empty where they are not known. `written` are the
    lines in the photo that have words of the query; `metadata` leaves out all else that is written there. `share` from
    0 to 1 is the length of its bar: the probability, or the score against the best one's.
    """

    hit: Hit
    parts: tuple[tuple[str, float], ...]
    picture: str
    link: str
    problem: str
    width: int
    height: int
    words: tuple[_Word, ...]
    written: tuple[_Word, ...]
    metadata: dict[str, Value]
    share: float
    share_name: str
    scored: bool


def cards_of(
    result: QueryHits, picture: Callable[[Hit], Picture], keys: Iterator[str] | None = None, best: float | None = None
) -> Iterator[Card]:
    """A card for each hit; `keys` name the regions on a page. `best` is the query's best score, if not the first's.

    Photos that were found without a query have no score.
    """
    keys = keys or (f"w{number}" for number in itertools.count())
    best = best if best is not None else max((hit.score for hit in result.hits), default=0.0)
    for hit in result.hits:
        yield _card(hit, result, keys, picture(hit), best)


def environment() -> Environment:
    """Templates of this package; what users wrote is text in them, never markup."""
    made = Environment(
        loader=FunctionLoader(text_of), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {"t": texts(), "look": Markup(text_of("look.css")), "script": Markup(text_of("cards.js"))}
    return made


@cache
def text_of(name: str) -> str:
    """A file of this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@cache
def texts() -> dict[str, Any]:
    """The words of the templates, in English."""
    found: dict[str, Any] = json.loads(text_of("texts.json"))
    return found


def _card(hit: Hit, result: QueryHits, keys: Iterator[str], picture: Picture, best: float) -> Card:
    names, t = result.score_parts, texts()
    named = len(names) == len(hit.step_scores)
    parts = tuple((names[place] if named else "", value) for place, value in enumerate(hit.step_scores))
    known = hit.image.width > 0 and hit.image.height > 0
    colours = {place: colour for colour, place in enumerate(_drawn(hit.words))} if known else {}
    words = tuple(
        _Word(
            key,
            word.word,
            t["word_title"].format(region=word.region, weight=f"{word.weight:.2f}"),
            _rectangle(word.box) if known and picture.source else None,
            colours.get(place),
        )
        for place, (word, key) in enumerate(zip(hit.words, keys, strict=False))
    )
    written = tuple(
        _Word(
            key,
            shortened(line.text),
            t["written_title"].format(confidence=f"{line.confidence:.2f}"),
            _rectangle(line.box) if known and picture.source else None,
            None,
        )
        for line, key in zip(hit.written, keys, strict=False)
    )
    if hit.probability is not None:
        share, said = hit.probability, t["probability_of"].format(probability=f"{hit.probability:.2f}")
    else:
        share, said = hit.score / best if best > 0 else 0.0, t["score_of"].format(score=f"{hit.score:.2f}")
    return Card(
        hit,
        parts,
        picture.source,
        picture.link,
        picture.problem,
        hit.image.width,
        hit.image.height,
        words,
        written,
        {name: value for name, value in hit.metadata.items() if name.lower() != WRITTEN and value is not None},
        min(1.0, max(0.0, share)),
        said,
        bool(result.query),
    )


def _drawn(words: Sequence[WordRegion]) -> list[int]:
    """Places of the words drawn from the start: those of greatest weight that have a box and are no stop words."""
    telling = [
        place
        for place, word in enumerate(words)
        if word.box is not None and any(map(str.isalnum, word.word)) and word.word.lower() not in STOP_WORDS
    ]
    return sorted(telling, key=lambda place: -words[place].weight)[:DRAWN_WORDS]


def _rectangle(box: Box | None) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    left, top, right, bottom = (round(value, 1) for value in box)
    return left, top, round(max(0.0, right - left), 1), round(max(0.0, bottom - top), 1)
