"""Commands that ask: search, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Backend, BackendOption, Device, DeviceOption, Gallery, Json, Model, messages, print_json, progress

NARROW = 120  # columns of a console

if TYPE_CHECKING:
    from shan_engine.gallery import Gallery as OpenGallery
    from shan_engine.scoring import Scorer
    from shan_engine.search import QueryHits


def open_gallery(
    gallery: Path | None,
    model: Path | None,
    device: DeviceOption,
    backend: BackendOption = BackendOption.ONNXRUNTIME,
) -> tuple[Scorer, OpenGallery]:
    """Open what a command means, and say on standard error which gallery that is."""
    from shan_engine.bundle import Bundle
    from shan_engine.gallery import Gallery as OpenGallery
    from shan_engine.locate import locate_gallery
    from shan_engine.scoring import Scorer

    place = locate_gallery(gallery, model)
    bundle = Bundle.open(place.bundle)
    opened = OpenGallery.open(place.gallery, bundle)
    messages.print(f"{len(opened):,} images in {place.gallery} ({place.reason})", markup=False, soft_wrap=True)
    return Scorer(bundle, device.value, backend=backend.value), opened


def search(
    query: Annotated[
        list[str] | None, typer.Argument(help="What to look for, in quotes; several are scored together.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="File of queries, one a line.", show_default=False)] = None,
    gallery: Gallery = None,
    model: Model = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Hits for each query.")] = 10,
    html: Annotated[
        Path | None, typer.Option(help="Also write a report with thumbnails and regions.", show_default=False)
    ] = None,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Score all images, however large the gallery is; never in steps.")
    ] = False,
    recall_target: Annotated[
        float,
        typer.Option(help="Share of an exhaustive search's hits that a search in steps is to find; see `tune`."),
    ] = 0.99,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how many images each step looked at.")] = False,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
    json: Json = False,
) -> None:
    """Find the images that fit a description, by SHAN's exact scores.

    A gallery of some thousand images and more is searched in steps: a look at every image's coarse regions, exact
    step 1 for the best of these, the whole exact score for the best of those.

    Examples:

      shan-engine search "a dog on grass"

      shan-engine search "two red fish" "a windmill" --top-k 3 --html report.html

      shan-engine search --queries queries.txt --gallery pictures.gallery --json
    """
    from shan_engine.errors import InputError
    from shan_engine.score_job import read_captions
    from shan_engine.search import search as find

    wanted = [*(query or []), *(read_captions(queries) if queries else [])]
    if not wanted:
        raise InputError('nothing to search for: give a description in quotes, such as "a dog on grass"')
    scorer, opened = open_gallery(gallery, model, device, backend)
    with progress("searching", "pairs") as (on_start, on_pairs):
        on_start(len(wanted) * len(opened))
        results = find(
            scorer,
            opened,
            wanted,
            top_k=top_k,
            exhaustive=exhaustive,
            recall_target=recall_target,
            on_pairs=on_pairs,
        )
    for result in results:
        _print_reading(result)
        if verbose:
            messages.print(_scanned_line(result, len(opened)), markup=False, soft_wrap=True)
    if html:
        from shan_engine.writers.html_report import write_report

        write_report(html, results)
        messages.print(f"report: {html}", markup=False, soft_wrap=True)
    if json:
        print_json([_as_dict(result) for result in results])
    else:
        for result in results:
            _print_table(result)


def _print_reading(result: QueryHits) -> None:
    """Say which words of a query the model reads otherwise, or not at all."""
    said = [f"'{word}' is read as '{other}'" for word, other in result.replaced.items()]
    said += [f"'{word}' is unknown to the model" for word in result.unknown]
    if result.left_out:
        said.append(f"its last {result.left_out} words are left out, the model takes no more")
    if said:
        messages.print(f"{result.query}: {', '.join(said)}", markup=False, soft_wrap=True)


def _scanned_line(result: QueryHits, images: int) -> str:
    seen = result.scanned
    if seen is None:
        return f"{result.query}: all {images:,} images scored"
    proven = "; no other image can be among the hits" if seen.proven else ""
    return (
        f"{result.query}: {seen.first_pass:,} images in the first pass, {seen.step_1:,} in step 1, "
        f"{seen.all_steps:,} in all steps{proven}"
    )


def _as_dict(result: QueryHits) -> dict[str, object]:
    return {
        "query": result.query,
        "replaced_words": dict(result.replaced),
        "unknown_words": list(result.unknown),
        "words_left_out": result.left_out,
        "scanned": vars(result.scanned) if result.scanned else None,
        "hits": [
            {
                "rank": hit.rank,
                "score": hit.score,
                "id": hit.image.id,
                "path": hit.image.path,
                "step_scores": list(hit.step_scores),
                "words": [vars(word) for word in hit.words],
            }
            for hit in result.hits
        ],
    }


def _print_table(result: QueryHits) -> None:
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
    table.add_column(
        "words' best regions (number, weight)", overflow="fold", max_width=None if with_path else room - id_width
    )
    if with_path:
        table.add_column("path", overflow="fold", style="dim")
    for hit in result.hits:
        words = sorted(hit.words, key=lambda word: -word.weight)[:4]
        table.add_row(
            str(hit.rank),
            f"{hit.score:.3f}",
            Text(hit.image.id),
            Text("  ".join(f"{word.word} #{word.region} {word.weight:.2f}" for word in words)),
            *([Text(hit.image.path)] if with_path else []),
        )
    console.print(table)


def score(
    queries: Annotated[Path, typer.Option(help="File of captions, one a line.")],
    output: Annotated[
        Path,
        typer.Option(
            help="scores.npy: the matrix, captions x images, and its columns' ids in scores.ids.txt; "
            "scores.parquet: the best rows."
        ),
    ],
    gallery: Gallery = None,
    model: Model = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Rows for each caption in a .parquet.")] = 10,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
) -> None:
    """Score every caption of a file with every image of a gallery.

    Examples:

      shan-engine score --gallery G --queries captions.txt --output scores.npy

      shan-engine score --gallery G --queries captions.txt --output best.parquet --top-k 20
    """
    from shan_engine.errors import InputError
    from shan_engine.score_job import read_captions, score_matrix, score_top_k

    if output.suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write scores to {output}: name it .npy (the matrix) or .parquet (the best rows)")
    captions = read_captions(queries)
    scorer, opened = open_gallery(gallery, model, device, backend)
    with progress("scoring", "pairs") as (on_start, on_pairs):
        on_start(len(captions) * len(opened))
        if output.suffix == ".npy":
            score_matrix(scorer, opened, captions, output, on_pairs=on_pairs)
        else:
            score_top_k(scorer, opened, captions, output, top_k=top_k, on_pairs=on_pairs)
    messages.print(f"{output}: {len(captions):,} captions x {len(opened):,} images", markup=False, soft_wrap=True)
