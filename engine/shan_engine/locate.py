"""Locate the gallery and the bundle to use when a command does not name them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.errors import GalleryError
from shan_engine.base.json_text import decode_json
from shan_engine.collections.named import DEMO, collection_names, find_collection
from shan_engine.collections.settings import Collection

KEPT = "bundles"  # the folder of a gallery with the bundle that made it (bundle/kept.py)


@dataclass(frozen=True)
class Place:
    """A gallery, the bundle that made it, and why each was chosen, for the user to read.

    `name` is what to call the gallery: the collection's name, `demo`, or its folder's name without `.gallery`.
    """

    gallery: Path
    bundle: Path
    reason: str
    bundle_reason: str
    name: str


def demo_folder() -> Path | None:
    """The folder of the demo, in the installed package or in a checkout's `artifacts/demo`; None if there is none."""
    here = Path(__file__).resolve().parent
    for folder in (here / "demo", here.parents[1] / "artifacts" / "demo"):
        if (folder / "bundle" / "manifest.json").is_file():
            return folder
    return None


def demo_bundle() -> Path:
    """The folder of the demo's bundle. Raises GalleryError if this installation has no demo."""
    folder = demo_folder()
    if folder is None:
        raise GalleryError("this installation has no demo: name a bundle with --model")
    return folder / "bundle"


def locate_bundle(bundle: Path | None) -> Path:
    """`bundle` if given, else the one in SHAN_MODEL, else the demo's. Raises GalleryError if there is no demo."""
    if bundle is not None:
        return bundle
    named = os.environ.get("SHAN_MODEL")
    return Path(named).expanduser() if named else demo_bundle()


def bundle_reason(bundle: Path | None) -> str:
    """Why `locate_bundle` gives the bundle that it gives, for the user to read."""
    if bundle is not None:
        return "--model"
    return "SHAN_MODEL" if os.environ.get("SHAN_MODEL") else "the bundled demo"


def locate_gallery(gallery: Path | None, bundle: Path | None) -> Place:
    """`gallery` if given, else the one in SHAN_GALLERY, else the collection's, else the demo's; and its bundle.

    A gallery may be given as a path, as the name of a collection, or as `demo`. Without a name, the collection is that
    of `collections.named.find_collection`. Raises GalleryError for a collection that has no gallery yet and where there
    is no demo to fall back on, InputError as `find_collection`.
    """
    given, reason = (gallery, "--gallery") if gallery is not None else (_from_environment(), "SHAN_GALLERY")
    if given is not None and not _is_name(given):
        return place_of(given, bundle, reason)
    if given is None or str(given) != DEMO:
        found = find_collection(str(given) if given is not None else None)
        if found is not None:
            return _place_of_collection(found, bundle)
    return place_of(demo_bundle().parent / "gallery", bundle, "the bundled demo", DEMO)


def place_of(gallery: Path, bundle: Path | None, reason: str = "--gallery", name: str = "") -> Place:
    """A gallery by its path, and the bundle to use with it.

    That is `bundle` if given, else the one of `locate_bundle` if it made the gallery, else the one that the gallery
    keeps. Raises GalleryError where there is no demo to fall back on.
    """
    name = name or gallery.resolve().name.removesuffix(".gallery") or "gallery"
    if bundle is None:
        made_by = _fingerprint(gallery)
        kept = kept_bundle(gallery, made_by) if made_by else None
        if kept is not None and kept.is_dir() and not _default_made(made_by):
            return Place(gallery, kept, reason, "kept in the gallery", name)
    return Place(gallery, locate_bundle(bundle), reason, bundle_reason(bundle), name)


def _from_environment() -> Path | None:
    named = os.environ.get("SHAN_GALLERY")
    return Path(named).expanduser() if named else None


def _is_name(given: Path) -> bool:
    """Whether a gallery is given by the name of a collection or of the demo: a path that is there comes first."""
    name = str(given)
    return given.name == name and not given.exists() and (name == DEMO or name in collection_names())


def _place_of_collection(collection: Collection, bundle: Path | None) -> Place:
    if not any((collection.gallery / name).exists() for name in ("manifest.json", "blocks")):
        raise GalleryError(
            f"the collection '{collection.name}' has no gallery yet: make it with `{collection.command('update')}`"
        )
    return place_of(collection.gallery, bundle, f"the collection {collection.name}", collection.name)


def kept_bundle(gallery: Path, fingerprint: str) -> Path:
    """Where a gallery keeps the bundle with this fingerprint."""
    return gallery / KEPT / fingerprint[:12]


def _default_made(fingerprint: str) -> bool:
    try:
        return _fingerprint(locate_bundle(None)) == fingerprint
    except GalleryError:  # this installation has no demo
        return False


def _fingerprint(folder: Path) -> str:
    """The fingerprint in the manifest of a bundle or a gallery; empty where it cannot be read, which opening tells."""
    try:
        found = decode_json((folder / "manifest.json").read_bytes())["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) and found.isalnum() else ""
