"""Encode some images of a gallery again, from the store that it was made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.indexing.block_writer import write_block
from shan_engine.indexing.encoding import encoded
from shan_engine.indexing.images import BLOCK_IMAGES
from shan_engine.indexing.querybank import ImageHubness
from shan_engine.indexing.refusals import check_features
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore


def renew_blocks(
    gallery: Path,
    manifest: GalleryManifest,
    ids: Sequence[str],
    store: FeatureStore,
    scorer: Scorer,
    *,
    hubness: ImageHubness,
    on_images: Callable[[int], None] = lambda done: None,
) -> GalleryManifest:
    """Write blocks of images `ids` and return the manifest with them; the caller saves it, and holds the lock.

    Raises InputError where the store does not fit the bundle, and OSError where a write fails.
    """
    check_features(store, scorer)
    wanted, blocks = {info.id: info.checksum for info in store.infos()}, list(manifest.blocks)
    for start in range(0, len(ids), BLOCK_IMAGES):
        chosen = ids[start : start + BLOCK_IMAGES]

        def report(done: int, start: int = start) -> None:
            on_images(start + done)

        batches = encoded(
            store,
            scorer,
            chosen,
            wanted,
            beside=gallery.parent,
            shapes=manifest.arrays,
            hubness=hubness,
            on_images=report,
        )
        blocks.append(write_block(gallery, manifest, len(chosen), batches, pooled=manifest.staged))
    return replace(manifest, blocks=tuple(blocks))
