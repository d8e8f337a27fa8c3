"""Tell when the folders of a collection have changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from watchfiles import Change, watch

from shan_engine.collections.settings import Collection
from shan_engine.photos.formats import READ

QUIET, AT_MOST = 1_000, 10_000  # milliseconds without a change before it is told, and from the first one on
LOOK = 20.0  # seconds between looks at the folders themselves
RESCAN = 3600.0  # seconds, for file systems that do not tell of changes
SOON = 60.0  # seconds before an update that failed is tried again
_BESIDE = (".xmp", ".json", "")


class Watch:
    """Iterates at once, and then each time that an update may have something to do. It waits in between.

    A folder that vanishes or comes back, as a share does, counts as a change. `on_trouble` hears once a sentence why
    the folders cannot be watched; they are then looked through every ten minutes.
    """

    def __init__(self, collection: Collection, on_trouble: Callable[[str], None] = lambda sentence: None) -> None:
        self._folders = collection.folders
        self._own = (collection.store, collection.gallery)
        self._on_trouble = on_trouble
        self._due = time.monotonic()

    def again_soon(self) -> None:
        """Say that an update failed: it is due again in a minute, if nothing changes before."""
        self._due = time.monotonic() + SOON

    def __iter__(self) -> Iterator[None]:
        while True:
            there, looked = self._there(), time.monotonic()
            self._due = looked
            try:
                # The first set comes once the folders are watched: what changes during an update is told after it.
                for changes in self._changes([path for path in there if there[path]]):
                    now = time.monotonic()
                    if changes or now >= self._due:
                        self._due = now + RESCAN
                        yield
                    if now - looked >= LOOK:
                        looked = now
                        if self._there() != there:
                            break
            except (OSError, RuntimeError) as error:
                self._on_trouble(f"the folders cannot be watched ({error}): they are checked every ten minutes")
                self._on_trouble = lambda sentence: None
                yield
                time.sleep(RESCAN / 6)

    def _changes(self, folders: list[Path]) -> Iterator[object]:
        """Sets of changes, an empty one where there is none in a second."""
        while not folders:
            time.sleep(1)
            yield ()
        yield from watch(
            *folders,
            watch_filter=self._matters,
            debounce=AT_MOST,
            step=QUIET,
            rust_timeout=1_000,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )

    def _there(self) -> dict[Path, tuple[int, int] | None]:
        """Each folder with what tells it from another one mounted in its place; None if it is not there."""
        found: dict[Path, tuple[int, int] | None] = {}
        for folder in self._folders:
            try:
                status = folder.stat()
                found[folder] = status.st_dev, status.st_ino
            except OSError:
                found[folder] = None
        return found

    def _matters(self, change: Change, name: str) -> bool:
        """Whether a change may be of a photo, of what lies beside one, or of a folder."""
        path = Path(name)
        if any(path.is_relative_to(own) or path.name == f"{own.name}.lock" for own in self._own):
            return False
        return path.suffix.lower() in READ or path.suffix.lower() in _BESIDE or not path.is_file()
