"""`shan-engine evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer
from shan_engine.base.choices import Protocol

from shan_cli.console import print_json, progress, say_any
from shan_cli.opening import open_engine
from shan_cli.options import (
    Backend,
    Captions,
    Device,
    InverseTemperature,
    Json,
    Languages,
    Precision,
    QuerybankSize,
    Verbose,
    refuse_without_querybank,
)


def evaluate(
    captions: Captions,
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery of the split's images. Several, each with its --model, are an ensemble: their scores are "
            "averaged.",
            show_default="SHAN_GALLERY, the collection, else the bundled demo",
        ),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            help="Bundle that made the gallery, one for each.", show_default="SHAN_MODEL, else the bundled demo"
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the captions to use. Other images of the gallery are left out.")
    ] = "test",
    language: Languages = None,
    protocol: Annotated[
        Protocol,
        typer.Option(
            help="Rank among all images, the first 5,000 (5k), parts of 1,000 (1k) or five equal parts (folds)."
        ),
    ] = "all",
    querybank: Annotated[
        str | None,
        typer.Option(
            help="A split of other images, such as train. Its captions and images show what ranks high for every "
            "query, and scores are normalised by them. The gallery must hold its images too.",
            show_default=False,
        ),
    ] = None,
    querybank_size: QuerybankSize = None,
    inverse_temperature: InverseTemperature = None,
    as_searched: Annotated[
        bool,
        typer.Option("--as-searched", help="Subtract hubness by the bundle's own querybank, as `search` does."),
    ] = False,
    device: Device = "auto",
    backend: Backend = "auto",
    precision: Precision = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure the recall of captions against a gallery in both directions, from exact scores of all pairs.

    Examples:

      shan-engine evaluate --gallery flickr8k.gallery --model bundle --captions captions.tsv --split test

      shan-engine evaluate --captions coco_precomp --split testall --protocol folds \\
        --gallery i2t.gallery --model i2t --gallery t2i.gallery --model t2i

      shan-engine evaluate --gallery flickr8k.gallery --model bundle --captions captions.tsv --querybank train

      shan-engine evaluate --gallery flickr8k.gallery --model bundle --captions multi30k.tsv --language de
    """
    from shan_engine.base.errors import InputError
    from shan_engine.evaluation.evaluate import Normalisation
    from shan_engine.text.captions import CaptionTable

    from shan_cli.printing import print_evaluation

    galleries: Sequence[Path | None] = gallery or [None]
    models: Sequence[Path | None] = model or [None]
    if len(galleries) != len(models) and max(len(galleries), len(models)) > 1:
        raise InputError(f"{len(galleries)} galleries and {len(models)} bundles: give each --gallery its --model")
    refuse_without_querybank(querybank, querybank_size, inverse_temperature)
    normalisation = None
    if querybank is not None:
        normalisation = Normalisation(querybank, querybank_size, inverse_temperature)
    table = CaptionTable.read(captions, language or ())
    engine, *ensemble = (
        open_engine(place, bundle, device, backend, precision) for place, bundle in zip_longest(galleries, models)
    )
    with progress("scoring", "pairs") as (on_start, on_pairs):
        outcome = engine.evaluate(
            table,
            split,
            ensemble=ensemble,
            protocol=protocol,
            normalisation=normalisation,
            as_searched=as_searched,
            on_start=on_start,
            on_pairs=on_pairs,
        )
    say_any(outcome.unknown.sentence())
    if json:
        print_json(outcome.as_dict())
    else:
        print_evaluation(outcome)
