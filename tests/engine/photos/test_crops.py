"""Parts of photos as further views for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from extractors import detector
from PIL import Image
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.feature_store import FeatureStore


def test_crops_are_parts_of_a_photo_with_boxes_in_the_whole(tmp_path: Path) -> None:
    """A photo whose red rises to the right and green downwards: the mean colour of a box tells where it is."""
    folder, size = tmp_path / "photos", (400, 300)
    folder.mkdir()
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)).save(folder / "a.png")
    seen = []
    for number, mirror in ((1, False), (2, False), (2, True)):
        extractor = FeatureExtractor(detector(tmp_path), "cpu", threads=1, crop=number, mirror=mirror)
        assert extractor.recipe.name == f"halves-crop{number}{'-mirrored' if mirror else ''}"
        extract_photos(folder, tmp_path / f"s{number}{mirror}", extractor)
        with FeatureStore.open(tmp_path / f"s{number}{mirror}") as store:
            (record,) = store.read(["a.png"])
        left, top, right, bottom = np.array(record.boxes).T
        assert (record.width, record.height) == size
        assert 0.6 * size[0] < right.max() - left.min() < 0.93 * size[0]
        expected = np.stack([(left + right) / 2 / size[0], (top + bottom) / 2 / size[1]], axis=1) * 255
        np.testing.assert_allclose(record.features[:, :2], expected, atol=4)
        seen.append(sorted(record.boxes[:, 0].tolist()))
    assert seen[0] != seen[1] == pytest.approx(seen[2], abs=1e-3)
