"""`shan-engine search`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer
from shan_engine.base.choices import DEFAULT_RECALL_TARGET

from shan_cli.console import log, print_json, progress, say
from shan_cli.opening import open_engine, open_shards
from shan_cli.options import Backend, Device, Json, Model, Precision, Ray, Replicas, Shards, Verbose
from shan_cli.report import temporary_report, write_report

if TYPE_CHECKING:
    from shan_engine.engine import Engine
    from shan_engine.search.options import SearchKeywords
    from shan_engine.search.query import Query
    from shan_engine.search.results import QueryHits
    from shan_engine.shards.sharded import ShardedEngine


def search(
    query: Annotated[
        list[str] | None, typer.Argument(help="What to look for, in quotes. Several queries are scored together.")
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="File of queries, one a line.", show_default=False)] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            help='A phrase whose score is added to that of each query. Add a weight as in "on grass:0.5"; '
            "the default is 1.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A phrase whose score is subtracted; the default weight is 0.4.", show_default=False),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            help="Photo to search with: for photos like it or, in a gallery of captions, for captions that fit it.",
            show_default=False,
        ),
    ] = None,
    image_weight: Annotated[float, typer.Option(help="Weight of the photo when there is a query, too.")] = 1.0,
    where: Annotated[
        str | None,
        typer.Option(
            help="Score only photos that meet this SQL condition on their own metadata (taken, camera, "
            "town …), columns of your own table, id and path.",
            show_default=False,
        ),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(
            help="Score only photos taken near a place: latitude, longitude and distance, such as 48.85,2.35,5km.",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns to show for each photo, separated by commas.", show_default=False),
    ] = None,
    gallery: Shards = None,
    model: Model = None,
    extractor: Annotated[
        Path | None, typer.Option(help="ONNX extractor for --image and --fine-regions.", show_default="the bundle's")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Hits for each query.")] = 10,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Print a table with each word's region and weight, the classes seen in the photo, and the parts of "
            "its score.",
        ),
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also write a report with thumbnails and regions.", show_default=False)
    ] = None,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in a browser. Without --html, it is a temporary file.")
    ] = False,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Show the text written in photos in the report. It may be personal.")
    ] = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="Print only the photos' paths, one per line, for xargs or fzf.")
    ] = False,
    print0: Annotated[
        bool, typer.Option("--print0", help="Like --paths, but each path ends with a zero byte, for xargs -0.")
    ] = False,
    no_groups: Annotated[
        bool, typer.Option("--no-groups", help="Show near-identical photos as hits of their own, as --json does.")
    ] = False,
    no_explain: Annotated[
        bool, typer.Option("--no-explain", help="Skip the regions behind the words, which saves time.")
    ] = False,
    fine_regions: Annotated[
        bool,
        typer.Option(
            "--fine-regions",
            help="Look for each word in the photo itself. This finds smaller regions that are more often right, and "
            "runs the extractor ten times per hit.",
        ),
    ] = False,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Score every image in full, however large the gallery is.")
    ] = False,
    recall_target: Annotated[
        float,
        typer.Option(help="Share of an exhaustive search's hits that a search in stages should find; see `tune`."),
    ] = DEFAULT_RECALL_TARGET,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Keep only hits that show what was asked with at least this probability, such as 0.5. The bundle must "
            "have a calibration.",
            show_default=False,
        ),
    ] = None,
    no_querybank: Annotated[
        bool, typer.Option("--no-querybank", help="Do not demote hubs, which are photos that match every query.")
    ] = False,
    ray: Ray = None,
    replicas: Replicas = 1,
    device: Device = "auto",
    backend: Backend = "auto",
    precision: Precision = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find the photos that fit a description, by exact scores; or photos like a photo, or captions that fit it.

    Examples:

      shan-engine search "a dog on grass"

      shan-engine search "two red fish" "a windmill" --top-k 3 --html report.html

      shan-engine search --queries queries.txt --gallery pictures.gallery --json

      shan-engine search "a dog" --with "on grass:0.5" --without "snow"

      shan-engine search "a boat" --where "width > height and licence like 'CC-BY%'" --columns licence,author

      shan-engine search "two children" --where "taken >= '2023-01-01' and camera like 'iPhone%'"

      shan-engine search "a bridge" --near 48.85,2.35,5km --columns taken,town

      shan-engine search "a dog" --print0 | xargs -0 cp -t dogs

      shan-engine search --image photo.jpg

      shan-engine search "a dog" --gallery 2023.gallery --gallery 2024.gallery --ray auto

      shan-engine search --image photo.jpg --gallery captions.gallery

    Above about 4,000 photos, search runs in stages: the first compares a summary of every photo with the query.
    Its best photos get step 1 of the exact score, and the best of those the whole exact score.
    """
    from shan_engine.base.errors import InputError
    from shan_engine.base.files import refuse_overwriting
    from shan_engine.gallery.near import near_condition
    from shan_engine.search.query import Query
    from shan_engine.shards.paths import is_folder_of_galleries
    from shan_engine.text.query_files import read_captions
    from shan_engine.writers.json_answer import as_dict

    from shan_cli.paths import print_paths
    from shan_cli.printing import print_results
    from shan_cli.search_captions import holds_captions, refuse_options_of_photos, search_captions

    alone = "--print0" if print0 else "--paths" if paths else ""
    _refuse_beside(
        alone,
        {
            "--json": json,
            "--columns": columns,
            "--details": details,
            "--fine-regions": fine_regions and not html,
        },
    )
    if details and (columns or json):
        raise InputError(f"--details has a table of its own: leave {'--columns' if columns else '--json'} out")
    if fine_regions and no_explain:
        raise InputError("--fine-regions explains hits, and --no-explain leaves explanations out: choose one of them")
    if with_text and not (html or open_report):
        raise InputError("--with-text is for a report: add --html report.html, or leave it out")
    if open_report and not html:
        html = temporary_report()
    if html:
        refuse_overwriting(html, queries, image)
    texts = [*(query or []), *(read_captions(queries) if queries else [])]
    first = gallery[0] if gallery else None
    several = ray is not None or len(gallery or []) > 1 or is_folder_of_galleries(first)
    if image and not (several or texts or also or without) and holds_captions(first, model):
        given = {
            "--where": where,
            "--near": near,
            "--columns": columns,
            "--details": details,
            "--html": html,
            alone: alone,
            "--exhaustive": exhaustive,
            "--recall-target": recall_target != DEFAULT_RECALL_TARGET,
            "--threshold": threshold is not None,
            "--no-querybank": no_querybank,
            "--backend": backend != "auto",
            "--precision": precision,
            "--fine-regions": fine_regions,
        }
        refuse_options_of_photos(given)
        search_captions(image, first, model, extractor, top_k, not no_explain, device, json)
        return
    ask = partial(Query.of, also=also or (), without=without or (), photo_weight=image_weight)
    asked = [ask(text) for text in texts] or [ask(None)]
    if near is not None:
        where = near_condition(near, where)
    shown = [name.strip() for name in columns.split(",")] if columns else []
    engine = (
        open_shards(gallery or [], model, device, backend, precision, ray=ray, replicas=replicas)
        if several
        else open_engine(first, model, device, backend, precision)
    )
    engine.check_filter(where, shown)  # before a model is loaded
    if image:
        photo = engine.photo(image, extractor=extractor)
        asked = [replace(one, photo=photo) for one in asked]
    results = _search_photos(
        engine,
        asked,
        top_k=top_k,
        explain=not (no_explain or (alone and not html)),
        exhaustive=exhaustive,
        recall_target=recall_target,
        normalise=not no_querybank,
        threshold=threshold,
        where=where,
        with_metadata=bool(json or shown or html) or sys.stdout.isatty(),  # for the date; else without SQLite
        mark_unanswerable=queries is not None,
        grouped=not (no_groups or json or alone),
    )
    if fine_regions:
        with progress("looking for the words", "photos") as (on_start, on_photo):
            on_start(sum(map(len, results)))
            results = engine.fine_regions(asked, results, extractor=extractor, on_photo=on_photo)
    _say_results(results, threshold)
    if html:
        write_report(html, results, open_report, with_text)
    if alone:
        print_paths((hit.image for result in results for hit in result.hits), zero=print0)
    elif json:
        print_json([as_dict(result) for result in results])
    else:
        print_results(results, shown, details=details)


def _search_photos(
    engine: Engine | ShardedEngine, asked: list[Query], **options: Unpack[SearchKeywords]
) -> list[QueryHits]:
    with progress("searching", "pairs") as (on_start, on_pairs):
        results = engine.search_all(asked, on_start=on_start, on_pairs=on_pairs, **options)
    if options.get("where") is not None:
        say(f"{results[0].matching:,} of {len(engine):,} images match")
    return results


def _say_results(results: Sequence[QueryHits], threshold: float | None) -> None:
    from shan_cli.printing import fitting_line, missing_lines, reading_line, scanned_line

    for result in results:
        for line in (reading_line(result), fitting_line(result, threshold), *missing_lines(result)):
            if line:
                say(line)
        if not result.error:
            log(scanned_line(result))


def _refuse_beside(alone: str, given: Mapping[str, object]) -> None:
    from shan_engine.base.errors import InputError

    for option, value in given.items():
        if alone and value:
            raise InputError(f"{alone} prints paths and nothing else: leave {option} out")
