"""Tables of metadata that `extract`, `import` and `store metadata` put into a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shan_cli.console import say

if TYPE_CHECKING:
    from shan_engine.base.metadata import Metadata


def read_metadata(file: Path | None, id_column: str | None) -> Metadata | None:
    """Read the table that a command names, before the command does anything else."""
    from shan_engine.base.errors import InputError
    from shan_engine.base.metadata import Metadata

    if file is None:
        if id_column is not None:
            raise InputError(f"there is no table with the column '{id_column}': name one with --metadata")
        return None
    table = Metadata.read(file, id_column)
    for notice in table.notices:
        say(notice)
    return table


def put_metadata(store: Path, table: Metadata | None) -> None:
    """Put a table into a store, and say which images it describes."""
    from shan_engine.store.feature_store import FeatureStore

    if table is None:
        return
    with FeatureStore.open(store, readonly=False) as opened:
        fit = opened.put_metadata(table)
    unknown = f"; {fit.unknown} rows are of images that it does not have yet" if fit.unknown else ""
    say(f"{store}: metadata of {fit.described} of {fit.images} images ({', '.join(fit.columns)}){unknown}")
    if fit.replaced:
        say(f"{store}: {', '.join(fit.replaced)} of the table replace what the photos themselves say")
