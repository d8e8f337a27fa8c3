"""Remake a gallery for another bundle beside the old one, which stays searchable until the two are swapped.

The new gallery grows in the folder `GALLERY.new`, as any gallery does: a run that was stopped goes on from its complete
blocks. At the end its files move into the gallery's folder, and one rename of the manifest makes them count.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shan_engine.base.errors import GalleryError, InputError
from shan_engine.base.files import sync_names, write_failure
from shan_engine.base.locks import LOCK, hold_lock
from shan_engine.bundle.kept import copy_kept
from shan_engine.gallery.manifest import MANIFEST, GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.storage import HUBNESS
from shan_engine.gallery.written_format import written_path
from shan_engine.indexing.encoding import ENCODE_BATCH, array_shapes, encoded
from shan_engine.indexing.images import DEFAULT_SIZES, BlockSizes, IndexResult, index_store
from shan_engine.indexing.querybank import ImageHubness, Querybank
from shan_engine.indexing.refusals import check_features, refuse_all_other
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.photo_query import QueryPhoto, open_extractor
from shan_engine.search.tuning import TUNING
from shan_engine.store.feature_store import FeatureStore

MEASURED_PHOTOS = 4


@dataclass(frozen=True)
class Estimate:
    """How many images are left to encode, and for how many seconds."""

    images: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.images:,} images to encode, in about {duration(self.seconds)}"


def remake_gallery(
    store: FeatureStore,
    scorer: Scorer,
    gallery: Path,
    *,
    dtype: str | None = None,
    querybank: Querybank | None = None,
    replace_all: bool = False,
    sizes: BlockSizes = DEFAULT_SIZES,
    on_estimate: Callable[[Estimate], None] = lambda estimate: None,
    on_start: Callable[[int], None] = lambda total: None,
    on_images: Callable[[int], None] = lambda done: None,
) -> IndexResult:
    """Index `store` with the scorer's bundle beside a gallery that another bundle made, then swap the two.

    A gallery that the bundle made is brought up to date. Storage and querybank stay, unless `dtype` or `querybank`
    name others. `on_estimate` is called before the work. Everything else, and the errors, are as for `index_store`.
    Where the store's features are of another extractor than the bundle's, the InputError says how long it takes to
    extract the photos again.
    """
    gallery = gallery.resolve()
    fresh = gallery.parent / f"{gallery.name}.new"
    options: dict[str, Any] = {"replace_all": replace_all, "sizes": sizes, "on_start": on_start, "on_images": on_images}
    if GalleryManifest.load(gallery).fingerprint == scorer.bundle.manifest.fingerprint:
        if (fresh / MANIFEST).exists():  # of a run that was killed right after the swap
            GalleryManifest.load(fresh)
            shutil.rmtree(fresh)
        return index_store(store, scorer, gallery, dtype=dtype, querybank=querybank, **options)
    _refuse_other_features(store, scorer, gallery)
    busy = GalleryError(f"another process is writing the gallery {gallery}: wait for it and run again")
    try:
        with hold_lock(gallery / LOCK, busy):
            held = GalleryManifest.load(gallery)
            bank = Querybank.of_gallery(Gallery(gallery, held))
            if bank and querybank not in (None, bank):
                raise InputError(
                    f"the gallery {gallery} is normalised by another querybank: leave --querybank out, or index into "
                    "a new gallery"
                )
            bank = bank or querybank
            wanted = {info.id: info.checksum for info in store.infos()}
            if not replace_all:
                refuse_all_other(gallery, held, store, wanted)
            done = _go_on(gallery, fresh, scorer)
            hubness = ImageHubness(scorer, bank)
            left = max(0, len(wanted) - done)
            on_estimate(_estimate(store, scorer, sorted(wanted), hubness, left=left, beside=fresh))
            kept = dtype or held.dtype
            result = index_store(store, scorer, fresh, dtype=kept, querybank=bank, hubness=hubness, **options)
            _swap(gallery, fresh)
            return result
    except OSError as error:
        raise GalleryError(write_failure(gallery, error)) from error


def _go_on(gallery: Path, fresh: Path, scorer: Scorer) -> int:
    """Bring back what a stopped run left in `fresh`, and return how many images it has.

    What a run for another bundle left is deleted. A run that was killed during the swap has moved some blocks.
    """
    if not (fresh / MANIFEST).exists():
        return 0
    manifest = GalleryManifest.load(fresh)
    if manifest.fingerprint != scorer.bundle.manifest.fingerprint:
        shutil.rmtree(fresh)
        return 0
    for entry in manifest.blocks:
        place, moved = (folder / "blocks" / entry.name for folder in (fresh, gallery))
        if moved.exists() and not place.exists():
            moved.rename(place)
    # An `index` of the old gallery in between has deleted what was moved: it is encoded again.
    blocks = tuple(entry for entry in manifest.blocks if (fresh / "blocks" / entry.name).exists())
    if blocks != manifest.blocks:
        replace(manifest, blocks=blocks).save(fresh)
    return sum(entry.live for entry in blocks)


def _swap(gallery: Path, fresh: Path) -> None:
    """Move the new gallery's files into the old one's folder; its manifest comes last and makes them count."""
    manifest = GalleryManifest.load(fresh)
    (gallery / "blocks").mkdir(exist_ok=True)
    copy_kept(fresh, gallery, manifest.fingerprint)
    if HUBNESS in manifest.arrays:
        Querybank.load(fresh).save(gallery)
    if manifest.written:
        written_path(fresh, manifest.written).replace(written_path(gallery, manifest.written))
    for entry in manifest.blocks:
        (fresh / "blocks" / entry.name).rename(gallery / "blocks" / entry.name)
    for folder in (gallery / "blocks", gallery):
        sync_names(folder)
    (gallery / TUNING).unlink(missing_ok=True)  # measured with the old bundle
    manifest.save(gallery)
    shutil.rmtree(fresh, ignore_errors=True)


def _estimate(
    store: FeatureStore, scorer: Scorer, ids: list[str], hubness: ImageHubness, *, left: int, beside: Path
) -> Estimate:
    """Measured on the second batch of the store's images: the first one warms up."""
    ids = ids[: 2 * ENCODE_BATCH] if left else []
    if not ids:
        return Estimate(0, 0.0)
    infos = store.infos()
    checksums = {info.id: info.checksum for info in infos}
    shapes = array_shapes(scorer, infos)
    began, seconds, measured = time.monotonic(), 0.0, 0
    batches = encoded(
        store, scorer, ids, checksums, beside=beside, shapes=shapes, hubness=hubness, on_images=lambda done: None
    )
    for arrays, _, _ in batches:
        now = time.monotonic()
        began, seconds, measured = now, now - began, len(next(iter(arrays.values())))
    return Estimate(left, seconds / measured * left)


