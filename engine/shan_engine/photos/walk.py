"""Walk folders: every file once, through links to folders too, without what is left out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shan_engine.photos.ignore import IGNORE_FILE, IgnoreRules


@dataclass(frozen=True)
class _Folder:
    """A folder to list: its root, its path below that with a final slash (empty for the root), and what holds in it."""

    root: Path
    below: str
    rules: IgnoreRules


@dataclass
class Walk:
    """One walk over several roots.

    A folder that several ways lead to, such as nested roots, links and loops, is listed once. Folders come before
    links, so that a file has the path without a link if there is one. Afterwards `excluded` has the paths of the files
    and folders that were left out, `errors` what could not be listed, `merged` the roots that lie in another one.
    """

    rules: IgnoreRules
    excluded: set[str] = field(default_factory=set)
    errors: list[OSError] = field(default_factory=list)
    merged: set[Path] = field(default_factory=set)
    _listed: set[tuple[int, int]] = field(default_factory=set)

    def files(self, roots: Sequence[Path]) -> Iterator[tuple[Path, str, os.DirEntry[str]]]:
        """All files below the resolved `roots`: root, path below it with forward slashes, entry."""
        links: deque[_Folder] = deque()
        above = {parent for root in roots for parent in root.parents}
        for root in sorted(roots, key=lambda root: len(root.parts)):
            if self._is_new(root):
                yield from self._below(_Folder(root, "", self.rules), links)
            else:
                self.merged.add(root)
        while links:
            linked = links.popleft()
            path = linked.root / linked.below
            # A link to a folder above a root would take in all that lies around the collection.
            if path.resolve() not in above and self._is_new(path):
                yield from self._below(linked, links)

    def _is_new(self, folder: Path) -> bool:
        try:
            status = folder.stat()
        except OSError as error:
            self.errors.append(error)
            return False
        key = (status.st_dev, status.st_ino)
        new = key not in self._listed
        self._listed.add(key)
        return new

    def _below(self, top: _Folder, links: deque[_Folder]) -> Iterator[tuple[Path, str, os.DirEntry[str]]]:
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            path = str(folder.root / folder.below)
            try:
                with os.scandir(path) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError as error:
                self.errors.append(error)
                continue
            rules = folder.rules
            if any(entry.name == IGNORE_FILE for entry in entries):
                rules = rules.below(folder.below, Path(path, IGNORE_FILE))
            for entry in entries:
                below = folder.below + entry.name
                if not _is_folder(entry):
                    if rules.leave_out(below):
                        self.excluded.add(entry.path)
                    else:
                        yield folder.root, below, entry
                elif rules.leave_out(f"{below}/"):
                    self.excluded.add(entry.path)
                elif entry.is_symlink():
                    links.append(_Folder(folder.root, f"{below}/", rules))
                elif self._is_new(Path(entry.path)):
                    waiting.append(_Folder(folder.root, f"{below}/", rules))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that cannot be accessed
        return False
