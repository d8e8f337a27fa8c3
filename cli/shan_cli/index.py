"""`shan-engine index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import (
    Device,
    DeviceOption,
    EncoderModel,
    GalleryStorage,
    InverseTemperature,
    Json,
    QuerybankSize,
    messages,
    print_json,
    progress,
    refuse_without_querybank,
)


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
