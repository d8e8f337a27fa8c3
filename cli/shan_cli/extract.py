"""Commands that bring photos in: extract, import, index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from shan_engine.base.threads import usable_cpus

from shan_cli.console import (
    Device,
    DeviceOption,
    EncoderModel,
    ExtractorModel,
    GalleryStorage,
    InverseTemperature,
    Json,
    MetadataFile,
    MetadataIdColumn,
    QuerybankSize,
    StoreStorage,
    messages,
    print_json,
    progress,
    refuse_without_querybank,
)

if TYPE_CHECKING:
    from shan_engine.base.metadata import Metadata


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


def import_(
    features: Annotated[
        Path,
        typer.Argument(
            help="SCAN .npy, a folder of SCAN's *_ims.npy, bottom-up .tsv, or a folder of one .npz an image."
        ),
    ],
    store: Annotated[Path, typer.Option(help="Feature store to make or add to.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="Ids of the rows of an .npy, one a line; else row numbers.", show_default=False),
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help="Name of the extractor that made the features.", show_default=False)
    ] = None,
    storage: StoreStorage = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Put images in the place of those that have their ids in the store, as after a run that was cut off; "
            "else an id that is there is an error.",
        ),
    ] = False,
    metadata: MetadataFile = None,
    metadata_id_column: MetadataIdColumn = None,
) -> None:
    """Read precomputed region features into a store.

    Example: shan-engine import f30k/test_ims.npy --store f30k.store
    """
    from shan_engine.store.importers import import_features

    table = read_metadata(metadata, metadata_id_column)
    with progress("importing", "images") as (on_start, on_records):
        count = import_features(
            features,
            store,
            ids=ids,
            dtype=storage.value if storage else None,
            extractor=extractor,
            replace=replace,
            on_start=on_start,
            on_records=on_records,
        )
    put_metadata(store, table)
    messages.print(f"{store}: {count} images imported", markup=False, soft_wrap=True)


def index(
    store: Annotated[Path, typer.Argument(help="Feature store, made by extract or import.")],
    output: Annotated[Path, typer.Option(help="Gallery to make or bring up to date.")],
    model: EncoderModel = None,
    device: Device = DeviceOption.AUTO,
    storage: GalleryStorage = None,
    querybank: Annotated[
        Path | None,
        typer.Option(
            help="Text file of captions like those that will be searched, one a line, of other photos: a new gallery's "
            "scores are normalised by them, so that no photo is found for everything.",
            show_default=False,
        ),
    ] = None,
    querybank_size: QuerybankSize = None,
    inverse_temperature: InverseTemperature = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where the store has none of the gallery's images: these all go.")
    ] = False,
    json: Json = False,
) -> None:
    """Encode a store's images for search; run again, it encodes new and changed images and drops removed ones.

    A small block of the gallery is encoded anew with what comes, so that blocks stay few and full.

    A run that was stopped keeps its complete blocks, and the next one goes on from there.

    Examples:

      shan-engine index pictures.store --output pictures.gallery

      shan-engine index pictures.store --output pictures.gallery --querybank captions.txt
    """
    from shan_engine.bundle.contents import Bundle
    from shan_engine.indexing.images import index_store
    from shan_engine.indexing.querybank import Querybank
    from shan_engine.locate import locate_bundle
    from shan_engine.scoring.encoders import Scorer
    from shan_engine.store.feature_store import FeatureStore

    refuse_without_querybank(querybank, querybank_size, inverse_temperature)
    bank = None
    if querybank is not None:
        bank = Querybank.read(querybank, size=querybank_size, inverse_temperature=inverse_temperature)
    with FeatureStore.open(store) as opened, progress("indexing", "images") as (on_start, on_images):
        scorer = Scorer(Bundle.open(locate_bundle(model)), device.value)
        dtype = storage.value if storage else None
        result = index_store(
            opened,
            scorer,
            output,
            dtype=dtype,
            querybank=bank,
            replace_all=replace,
            on_start=on_start,
            on_images=on_images,
        )
    if json:
        print_json({**vars(result), "gallery": str(output)})
        return
    messages.print(
        f"{output}: {result.added} images added, {result.removed} removed or replaced, {result.unchanged} unchanged"
        f"{'; metadata: ' if result.columns else ''}{', '.join(result.columns)}",
        markup=False,
        soft_wrap=True,
    )


def read_metadata(file: Path | None, id_column: str | None) -> Metadata | None:
    """The table that a command names, before it does anything else."""
    from shan_engine.base.errors import InputError
    from shan_engine.base.metadata import Metadata

    if file is None:
        if id_column is not None:
            raise InputError(f"there is no table with the column '{id_column}': name one with --metadata")
        return None
    return Metadata.read(file, id_column)


def put_metadata(store: Path, table: Metadata | None) -> None:
    """Put a table into a store, and say how it fits."""
    from shan_engine.store.feature_store import FeatureStore

    if table is None:
        return
    with FeatureStore.open(store, readonly=False) as opened:
        fit = opened.put_metadata(table)
    unknown = f"; {fit.unknown} rows are of images that it does not have, and wait for them" if fit.unknown else ""
    messages.print(
        f"{store}: metadata of {fit.described} of {fit.images} images ({', '.join(fit.columns)}){unknown}",
        markup=False,
        soft_wrap=True,
    )
