"""Which galleries are the shards of one, and whether their scores can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shan_engine.base.errors import GalleryError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.manifest import MANIFEST, GalleryManifest, check_same_bundle


def shard_paths(named: Sequence[Path]) -> list[Path]:
    """The shards' folders: each named gallery, and the galleries in each named folder that is none, by name.

    Raises GalleryError for a folder without a gallery, and for one named twice.
    """
    found: list[Path] = []
    for path in named:
        own = [path] if (path / MANIFEST).exists() or not path.is_dir() else _inside(path)
        if not own:
            raise GalleryError(f"there is no gallery in {path}: make one with `shan-engine index`")
        found += [one.resolve() for one in own]
    twice = next((path for number, path in enumerate(found) if path in found[:number]), None)
    if twice is not None:
        raise GalleryError(f"the shard {twice} is named twice: name it once")
    return found


def is_folder_of_galleries(path: Path | None) -> bool:
    """Whether a path is a folder that is no gallery, and has some."""
    return path is not None and path.is_dir() and not (path / MANIFEST).exists() and bool(_inside(path))


def _inside(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}") if not path.parent.name.startswith("."))


def photos_of(path: Path, bundle: Bundle, first: Path) -> int:
    """How many photos a shard has, from its manifest alone.

    Raises GalleryError where it is missing or damaged, another bundle made it, or its scores are made of other arrays
    than those of the `first` shard.
    """
    manifest, other = GalleryManifest.load(path), GalleryManifest.load(first)
    check_same_bundle(path, manifest, bundle)
    check_same_bundle(first, other, bundle)
    differing = sorted(manifest.arrays.keys() ^ other.arrays.keys())
    if differing:
        raise GalleryError(
            f"the shards {first} and {path} cannot be searched as one, as only one of them has "
            f"{', '.join(differing)}: run `shan-engine index` with the same options for both"
        )
    return sum(block.live for block in manifest.blocks)
