"""`shan-engine index`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shan_cli.console import print_json, progress, say
from shan_cli.opening import open_encoder
from shan_cli.options import (
    Device,
    GalleryStorage,
    IndexModel,
    InverseTemperature,
    Json,
    QuerybankSize,
    Verbose,
    refuse_without_querybank,
)


def index(
    store: Annotated[Path, typer.Argument(help="Feature store, made by extract or import.")],
    output: Annotated[Path, typer.Option(help="Gallery to make or to bring up to date.")],
    model: IndexModel = None,
    device: Device = "auto",
    storage: GalleryStorage = None,
    querybank: Annotated[
        Path | None,
        typer.Option(
            help="Text file of captions of other photos, one a line, similar to the queries you expect. They normalise "
            "the scores of a new gallery, which demotes hubs: photos that match every query.",
            show_default=False,
        ),
    ] = None,
    querybank_size: QuerybankSize = None,
    inverse_temperature: InverseTemperature = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Go on even if the store has none of the gallery's images: all are removed."),
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Encode the images of a store into a gallery, ready for search.

    Examples:

      shan-engine index pictures.store --output pictures.gallery

      shan-engine index pictures.store --output pictures.gallery --querybank captions.txt

      shan-engine index pictures.store --output pictures.gallery --model new

    Run it again after the store has changed: it encodes new and changed images and drops removed ones.

    Images of a small block are encoded again with the new ones, so that blocks stay few and full.

    A gallery keeps the model that made it. --model new changes it to the current one: it says how long that takes, and
    works beside the old gallery, which can be searched until the two are swapped.

    A run that was stopped keeps its complete blocks; the next run goes on from there.
    """
    from shan_engine.indexing.images import index_store
    from shan_engine.indexing.querybank import Querybank
    from shan_engine.indexing.remake import remake_gallery
    from shan_engine.store.feature_store import FeatureStore

    refuse_without_querybank(querybank, querybank_size, inverse_temperature)
    bank = None
    if querybank is not None:
        bank = Querybank.read(querybank, size=querybank_size, inverse_temperature=inverse_temperature)
    remade = model == Path("new")
    scorer = open_encoder(None if remade else model, device, None if remade else output)
    with FeatureStore.open(store) as opened, progress("indexing", "images") as (on_start, on_images):
        options: dict[str, Any] = {
            "dtype": storage,
            "querybank": bank,
            "replace_all": replace,
            "on_start": on_start,
            "on_images": on_images,
        }
        if remade:
            result = remake_gallery(opened, scorer, output, on_estimate=lambda found: say(f"{found}"), **options)
        else:
            result = index_store(opened, scorer, output, **options)
    if json:
        print_json({**vars(result), "gallery": str(output)})
        return
    columns = f"; metadata: {', '.join(result.columns)}" if result.columns else ""
    counts = f"{result.added} images added, {result.removed} removed or replaced, {result.unchanged} unchanged"
    say(f"{output}: {counts}{columns}")
