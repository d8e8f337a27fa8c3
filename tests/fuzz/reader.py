"""What fuzzing knows of a reader: valid files, how they are read, and what may come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


def every_file(path: Path) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One reader of the engine.

    `make` writes valid files into a folder; `changes` says which of them are changed. `read` reads the folder, in which
    one file has changed, and gives a comparable answer. An `exact` reader must give the answer of the valid files, or
    refuse; any other may give another answer. `sign` makes checksums fit the changed file, as a hostile author does:
    then another answer is right, too. `writes` says that reading changes the folder. `megabytes` and `seconds` of a
    processor are what one input may take. `prints` is a pattern of lines that a library prints and nothing can turn
    off.
    """

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path, Path], Any]
    changes: Callable[[Path], bool] = every_file
    exact: bool = False
    sign: Callable[[Path, Path], None] | None = None
    writes: bool = False
    tokens: Sequence[bytes] = ()
    megabytes: int = 256
    prints: str = ""
    seconds: float = 5


@dataclass(frozen=True)
class Shared:
    """What several readers need: `bundle`, a `store` of 120 photos, and the checkpoint, in one folder."""

    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @cached_property
    def scorer(self) -> Any:
        from shan_engine.bundle.contents import Bundle
        from shan_engine.scoring.scorer import Scorer

        return Scorer(Bundle.open(self.bundle), "cpu", threads=1)
