"""Folders of a collection that moved or vanished."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

from shan_cli.console import messages, say


def move_roots(store: Path, roots: Sequence[str] | None) -> None:
    """Tell a store that folders moved, each as OLD=NEW. Raises InputError if that is not so."""
    from shan_engine.base.errors import InputError
    from shan_engine.photos.moved_roots import move_root

    for root in roots or ():
        old, separator, new = root.partition("=")
        if not (old and separator and new):
            raise InputError(f"--root '{root}' is not of the form OLD=NEW: give the old folder, = and the new one")
        moved = move_root(store, Path(old).expanduser(), Path(new).expanduser())
        say(f"{store}: {moved:,} photos moved from {old} to {new}")


def agreed_to_prune(vanished: Mapping[str, int]) -> bool:
    """Whether the user says that photos of these folders are to be removed; no where there is nobody to ask."""
    if not (vanished and sys.stdin.isatty() and messages.is_terminal):
        return False
    folders = ", ".join(f"{folder} ({count:,} photos)" for folder, count in vanished.items())
    say(f"missing or empty: {folders}")
    return typer.confirm("Remove these photos from the collection?", default=False, err=True)
