"""What may not be indexed: features of another extractor, and a store that has none of a gallery's images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore


def check_features(store: FeatureStore, scorer: Scorer) -> None:
    """Raise InputError if a store's features are not those that the scorer's bundle takes."""
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


def refuse_all_other(output: Path, manifest: GalleryManifest, store: FeatureStore, wanted: Mapping[str, int]) -> None:
    """Raise InputError if none of the gallery's images would stay: the store is probably the wrong one."""
    gallery = Gallery(output, manifest)
    if len(gallery) and not any(id in wanted for block in gallery.blocks for id, _ in block.checksums()):
        raise InputError(
            f"the store {store.path} has none of the {len(gallery):,} images of the gallery {output}, which would all "
            "be deleted: index it into a new folder, or pass --replace"
        )
