"""The command that a message names where something is damaged."""

from __future__ import annotations

import shlex
from pathlib import Path

from shan_engine.collections.named import all_collections, store_of


def repair_command(path: Path) -> str:
    """The clause that names the command that repairs a store, a bundle, a job or a gallery of captions."""
    return f"run `{shlex.join(['shan-engine', 'repair', str(path)])}`"


def repair_gallery_command(path: Path) -> str:
    """As `repair_command`, for a gallery of photos: with the store that it was made of, where that is known."""
    words = ["shan-engine", "repair", str(path), "--store", str(store_of(path) or "STORE")]
    return f"run `{shlex.join(words)}`"


def renew_command(store: Path) -> str:
    """The clause that tells how photos that a store has lost come back: by `update` where it is a collection's."""
    commands = (one.command("update") for one in all_collections() if one.store.resolve() == store.resolve())
    command = next(commands, None)
    return f"run `{command}`" if command else "extract or import them again"
