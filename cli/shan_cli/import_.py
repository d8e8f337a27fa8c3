"""`shan-engine import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import (
    MetadataFile,
    MetadataIdColumn,
    StoreStorage,
    messages,
    progress,
)
from shan_cli.metadata import put_metadata, read_metadata


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
