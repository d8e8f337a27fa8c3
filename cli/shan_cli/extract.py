"""`shan-engine extract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import print_json, progress, say
from shan_cli.metadata import put_metadata, read_metadata
from shan_cli.options import Device, ExtractorModel, Json, MetadataFile, MetadataIdColumn, StoreStorage, Verbose

if TYPE_CHECKING:
    from shan_engine.photos.extract import ExtractionResult


def extract(
    photos: Annotated[Path, typer.Argument(help="Folder of photos, with its subfolders.")],
    store: Annotated[Path, typer.Option(help="Feature store to make or to bring up to date.")],
    extractor: Annotated[
        Path | None,
        typer.Option(
            help="Your own ONNX backbone or detector, with its recipe NAME.json beside it.", show_default="the bundle's"
        ),
    ] = None,
    model: ExtractorModel = None,
    device: Device = "auto",
    storage: StoreStorage = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Extract mirror images, into a store of their own for `train --view`.")
    ] = False,
    crop: Annotated[
        int,
        typer.Option(
            min=0,
            help="Above 0: extract a random part of each photo, for `train --view`. Each number gives other parts.",
        ),
    ] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos per call of the extractor.")] = 16,
    workers: Annotated[int | None, typer.Option(min=1, help="Decoding threads.", show_default="one per CPU")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Leave out damaged photos; by default they are read as far as they go.")
    ] = False,
    metadata: MetadataFile = None,
    metadata_id_column: MetadataIdColumn = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Turn a folder of photos into a store of region features.

    Examples:

      shan-engine extract ~/Pictures --store pictures.store

      shan-engine extract ~/Pictures --store pictures.store --metadata photos.csv

    It also keeps what photos say about themselves, such as date, camera and place, for `search --where` and `--near`.

    Run it again after you add, change or delete photos: only new and changed photos are extracted.
    """
    from shan_engine.base.threads import usable_cpus
    from shan_engine.photos.extract import extract_photos
    from shan_engine.photos.extractor import FeatureExtractor

    table = read_metadata(metadata, metadata_id_column)
    network = FeatureExtractor(extractor or _extractor_of(model), device, mirror=mirror, crop=crop)
    with progress("extracting", "photos") as (on_start, on_photo):
        result = extract_photos(
            photos,
            store,
            network,
            dtype=storage,
            batch_size=batch_size,
            workers=workers or usable_cpus(),
            strict=strict,
            on_start=on_start,
            on_photo=on_photo,
        )
    _say_skipped(result)
    put_metadata(store, table)
    if json:
        print_json({**vars(result), "store": str(store)})
        return
    say(
        f"{store}: {result.added} photos added or renewed, {result.unchanged} unchanged, "
        f"{result.removed} removed, {len(result.broken)} broken and skipped"
    )


def _extractor_of(model: Path | None) -> Path:
    from shan_engine.base.errors import InputError
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import locate_bundle

    bundle = Bundle.open(locate_bundle(model))
    if bundle.feature_extractor is None:
        raise InputError(f"the bundle {bundle.path} has no feature extractor: name one with --extractor")
    return bundle.feature_extractor


def _say_skipped(result: ExtractionResult) -> None:
    from shan_engine.base.optional import install_command
    from shan_engine.photos.formats import how_to_read

    if result.passed_over:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in result.passed_over.items())
        fixes = dict.fromkeys(how_to_read(suffix) for suffix in result.passed_over)
        say(f"skipped files of other formats: {kinds}; to use them, {'; '.join(fixes)}")
    for sentence in result.broken:
        say(f"skipped: {sentence}")
    for sentence in result.damaged:
        say(f"read in part: {sentence}")
    for sentence in result.sidecars:
        say(f"side-car: {sentence}")
    if result.unnamed_places:
        say(
            f"{result.unnamed_places:,} photos tell where they were taken, but not the town's name: "
            f"{install_command('places')} and extract again"
        )
