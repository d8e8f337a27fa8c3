"""Hits as a plain list for people: one line each, no frames, nothing that only explains a score."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text
from shan_engine.text.tokenizer import shortened

from shan_cli.console import answers, printable
from shan_cli.paths import knows_links, named

if TYPE_CHECKING:
    from shan_engine.search.captions import CaptionHits
    from shan_engine.search.explain import WordRegion
    from shan_engine.search.results import Hit, QueryHits

_DATE = "taken"  # the column of metadata that says when
_COPIES = "copies"  # the column with the places of identical files
_BEST = 3  # words of a hit
_NUMBERS = ("rank", "score", "probability")


def print_hits(result: QueryHits, columns: Sequence[str] = ()) -> None:
    """A search for photos: rank, probability (else the score), photo, and these columns of metadata.

    Without columns: the date if one is known, what is written there, and the words that fit best. A path is shown where
    it does not end with the photo's id, which then says where the photo is.
    """
    hits, links = result.hits, knows_links()
    probable = any(hit.probability is not None for hit in hits)
    shown: dict[str, list[str | Text]] = {
        "rank": [str(hit.rank) for hit in hits],
        "probability" if probable else "score": [
            f"{hit.score:.3f}" if hit.probability is None else f"{hit.probability:.2f}" for hit in hits
        ],
        "photo": [named(hit.image, len(hit.alike), links=links) for hit in hits],
    }
    if columns:
        shown |= {name: [_value(hit, name) for hit in hits] for name in columns}
    else:
        shown |= {
            _DATE: [printable(str(hit.metadata.get(_DATE) or "")[:10]) for hit in hits],
            "written": [_written(hit) for hit in hits],
            "best words": [_best(hit.words) for hit in hits],
        }
        if not any(hit.words for hit in hits):  # a photo asked
            shown["seen as"] = [printable(hit.seen[0].name) if hit.seen else "" for hit in hits]
        shown["also at"] = [printable(str(hit.metadata.get(_COPIES) or "")) for hit in hits]
        if any(not hit.image.path.endswith(hit.image.id) for hit in hits if hit.image.path):
            shown["path"] = [printable(hit.image.path) for hit in hits]
    _print(result.query, {name: cells for name, cells in shown.items() if name in columns or any(cells)})


def print_captions(result: CaptionHits) -> None:
    """A search for captions: rank, score, the caption with its id, and the words that fit best."""
    shown: dict[str, list[str | Text]] = {
        "rank": [str(hit.rank) for hit in result.hits],
        "score": [f"{hit.score:.3f}" for hit in result.hits],
        "id": [printable(hit.id) for hit in result.hits],
        "caption": [printable(hit.caption) for hit in result.hits],
        "best words": [_best(hit.words) for hit in result.hits],
    }
    _print(str(result.photo), {name: cells for name, cells in shown.items() if any(cells)})


def _written(hit: Hit) -> str:
    """The lines of a photo that have words of the query, each in quotation marks."""
    return ", ".join(f'"{printable(shortened(line.text))}"' for line in hit.written)


def _value(hit: Hit, column: str) -> str:
    known = {"id": hit.image.id, "path": hit.image.path, **hit.metadata}
    return "" if known[column] is None else printable(str(known[column]))


def _best(words: Sequence[WordRegion]) -> str:
    best = sorted((word for word in words if word.weight > 0), key=lambda word: -word.weight)
    return ", ".join([*dict.fromkeys(printable(word.word) for word in best)][:_BEST])


def _print(title: str, shown: dict[str, list[str | Text]]) -> None:
    """Print a title and columns of cells; only photos, words and values fold, and only where a line is too long."""
    console = answers()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in shown:
        number = name in _NUMBERS
        table.add_column(
            Text(printable(name)),
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=number or name == _DATE,
        )
    for cells in zip_longest(*shown.values()):
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    console.print(Text(printable(title), style="bold"), soft_wrap=True)
    for line in console.render_lines(table, pad=False):
        console.print(_without_trailing_space(line), soft_wrap=True)


def _without_trailing_space(line: Sequence[Segment]) -> Text:
    """A line of a table as text, without the space that fills its last cells."""
    text = Text.assemble(*((part.text, part.style or Style.null()) for part in line))
    text.rstrip()
    return text
