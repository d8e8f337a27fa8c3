"""A gallery that a stopped run has begun without a block."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.indexing import images
from shan_engine.store.feature_store import FeatureStore


def test_it_keeps_the_storage_that_it_was_begun_with(
    store_path: Path, scorer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with FeatureStore.open(store_path) as store:
        with monkeypatch.context() as patch:
            patch.setattr(images, "write_block", stopped)
            with pytest.raises(KeyboardInterrupt):
                images.index_store(store, scorer, tmp_path / "g", dtype="float16")
        assert not GalleryManifest.load(tmp_path / "g").blocks
        images.index_store(store, scorer, tmp_path / "g")
    assert GalleryManifest.load(tmp_path / "g").dtype == "float16"
