"""Extractors as users bring them: what runs, and what is said of those that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from extractors import backbone, detector, save
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from shan_engine.base.errors import BackendError, InputError
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.feature_store import FeatureStore

PIXELS = np.full((3, 8, 16, 3), 100, np.uint8)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def load(model: Path) -> FeatureExtractor:
    return FeatureExtractor(model, "cpu", threads=1)


def changed(
    folder: Path,
    outputs: list[tuple[str, int, list[Any]]],
    nodes: list[onnx.NodeProto] | None = None,
    constants: dict[str, np.ndarray] | None = None,
    *,
    batch: int | str = "b",
    kind: int = TensorProto.UINT8,
    name: str = "mine",
) -> FeatureExtractor:
    """`detector` with nodes after it, other outputs, and another batch axis or type of its input."""
    graph = onnx.load(detector(folder)).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    model = save(
        folder / f"{name}.onnx",
        [*graph.node, *(nodes or [])],
        [helper.make_tensor_value_info("image", kind, [batch, 8, 16, 3])],
        [helper.make_tensor_value_info(*output) for output in outputs],
        {**held, **(constants or {})},
    )
    (folder / "detector.json").replace(folder / f"{name}.json")
    return load(model)


REGIONS, BOXES = ("regions", FLOAT, ["b", 2, 3]), ("boxes", FLOAT, ["b", 2, 4])


def test_an_extractor_of_one_photo_a_call_is_run_photo_by_photo(tmp_path: Path) -> None:
    single = changed(tmp_path, [("regions", FLOAT, [1, 2, 3]), ("boxes", FLOAT, [1, 2, 4])], batch=1)
    pixels = np.random.default_rng(0).integers(0, 255, (5, 8, 16, 3), np.uint8)
    with pytest.raises(BackendError):
        single._graph.run({"image": pixels})  # the graph itself takes one
    for one, other in zip(single(pixels), load(detector(tmp_path))(pixels), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def bright_halves(folder: Path) -> FeatureExtractor:
    """As many regions as a photo has bright halves, one photo a call."""
    nodes = [
        helper.make_node("ReduceMean", ["regions"], ["means"], axes=[2], keepdims=0),
        helper.make_node("Squeeze", ["means", "zero"], ["mean"]),
        helper.make_node("Greater", ["mean", "limit"], ["bright"]),
        helper.make_node("Compress", ["regions", "bright"], ["found"], axis=1),
        helper.make_node("Compress", ["boxes", "bright"], ["places"], axis=1),
    ]
    constants = {"zero": np.array([0]), "limit": np.array(100, np.float32)}
    outputs = [("found", FLOAT, [1, "k", 3]), ("places", FLOAT, [1, "k", 4])]
    return changed(folder, outputs, nodes, constants, batch=1)


def test_a_detector_finds_as_much_as_there_is(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, left, right in (("both", 200, 150), ("dark", 0, 0), ("right", 0, 250)):
        image = Image.new("RGB", (32, 16), (left,) * 3)
        image.paste((right,) * 3, (16, 0, 32, 16))
        image.save(folder / f"{name}.png")
    extractor = bright_halves(tmp_path)
    result = extract_photos(folder, tmp_path / "s", extractor)
    assert result.added == 2
    assert result.broken == (f"{folder / 'dark.png'} has no regions: {extractor.model} found nothing in it",)
    with FeatureStore.open(tmp_path / "s") as store:
        both, right = store.read(["both.png", "right.png"])
    assert both.features.shape == (2, 3)
    assert right.features.shape == (1, 3)
    np.testing.assert_array_equal(right.boxes, [[16, 0, 32, 16]])


def test_further_outputs_are_left_alone(tmp_path: Path) -> None:
    extractor = changed(tmp_path, [REGIONS, BOXES, ("batch", INT64, [1])])
    assert [regions[0].shape for regions in extractor(PIXELS)] == [(2, 3)] * 3


def test_features_without_boxes(tmp_path: Path) -> None:
    assert [regions[1] for regions in changed(tmp_path, [REGIONS])(PIXELS)] == [None] * 3


def node(kind: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["made"], **attributes)


@pytest.mark.parametrize(
    ("outputs", "nodes", "constants", "message"),
    [
        (
            [REGIONS, ("made", FLOAT, ["b", 2, 3])],
            [node("Identity", "regions")],
            {},
            r"the second output of .*mine\.onnx is 3 x 2 x 3, not the boxes of its regions \(3 x 2 x 4\)",
        ),
        (
            [REGIONS, ("made", FLOAT, ["b", 2])],
            [node("ReduceMean", "regions", axes=[2], keepdims=0)],
            {},
            r"the second output of .*mine\.onnx is 3 x 2, not the boxes",
        ),
        (
            [REGIONS, ("made", FLOAT, ["b", 1, 4])],
            [node("ReduceMean", "boxes", axes=[1])],
            {},
            r"the second output of .*mine\.onnx is 3 x 1 x 4, not the boxes",
        ),
        (
            [REGIONS, ("made", TensorProto.BOOL, ["b", 2, 4])],
            [node("Greater", "boxes", "half")],
            {"half": np.array(0.5, np.float32)},
            r"the second output of .*mine\.onnx is of bool: export it with an array of numbers",
        ),
        (
            [("made", FLOAT, ["b", 2])],
            [node("ReduceMean", "regions", axes=[2], keepdims=0)],
            {},
            r"the first output of .*mine\.onnx is 3 x 2 for 3 photos: export it with regions B x K x F",
        ),
        (
            [("made", FLOAT, [1, 2, 3])],
            [node("ReduceMean", "regions", axes=[0])],
            {},
            r"the first output of .*mine\.onnx is 1 x 2 x 3 for 3 photos: export it with regions B x K x F",
        ),
        (
            [("made", FLOAT, ["b", 2, 3])],
            [node("Log", "negative"), helper.make_node("Sub", ["regions", "most"], ["negative"])],
            {"most": np.array(150, np.float32)},
            r"mine\.onnx gives NaN or infinite numbers for two\.png: check its recipe's mean and std",
        ),
        (
            [REGIONS, ("made", FLOAT, ["b", 2, 4])],
            [node("Div", "boxes", "none")],
            {"none": np.array(0, np.float32)},
            r"mine\.onnx gives NaN or infinite numbers for one\.png",
        ),
    ],
)
def test_outputs_that_are_no_regions(
    tmp_path: Path,
    outputs: list[Any],
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    message: str,
) -> None:
    pixels = np.stack([np.full((8, 16, 3), level, np.uint8) for level in (200, 100, 201)])
    extractor = changed(tmp_path, outputs, nodes[::-1], constants)
    with pytest.raises(InputError, match=message):
        extractor(pixels, ["one.png", "two.png", "three.png"])


def test_a_sequence_is_no_output(tmp_path: Path) -> None:
    extractor = changed(tmp_path, [REGIONS])
    graph = onnx.load(extractor.model)
    graph.graph.node.append(helper.make_node("SplitToSequence", ["regions"], ["pieces"], axis=1))
    pieces = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    graph.graph.output[0].CopyFrom(helper.make_value_info("pieces", pieces))
    onnx.save(graph, extractor.model)
    with pytest.raises(InputError, match=r"the first output of .*mine\.onnx is of list: export it with an array"):
        load(extractor.model)(PIXELS)


def test_a_wrong_extractor_leaves_no_store(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 8)).save(tmp_path / "photos" / "a.png")
    extractor = changed(tmp_path, [REGIONS, ("made", FLOAT, ["b", 2, 3])], [node("Identity", "regions")])
    with pytest.raises(InputError, match="the second output of"):
        extract_photos(tmp_path / "photos", tmp_path / "s", extractor)
    assert not (tmp_path / "s").exists()


def test_inputs_that_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.onnx takes images of int64: export it with an input of uint8"):
        changed(tmp_path, [REGIONS], kind=INT64)
    with pytest.raises(BackendError, match=r"mine\.onnx has an input 'image' of type tensor\(int8\)"):
        changed(tmp_path, [REGIONS], kind=TensorProto.INT8)
    with pytest.raises(InputError, match=r"mine\.onnx takes exactly 4 photos a call: export it with a free batch"):
        changed(tmp_path, [REGIONS], batch=4)


def test_a_model_of_another_size_than_its_recipe(tmp_path: Path) -> None:
    model = backbone(tmp_path, width=16)
    with pytest.raises(InputError, match=r"shape b x 3 x 8 x 8, but its recipe and type call for B x 3 x 8 x 16"):
        load(model)
    flat = save(
        tmp_path / "backbone.onnx",
        [helper.make_node("Identity", ["image"], ["map"])],
        [helper.make_tensor_value_info("image", FLOAT, ["b", 192])],
        [helper.make_tensor_value_info("map", FLOAT, ["b", 192])],
        {},
    )
    with pytest.raises(InputError, match=r"backbone\.onnx takes an input of shape b x 192"):
        load(flat)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats_are_fed_as_they_want(tmp_path: Path, kind: int) -> None:
    model = backbone(tmp_path, mean=[0, 0, 0], std=[1, 1, 1])
    inputs = [helper.make_tensor_value_info("image", kind, ["b", 3, "h", "w"])]
    outputs = [helper.make_tensor_value_info("map", kind, ["b", 3, "y", "x"])]
    save(model, [helper.make_node("Identity", ["image"], ["map"])], inputs, outputs, {})
    ((features, boxes, _),) = load(model)(np.full((1, 8, 8, 3), 51, np.uint8))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, np.full((64, 3), 0.2), atol=1e-3)
    assert boxes is not None
    assert boxes.shape == (64, 4)


def test_a_mirror_image_has_the_same_regions_where_they_are_in_the_photo(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 8, 16, 3), np.uint8)
    model = detector(tmp_path)
    mirrored = FeatureExtractor(model, "cpu", threads=1, mirror=True)
    assert mirrored.recipe.name == "halves-mirrored"
    for one, other in zip(mirrored(pixels), load(model)(pixels), strict=True):
        np.testing.assert_allclose(one[0], other[0][::-1], rtol=1e-6)
        assert one[1] is not None
        assert other[1] is not None
        np.testing.assert_array_equal(one[1], other[1][::-1])
