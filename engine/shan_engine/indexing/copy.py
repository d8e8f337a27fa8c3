"""Split and merge galleries: rows of blocks are copied unchanged, with their checksums."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.base.files import fresh_folder
from shan_engine.bundle.kept import copy_kept
from shan_engine.gallery.block_files import LIST
from shan_engine.gallery.blocks import Block
from shan_engine.gallery.filters import column_types, metadata_held
from shan_engine.gallery.manifest import BlockEntry
from shan_engine.gallery.pooled import FROM_IMAGES
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.block_writer import finish_block, new_block
from shan_engine.indexing.encoding import relative_path
from shan_engine.indexing.images import BLOCK_IMAGES
from shan_engine.indexing.querybank import Querybank, refuse_unlike
from shan_engine.indexing.written import copy_written
from shan_engine.kernel.constants import MASK, REGIONS

Piece = tuple[Block, NDArray[np.int64]]
"""A block, and places of images among those of it that are not deleted."""


COPIED_TOGETHER = 256  # images


def split_gallery(gallery: Gallery, parts: int, output: Path) -> list[Path]:
    """Split a gallery in order into `parts` galleries of nearly equal size, `output`/part-000 and so on.

    Raises InputError for fewer than 1 part or more parts than images, an existing `output`, or a full disk;
    GalleryError for a damaged image. A failed split leaves nothing behind.
    """
    if not 1 <= parts <= len(gallery):
        raise InputError(
            f"the gallery {gallery.path} has {len(gallery):,} images: choose between 1 and that many parts"
        )
    edges = np.linspace(0, len(gallery), parts + 1).astype(np.int64).tolist()
    names = [f"part-{number:03d}" for number in range(parts)]
    with fresh_folder(output) as folder:
        for name, (begin, end) in zip(names, pairwise(edges), strict=True):
            (folder / name).mkdir()
            _write([gallery], folder / name, output, begin, end, pooled=gallery.manifest.staged)
    return [output / name for name in names]


def merge_galleries(galleries: Sequence[Gallery], output: Path, *, staged_from: int = FROM_IMAGES) -> Gallery:
    """Merge galleries, one after another, into a new one.

    They must share bundle, storage and size, and have no image twice. If one of them is searched in stages, or together
    they have at least `staged_from` images, the new one is, too. Raises InputError, naming what differs, and the errors
    of `split_gallery`.
    """
    if not galleries:
        raise InputError("there is nothing to merge: name at least one gallery")
    refuse_unlike(galleries)
    _refuse_different(galleries)
    images = sum(map(len, galleries))
    manifest = galleries[0].manifest
    large = images >= staged_from and {REGIONS, MASK} <= manifest.arrays.keys()
    pooled = large or any(gallery.manifest.staged for gallery in galleries)
    with fresh_folder(output) as folder:
        _write(galleries, folder, output.parent, 0, images, pooled=pooled)
    return Gallery.open(output)


def _refuse_different(galleries: Sequence[Gallery]) -> None:
    first = galleries[0]
    seen: dict[str, Path] = {}
    for gallery in galleries:
        for name, what in (
            ("fingerprint", "bundle"),
            ("feature_extractor", "extractor"),
            ("dtype", "storage"),
            ("arrays", "size"),
        ):
            one, other = (getattr(each.manifest, name) for each in (first, gallery))
            if one != other:
                raise InputError(
                    f"the galleries {first.path} and {gallery.path} differ in {what} ({one}, {other}): index "
                    "their stores alike"
                )
        for id in gallery.ids():
            if id in seen:
                raise InputError(f"the image '{id}' is in {seen[id]} and in {gallery.path}: leave one of them out")
            seen[id] = gallery.path


def _pieces(galleries: Sequence[Gallery], begin: int, end: int) -> Iterator[Piece]:
    """The images `begin` to `end` (exclusive) of all galleries' images, in order."""
    place = 0
    for block in (block for gallery in galleries for block in gallery.blocks):
        rows = np.arange(max(begin - place, 0), min(end - place, len(block)))
        if len(rows):
            yield block, rows
        place += len(block)


def _blocks(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    """Group pieces into new blocks: each block is full, except perhaps the last."""
    held: list[Piece] = []
    room = BLOCK_IMAGES
    for block, rows in pieces:
        while len(rows):
            held.append((block, rows[:room]))
            room -= len(held[-1][1])
            rows = rows[len(held[-1][1]) :]
            if not room:
                yield held
                held, room = [], BLOCK_IMAGES
    if held:
        yield held


def _write(galleries: Sequence[Gallery], folder: Path, beside: Path, begin: int, end: int, *, pooled: bool) -> None:
    """Write a gallery of the given images; paths of photos below `beside`, its final place, are relative to that."""
    manifest, beside, types = galleries[0].manifest, beside.resolve(), column_types(galleries)
    before = list(_blocks(_pieces(galleries, begin, end)))
    entries = tuple(_write_block(folder, beside, held, types, pooled) for held in before)
    if bank := Querybank.of_gallery(galleries[0]):
        bank.save(folder)
    copy_kept(galleries[0].path, folder, manifest.fingerprint)
    rows = {
        entry.name: [(block.name, int(block.rows[place])) for block, places in held for place in places]
        for entry, held in zip(entries, before, strict=True)
    }
    copy_written(galleries, folder, replace(manifest, blocks=entries, centroids=""), rows).save(folder)


def _write_block(
    folder: Path, beside: Path, pieces: Sequence[Piece], types: Mapping[str, str], pooled: bool
) -> BlockEntry:
    images, listed = sum(len(rows) for _, rows in pieces), []
    with new_block(folder, images, LIST) as copy:
        for block, rows in pieces:
            for start in range(0, len(rows), COPIED_TOGETHER):
                some = rows[start : start + COPIED_TOGETHER]
                held = block.images_at(some.tolist())
                moved = [dataclasses.replace(image, path=relative_path(image.path, beside)) for image in held]
                lines = [dataclasses.asdict(image) for image in moved]
                copy.append(block.raw(some, pooled=pooled), lines)
                listed.extend(lines)
            block.release()
        metadata = metadata_held(((block, rows.tolist()) for block, rows in pieces), types) if types else None
        return finish_block(copy, images, enumerate(listed), metadata)


def gallery_facts(gallery: Gallery) -> dict[str, Any]:
    """Facts about a gallery, by name."""
    manifest = gallery.manifest
    return {
        "gallery": str(gallery.path),
        "images": len(gallery),
        "deleted_rows": sum(len(entry.deleted) for entry in manifest.blocks),
        "blocks": len(manifest.blocks),
        "bytes": sum(file.stat().st_size for file in gallery.path.rglob("*") if file.is_file()),
        "storage": manifest.dtype,
        "arrays": {name: list(shape) for name, shape in manifest.arrays.items()},
        "bundle": manifest.fingerprint,
        "feature_extractor": manifest.feature_extractor,
        "searched_in_steps": manifest.staged,
        "normalised_by_captions": len(bank.captions) if (bank := Querybank.of_gallery(gallery)) else 0,
    }
