"""`shan-engine store`: look at a feature store, check it, shrink it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.commands import App
from shan_cli.console import print_facts, print_json, say
from shan_cli.metadata import put_metadata, read_metadata
from shan_cli.options import Json, Verbose
from shan_cli.verify import verify_all

app = App(
    help="Show, check and shrink a feature store; delete its images and set their metadata.", no_args_is_help=True
)
Store = Annotated[Path, typer.Argument(help="Feature store.")]


@app.command()
def info(store: Store, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a store holds.

    Example: shan-engine store info pictures.store
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store) as opened:
        facts = {
            "store": str(store),
            "images": len(opened),
            "bytes": opened.bytes_used,
            **opened.schema.as_dict(),
            "images_with_classes": sum(info.classes > 0 for info in opened.infos()),
            "images_read_for_text": len(opened.text_readers()),
            "metadata": list(table.columns) if (table := opened.metadata()) else [],
        }
    if json:
        print_json(facts)
    else:
        print_facts(facts)


@app.command()
def verify(store: Store, verbose: Verbose = False) -> None:
    """Check every record against its checksum, as `shan-engine verify` does. Exits 1 if one is damaged.

    Example: shan-engine store verify pictures.store
    """
    from shan_engine.store.feature_store import FeatureStore

    FeatureStore.open(store).close()  # anything but a store is refused
    verify_all([store])


@app.command()
def compact(store: Store, verbose: Verbose = False) -> None:
    """Free the disk space of deleted and replaced records.

    Example: shan-engine store compact pictures.store
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store, readonly=False) as opened:
        before, after = opened.compact()
    say(f"{store}: {before:,} bytes before, {after:,} after")


@app.command("forget-text")
def forget_text(
    store: Store,
    gallery: Annotated[
        list[Path] | None,
        typer.Option(
            help="Gallery made of the store, to forget its text as well. May be repeated.",
            show_default="those of collections with this store",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Remove the text written in photos from a store and its galleries, and rewrite the store so that no trace is left.

    Examples:

      shan-engine store forget-text pictures.store

      shan-engine store forget-text pictures.store --gallery pictures.gallery

    Photos, regions and metadata stay. Take `read_text` out of a collection's file, or `update` reads its photos again.
    """
    from shan_engine.collections.named import galleries_of
    from shan_engine.gallery.manifest import MANIFEST
    from shan_engine.indexing.forget_text import forget_text
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store, readonly=False) as opened:
        count = len(opened.text_readers())
        opened.forget_text()
        opened.compact()
    say(f"{store}: the text of {count:,} photos is forgotten")
    galleries = gallery or [path for path in galleries_of(store) if (path / MANIFEST).exists()]
    for path in galleries:
        say(f"{path}: {'its text is forgotten' if forget_text(path) else 'had no text'}")
    if not galleries:
        say("galleries made of this store keep their text: name them with --gallery")


@app.command()
def delete(
    store: Store,
    ids: Annotated[list[str], typer.Argument(help="Ids of the images to delete.")],
    verbose: Verbose = False,
) -> None:
    """Delete images by id: all of them, or none if one is unknown.

    Example: shan-engine store delete pictures.store holiday/beach.jpg
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store, readonly=False) as opened:
        opened.delete(ids)
    say(f"{store}: {len(ids)} images deleted")


@app.command()
def metadata(
    store: Store,
    file: Annotated[Path, typer.Argument(help="Table (.csv or .parquet), one row per image.")],
    id_column: Annotated[
        str | None,
        typer.Option(
            "--metadata-id-column",
            "--id-column",
            help="Column that holds the image ids.",
            show_default="id, image or path",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Set the metadata of a store's images: facts such as date, place or licence.

    Example: shan-engine store metadata pictures.store photos.csv

    The table replaces the one in the store. Run `index` afterwards to bring it into a gallery.

    Nothing is extracted or encoded again.
    """
    put_metadata(store, read_metadata(file, id_column))
