"""A gallery's manifest: what its arrays look like, which blocks count and which of their rows do not."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import GalleryError
from .fields import DTYPES, demand
from .files import replacing

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_BLOCK_NAME = re.compile("[0-9a-f]{12}")


@dataclass(frozen=True)
class BlockEntry:
    """A block in the manifest: images in it, and the rows that no longer count."""

    name: str
    images: int
    deleted: tuple[int, ...] = ()

    @property
    def live(self) -> int:
        """Images that count."""
        return self.images - len(self.deleted)


@dataclass(frozen=True)
class GalleryManifest:
    """What a gallery holds; `arrays` maps an array's name to its shape per image."""

    fingerprint: str
    feature_extractor: str
    dtype: str
    arrays: dict[str, tuple[int, ...]]
    blocks: tuple[BlockEntry, ...] = field(default=())
    version: int = SCHEMA_VERSION

    def save(self, gallery: Path) -> None:
        """Replace the gallery's manifest."""
        with replacing(gallery / MANIFEST) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, gallery: Path) -> GalleryManifest:
        """Raises GalleryError where it is missing, damaged or of a newer schema."""
        path = gallery / MANIFEST
        try:
            data = json.loads(path.read_text("utf-8"))
            demand(type(data) is dict and type(data.get("version")) is int, "it has no version")
            if data["version"] <= SCHEMA_VERSION:
                return _checked(data)
        except OSError as error:
            raise GalleryError(f"there is no gallery at {gallery}: make one with `shan-engine index`") from error
        except (ValueError, RecursionError) as error:
            raise GalleryError(
                f"{path} is damaged or not a gallery's ({error}): index the store into a new gallery"
            ) from error
        raise GalleryError(
            f"the gallery {gallery} has schema {data['version']}, newer than {SCHEMA_VERSION}: upgrade shan-engine"
        )


def is_block_name(name: str) -> bool:
    """Whether a folder below `blocks` can be a block: 12 hexadecimal characters."""
    return _BLOCK_NAME.fullmatch(name) is not None


def _checked(data: dict[str, Any]) -> GalleryManifest:
    fields = {"fingerprint", "feature_extractor", "dtype", "arrays", "blocks", "version"}
    demand(data.keys() == fields, f"its fields are not {', '.join(sorted(fields))}")
    for name in ("fingerprint", "feature_extractor"):
        demand(type(data[name]) is str, f"its {name} is not a string")
    demand(data["dtype"] in DTYPES, "its dtype is neither float32 nor float16")
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
    return GalleryManifest(
        data["fingerprint"],
        data["feature_extractor"],
        data["dtype"],
        {name: tuple(shape) for name, shape in arrays.items()},
        tuple(BlockEntry(block["name"], block["images"], tuple(block["deleted"])) for block in blocks),
        data["version"],
    )


def _check_block(block: Any, what: str) -> None:
    demand(type(block) is dict and block.keys() == {"name", "images", "deleted"}, f"{what} is no block")
    name, images, deleted = block["name"], block["images"], block["deleted"]
    demand(type(name) is str and is_block_name(name), f"{what} is not named by 12 hexadecimal characters")
    demand(_integers([images], 0, math.inf), f"{what} has no number of images")
    demand(
        type(deleted) is list and _integers(deleted, 0, images) and len(set(deleted)) == len(deleted),
        f"{what} has deleted rows that are not its own",
    )


def _integers(values: list[Any], least: int, end: float) -> bool:
    return all(type(value) is int and least <= value < end for value in values)
