"""A feature store into a gallery: encode what is new or changed, drop what is gone."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from .errors import GalleryError, InputError
from .files import NpyWriter, write_failure
from .gallery import BlockEntry, Gallery, GalleryImage, GalleryManifest, check_same_bundle
from .records import RegionRecord, pad_regions
from .scoring import Scorer
from .store import FeatureStore

BLOCK_IMAGES = 2048
ENCODE_BATCH = 32


@dataclass(frozen=True)
class IndexResult:
    """What a run did, in images."""

    added: int
    removed: int
    unchanged: int


def index_store(
    store: FeatureStore,
    scorer: Scorer,
    output: Path,
    *,
    dtype: str = "float32",
    on_start: Callable[[int], None] = lambda total: None,
    on_images: Callable[[int], None] = lambda done: None,
) -> IndexResult:
    """Make the gallery `output`, or bring it up to date with `store`; `dtype` float32 or float16.

    Interrupted, it keeps the blocks that were complete. Raises GalleryError where the gallery belongs to
    another bundle or is being written, InputError where the store's features do not fit the bundle.
    """
    _check_features(store, scorer)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with FileLock(output / "writer.lock", timeout=0):
            return _update(store, scorer, output, dtype, on_start, on_images)
    except Timeout as error:
        raise GalleryError(f"another process is writing the gallery {output}: wait for it and run again") from error
    except OSError as error:
        raise GalleryError(write_failure(output, error)) from error


def _check_features(store: FeatureStore, scorer: Scorer) -> None:
    manifest = scorer.bundle.manifest
    if store.feature_dim != manifest.feature_dim:
        raise InputError(
            f"the store {store.path} has features of size {store.feature_dim} ({store.schema.feature_extractor}), "
            f"the bundle {scorer.bundle.path} expects {manifest.feature_dim} ({manifest.feature_extractor}): "
            "extract with the bundle's extractor"
        )
    expected = manifest.feature_extractor
    if expected is not None and expected != store.schema.feature_extractor:
        raise InputError(
            f"the store {store.path} holds features of '{store.schema.feature_extractor}', the bundle "
            f"{scorer.bundle.path} was trained on '{expected}': extract with the bundle's extractor"
        )


def _update(
    store: FeatureStore,
    scorer: Scorer,
    output: Path,
    dtype: str,
    on_start: Callable[[int], None],
    on_images: Callable[[int], None],
) -> IndexResult:
    infos = store.infos()
    if not infos:
        raise InputError(f"the store {store.path} is empty: extract or import some images first")
    manifest = _manifest(store, scorer, output, dtype, max(info.regions for info in infos))
    wanted = {info.id: info.checksum for info in infos}
    gallery = Gallery(output, manifest)
    held: set[str] = set()
    entries: list[BlockEntry] = []
    removed = 0
    for entry, block in zip(manifest.blocks, gallery.blocks, strict=True):
        stale = [
            row for row, image in zip(block.rows, block.images, strict=True) if wanted.get(image.id) != image.checksum
        ]
        held.update(image.id for image in block.images if wanted.get(image.id) == image.checksum)
        removed += len(stale)
        entries.append(replace(entry, deleted=tuple(sorted({*entry.deleted, *(int(row) for row in stale)}))))
    # Small and half-deleted blocks are encoded anew with what comes, so that blocks stay few and full.
    new = [info.id for info in infos if info.id not in held]
    refill: list[str] = []
    keep = []
    for entry, block in zip(entries, gallery.blocks, strict=True):
        if entry.live == 0 or (entry.live < BLOCK_IMAGES // 2 and (new or entry.deleted)):
            refill += [image.id for image in block.images if wanted.get(image.id) == image.checksum]
        else:
            keep.append(entry)
    order = {info.id: place for place, info in enumerate(infos)}
    todo = sorted([*refill, *new], key=order.__getitem__)
    on_start(len(todo))
    replaced = [entry for entry in entries if entry not in keep]
    for start in range(0, len(todo), BLOCK_IMAGES):

        def report(done: int, start: int = start) -> None:
            on_images(start + done)

        keep.append(_write_block(store, scorer, output, manifest, todo[start : start + BLOCK_IMAGES], wanted, report))
        if not replaced:
            replace(manifest, blocks=tuple(keep)).save(output)
    replace(manifest, blocks=tuple(keep)).save(output)
    _remove_orphans(output, keep)
    return IndexResult(len(new), removed, len(held))


def _manifest(store: FeatureStore, scorer: Scorer, output: Path, dtype: str, regions: int) -> GalleryManifest:
    if (output / "manifest.json").exists():
        manifest = GalleryManifest.load(output)
        check_same_bundle(output, manifest, scorer.bundle)
        return manifest
    if dtype not in ("float32", "float16"):
        raise InputError(f"a gallery cannot hold {dtype}: choose float32 or float16")
    return GalleryManifest(
        scorer.bundle.manifest.fingerprint,
        store.schema.feature_extractor,
        dtype,
        scorer.image_array_shapes(regions),
    )


def _write_block(
    store: FeatureStore,
    scorer: Scorer,
    output: Path,
    manifest: GalleryManifest,
    ids: Sequence[str],
    checksums: Mapping[str, int],
    on_images: Callable[[int], None],
) -> BlockEntry:
    name = uuid.uuid4().hex[:12]
    folder = output / "blocks" / name
    regions = manifest.arrays["region_mask"][0]
    try:
        folder.mkdir(parents=True)
        with ExitStack() as stack:
            files = {
                array: stack.enter_context(
                    NpyWriter(
                        folder / f"{array}.npy",
                        (len(ids), *shape),
                        np.bool_ if array == "region_mask" else manifest.dtype,
                    )
                )
                for array, shape in manifest.arrays.items()
            }
            boxes = stack.enter_context(NpyWriter(folder / "boxes.npy", (len(ids), regions, 4), np.float32))
            lines = stack.enter_context((folder / "images.jsonl").open("w", encoding="utf-8"))
            for start in range(0, len(ids), ENCODE_BATCH):
                records = store.read(ids[start : start + ENCODE_BATCH])
                for array, values in scorer.encode_images(*pad_to(records, regions)).items():
                    files[array].append(values)
                boxes.append(_boxes(records, regions))
                for record in records:
                    path = _relative(record.path, output.resolve().parent)
                    image = GalleryImage(record.id, path, record.width, record.height, checksums[record.id])
                    lines.write(json.dumps(asdict(image), ensure_ascii=False) + "\n")
                on_images(start + len(records))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return BlockEntry(name, len(ids))


def _relative(path: str, beside: Path) -> str:
    return str(Path(path).relative_to(beside)) if path and Path(path).is_relative_to(beside) else path


def _boxes(records: Sequence[RegionRecord], regions: int) -> NDArray[np.float32]:
    boxes = np.full((len(records), regions, 4), np.nan, np.float32)
    for row, record in enumerate(records):
        if record.boxes is not None:
            boxes[row, : len(record.boxes)] = record.boxes
    return boxes


def pad_to(records: Sequence[RegionRecord], regions: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features B x regions x F and mask B x regions. Raises InputError for an image with more regions."""
    features, mask = pad_regions(records)
    if features.shape[1] > regions:
        raise InputError(
            f"an image of this batch has {features.shape[1]} regions, the gallery's images have at most {regions}: "
            "index the store into a new gallery"
        )
    extra: list[Any] = [(0, 0), (0, regions - features.shape[1])]
    return np.pad(features, [*extra, (0, 0)]), np.pad(mask, extra)


def _remove_orphans(output: Path, entries: Sequence[BlockEntry]) -> None:
    names = {entry.name for entry in entries}
    for folder in (output / "blocks").iterdir():
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
