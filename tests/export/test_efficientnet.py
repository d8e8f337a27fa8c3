"""The bundled extractor is the one that `shan_export.efficientnet` makes; its parts are what they are said to be."""

import json

import numpy as np
import pytest
import torch
from shan_engine.bundle.contents import Bundle
from shan_engine.locate import demo_bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor, read_recipe
from shan_export.efficientnet import (
    GAIN,
    GRID,
    NAME,
    SIZE,
    GridExtractor,
    RegionStatistics,
    cells,
    export_efficientnet_lite2,
)
from shan_export.region_statistics import CLASS_NUMBERS, channel_statistics, class_vectors
from shan_model.classes.table import ClassTable

PHOTOS = demo_bundle().parent / "photos"
PANDA = 388


def pixels_of(*names):
    return np.stack([read_scaled(PHOTOS / name, SIZE, SIZE).pixels for name in names])


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The demo's extractor, or a new file where the demo was made with an older one."""
    held = demo_bundle() / "feature_extractor.onnx"
    assert read_recipe(held).name == Bundle.open(demo_bundle()).manifest.feature_extractor
    if read_recipe(held).name != NAME:
        folder = tmp_path_factory.mktemp("extractor")
        export_efficientnet_lite2(folder)
        held = folder / held.name
    assert held.stat().st_size < 7.6e6
    return FeatureExtractor(held, "cpu")


def test_the_extractors_file_gives_what_the_module_gives(extractor, graph):
    pixels = pixels_of("dog.jpg", "panda.jpg")
    with torch.no_grad():
        features, boxes, classes, probabilities, regions = extractor(torch.from_numpy(pixels))
    assert graph.recipe.name == NAME
    for row, found in enumerate(graph(pixels)):
        np.testing.assert_allclose(found.features, features[row], atol=2e-3)
        np.testing.assert_array_equal(found.boxes, boxes[row])
        np.testing.assert_array_equal(found.seen.classes[:4], classes[row, :4])
        np.testing.assert_array_equal(found.seen.regions[:4], regions[row, :4])
        np.testing.assert_allclose(found.seen.probabilities, probabilities[row], atol=1e-3)


def test_a_panda_is_seen_where_it_is(graph):
    pixels = np.full((1, SIZE, SIZE, 3), 128, np.uint8)
    pixels[0, : SIZE // 2, SIZE // 2 :] = pixels_of("panda.jpg")[0, ::2, ::2]
    ((_, boxes, seen),) = graph(pixels)
    assert graph.recipe.classes == tuple(ClassTable.load().class_names)
    assert graph.recipe.classes[seen.classes[0]] == "giant panda"
    assert (np.diff(seen.probabilities) <= 0).all()
    assert seen.probabilities[0] > 10 * seen.probabilities[1]
    left, _, _, lower = boxes[seen.regions[0]]
    assert left >= 0.5
    assert lower <= 0.51


def test_a_photos_classes_count_its_mean_cell_and_its_cells_alike(extractor):
    logits = torch.randn(2, 36, 1000, generator=torch.Generator().manual_seed(0)) * 4
    seen = extractor.seen(logits)
    each = torch.softmax(logits, -1)
    wanted = (torch.softmax(logits.mean(1), -1) + each.mean(1)) / 2
    torch.testing.assert_close(wanted.gather(1, seen.classes), seen.probabilities)
    assert (wanted.topk(33).values[:, -1:] <= seen.probabilities).all()
    assert torch.equal(each[0, :, seen.classes[0, 5]].argmax(), seen.regions[0, 5])


def test_a_panda_is_seen_near_its_name(extractor):
    with torch.no_grad():
        late, _ = extractor.maps(torch.from_numpy(pixels_of("panda.jpg")))
        seen = extractor.mean_class(extractor.logits(late))[0].mean(0)
    names = {PANDA: "giant panda", 587: "hammer", 340: "zebra"}
    near = {name: float(torch.cosine_similarity(seen, extractor.class_vectors[c], dim=0)) for c, name in names.items()}
    assert max(near, key=near.__getitem__) == "giant panda", json.dumps(near)


def test_cells_are_means_in_reading_order():
    feature_map = torch.arange(2 * 3 * 12 * 12, dtype=torch.float32).reshape(2, 3, 12, 12)
    found = cells(feature_map)
    assert found.shape == (2, GRID * GRID, 3)
    assert torch.equal(found[:, 7], feature_map[:, :, 2:4, 2:4].mean((2, 3)))


def test_class_vectors_are_means_of_names_centred_and_reduced():
    texts = {"a": [3, 1, 0, 0], "b": [1, 1, 0, 0], "c": [0, 2, 0, 0], "d": [0, 0, 4, 0.1]}
    found = class_vectors(["a, b", "c", "d"], lambda names: np.array([texts[name] for name in names], np.float32), 2)
    means = np.array([[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 4, 0.1]])
    centred = means - means.mean(0)  # three points lie in a plane, so two numbers keep all
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-6)


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
    assert channels.shape[1] == CLASS_NUMBERS + 840
    # The least deviation, added to each, shows in the class vectors alone, which are small.
    deviation = channels[:, CLASS_NUMBERS:].std(0, correction=0)
    torch.testing.assert_close(deviation, torch.full((840,), GAIN), rtol=0.02, atol=0)
    torch.testing.assert_close(channels.mean(0), torch.zeros(CLASS_NUMBERS + 840), atol=1e-3, rtol=0)
