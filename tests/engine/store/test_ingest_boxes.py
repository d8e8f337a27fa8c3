"""Features that end in their boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from in_process import output_of, refusal
from published import features, save, stored, tsv_row, write_tsv
from shan_engine.base.errors import InputError
from shan_engine.store.importers import import_features


def test_a_feature_ends_in_shares_of_the_image_and_the_area(tmp_path: Path) -> None:
    regions = features(2, 3)
    boxes = np.array([[0, 0, 640, 480], [160, 120, 320, 360]], np.float32)
    path = write_tsv(tmp_path / "x.tsv", [tsv_row("7", boxes, regions)])
    output_of("import", path, "--store", tmp_path / "s", "--boxes")
    record = stored(tmp_path / "s")["7"]
    np.testing.assert_array_equal(record.features[:, :3], regions)
    np.testing.assert_allclose(record.features[:, 3:], [[0, 0, 1, 1, 1], [0.25, 0.25, 0.5, 0.75, 0.125]], rtol=1e-6)
    np.testing.assert_array_equal(record.boxes, boxes)


def test_images_without_boxes_or_without_a_size_are_refused(tmp_path: Path) -> None:
    said = refusal("import", save(tmp_path / "x.npy", features(2, 4, 3)), "--store", tmp_path / "s", "--boxes")
    assert "image '0' has no boxes, which --boxes needs: give features that have them" in said
    (tmp_path / "npz").mkdir()
    np.savez(tmp_path / "npz" / "7.npz", features=features(2, 3), boxes=np.ones((2, 4), np.float32))
    with pytest.raises(InputError, match="image '7' has no width and height"):
        import_features(tmp_path / "npz", tmp_path / "t", boxes=True)
