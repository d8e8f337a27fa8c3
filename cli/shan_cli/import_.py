"""`shan-engine import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import progress, say
from shan_cli.metadata import put_metadata, read_metadata
from shan_cli.options import MetadataFile, MetadataIdColumn, StoreStorage, Verbose


def import_(
    features: Annotated[
        Path,
        typer.Argument(
            help="SCAN .npy, a folder of SCAN's *_ims.npy, bottom-up or LXMERT .tsv, or a folder of one .npz per image."
        ),
    ],
    store: Annotated[Path, typer.Option(help="Feature store to make or to add to.")],
    ids: Annotated[
        Path | None, typer.Option(help="Ids of the rows of an .npy file, one a line.", show_default="row numbers")
    ] = None,
    extractor: Annotated[
        str | None, typer.Option(help="Name of the extractor that made the features.", show_default=False)
    ] = None,
    boxes: Annotated[
        bool,
        typer.Option("--boxes", help="Append each region's box and area to its feature, as TERN reads them."),
    ] = False,
    storage: StoreStorage = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace images whose ids are in the store, for example after an interrupted import. "
            "Without it, such an id is an error.",
        ),
    ] = False,
    skip_broken: Annotated[
        bool,
        typer.Option("--skip-broken", help="Leave out images that cannot be used or come twice, and list them."),
    ] = False,
    metadata: MetadataFile = None,
    metadata_id_column: MetadataIdColumn = None,
    verbose: Verbose = False,
) -> None:
    """Read precomputed region features into a store.

    Example: shan-engine import f30k/test_ims.npy --store f30k.store
    """
    from shan_engine.store.importers import import_features

    table = read_metadata(metadata, metadata_id_column)
    broken = 0

    def left_out(why: str) -> None:
        nonlocal broken
        broken += 1
        say(f"left out: {why}")

    with progress("importing", "images") as (on_start, on_records):
        count = import_features(
            features,
            store,
            ids=ids,
            dtype=storage,
            extractor=extractor,
            boxes=boxes,
            replace=replace,
            on_broken=left_out if skip_broken else None,
            on_start=on_start,
            on_records=on_records,
        )
    put_metadata(store, table)
    say(f"{store}: {count} images imported{f', {broken} left out' if broken else ''}")
