"""A gallery's manifest: the shapes of its arrays, its blocks, and which of their rows are deleted."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field

from shan_engine.base.choices import GALLERY_DTYPES
from shan_engine.base.errors import GalleryChangedError, GalleryError
from shan_engine.base.manifests import Count, Fields, Format, Size, demand
from shan_engine.bundle.contents import Bundle
from shan_engine.collections.repairing import repair_command, repair_gallery_command
from shan_engine.gallery.pooled import has_pooled

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
CAPTIONS_KIND = "captions"  # what a gallery of captions says of itself (gallery/captions.py)
_BLOCK_NAME = re.compile("[0-9a-f]{12}")
_CHECKSUM = re.compile("[0-9a-f]{16}")
# File, offset, size and checksum; an earlier version's index, which is written again, is named by 16 characters.
_WRITTEN = re.compile("([0-9a-f]{16}(-[0-9a-f]{1,12}-[0-9a-f]{1,8}-[0-9a-f]{16})?)?")
_FILE_NAME = re.compile("[a-z0-9_-]{1,200}([.]scales)?[.](npy|jsonl|sqlite)")


class BlockEntry(Fields, frozen=True):
    """A block in the manifest: how many images it has, which rows are deleted, checksums of files read whole."""

    name: str
    images: Count
    deleted: tuple[Count, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """How many images are not deleted."""
        return self.images - len(self.deleted)

    def validate(self) -> None:
        """Names that become names of folders and files are plain; deleted rows are rows of the block."""
        demand(is_block_name(self.name), f"the block {self.name!r} is not named by 12 hexadecimal characters")
        own = all(row < self.images for row in self.deleted) and len(set(self.deleted)) == len(self.deleted)
        demand(own, f"the block {self.name} has deleted rows that are not its own")
        for file, checksum in self.files.items():
            demand(_FILE_NAME.fullmatch(file) is not None, f"the block {self.name} names the file {file!r}")
            demand(_is_checksum(checksum), f"the file {file} of the block {self.name} has no checksum")


class GalleryManifest(Fields, frozen=True):
    """What a gallery holds; `arrays` maps an array's name to its shape per image.

    `centroids` is not empty where an earlier version's index made it ready for a search in stages.
    `written` names the index of what is written in its photos (gallery/written.py); a gallery without one does not
    write the field.
    """

    fingerprint: str
    feature_extractor: str
    dtype: str
    arrays: Annotated[dict[str, tuple[Size, ...]], Meta(min_length=1)]
    blocks: tuple[BlockEntry, ...] = ()
    centroids: str = ""
    version: int = SCHEMA_VERSION
    written: str = ""

    @property
    def staged(self) -> bool:
        """Whether the gallery is searched in stages: its images have mean regions, or had an earlier version's codes.

        Blocks that lack mean regions get them when they are first searched.
        """
        return bool(self.centroids) or any(has_pooled(block.files) for block in self.blocks)

    @classmethod
    def load(cls, gallery: Path) -> GalleryManifest:
        """Of the gallery in a folder. Raises GalleryError where it is missing, damaged or of another schema."""
        try:
            return FORMAT.read(gallery / MANIFEST)
        except GalleryError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            captions = next(gallery.glob("blocks/*/captions.jsonl"), None)
            if not captions and not is_gallery(gallery):
                raise
            fix = repair_command(gallery) if captions else repair_gallery_command(gallery)
            raise GalleryError(f"the gallery {gallery} has lost its {MANIFEST}: {fix}") from error

    def save(self, gallery: Path) -> None:
        """Replace the gallery's manifest."""
        FORMAT.save(gallery / MANIFEST, self)

    def as_dict(self) -> dict[str, Any]:
        """All fields by name; without an index of written words, as older galleries have it."""
        return {name: value for name, value in super().as_dict().items() if value or name != "written"}

    def validate(self) -> None:
        """Arrays have names that can be files', blocks are sound and have different names."""
        demand(self.dtype in GALLERY_DTYPES, f"its dtype is none of {', '.join(GALLERY_DTYPES)}")
        demand(self.centroids == "" or _is_checksum(self.centroids), "its centroids have no checksum")
        demand(_WRITTEN.fullmatch(self.written) is not None, "it names no index of written words")
        for name in self.arrays:
            # The name becomes a file's.
            plain = 0 < len(name) <= 200 and not set(name) & set("/\\\0")
            demand(plain, f"the array name '{name}' has a slash, is empty or is too long")
        demand(len(self.arrays.get("region_mask", (1,))) == 1, "the region mask is not one row an image")
        for block in self.blocks:
            block.validate()
        demand(len({block.name for block in self.blocks}) == len(self.blocks), "a block is named twice")


def unreadable(gallery: Path, fault: GalleryError, is_named: Callable[[GalleryManifest], bool]) -> GalleryError:
    """What to raise for a file that cannot be read: `fault`, or GalleryChangedError if no manifest names it any more.

    `is_named` tells whether a manifest names the file.
    """
    try:
        if is_named(GalleryManifest.load(gallery)):
            return fault
    except GalleryError:
        return fault
    return GalleryChangedError(
        f"other programs have changed the gallery {gallery} while it was read: run the command again"
    )


def _refuse_others(fields: Mapping[str, Any], gallery: Path) -> None:
    if "parity" in fields:
        raise GalleryError(f"{gallery} is a bundle, not a gallery: name a gallery here, and the bundle with --model")
    if fields.get("kind") == CAPTIONS_KIND:
        raise GalleryError(f"{gallery} is a gallery of captions, not of photos: search it with a photo alone (--image)")


FORMAT = Format(
    fields=GalleryManifest,
    error=GalleryError,
    holder="the gallery {place}",
    missing="there is no gallery at {place}: make one with `shan-engine index`",
    damaged="{path} is damaged or not a gallery's ({fault}): {fix}",
    fix=repair_gallery_command,
    remake="index the store into a new gallery with `shan-engine index`",
    version=SCHEMA_VERSION,
    refuse=_refuse_others,
)


def is_gallery(folder: Path) -> bool:
    """Whether a folder has a manifest, or blocks of photos, before the first of which `index` writes a manifest."""
    blocks = (file.parent.name for file in folder.glob("blocks/*/images.jsonl"))
    return (folder / MANIFEST).exists() or any(map(is_block_name, blocks))


def is_block_name(name: str) -> bool:
    """Whether a folder below `blocks` can be a block: 12 hexadecimal characters."""
    return _BLOCK_NAME.fullmatch(name) is not None


def _is_checksum(value: str) -> bool:
    return _CHECKSUM.fullmatch(value) is not None


def check_same_bundle(path: Path, manifest: GalleryManifest, bundle: Bundle) -> None:
    """Raise GalleryError where a gallery was not made by `bundle`."""
    if manifest.fingerprint != bundle.manifest.fingerprint:
        raise GalleryError(
            f"the gallery {path} was made by bundle {manifest.fingerprint[:12]}, not by {bundle.path} "
            f"({bundle.manifest.fingerprint[:12]}): name the bundle that made it with --model (or in SHAN_MODEL), "
            f"or run `shan-engine index STORE --model {bundle.path} --output NEW`"
        )
