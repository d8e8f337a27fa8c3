"""What photos are seen as: an extractor's classes, by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from extractors import SEEN, classifier
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import SeenClasses

PIXELS = np.full((3, 8, 16, 3), 100, np.uint8)


def load(model: Path) -> FeatureExtractor:
    return FeatureExtractor(model, "cpu", threads=1)


def assert_seen(found: SeenClasses | None) -> None:
    assert found is not None
    for array, name in zip(vars(found).values(), SEEN, strict=True):
        np.testing.assert_array_equal(array, SEEN[name][0])


def test_what_a_photo_is_seen_as_is_found_by_name(tmp_path: Path) -> None:
    extractor = load(classifier(tmp_path))
    for regions, plain in zip(extractor(PIXELS), load(tmp_path / "detector.onnx")(PIXELS), strict=True):
        np.testing.assert_array_equal(regions.features, plain.features)
        np.testing.assert_array_equal(regions.boxes, plain.boxes)
        assert_seen(regions.seen)
        assert plain.seen is None


def test_a_store_holds_what_photos_are_seen_as(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 8)).save(tmp_path / "photos" / "a.png")
    extract_photos(tmp_path / "photos", tmp_path / "s", load(classifier(tmp_path)))
    with FeatureStore.open(tmp_path / "s") as store:
        (seen,) = store.seen(["a.png"])
        assert store.schema.version == 2
    assert_seen(seen)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (
            {"seen_classes": np.array([[3, 0]])},
            r"classifier\.onnx gives classes outside 0 to 2: name all its classes in",
        ),
        ({"seen_regions": np.array([[256, 0]])}, r"classifier\.onnx gives regions of classes outside 0 to 255"),
        ({"seen_regions": np.array([[2, 0]])}, "'a.png' has classes in region 2, but 2 regions"),
        ({"seen_probabilities": np.array([[1.5, 0]], np.float32)}, "'a.png' has classes with probabilities outside"),
        ({"seen_probabilities": np.array([[np.nan, 0]], np.float32)}, "'a.png' has classes with probabilities outside"),
        ({"seen_probabilities": np.array([[0.5]], np.float32)}, r"'a.png' has .* of shapes \(2,\), \(1,\), \(2,\)"),
    ],
)
def test_classes_that_cannot_be(tmp_path: Path, seen: dict[str, np.ndarray], message: str) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 8)).save(tmp_path / "photos" / "a.png")
    with pytest.raises(InputError, match=message):
        extract_photos(tmp_path / "photos", tmp_path / "s", load(classifier(tmp_path, **seen)))


def test_classes_need_names_and_names_classes(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    recipe = json.loads(model.with_suffix(".json").read_text())
    for other, message in (
        ({**recipe, "classes": []}, r"has 3 of the outputs .*, and its recipe names 0 classes"),
        ({**recipe, "classes": "cat"}, r'needs a list of names as its "classes"'),
        ({**recipe, "classes": [1, 2, 3]}, r'needs a list of names as its "classes"'),
    ):
        model.with_suffix(".json").write_text(json.dumps(other))
        with pytest.raises(InputError, match=message):
            load(model)
    (tmp_path / "detector.json").write_text(json.dumps(recipe))
    with pytest.raises(InputError, match=r"has 0 of the outputs .*, and its recipe names 3 classes"):
        load(tmp_path / "detector.onnx")
