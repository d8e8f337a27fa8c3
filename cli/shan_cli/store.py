"""`shan-engine store`: look at a feature store, check it, shrink it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import Json, messages, print_json, progress
from shan_cli.metadata import put_metadata, read_metadata

app = typer.Typer(
    help="Look at a feature store, check it, shrink it, say what is known of its images.", no_args_is_help=True
)
Store = Annotated[Path, typer.Argument(help="Feature store.")]


@app.command()
def info(store: Store, json: Json = False) -> None:
    """Show what a store holds.

    Example: shan-engine store info pictures.store
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store) as opened:
        facts = {
            "store": str(store),
            "images": len(opened),
            "bytes": opened.bytes_used,
            **asdict(opened.schema),
            "metadata": list(table.columns) if (table := opened.metadata()) else [],
        }
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):18} {value}")


@app.command()
def verify(store: Store) -> None:
    """Check every record's bytes against its checksum; exit 1 where one is damaged.

    Example: shan-engine store verify pictures.store
    """
    from shan_engine.base.errors import StoreError
    from shan_engine.store.feature_store import FeatureStore
    from shan_engine.store.verify import verify_store

    damaged = 0
    with FeatureStore.open(store) as opened:
        total = len(opened)
    with progress("verifying", "images") as (on_start, on_done):
        on_start(total)
        for done, (_, problem) in enumerate(verify_store(store), 1):
            if problem:
                damaged += 1
                messages.print(problem, markup=False, soft_wrap=True)
            on_done(done)
    if damaged:
        raise StoreError(f"{damaged} of {total} images in {store} are damaged: mend each as said above")
    messages.print(f"{store}: all {total} images are sound", markup=False, soft_wrap=True)


@app.command()
def compact(store: Store) -> None:
    """Give the space of deleted and replaced records back to the disk.

    Example: shan-engine store compact pictures.store
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store, readonly=False) as opened:
        before, after = opened.compact()
    messages.print(f"{store}: {before:,} bytes before, {after:,} after", markup=False, soft_wrap=True)


@app.command()
def delete(store: Store, ids: Annotated[list[str], typer.Argument(help="Ids of the images to remove.")]) -> None:
    """Remove images by id, all of them or none.

    Example: shan-engine store delete pictures.store holiday/beach.jpg
    """
    from shan_engine.store.feature_store import FeatureStore

    with FeatureStore.open(store, readonly=False) as opened:
        opened.delete(ids)
    messages.print(f"{store}: {len(ids)} images removed", markup=False, soft_wrap=True)


@app.command()
def metadata(
    store: Store,
    file: Annotated[Path, typer.Argument(help="Table (.csv or .parquet), one row an image.")],
    id_column: Annotated[
        str | None,
        typer.Option(
            "--metadata-id-column",
            "--id-column",
            help="Column that has the images' ids; else id, image or path.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Set what is known of the images, in the place of what was there; `index` then takes it into a gallery.

    Nothing is extracted or encoded again.

    Example: shan-engine store metadata pictures.store photos.csv
    """
    put_metadata(store, read_metadata(file, id_column))
