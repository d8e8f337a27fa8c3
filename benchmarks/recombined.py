"""Galleries of photos that are recombined of a real gallery's, seeded: regions of two photos each, jittered."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from shan_engine.base.packing import Arrays, map_npy
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.manifest import BlockEntry, GalleryManifest
from shan_engine.gallery.pooled import POOLED, POOLED_SCALES
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import READ_WHOLE, file_checksum, layout, packed, row_checksums
from shan_engine.indexing.block_writer import Encoded, write_block
from shan_engine.indexing.images import BLOCK_IMAGES
from shan_engine.kernel.constants import MASK, REGIONS
from shan_engine.locate import demo_bundle

Floats = NDArray[np.float32]
SWAPPED = 0.3  # share of an image's regions that come from a second photo
NOISE = 0.5  # length of the jitter beside a region's length 1: cosine about 0.89
PART = 256


def make_gallery(original: Path | None, images: int, output: Path, storage: str, planted: Container[str] = ()) -> None:
    """A gallery of `images` photos recombined of those of another, by default of the demo's.

    Those of the other that are `planted` are not recombined: they are added as they are.
    """
    source = Gallery.open(original or demo_bundle().parent / "gallery")
    arrays, real, own = held_by(source, planted)
    manifest = replace(source.manifest, dtype=storage, blocks=(), centroids="")
    output.mkdir(parents=True)
    entries, began = [], time.perf_counter()
    for start in range(0, images, BLOCK_IMAGES):
        count = min(BLOCK_IMAGES, images - start)
        entries.append(write_block(output, manifest, count, _recombined(arrays, start, count), pooled=True))
        print(f"{start + count:,} images, {time.perf_counter() - began:.0f} s", flush=True)
    if own:
        boxes = np.full((*real[MASK].shape, 4), np.nan, np.float32)
        entries.append(write_block(output, manifest, len(own), [(real, boxes, own)], pooled=True))
    replace(manifest, blocks=tuple(entries)).save(output)


def held_by(source: Gallery, planted: Container[str]) -> tuple[Arrays, Arrays, list[GalleryImage]]:
    """Arrays of a gallery's photos that are recombined: those with all regions. Then arrays and ids of planted ones."""
    blocks = [block.rows_of(np.arange(len(block))) for block in source.blocks]
    arrays = {name: np.concatenate([block[name] for block in blocks]) for name in source.manifest.arrays}
    rows = [GalleryImage(id, "", 0, 0, 0) for id in source.ids()]
    added = np.array([row.id in planted for row in rows])
    recombined = arrays[MASK].all(axis=1) & ~added
    own = [row for row, is_planted in zip(rows, added, strict=True) if is_planted]
    real = {name: array[added] for name, array in arrays.items()}
    return {name: array[recombined] for name, array in arrays.items()}, real, own


def _drawn(photos: int, size: int, K: int, random: np.random.Generator) -> tuple[Any, Any, NDArray[np.bool_]]:
    """For each of `size` images, the photo with most of its regions, another, and which of the K come from that."""
    one, other = random.integers(photos, size=(2, size))
    return one, other, random.random((size, K)) < SWAPPED


def _recombined(held: Arrays, start: int, count: int) -> Iterator[Encoded]:
    """Images of regions recombined; what else a gallery stores is that of the photo with most of the regions."""
    regions: Floats = held[REGIONS].astype(np.float32, copy=False)
    _, K, D = regions.shape
    for first in range(start, start + count, PART):
        size = min(PART, start + count - first)
        random = np.random.default_rng((0, first))
        one, other, swapped = _drawn(len(regions), size, K, random)
        made = np.where(swapped[:, :, None], regions[other], regions[one])
        made = made + random.standard_normal(made.shape, np.float32) * np.float32(NOISE / D**0.5)
        made /= np.linalg.norm(made, axis=2, keepdims=True)
        images = [GalleryImage(f"image{number}", "", 0, 0, 0) for number in range(first, first + size)]
        kept = {name: array[one] for name, array in held.items() if name != REGIONS}
        yield {**kept, REGIONS: made}, np.full((size, K, 4), np.nan, np.float32), images


def with_other_vectors(gallery: Path, manifest: GalleryManifest, begin: int, held: Arrays) -> GalleryManifest:
    """Give a gallery's images from block `begin` on what a first pass reads of images recombined anew.

    Their mean regions are drawn as those of recombined images, without making regions. Their own regions stay: they may
    be links, the other files are written anew. The manifest is returned and not saved.
    """
    entries, began = list(manifest.blocks), time.perf_counter()
    for number, entry in enumerate(entries[begin:], begin):
        random = np.random.default_rng((1, number))
        parts = [_first_pass(held, min(PART, entry.images - start), random, manifest.dtype)
                 for start in range(0, entry.images, PART)]  # fmt: skip
        made = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        entries[number] = _rewritten(gallery / "blocks" / entry.name, entry, manifest, made)
        done = sum(one.images for one in entries[begin : number + 1])
        print(f"{done:,} images, {time.perf_counter() - began:.0f} s", flush=True)
    return replace(manifest, blocks=tuple(entries))


def _first_pass(held: Arrays, size: int, random: np.random.Generator, dtype: str) -> Arrays:
    """What a first pass reads of some images recombined, by file."""
    regions: Floats = held[REGIONS]
    _, K, D = regions.shape
    one, other, swapped = _drawn(len(regions), size, K, random)
    means = regions[np.where(swapped, other[:, None], one[:, None]), np.arange(K)].mean(axis=1)
    means += random.standard_normal(means.shape, np.float32) * np.float32(NOISE / (D * K) ** 0.5)
    means /= np.float32((1 + NOISE**2) ** 0.5)
    found: Arrays = {}
    for name in READ_WHOLE:
        if name in held and name != MASK:
            found |= packed(name, held[name][one], dtype)
    pooled = packed(POOLED, means, "int8")
    return found | {POOLED: pooled[POOLED], POOLED_SCALES: pooled[f"{POOLED}.scales"]}


def _rewritten(folder: Path, entry: BlockEntry, manifest: GalleryManifest, made: Arrays) -> BlockEntry:
    """Write some files of a block anew, with the checksums that depend on them."""
    files = []
    for name, (dtype, shape) in layout(manifest.arrays, manifest.dtype).items():
        mapped = map_npy(folder / f"{name}.npy", dtype, (entry.images, *shape))
        assert mapped is not None
        files.append(made.get(name, mapped[1]))
    made = {**made, "rows": row_checksums(files, range(entry.images))}
    for name, array in made.items():
        path = folder / f"{name}.npy"
        path.unlink()  # it may be a link
        np.save(path, array)
    checksums = {file: file_checksum(folder / file) for name in made if (file := f"{name}.npy") in entry.files}
    return replace(entry, files={**entry.files, **checksums})
