"""Results of a search on the console: tables, JSON, and what is said of a query beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shan_engine.text.tokenizer import shortened

from shan_cli.console import messages

if TYPE_CHECKING:
    from shan_engine.search.captions import CaptionHit, CaptionHits
    from shan_engine.search.results import Hit, QueryHits, WordRegion

NARROW = 120  # columns of a console
REGIONS = "words' best regions (number, weight)"


def print_reading(result: QueryHits) -> None:
    """Say which words of a query the model reads otherwise, or not at all."""
    said = [f"'{word}' is read as '{other}'" for word, other in result.replaced.items()]
    said += [f"'{word}' is unknown to the model" for word in result.unknown]
    if result.left_out:
        said.append(f"its last {result.left_out} words are left out, the model takes no more")
    if said:
        messages.print(f"{shortened(result.query)}: {', '.join(said)}", markup=False, soft_wrap=True)


def scanned_line(result: QueryHits) -> str:
    """How many images a search looked at."""
    seen = result.scanned
    if seen is None:
        return f"{shortened(result.query)}: all {result.matching:,} images scored"
    proven = "; no other image can be among the hits" if seen.proven else ""
    return (
        f"{shortened(result.query)}: {seen.first_pass:,} images in the first pass, {seen.step_1:,} in step 1, "
        f"{seen.all_steps:,} in all steps{proven}"
    )


def as_dict(result: QueryHits) -> dict[str, object]:
    """A search for photos as JSON has it."""
    return {
        "query": result.query,
        "replaced_words": dict(result.replaced),
        "unknown_words": list(result.unknown),
        "words_left_out": result.left_out,
        "matching": result.matching,
        "scanned": vars(result.scanned) if result.scanned else None,
        "hits": [
            {
                "rank": hit.rank,
                "score": hit.score,
                "id": hit.image.id,
                "path": hit.image.path,
                "step_scores": list(hit.step_scores),
                "hubness": hit.hubness,
                "words": [vars(word) for word in hit.words],
                "metadata": dict(hit.metadata),
            }
            for hit in result.hits
        ],
    }


def captions_as_dict(result: CaptionHits) -> dict[str, object]:
    """A search for captions as JSON has it."""
    hits = [{**vars(hit), "words": [vars(word) for word in hit.words]} for hit in result.hits]
    return {"photo": str(result.photo), "captions": result.captions, "hits": hits}


def print_columns(result: QueryHits, columns: Sequence[str]) -> None:
    """A search for photos as a table of what is known of them, in these columns."""
    rows = []
    for hit in result.hits:
        known = {"id": hit.image.id, "path": hit.image.path, **hit.metadata}
        values = ("" if known[name] is None else str(known[name]) for name in columns)
        rows.append([hit.image.id, *values])
    _print_hits(result.query, ["id", *columns], result.hits, rows)


def print_table(result: QueryHits) -> None:
    """A search for photos as a table, with the regions behind the words."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    # Where there is little room, a path that only puts a folder before the id is left out, and ids get up to two
    # thirds of what is then there beside rank, score and lines.
    with_path = console.width >= NARROW or any(
        not hit.image.path.endswith(hit.image.id) for hit in result.hits if hit.image.path
    )
    room = max(3, console.width - 23)
    id_width = min(max((Text(hit.image.id).cell_len for hit in result.hits), default=0), room * 2 // 3)
    table = Table(title=Text(result.query), title_justify="left")
    for name in ("rank", "score"):
        table.add_column(name, justify="right")
    table.add_column("id", overflow="fold", max_width=None if with_path else id_width)
    table.add_column(REGIONS, overflow="fold", max_width=None if with_path else room - id_width)
    if with_path:
        table.add_column("path", overflow="fold", style="dim")
    for hit in result.hits:
        table.add_row(
            str(hit.rank),
            f"{hit.score:.3f}",
            Text(hit.image.id),
            Text(_best_regions(hit.words)),
            *([Text(hit.image.path)] if with_path else []),
        )
    console.print(table)


def print_captions(result: CaptionHits) -> None:
    """A search for captions as a table."""
    rows = [[hit.id, hit.caption, _best_regions(hit.words)] for hit in result.hits]
    _print_hits(str(result.photo), ["id", "caption", REGIONS], result.hits, rows)


def _print_hits(
    title: str, names: Sequence[str], hits: Sequence[Hit | CaptionHit], rows: Sequence[Sequence[str]]
) -> None:
    """A table of hits: rank, score and a row of texts for each."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for name in ("rank", "score"):
        table.add_column(name, justify="right")
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for hit, row in zip(hits, rows, strict=True):
        table.add_row(str(hit.rank), f"{hit.score:.3f}", *map(Text, row))
    Console().print(table)


def _best_regions(words: Sequence[WordRegion]) -> str:
    best = sorted(words, key=lambda word: -word.weight)[:4]
    return "  ".join(f"{word.word} #{word.region} {word.weight:.2f}" for word in best)
