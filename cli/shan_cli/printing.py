"""Answers of commands on the console: tables, and lines about queries; `hit_list` has plain lists of hits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shan_engine.text.tokenizer import shortened

from shan_cli.console import answers, printable

if TYPE_CHECKING:
    from shan_engine.base.text_lines import TextLine
    from shan_engine.evaluation.evaluate import Evaluation
    from shan_engine.search.explain import WordRegion
    from shan_engine.search.results import Hit, QueryHits

NARROW = 120  # columns of a console
_DATE = "taken"  # the column of metadata that says when
REGIONS = "words' best regions (number, weight)"


def reading_line(result: QueryHits) -> str:
    """What a query does not say to the model: words that it replaces or does not know, and hints; perhaps empty."""
    said = [f"'{word}' is read as '{other}'" for word, other in result.replaced.items()]
    said += [f"'{word}' is unknown to the model" for word in result.unknown]
    said += [f"no photo taught the model '{word}'" for word in result.unlearnt]
    if result.left_out:
        said.append(f"its last {result.left_out} words are left out, the model takes no more")
    said += result.hints
    if result.error:
        return f"not answered: {result.error}"
    return f"{shortened(result.query)}: {', '.join(said)}" if said else ""


def fitting_line(result: QueryHits, threshold: float | None) -> str:
    """That nothing fits a query, where its best guess is unlikely or all are below the threshold; else empty."""
    best = result.best_probability
    if best is None or (result.hits if threshold is not None else not result.nothing_fits):
        return ""
    said = f"{best:.2f}" if best >= 0.01 else "less than 0.01"
    return f"{shortened(result.query)}: nothing seems to show this: the best guess has a probability of {said}"


def missing_lines(result: QueryHits) -> list[str]:
    """Which shards did not answer, so that hits may be missing."""
    return [
        f"{shortened(result.query)}: hits of {one.photos:,} images in {one.gallery} are missing: {one.why}"
        for one in result.missing
    ]


def scanned_line(result: QueryHits) -> str:
    """How many images each stage of a search looked at."""
    seen = result.stages
    if seen is None:
        return f"{shortened(result.query)}: all {result.matching:,} images scored"
    proven = "; no other image can be a hit" if seen.proven else ""
    return (
        f"{shortened(result.query)}: {seen.first_pass:,} images in the first pass, {seen.step_1:,} in step 1, "
        f"{seen.all_steps:,} in all steps{proven}"
    )


def print_results(results: Sequence[QueryHits], columns: Sequence[str], *, details: bool = False) -> None:
    """Searches for photos, each as a list with these columns of metadata; nothing for one without hits.

    With `details`, and no columns, as tables with what explains the hits.
    """
    from shan_cli.hit_list import print_hits

    found = [result for result in results if result.hits]
    for number, result in enumerate(found):
        if number:
            print()
        if details and not columns:
            print_table(result)
        else:
            print_hits(result, columns)


def print_table(result: QueryHits) -> None:
    """A search for photos as a table, with what explains a hit: regions, what it is seen as, parts of its score."""
    from rich.table import Table
    from rich.text import Text
    from shan_engine.parts.table import NAMES

    from shan_cli.paths import knows_links, named

    console, links = answers(), knows_links()
    # On a narrow console, a path that only puts a folder before the id is left out. Ids then get up to two thirds of
    # the room beside rank, score and lines.
    with_path = console.width >= NARROW or any(
        not hit.image.path.endswith(hit.image.id) for hit in result.hits if hit.image.path
    )
    probable = any(hit.probability is not None for hit in result.hits)
    scored = with_path or not probable  # on a narrow console, a probability tells more
    dated = any(hit.metadata.get(_DATE) for hit in result.hits)
    room = max(3, console.width - 15 - 8 * scored - 14 * probable - 13 * dated)
    id_width = min(max((named(hit.image, len(hit.alike)).cell_len for hit in result.hits), default=0), room * 2 // 3)
    table = Table(title=Text(printable(result.query)), title_justify="left")
    for name in ("rank", *(["score"] if scored else []), *(["probability"] if probable else [])):
        table.add_column(name, justify="right")
    table.add_column("id", overflow="fold", max_width=None if with_path else id_width)
    if dated:
        table.add_column(_DATE, no_wrap=True)
    explained = any(hit.words or hit.seen or hit.written for hit in result.hits)
    names = result.score_parts if any(name in NAMES for name in result.score_parts) else ()
    if explained:
        table.add_column(REGIONS, overflow="fold", max_width=None if with_path else room - id_width)
    if with_path:
        table.add_column("path", overflow="fold", style="dim")
    for hit in result.hits:
        table.add_row(
            str(hit.rank),
            *([f"{hit.score:.3f}"] if scored else []),
            *([f"{hit.probability:.2f}"] if hit.probability is not None else []),
            named(hit.image, len(hit.alike), links=links),
            *([Text(printable(str(hit.metadata.get(_DATE) or "")[:10]))] if dated else []),
            *([Text(_explanation(hit, names))] if explained else []),
            *([Text(printable(hit.image.path))] if with_path else []),
        )
    console.print(table)


def print_evaluation(outcome: Evaluation) -> None:
    """Recall in both directions as a table, with intervals and speed."""
    from rich.console import Console
    from rich.table import Table

    found, intervals = outcome.recall, outcome.intervals
    table = Table(title=f"{outcome.images:,} images, {outcome.captions:,} captions", title_justify="left")
    table.add_column("")
    for name in ("R@1", "R@5", "R@10", "median rank", "mean rank"):
        table.add_column(name, justify="right")
    for label, name, recalls, ranks in (
        ("image to text", "text_retrieval", found.text_retrieval, found.text_ranks),
        ("text to image", "image_retrieval", found.image_retrieval, found.image_ranks),
    ):
        bounds = [intervals[f"{name}_r{cut}"] for cut in (1, 5, 10)]
        cells = [f"{value:.1f}\n({low:.1f}-{high:.1f})" for value, (low, high) in zip(recalls, bounds, strict=True)]
        table.add_row(label, *cells, *(f"{value:.1f}" for value in ranks))
    console = Console(highlight=False, emoji=False)
    console.print(table)
    low, high = intervals["rsum"]
    speed = outcome.pairs / outcome.seconds
    console.print(f"rSum {found.rsum:.1f} ({low:.1f}-{high:.1f}); in brackets 95 % intervals, bootstrap over images")
    if bank := outcome.querybank:
        console.print(
            f"normalised by {len(bank.captions):,} captions"
            f"{f' and {outcome.querybank_images:,} images' if outcome.querybank_images else ''}, "
            f"β = {bank.inverse_temperature:g}"
        )
    console.print(f"{outcome.pairs:,} pairs in {outcome.seconds:.1f} s, {speed:,.0f} pairs/s")


def _explanation(hit: Hit, names: Sequence[str]) -> str:
    """A line each for the words' regions, what is written, what the photo is seen as, and named parts of its score."""
    seen = ", ".join(f"{one.name} {one.probability:.2f}" for one in hit.seen)
    parts = [f"{name} {value:.3f}" for name, value in zip(names, hit.step_scores, strict=False)]
    parts += [f"hubness {-hit.hubness:.3f}"] if parts and hit.hubness is not None else []
    lines = [_best_regions(hit.words), *map(_written, hit.written), seen and f"seen as {seen}", "  ".join(parts)]
    return "\n".join(line for line in lines if line)


def _written(line: TextLine) -> str:
    box = ", ".join(f"{side:.0f}" for side in line.box)
    return f'written: "{printable(shortened(line.text))}" at {box}'


def _best_regions(words: Sequence[WordRegion]) -> str:
    best = sorted(words, key=lambda word: -word.weight)[:4]
    return "  ".join(f"{word.word} #{word.region} {word.weight:.2f}" for word in best)
