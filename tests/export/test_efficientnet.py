"""The bundled extractor is the one that `shan_export.efficientnet` makes; its parts are what they are said to be."""

import json

import numpy as np
import torch
from shan_engine.bundle.contents import Bundle
from shan_engine.locate import demo_bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor
from shan_export.efficientnet import GAIN, GRID, NAME, SIZE, GridExtractor, RegionStatistics, cells
from shan_export.region_statistics import channel_statistics, class_vectors

PHOTOS = demo_bundle().parent / "photos"


def test_the_demos_extractor_is_this_one(extractor):
    pixels = np.stack([read_scaled(PHOTOS / name, SIZE, SIZE).pixels for name in ("dog.jpg", "panda.jpg")])
    with torch.no_grad():
        expected, boxes = extractor(torch.from_numpy(pixels))
    bundled = FeatureExtractor(demo_bundle() / "feature_extractor.onnx", "cpu")
    assert bundled.recipe.name == NAME == Bundle.open(demo_bundle()).manifest.feature_extractor
    for found, features, box in zip(bundled(pixels), expected, boxes, strict=True):
        np.testing.assert_allclose(found[0], features, atol=1e-3)
        np.testing.assert_array_equal(found[1], box)


def test_a_panda_is_seen_near_its_word(extractor):
    pixels = read_scaled(PHOTOS / "panda.jpg", SIZE, SIZE).pixels
    with torch.no_grad():
        _, others = extractor.parts(torch.from_numpy(pixels.copy())[None])
    seen = others[0, :, :100].mean(0)
    names = {388: "giant panda", 587: "hammer", 340: "zebra"}
    near = {name: float(torch.cosine_similarity(seen, extractor.class_vectors[c], dim=0)) for c, name in names.items()}
    assert max(near, key=near.__getitem__) == "giant panda", json.dumps(near)


def test_cells_are_means_in_reading_order():
    feature_map = torch.arange(2 * 3 * 12 * 12, dtype=torch.float32).reshape(2, 3, 12, 12)
    found = cells(feature_map)
    assert found.shape == (2, GRID * GRID, 3)
    assert torch.equal(found[:, 7], feature_map[:, :, 2:4, 2:4].mean((2, 3)))


def test_class_vectors_weigh_a_names_last_word_double_and_later_names_less():
    rows = {"tiger": 0, "shark": 1, "fish": 2}
    found = class_vectors(["tiger shark, fish", "unknown"], rows, np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(found[0], np.array([1, 2, 1]) / np.sqrt(6), rtol=1e-6)
    assert not found[1].any()


def test_standardised_channels_have_the_same_deviation(tmp_path, extractor):
    for name in ("dog.jpg", "panda.jpg", "hedgehog.jpg"):
        (tmp_path / name).symlink_to(PHOTOS / name)
    mean, std = channel_statistics(tmp_path, extractor.class_vectors)
    fresh = GridExtractor(
        extractor.backbone, RegionStatistics(extractor.class_vectors, torch.from_numpy(mean), torch.from_numpy(std))
    )
    pixels = np.stack([read_scaled(path, SIZE, SIZE).pixels for path in sorted(tmp_path.iterdir())])
    with torch.no_grad():
        channels = fresh(torch.from_numpy(pixels))[0][..., 1280:].flatten(0, 1)
    # The least deviation, added to each, shows in the word vectors alone, which are small.
    torch.testing.assert_close(channels[:, 100:].std(0, correction=0), torch.full((840,), GAIN), rtol=0.02, atol=0)
    torch.testing.assert_close(channels.mean(0), torch.zeros(940), atol=1e-3, rtol=0)
