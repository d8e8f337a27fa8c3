"""How much disk space a run takes: measured on its first photos, told once if the run is large."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LARGE = 100_000_000  # bytes
MEASURED = 16


@dataclass(frozen=True)
class Space:
    """Bytes that a run will take in a folder, and bytes that are free there."""

    folder: Path
    needed: int
    free: int

    def __str__(self) -> str:
        short = "; that is too little" if self.needed > self.free else ""
        return f"about {size(self.needed)} in {self.folder}, where {size(self.free)} are free{short}"


class SpaceWatch:
    """Looks how a store's file grows, and calls `on_space` once if a run is large."""

    def __init__(self, store: Path, on_space: Callable[[Space], None]) -> None:
        self._store, self._on_space = store, on_space
        self._total, self._before = 0, 0

    def start(self, total: int) -> None:
        """A run over so many photos begins."""
        self._total, self._before = total, self._bytes()

    def done(self, done: int) -> None:
        """So many photos are done."""
        if not self._total or done < MEASURED:
            return
        needed = (self._bytes() - self._before) * (self._total - done) // done
        self._total = 0
        if needed >= LARGE:
            self._on_space(space_for(self._store.parent, needed))

    def _bytes(self) -> int:
        try:
            return (self._store / "data.mdb").stat().st_size
        except OSError:
            return 0


def space_for(folder: Path, needed: int) -> Space:
    """What `needed` bytes are beside those free on the disk of `folder`, which need not be there yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return Space(folder, needed, shutil.disk_usage(there).free)


def size(count: int) -> str:
    """A number of bytes for the user to read, such as "1.6 GB" or "350 MB"."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
