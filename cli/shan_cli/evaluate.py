"""`shan-engine evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import (
    Backend,
    BackendOption,
    Captions,
    Device,
    DeviceOption,
    InverseTemperature,
    Json,
    Precision,
    QuerybankSize,
    print_json,
    progress,
    refuse_without_querybank,
)
from shan_cli.opening import open_gallery

if TYPE_CHECKING:
    from shan_engine.evaluation.evaluate import Evaluation


class ProtocolOption(StrEnum):
    """Which images are ranked among each other."""

    ALL = "all"
    ONE_K = "1k"
    FIVE_K = "5k"
    FOLDS = "folds"


def evaluate(
    captions: Captions,
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery of the split's images; else as for search. Several, each with its --model, are an ensemble: "
            "their scores are averaged.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[Path] | None, typer.Option(help="Bundle that made the gallery, one for each.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option(help="Rows to use; the gallery's other images are left out.")] = "test",
    protocol: Annotated[
        ProtocolOption,
        typer.Option(
            help="Rank among all images, the first 5,000 (5k), parts of 1,000 (1k) or five equal parts (folds)."
        ),
    ] = ProtocolOption.ALL,
    querybank: Annotated[
        str | None,
        typer.Option(
            help="A split of other images, such as train: its captions and images show which images and captions rank "
            "high for all, and scores are normalised by them. The gallery must hold its images too.",
            show_default=False,
        ),
    ] = None,
    querybank_size: QuerybankSize = None,
    inverse_temperature: InverseTemperature = None,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Recall of captions against a gallery in both directions, from exact scores of all pairs.

    Examples:

      shan-engine evaluate --gallery flickr8k.gallery --model bundle --captions captions.tsv --split test

      shan-engine evaluate --captions coco_precomp --split testall --protocol folds \\
        --gallery i2t.gallery --model i2t --gallery t2i.gallery --model t2i

      shan-engine evaluate --gallery flickr8k.gallery --model bundle --captions captions.tsv --querybank train
    """
    from shan_engine.base.errors import InputError
    from shan_engine.evaluation.evaluate import Normalisation, evaluate_split
    from shan_engine.text.captions import CaptionTable

    galleries: Sequence[Path | None] = gallery or [None]
    models: Sequence[Path | None] = model or [None]
    if len(galleries) != len(models) and max(len(galleries), len(models)) > 1:
        raise InputError(f"{len(galleries)} galleries and {len(models)} bundles: give each --gallery its --model")
    refuse_without_querybank(querybank, querybank_size, inverse_temperature)
    normalisation = None
    if querybank is not None:
        normalisation = Normalisation(querybank, querybank_size, inverse_temperature)
    table = CaptionTable.read(captions)
    members = [
        open_gallery(place, bundle, device, backend, precision) for place, bundle in zip_longest(galleries, models)
    ]
    with progress("scoring", "pairs") as (on_start, on_pairs):
        outcome = evaluate_split(
            members,
            table,
            split,
            protocol=protocol.value,
            normalisation=normalisation,
            on_start=on_start,
            on_pairs=on_pairs,
        )
    if json:
        print_json(outcome.as_dict())
    else:
        _print_table(outcome)


def _print_table(outcome: Evaluation) -> None:
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
    console = Console(highlight=False)
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
