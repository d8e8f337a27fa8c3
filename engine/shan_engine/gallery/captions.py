"""A gallery of captions: encoded once, then searched for those that fit a photo.

    GALLERY/manifest.json                 kind "captions", bundle fingerprint, blocks with their files' checksums
    GALLERY/blocks/<name>/<array>.npy     the text encoder's arrays, captions x words x ..., see gallery/storage.py
    GALLERY/blocks/<name>/captions.jsonl  one caption a line: its place among all, id, text

A block holds captions of similar length, padded to its longest. All captions are scored with a photo, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import GalleryError, first_line, unread
from shan_engine.base.json_rows import decode_row
from shan_engine.base.json_text import decode_json
from shan_engine.base.manifests import Count, Fields, Format, demand, is_file_name
from shan_engine.base.packing import SCALES, read_npy
from shan_engine.bundle.contents import Bundle
from shan_engine.collections.repairing import repair_command
from shan_engine.gallery.manifest import CAPTIONS_KIND, MANIFEST, is_block_name
from shan_engine.gallery.storage import file_checksum

SCHEMA_VERSION = 1
LIST = "captions.jsonl"
FIX = "make the gallery again with `shan-engine index-captions`"


class CaptionBlock(Fields, frozen=True):
    """A block in the manifest: how many captions it has, and the checksums of its files."""

    name: str
    captions: Count
    files: dict[str, str]

    def validate(self) -> None:
        """It has a list, and names that become names of folders and files are plain."""
        demand(LIST in self.files, f"the block {self.name} has no {LIST}")
        demand(is_block_name(self.name), f"the block {self.name!r} is not named by 12 hexadecimal characters")
        for file in self.files:
            demand(
                is_file_name(file) and file.endswith((".npy", ".jsonl")),
                f"the block {self.name} names the file {file!r}",
            )


class CaptionManifest(Fields, frozen=True):
    """What a gallery of captions holds, and the fingerprint of the bundle that encoded them."""

    kind: Literal["captions"]
    version: int
    fingerprint: str
    blocks: tuple[CaptionBlock, ...]

    @classmethod
    def load(cls, gallery: Path) -> CaptionManifest:
        """Of the gallery in a folder. Raises GalleryError where it is missing, damaged or of photos."""
        return FORMAT.read(gallery / MANIFEST)

    def save(self, gallery: Path) -> None:
        """Replace the gallery's manifest."""
        FORMAT.save(gallery / MANIFEST, self)

    def validate(self) -> None:
        """Blocks are sound and have different names."""
        for block in self.blocks:
            block.validate()
        demand(len({block.name for block in self.blocks}) == len(self.blocks), "a block is named twice")


def _refuse_photos(fields: Mapping[str, Any], gallery: Path) -> None:
    if fields.get("kind") != CAPTIONS_KIND:
        raise GalleryError(f"{gallery} is a gallery of photos, not of captions: choose another folder or gallery")


FORMAT = Format(
    fields=CaptionManifest,
    error=GalleryError,
    holder="the gallery {place}",
    missing="there is no gallery at {place}: make one of captions with `shan-engine index-captions`",
    damaged="{path} is damaged or not a gallery's ({fault}): {fix}",
    fix=repair_command,
    remake=f"delete it and {FIX}",
    version=SCHEMA_VERSION,
    refuse=_refuse_photos,
)


class CaptionGallery:
    """An opened gallery of captions."""

    def __init__(self, path: Path, blocks: Sequence[CaptionBlock]) -> None:
        self.path, self.blocks = path, tuple(blocks)
        self._sound: set[Path] = set()

    @classmethod
    def open(cls, path: Path, bundle: Bundle) -> CaptionGallery:
        """Raises GalleryError where it is missing, damaged, of photos, or was not made by `bundle`."""
        manifest = CaptionManifest.load(path)
        if manifest.fingerprint != bundle.manifest.fingerprint:
            raise GalleryError(
                f"the captions in {path} were encoded by bundle {manifest.fingerprint[:12]}, not by {bundle.path} "
                f"({bundle.manifest.fingerprint[:12]}): name that one with --model, or {FIX}"
            )
        return cls(path, manifest.blocks)

    def __len__(self) -> int:
        return sum(block.captions for block in self.blocks)

    @property
    def _fix(self) -> str:
        return repair_command(self.path)

    def arrays(self, block: CaptionBlock) -> dict[str, NDArray[Any]]:
        """A block's arrays as they are stored, by file name without its end, mapped."""
        found = {}
        for name in block.files:
            if name != LIST:
                path = self._checked(block, name)
                found[path.stem] = array = np.asarray(self._mapped(path))
                fewest = 1 if path.stem.endswith(SCALES) else 2
                if array.ndim < fewest or len(array) != block.captions or array.dtype.kind not in "bfiu":
                    raise GalleryError(f"{path} does not fit the gallery's manifest: {self._fix}")
        return found

    def _mapped(self, path: Path) -> NDArray[Any]:
        try:
            return read_npy(path, mapped=True)
        except (OSError, ValueError, TypeError) as error:
            raise GalleryError(f"{path} is damaged ({error}): {self._fix}") from error

    def listed(self, block: CaptionBlock) -> list[tuple[int, str, str]]:
        """Place among all captions, id and text of a block's captions."""
        path = self._checked(block, LIST)
        try:
            rows = [tuple(decode_row(line)) for line in path.read_bytes().splitlines()]
        except (ValueError, TypeError) as error:
            raise GalleryError(f"{path} is damaged ({first_line(error)}): {self._fix}") from error
        if len(rows) != block.captions or any(tuple(map(type, row)) != (int, str, str) for row in rows):
            raise GalleryError(f"{path} is damaged (it does not list {block.captions} captions): {self._fix}")
        return rows

    def _checked(self, block: CaptionBlock, name: str) -> Path:
        path = self.path / "blocks" / block.name / name
        if path not in self._sound:
            try:
                held = file_checksum(path)
            except OSError as error:
                raise GalleryError(unread(path, error, f"{path} is missing: {self._fix}")) from error
            if held != block.files[name]:
                raise GalleryError(f"{path} is damaged, its bytes are not those that were written: {self._fix}")
            self._sound.add(path)
        return path


def holds_captions(path: Path) -> bool:
    """Whether a gallery says that it holds captions; False too where it cannot be read."""
    try:
        return bool(decode_json((path / MANIFEST).read_text("utf-8")).get("kind") == CAPTIONS_KIND)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
