"""A gallery of captions: encoded once, then searched for those that fit a photo.

    GALLERY/manifest.json                 kind "captions", bundle fingerprint, blocks with their files' checksums
    GALLERY/blocks/<name>/<array>.npy     the text encoder's arrays, captions x words x ..., see gallery/storage.py
    GALLERY/blocks/<name>/captions.jsonl  one caption a line: its place among all, id, text

A block holds captions of similar length, padded to its longest. All captions are scored with a photo, exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError, unread
from shan_engine.base.manifests import demand, digest, other_schema
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.manifest import CAPTIONS_KIND, MANIFEST, is_block_name
from shan_engine.gallery.storage import file_checksum

SCHEMA_VERSION = 1
LIST = "captions.jsonl"
_FILE_NAME = re.compile("[A-Za-z0-9_.-]+[.](npy|jsonl)")
MEND = "make the gallery again with `shan-engine index-captions`"


@dataclass(frozen=True)
class CaptionBlock:
    """A block in the manifest: how many captions it has, and the checksums of its files."""

    name: str
    captions: int
    files: dict[str, str]


class CaptionGallery:
    """An opened gallery of captions."""

    def __init__(self, path: Path, blocks: Sequence[CaptionBlock]) -> None:
        self.path, self.blocks = path, tuple(blocks)
        self._sound: set[Path] = set()

    @classmethod
    def open(cls, path: Path, bundle: Bundle) -> CaptionGallery:
        """Raises GalleryError where it is missing, damaged, of photos, or was not made by `bundle`."""
        data = read_manifest(path)
        if data["fingerprint"] != bundle.manifest.fingerprint:
            raise GalleryError(
                f"the captions in {path} were encoded by bundle {data['fingerprint'][:12]}, not by {bundle.path} "
                f"({bundle.manifest.fingerprint[:12]}): name that one with --model, or {MEND}"
            )
        return cls(path, [CaptionBlock(**block) for block in data["blocks"]])

    def __len__(self) -> int:
        return sum(block.captions for block in self.blocks)

    def arrays(self, block: CaptionBlock) -> dict[str, NDArray[Any]]:
        """A block's arrays as they are stored, by file name without its end, mapped."""
        found = {}
        for name in block.files:
            if name != LIST:
                path = self._checked(block, name)
                found[path.stem] = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        return found

    def listed(self, block: CaptionBlock) -> list[tuple[int, str, str]]:
        """Place among all captions, id and text of a block's captions."""
        lines = self._checked(block, LIST).read_text("utf-8").splitlines()
        return [tuple(json.loads(line)) for line in lines]

    def _checked(self, block: CaptionBlock, name: str) -> Path:
        path = self.path / "blocks" / block.name / name
        if path not in self._sound:
            try:
                held = file_checksum(path)
            except OSError as error:
                raise GalleryError(f"{path} is missing or cannot be read: {MEND}") from error
            if held != block.files[name]:
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {MEND}")
            self._sound.add(path)
        return path


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest's fields but its digest. Raises GalleryError where it is missing, damaged or of photos."""
    file = path / MANIFEST
    try:
        data = json.loads(file.read_text("utf-8"))
        demand(type(data) is dict and type(data.get("version")) is int, "it has no version")
        if data.get("kind") == CAPTIONS_KIND and data["version"] == SCHEMA_VERSION:
            demand(data.pop("digest", None) == digest(data), "its fields are not those that were written")
            for block in data["blocks"]:
                # The names become a folder's and files'.
                named = is_block_name(block["name"]) and all(map(_FILE_NAME.fullmatch, block["files"]))
                demand(named, "it names a block or a file that is none")
            return dict(data)
    except OSError as error:
        missing = f"there is no gallery at {path}: make one of captions with `shan-engine index-captions`"
        raise GalleryError(unread(file, error, missing)) from error
    except (ValueError, RecursionError) as error:
        raise GalleryError(f"{file} is damaged or not a gallery's ({error}): delete {path} and {MEND}") from error
    if data.get("kind") != CAPTIONS_KIND:
        raise GalleryError(f"{path} is a gallery of photos, not of captions: choose another folder or gallery")
    schema = other_schema(data["version"], SCHEMA_VERSION, f"delete it and {MEND}")
    raise GalleryError(f"the gallery {path} has {schema}")


def holds_captions(path: Path) -> bool:
    """Whether a gallery says that it holds captions; False too where it cannot be read."""
    try:
        return bool(json.loads((path / MANIFEST).read_text("utf-8")).get("kind") == CAPTIONS_KIND)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
