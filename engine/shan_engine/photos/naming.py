"""Ids of photos: the path below the root and, of several roots, the root's name before it.

A photo that a store knows keeps its id, and new photos of its root are named as it is. So an id never changes because
another folder joins the collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple


class Found(NamedTuple):
    """A photo found below a root: its path below that, with forward slashes, its whole path, and its stamp."""

    root: Path
    below: str
    path: str
    stamp: str


def name_photos(found: Sequence[Found], roots: Sequence[Path], known: Mapping[str, str]) -> list[str]:
    """The ids of the photos found below `roots`, each its own; `known` are the ids that a store has, by path."""
    ids = {photo.path: known[photo.path] for photo in found if photo.path in known}
    begins: dict[Path, str] = {}
    new: dict[Path, list[Found]] = {root: [] for root in roots}
    for photo in found:
        if photo.path not in ids:
            new[photo.root].append(photo)
        elif photo.root not in begins and f"/{ids[photo.path]}".endswith(f"/{photo.below}"):
            begins[photo.root] = ids[photo.path].removesuffix(photo.below)
    holders = {id: path for path, id in known.items()}
    for root, photos in new.items():
        others = {begin for other, begin in begins.items() if other != root}
        for begin in _beginnings(root, begins.get(root, "" if len(roots) == 1 else None)):
            named = {begin + photo.below: photo.path for photo in photos}
            clash = any(_is_held(holders.get(id), path, ids, alone=len(roots) == 1) for id, path in named.items())
            if not clash and (begin not in others or begin == begins.get(root)):
                break
        begins.setdefault(root, begin)
        ids.update((path, id) for id, path in named.items())
        holders.update(named)
    return [ids[photo.path] for photo in found]


def _beginnings(root: Path, first: str | None) -> Iterator[str]:
    """What may stand before the ids of a root, the first choice first."""
    name = root.name or "root"
    numbered = (f"{name}-{number}/" for number in count(2))
    return chain([] if first is None else [first], [f"{name}/"], numbered)


def _is_held(holder: str | None, path: str, ids: Mapping[str, str], *, alone: bool) -> bool:
    """Whether another photo has the id that `path` would get. `alone` asks about found photos only."""
    if holder is None or holder == path:
        return False
    return holder in ids or (not alone and is_another(holder, path))


def is_another(held: str, path: str) -> bool:
    """Whether the path that a store holds names an existing file other than that at `path`."""
    try:
        return bool(held) and not Path(held).samefile(path)
    except OSError:  # one of the two no longer exists
        return False