def _refuse_other_features(store: FeatureStore, scorer: Scorer, gallery: Path) -> None:
    """Raise InputError where photos must be extracted anew, with the time that it takes, measured on a few photos."""
    try:
        check_features(store, scorer)
    except InputError as other:
        bundle, infos = scorer.bundle, store.infos()
        seconds = _extraction_seconds(scorer, [Path(info.path) for info in infos if info.path])
        takes = f", in about {duration(seconds * len(infos))}" if seconds else ""
        raise InputError(
            f"the new bundle takes features of '{bundle.manifest.feature_extractor}', the store {store.path} holds "
            f"those of '{store.schema.feature_extractor}': extract the {len(infos):,} photos again{takes}, with "
            f"`shan-engine extract PHOTOS --model {bundle.path} --store NEW`, then run `shan-engine index NEW --output "
            f"{gallery} --model new`"
        ) from other


def _extraction_seconds(scorer: Scorer, photos: list[Path]) -> float:
    """Seconds that the bundle's extractor takes for a photo; 0 where there is no photo or no extractor to measure."""
    there = [path for path in photos[: 16 * MEASURED_PHOTOS] if path.is_file()][: MEASURED_PHOTOS + 1]
    seconds = []
    try:
        network = open_extractor(scorer.bundle)
        for path in there:
            began = time.monotonic()
            QueryPhoto.read(path, scorer.encoders, lambda: network)
            seconds.append(time.monotonic() - began)
    except InputError:
        return 0.0
    later = seconds[1:] or seconds  # the first one warms up
    return sum(later) / len(later) if later else 0.0


def duration(seconds: float) -> str:
    """A time for the user to read, such as "40 seconds", "12 minutes" or "3.5 hours"."""
    if seconds < 90:
        whole = max(1, round(seconds))
        return f"{whole} second{'s' if whole > 1 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
