"""Which kind of thing a path is, also where it is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from shan_engine.base.errors import InputError
from shan_engine.base.json_text import decode_json
from shan_engine.collections.named import collection_names, find_collection
from shan_engine.collections.settings import Collection
from shan_engine.gallery.captions import LIST
from shan_engine.gallery.manifest import CAPTIONS_KIND, MANIFEST
from shan_engine.jobs.journal import JOURNAL

Kind = Literal["store", "gallery", "captions", "bundle", "job"]


def kind_of(path: Path) -> Kind:
    """The kind of a folder, by the files in it. Raises InputError where it holds nothing of this program."""
    if (path / "data.mdb").exists() or (path / "lock.mdb").exists():
        return "store"
    if (path / JOURNAL).exists():
        return "job"
    fields = _fields(path / MANIFEST)
    if fields.get("kind") == CAPTIONS_KIND or next(path.glob(f"blocks/*/{LIST}"), None):
        return "captions"
    if "parity" in fields or next(path.glob("*.onnx"), None):
        return "bundle"
    if "blocks" in fields or (path / "blocks").is_dir():
        return "gallery"
    raise InputError(
        f"{path} is not a store, gallery, bundle, job or collection: name a folder that shan-engine made, "
        "or the name of a collection"
    )


def collection_at(path: Path) -> Collection | None:
    """The collection that a path means: its file, or its name where no such path is there; None for anything else."""
    if path.suffix == ".toml" and path.is_file():
        return Collection.read(path, path.stem)
    named = path.name == str(path) and not path.exists() and str(path) in collection_names()
    return find_collection(str(path)) if named else None


def _fields(manifest: Path) -> dict[str, object]:
    try:
        held = decode_json(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
