"""`shan-engine extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from shan_engine.base.threads import usable_cpus

from shan_cli.console import (
    Device,
    DeviceOption,
    ExtractorModel,
    Json,
    MetadataFile,
    MetadataIdColumn,
    StoreStorage,
    messages,
    print_json,
    progress,
)
from shan_cli.metadata import put_metadata, read_metadata


def extract(
    photos: Annotated[Path, typer.Argument(help="Folder of JPEG, PNG, TIFF and WebP photos, with its subfolders.")],
    store: Annotated[Path, typer.Option(help="Feature store to make or bring up to date.")],
    extractor: Annotated[
        Path | None,
        typer.Option(help="Your own ONNX backbone or detector, its recipe NAME.json beside it.", show_default=False),
    ] = None,
    model: ExtractorModel = None,
    device: Device = DeviceOption.AUTO,
    storage: StoreStorage = None,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Features of the mirror images, for `train --view`; a store of their own.")
    ] = False,
    crop: Annotated[
        int,
        typer.Option(
            min=0,
            help="Features of a part of each photo chosen by chance, for `train --view`; another for each number.",
        ),
    ] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos per call of the extractor.")] = 16,
    workers: Annotated[int, typer.Option(min=1, help="Decoding threads.")] = usable_cpus(),
    metadata: MetadataFile = None,
    metadata_id_column: MetadataIdColumn = None,
    json: Json = False,
) -> None:
    """Turn a folder of photos into a store of region features; run again, only new or changed photos are done.

    Examples:

      shan-engine extract ~/Pictures --store pictures.store

      shan-engine extract ~/Pictures --store pictures.store --metadata photos.csv
    """
    from shan_engine.base.errors import InputError
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import locate_bundle
    from shan_engine.photos.extract import extract_photos
    from shan_engine.photos.extractor import FeatureExtractor

    table = read_metadata(metadata, metadata_id_column)
    if extractor is None:
        bundle = Bundle.open(locate_bundle(model))
        extractor = bundle.feature_extractor
        if extractor is None:
            raise InputError(f"the bundle {bundle.path} has no feature extractor: name one with --extractor")
    network = FeatureExtractor(extractor, device.value, mirror=mirror, crop=crop)
    with progress("extracting", "photos") as (on_start, on_photo):
        result = extract_photos(
            photos,
            store,
            network,
            dtype=storage.value if storage else None,
            batch_size=batch_size,
            workers=workers,
            on_start=on_start,
            on_photo=on_photo,
        )
    if result.passed_over:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in result.passed_over.items())
        messages.print(
            f"passed over, as they are not read here: {kinds}; save them as JPEG", markup=False, soft_wrap=True
        )
    for sentence in result.broken:
        messages.print(f"skipped: {sentence}", markup=False, soft_wrap=True)
    put_metadata(store, table)
    if json:
        print_json({**vars(result), "store": str(store)})
        return
    messages.print(
        f"{store}: {result.added} photos added or renewed, {result.unchanged} unchanged, "
        f"{result.removed} removed, {len(result.broken)} broken and skipped",
        markup=False,
        soft_wrap=True,
    )
