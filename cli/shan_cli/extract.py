"""`shan-engine extract`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shan_cli.console import print_json, progress, say
from shan_cli.folders import agreed_to_prune, move_roots
from shan_cli.metadata import put_metadata, read_metadata
from shan_cli.options import (
    Device,
    Exclude,
    ExtractorModel,
    Json,
    MetadataFile,
    MetadataIdColumn,
    Prune,
    ReadText,
    Roots,
    StoreStorage,
    Verbose,
)
from shan_cli.reading import read_store, say_reading
from shan_cli.skipped import say_skipped

if TYPE_CHECKING:
    from shan_engine.photos.extract import ExtractionResult
    from shan_engine.photos.text_reader import TextReader


def extract(
    photos: Annotated[list[Path], typer.Argument(help="Folders of photos, with their subfolders.")],
    store: Annotated[Path, typer.Option(help="Feature store to make or to bring up to date.")],
    exclude: Exclude = None,
    root: Roots = None,
    prune: Prune = False,
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
    read_text: ReadText = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Turn folders of photos into a store of region features.

    Examples:

      shan-engine extract ~/Pictures --store pictures.store

      shan-engine extract ~/Pictures /media/nas/Photos --store pictures.store --exclude 'Screenshots/'

      shan-engine extract ~/Pictures --store pictures.store --metadata photos.csv

    It also keeps the photos' own metadata, such as date, camera and place, for `search --where` and `--near`.

    Run it again after you add, change, rename or delete photos: only photos with new content are extracted.

      shan-engine extract /new/Pictures --store pictures.store --root /old/Pictures=/new/Pictures

    With --read-text, photos that are in the store already are read too, without extracting them again.
    """
    from shan_engine.base.threads import usable_cpus
    from shan_engine.photos.extract import extract_photos
    from shan_engine.photos.extractor import FeatureExtractor

    def run(prune: bool) -> ExtractionResult:
        with progress("extracting", "photos") as (on_start, on_photo):
            return extract_photos(
                photos,
                store,
                network,
                exclude=exclude or (),
                prune=prune,
                dtype=storage,
                batch_size=batch_size,
                workers=workers or usable_cpus(),
                strict=strict,
                on_start=on_start,
                on_photo=on_photo,
            )

    table = read_metadata(metadata, metadata_id_column)
    reader = _text_reader() if read_text else None
    network = FeatureExtractor(extractor or _extractor_of(model), device, mirror=mirror, crop=crop)
    move_roots(store, root)
    result = run(prune)
    if agreed_to_prune(result.vanished):
        again = run(prune=True)
        result = replace(result, removed=result.removed + again.removed, vanished={})
    say_skipped(result)
    put_metadata(store, table)
    reading = read_store(store, reader, workers or usable_cpus()) if reader else None
    if json:
        print_json({**vars(result), **({"reading": vars(reading)} if reading else {}), "store": str(store)})
        return
    say(
        f"{store}: {result.added} photos added or renewed, {result.unchanged} unchanged, "
        f"{result.removed} removed, {len(result.broken)} broken and skipped{_known_by_content(result)}"
    )
    if reading:
        say_reading(store, reading)


def _text_reader() -> TextReader:
    """At once, so that a missing package is said before photos are extracted."""
    from shan_engine.photos.text_reader import TextReader

    return TextReader()


def _extractor_of(model: Path | None) -> Path:
    from shan_engine.base.errors import InputError
    from shan_engine.bundle.contents import Bundle
    from shan_engine.locate import locate_bundle

    bundle = Bundle.open(locate_bundle(model))
    if bundle.feature_extractor is None:
        raise InputError(f"the bundle {bundle.path} has no feature extractor: name one with --extractor")
    return bundle.feature_extractor


def _known_by_content(result: ExtractionResult) -> str:
    counts = {"renamed": result.renamed, "copies of other photos": result.copied}
    return "".join(f", {count:,} {what}" for what, count in counts.items() if count)
