"""A gallery's manifest: what its arrays look like, which blocks count and which of their rows do not."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shan_engine.base.choices import GALLERY_DTYPES
from shan_engine.base.errors import GalleryError, unread
from shan_engine.base.manifests import demand, digest, other_schema, save_manifest
from shan_engine.bundle.contents import Bundle

SCHEMA_VERSION = 2
MANIFEST = "manifest.json"
CAPTIONS_KIND = "captions"  # what a gallery of captions says of itself (gallery/captions.py)
_BLOCK_NAME = re.compile("[0-9a-f]{12}")
_CHECKSUM = re.compile("[0-9a-f]{16}")
_FILE_NAME = re.compile("[a-z0-9_-]+[.](npy|jsonl|sqlite)")


@dataclass(frozen=True)
class BlockEntry:
    """A block in the manifest: images in it, the rows that no longer count, checksums of files read whole."""

    name: str
    images: int
    deleted: tuple[int, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def live(self) -> int:
        """Images that count."""
        return self.images - len(self.deleted)


@dataclass(frozen=True)
class GalleryManifest:
    """What a gallery holds; `arrays` maps an array's name to its shape per image.

    `centroids` is the checksum of the centroids that its blocks' codes are numbers of; empty where it has none.
    """

    fingerprint: str
    feature_extractor: str
    dtype: str
    arrays: dict[str, tuple[int, ...]]
    blocks: tuple[BlockEntry, ...] = field(default=())
    centroids: str = ""
    version: int = SCHEMA_VERSION

    def save(self, gallery: Path) -> None:
        """Replace the gallery's manifest, a digest of all fields with it."""
        save_manifest(gallery / MANIFEST, asdict(self), indent=1)

    @classmethod
    def load(cls, gallery: Path) -> GalleryManifest:
        """Raises GalleryError where it is missing, damaged or of a newer schema."""
        path = gallery / MANIFEST
        try:
            data = json.loads(path.read_text("utf-8"))
            demand(type(data) is dict and type(data.get("version")) is int, "it has no version")
            if data["version"] == SCHEMA_VERSION and data.get("kind") != CAPTIONS_KIND:
                return _checked(data)
        except OSError as error:
            missing = f"there is no gallery at {gallery}: make one with `shan-engine index`"
            raise GalleryError(unread(path, error, missing)) from error
        except (ValueError, RecursionError) as error:
            raise GalleryError(
                f"{path} is damaged or not a gallery's ({error}): index the store into a new gallery"
            ) from error
        if data.get("kind") == CAPTIONS_KIND:
            raise GalleryError(
                f"{gallery} is a gallery of captions, not of photos: search it with a photo alone (--image)"
            )
        schema = other_schema(data["version"], SCHEMA_VERSION, "index the store into a new gallery")
        raise GalleryError(f"the gallery {gallery} has {schema}")


def is_block_name(name: str) -> bool:
    """Whether a folder below `blocks` can be a block: 12 hexadecimal characters."""
    return _BLOCK_NAME.fullmatch(name) is not None


def _checked(data: dict[str, Any]) -> GalleryManifest:
    names = {*GalleryManifest.__dataclass_fields__, "digest"}
    demand(data.keys() == names, f"its fields are not {', '.join(sorted(names))}")
    for name in ("fingerprint", "feature_extractor"):
        demand(type(data[name]) is str, f"its {name} is not a string")
    demand(data["dtype"] in GALLERY_DTYPES, f"its dtype is none of {', '.join(GALLERY_DTYPES)}")
    centroids = data["centroids"]
    demand(centroids == "" or _is_checksum(centroids), "its centroids have no checksum")
    arrays, blocks = data["arrays"], data["blocks"]
    demand(type(arrays) is dict and len(arrays) > 0, "it names no arrays")
    for name, shape in arrays.items():
        # The name becomes a file's.
        demand(bool(name) and not set(name) & set("/\\\0"), f"the array name '{name}' has a slash or is empty")
        demand(type(shape) is list and _integers(shape, 1, math.inf), f"the array '{name}' has no shape")
    demand(len(arrays.get("region_mask", [1])) == 1, "the region mask is not one row an image")
    demand(type(blocks) is list, "it has no list of blocks")
    for number, block in enumerate(blocks, 1):
        _check_block(block, f"block {number}")
    demand(len({block["name"] for block in blocks}) == len(blocks), "a block is named twice")
    fields = {name: value for name, value in data.items() if name != "digest"}
    demand(data["digest"] == digest(fields), "its fields are not those that were written")
    return GalleryManifest(
        data["fingerprint"],
        data["feature_extractor"],
        data["dtype"],
        {name: tuple(shape) for name, shape in arrays.items()},
        tuple(BlockEntry(**{**block, "deleted": tuple(block["deleted"])}) for block in blocks),
        centroids,
        data["version"],
    )


def _check_block(block: Any, what: str) -> None:
    demand(type(block) is dict and block.keys() == BlockEntry.__dataclass_fields__.keys(), f"{what} is no block")
    name, images, deleted = block["name"], block["images"], block["deleted"]
    demand(type(name) is str and is_block_name(name), f"{what} is not named by 12 hexadecimal characters")
    demand(_integers([images], 0, math.inf), f"{what} has no number of images")
    demand(
        type(deleted) is list and _integers(deleted, 0, images) and len(set(deleted)) == len(deleted),
        f"{what} has deleted rows that are not its own",
    )
    demand(type(block["files"]) is dict, f"{what} has no list of files")
    for file, checksum in block["files"].items():
        # The name becomes a file's.
        demand(_FILE_NAME.fullmatch(file) is not None, f"{what} names the file {file!r}")
        demand(_is_checksum(checksum), f"the file {file} of {what} has no checksum")


def _is_checksum(value: Any) -> bool:
    return type(value) is str and _CHECKSUM.fullmatch(value) is not None


def _integers(values: list[Any], least: int, end: float) -> bool:
    return all(type(value) is int and least <= value < end for value in values)


def check_same_bundle(path: Path, manifest: GalleryManifest, bundle: Bundle) -> None:
    """Raise GalleryError where a gallery was not made by `bundle`."""
    if manifest.fingerprint != bundle.manifest.fingerprint:
        raise GalleryError(
            f"the gallery {path} was made by bundle {manifest.fingerprint[:12]}, not by {bundle.path} "
            f"({bundle.manifest.fingerprint[:12]}): name the bundle that made it with --model (or in SHAN_MODEL), "
            f"or run `shan-engine index STORE --model {bundle.path} --output NEW`"
        )
