"""Open an engine from Python, as the command line does.

import shan_engine

with shan_engine.open("pictures.gallery") as engine:
    for hit in engine.search("a dog on grass", where="year >= 2020", top_k=5):
        print(hit.rank, hit.score, hit.image.id, hit.metadata)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.choices import Backend, Device, Precision
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.caption_engine import CaptionEngine
from shan_engine.engine import Engine
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.memory import memory_gallery
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import locate_bundle, locate_gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.query import as_list
from shan_engine.session import StrPath

if TYPE_CHECKING:
    from shan_engine.shards.sharded import ShardedEngine

log = logging.getLogger(__name__)


def open(
    gallery: StrPath | None = None,
    model: StrPath | None = None,
    *,
    device: Device = "auto",
    threads: int | None = None,
    backend: Backend = "auto",
    precision: Precision | None = None,
    keep_pages: bool = True,
) -> Engine:
    """Open a gallery of photos with the bundle that made it.

    Left out, the gallery is that in SHAN_GALLERY, else that of the collection that `shan-engine init` made, else the
    bundled demo's. The bundle is that in SHAN_MODEL or the demo's, else the gallery's own. `gallery` may also be the
    name of a collection, or `demo`. `threads` are those of one search, all usable CPUs where None; `backend` and
    `precision` are as for `scoring.scorer.Scorer`. With `keep_pages` off, a pass over the gallery gives its memory
    back, which suits a single search of a large gallery. Raises GalleryError or BundleError where they are missing,
    damaged or not made for each other, BackendError where the back end cannot run.

    >>> import shan_engine
    >>> with shan_engine.open() as engine:
    ...     len(engine) == len(engine.ids)
    True
    """
    place = locate_gallery(_path(gallery), _path(model))
    bundle = Bundle.open(place.bundle)
    scorer = Scorer(bundle, device, threads=threads, backend=backend, precision=precision)
    opened = Gallery.open(place.gallery, bundle, release_pages=not keep_pages)
    log.info("gallery %s (%s): %d images; bundle %s", place.gallery, place.reason, len(opened), place.bundle)
    return Engine(scorer, opened)


def open_shards(
    galleries: Sequence[StrPath],
    model: StrPath | None = None,
    *,
    ray: str | None = None,
    replicas: int = 1,
    device: Device = "auto",
    threads: int | None = None,
    backend: Backend = "auto",
    precision: Precision | None = None,
) -> ShardedEngine:
    """Open several galleries of photos, or a folder of galleries, as the shards of one.

    They are searched one after another in this process, or at once by workers of the Ray cluster at the address `ray`:
    `replicas` for each shard, each with a CPU, or a GPU where pairs are scored on GPUs. Raises what `open` raises,
    GalleryError for galleries whose scores cannot be compared, and BackendError where the cluster is not there.

    >>> import shan_engine
    >>> demo = shan_engine.open().gallery.path
    >>> with shan_engine.open_shards([demo]) as engine:
    ...     len(engine.search("a dog on grass", top_k=3))
    3
    """
    from shan_engine.shards.host import Host, LocalHost
    from shan_engine.shards.paths import shard_paths
    from shan_engine.shards.sharded import ShardedEngine

    named = [Path(path) for path in galleries] or [locate_gallery(None, _path(model)).gallery]
    named = [path if path.is_dir() else locate_gallery(path, _path(model)).gallery for path in named]
    bundle = Bundle.open(locate_gallery(shard_paths(named)[0], _path(model)).bundle)
    scorer = Scorer(bundle, device, threads=threads, backend=backend, precision=precision)
    host: Host = LocalHost(scorer)
    if ray is not None:
        from shan_engine.shards.ray_host import RayHost

        host = RayHost(scorer, ray, replicas)
    try:
        return ShardedEngine(scorer, named, host)
    except BaseException:
        host.close()
        raise


def open_captions(
    gallery: StrPath, model: StrPath | None = None, *, device: Device = "auto", threads: int | None = None
) -> CaptionEngine:
    """Open a gallery of captions, as `open` does one of photos."""
    place = locate_gallery(Path(gallery), _path(model))
    bundle = Bundle.open(place.bundle)
    return CaptionEngine(Scorer(bundle, device, threads=threads), CaptionGallery.open(place.gallery, bundle))


def from_regions(
    features: NDArray[np.floating],
    ids: Sequence[str],
    model: StrPath | None = None,
    *,
    region_mask: NDArray[np.bool_] | None = None,
    boxes: NDArray[np.float32] | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> Engine:
    """An engine over images given by their region features B x K x F, without any file of them.

    `region_mask` B x K is true where a region is real, `boxes` B x K x 4 are in pixels. The bundle is `model`, else the
    one in SHAN_MODEL, else the demo's. Raises InputError where shapes, ids or numbers do not fit.
    """
    bundle = Bundle.open(locate_bundle(_path(model)))
    ids = as_list(ids)
    features = np.ascontiguousarray(features, np.float32)
    if features.ndim != 3 or features.shape[2] != bundle.manifest.feature_dim or len(features) != len(ids):
        raise InputError(
            f"the features have shape {features.shape} for {len(ids)} ids: give ids x regions x "
            f"{bundle.manifest.feature_dim}"
        )
    if len(set(ids)) != len(ids) or not all(id.strip() for id in ids):
        raise InputError("ids repeat or are empty: give every image its own")
    if not np.isfinite(features).all():
        raise InputError("the features have NaN or infinite numbers: extract them again")
    mask = np.ones(features.shape[:2], np.bool_) if region_mask is None else np.asarray(region_mask, np.bool_)
    if mask.shape != features.shape[:2] or not mask.any(axis=1).all():
        raise InputError(f"the region mask has shape {mask.shape} or an image without a region: fix it")
    known = np.full((*mask.shape, 4), np.nan, np.float32) if boxes is None else np.asarray(boxes, np.float32)
    if known.shape != (*mask.shape, 4):
        raise InputError(f"the boxes have shape {known.shape}: give images x regions x 4")
    scorer = Scorer(bundle, device, threads=threads)
    parts = [
        scorer.encoders.encode_images(features[start : start + 32], mask[start : start + 32])
        for start in range(0, len(ids), 32)
    ]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
    if not arrays:
        raise InputError("there are no images: give at least one")
    return Engine(scorer, memory_gallery(bundle, ids, arrays, known))


def _path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path)
