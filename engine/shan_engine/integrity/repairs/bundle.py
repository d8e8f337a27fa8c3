"""Repair a bundle from another copy of it: its manifest says what each file must be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from shan_engine.base.errors import BundleError
from shan_engine.base.files import replacing, sha256
from shan_engine.bundle.contents import Bundle, bundle_faults
from shan_engine.bundle.manifest import MANIFEST, Manifest
from shan_engine.collections.named import all_collections
from shan_engine.locate import KEPT, demo_folder


def repair_bundle(path: Path, model: Path | None) -> list[str]:
    """Copy the files that are missing or damaged from other copies of the bundle; sentences of what was done.

    A damaged manifest is replaced only by that of a copy that is named, or of the same fingerprint where the folder's
    name tells it. Raises BundleError where no copy has what is missing.
    """
    copies = list(_copies(path, model))
    manifest = _manifest(path, model, copies)
    done = []
    for name, _ in list(bundle_faults(path, manifest)):
        wanted = manifest.files.get(name)
        source = next((one for one in copies if wanted and _sha256(one / name) == wanted), None)
        if source is None:
            raise BundleError(
                f"no other copy of {path / name} is known: name one with --model, or export the bundle again with "
                "`shan-engine export`"
            )
        with replacing(path / name) as temporary:
            shutil.copyfile(source / name, temporary)
        done.append(f"{path / name} was copied from {source}")
    if not (path / MANIFEST).exists() or _read(path) != manifest:
        manifest.save(path)
        done.append(f"{path / MANIFEST} was written again, for the bundle {manifest.fingerprint[:12]}")
    return done


def _manifest(path: Path, model: Path | None, copies: list[Path]) -> Manifest:
    """The bundle's own manifest, else that of the copy that stands for it."""
    if held := _read(path):
        return held
    named = [model] if model else [one for one in copies if path.parent.name == KEPT and _name(one) == path.name]
    for one in named:
        if found := _read(one):
            return found
    raise BundleError(
        f"{path / MANIFEST} is damaged: name another copy of the bundle with --model, or export it again with "
        "`shan-engine export`"
    )


def _copies(path: Path, model: Path | None) -> Iterator[Path]:
    """Other bundles of this machine: the one that is named, SHAN_MODEL's, the demo's, those that galleries keep."""
    named = os.environ.get("SHAN_MODEL")
    demo = demo_folder()
    places = [model, Path(named).expanduser() if named else None, demo / "bundle" if demo else None]
    for collection in all_collections():
        places += [collection.model, *(collection.gallery / KEPT).glob("*")]
    for place in places:
        if place is not None and place.is_dir() and place.resolve() != path.resolve():
            yield place


def _read(path: Path) -> Manifest | None:
    try:
        return Manifest.load(path)
    except BundleError:
        return None


def _name(path: Path) -> str:
    held = _read(path)
    return held.fingerprint[:12] if held else ""


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return ""


def only_bundle(gallery: Path, model: Path | None) -> Bundle:
    """The bundle that made a gallery whose manifest is lost: the only one that it keeps, else the one that is named.

    Raises BundleError where that is not whole.
    """
    kept = [folder for folder in (gallery / KEPT).glob("*") if not folder.name.startswith(".")]
    if len(kept) == 1 and (held := _read(kept[0])) and (found := sound_bundle(kept[0], held.fingerprint, model)):
        return found
    if model is None:
        raise BundleError(f"the bundle that made {gallery} is not known: name it with --model")
    return Bundle.open(model)


def sound_bundle(path: Path, fingerprint: str, model: Path | None) -> Bundle | None:
    """A whole bundle with a fingerprint: the one at `path`, else another copy; None where there is none."""
    for place in (path, *_copies(path, model)):
        try:
            held = Bundle.open(place)
        except BundleError:
            continue
        if held.manifest.fingerprint == fingerprint:
            return held
    return None
