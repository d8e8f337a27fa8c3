"""`shan-engine search`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from shan_engine.base.choices import DEFAULT_RECALL_TARGET

from shan_cli.console import (
    Backend,
    BackendOption,
    Device,
    DeviceOption,
    Gallery,
    Json,
    Model,
    Precision,
    messages,
    print_json,
    progress,
)
from shan_cli.opening import open_gallery


def search(
    query: Annotated[
        list[str] | None, typer.Argument(help="What to look for, in quotes; several are scored together.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="File of queries, one a line.", show_default=False)] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help='A phrase whose score is added to each query\'s; with a weight, as in "on grass:0.5", else 1.',
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A phrase whose score is taken away; with a weight, else 0.4.", show_default=False),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="Photo to look for photos like it, or for captions that fit it.", show_default=False),
    ] = None,
    image_weight: Annotated[float, typer.Option(help="Weight of the likeness to the photo, beside a query.")] = 1.0,
    where: Annotated[
        str | None,
        typer.Option(
            help="Score only photos for which this is true: SQL on the metadata's columns, and on id and path.",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the metadata to show in the table, between commas.", show_default=False),
    ] = None,
    gallery: Gallery = None,
    model: Model = None,
    extractor: Annotated[
        Path | None,
        typer.Option(help="ONNX extractor for --image, where the bundle has none.", show_default=False),
    ] = None,
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
    ] = DEFAULT_RECALL_TARGET,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how many images each step looked at.")] = False,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Find the images that fit a description, by SHAN's exact scores; or those like a photo, or captions that fit it.

    A gallery of some thousand images and more is searched in steps: a look at every image's coarse regions, exact
    step 1 for the best of these, the whole exact score for the best of those.

    Examples:

      shan-engine search "a dog on grass"

      shan-engine search "two red fish" "a windmill" --top-k 3 --html report.html

      shan-engine search --queries queries.txt --gallery pictures.gallery --json

      shan-engine search "a dog" --with "on grass:0.5" --without "snow"

      shan-engine search "a boat" --where "width > height and licence like 'CC-BY%'" --columns licence,author

      shan-engine search --image photo.jpg

      shan-engine search --image photo.jpg --gallery captions.gallery
    """
    from shan_engine.base.errors import InputError
    from shan_engine.base.files import refuse_overwriting
    from shan_engine.search.exhaustive import search as find
    from shan_engine.search.query import Query
    from shan_engine.text.query_files import read_captions

    from shan_cli.printing import as_dict, print_columns, print_reading, print_table, scanned_line

    if html:
        refuse_overwriting(html, queries, image)
    wanted = [*(query or []), *(read_captions(queries) if queries else [])]
    if image and not (wanted or also or without) and _captions_in(gallery, model):
        given = {
            "--where": where,
            "--columns": columns,
            "--html": html,
            "--exhaustive": exhaustive,
            "--recall-target": recall_target != DEFAULT_RECALL_TARGET,
            "--verbose": verbose,
            "--backend": backend is not BackendOption.AUTO,
            "--precision": precision,
        }
        unfit = [name for name, value in given.items() if value]
        if unfit:
            raise InputError(f"{unfit[0]} is for galleries of photos: leave it out in a search for captions")
        _search_captions(image, gallery, model, extractor, top_k, device, json)
        return
    texts: list[str | None] = [*wanted] or [None]
    asked = [Query.of(text, also=also or (), without=without or (), photo_weight=image_weight) for text in texts]
    scorer, opened = open_gallery(gallery, model, device, backend, precision)
    shown = [name.strip() for name in columns.split(",")] if columns else []
    if where is not None or shown:
        from shan_engine.gallery.filters import check_filter

        check_filter(opened, where, shown)
    if image:
        from shan_engine.search.photo_query import QueryPhoto

        # One photo: `cuda` is for the scores, and may be PyTorch's alone.
        photo = QueryPhoto.read(image, scorer, extractor, "cpu" if device is DeviceOption.CPU else "auto")
        asked = [replace(question, photo=photo) for question in asked]
    with progress("searching", "pairs") as (on_start, on_pairs):
        results = find(
            scorer,
            opened,
            asked,
            top_k=top_k,
            exhaustive=exhaustive,
            recall_target=recall_target,
            where=where,
            with_metadata=json or bool(shown) or html is not None,
            on_start=on_start,
            on_pairs=on_pairs,
        )
    if where is not None:
        messages.print(f"{results[0].matching:,} of {len(opened):,} images match", markup=False, soft_wrap=True)
    for result in results:
        print_reading(result)
        if verbose:
            messages.print(scanned_line(result), markup=False, soft_wrap=True)
    if html:
        from shan_engine.writers.html_report import write_report

        write_report(html, results)
        messages.print(f"report: {html}", markup=False, soft_wrap=True)
    if json:
        print_json([as_dict(result) for result in results])
    else:
        for result in results:
            if shown:
                print_columns(result, shown)
            else:
                print_table(result)


def _captions_in(gallery: Path | None, model: Path | None) -> bool:
    from shan_engine.gallery.captions import holds_captions
    from shan_engine.locate import locate_gallery

    return holds_captions(locate_gallery(gallery, model).gallery)


def _search_captions(
    image: Path,
    gallery: Path | None,
    model: Path | None,
    extractor: Path | None,
    top_k: int,
    device: DeviceOption,
    json: bool,
) -> None:
    from shan_engine.api import open_captions
    from shan_engine.locate import locate_gallery

    from shan_cli.printing import captions_as_dict, print_captions

    place = locate_gallery(gallery, model)
    engine = open_captions(place.gallery, place.bundle, device=device.value)
    messages.print(f"{len(engine):,} captions in {place.gallery} ({place.reason})", markup=False, soft_wrap=True)
    photo = engine.photo(image, extractor=extractor)
    with progress("searching", "captions") as (on_start, on_captions):
        found = engine.search(photo, top_k=top_k, on_start=on_start, on_captions=on_captions)
    if json:
        print_json(captions_as_dict(found))
    else:
        print_captions(found)
