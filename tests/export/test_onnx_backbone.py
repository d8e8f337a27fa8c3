"""Any ONNX graph as a feature extractor: tokens of a trunk, its feature map, a detector's rows with boxes in pixels."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import InputError
from shan_engine.photos.extractor import FeatureExtractor
from shan_export.backbone import main
from shan_export.onnx_file import export_graph

SIDE = 32


class Trunk(torch.nn.Module):
    """Patches of 4 pixels as a convolution; as timm's `forward_features`, with two tokens of the whole before them."""

    def __init__(self, *, tokens: bool) -> None:
        super().__init__()
        self.patches, self.tokens = torch.nn.Conv2d(3, 5, 4, stride=4), tokens

    def forward(self, images):
        found = self.patches(images)
        if not self.tokens:
            return found
        rows = found.flatten(2).transpose(1, 2)
        return torch.cat([rows.mean(1, keepdim=True), rows.amax(1, keepdim=True), rows], dim=1)


def written(path, *, tokens, dynamic=True):
    torch.manual_seed(0)
    images = torch.randn(2 if dynamic else 1, 3, SIDE, SIDE)
    axes = {"images": {0: "batch"}} if dynamic else {}
    export_graph(Trunk(tokens=tokens), inputs={"images": images}, outputs=["found"], dynamic=axes, path=path)
    return path


def detector(path):
    """Three fixed boxes in pixels, of which the image's means are the rows; the batch is 1, as detectors export it."""
    boxes = np.array([[0, 0, 16, 24], [8, 8, 32, 32], [1, 2, 3, 4]], np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["row"]),
        helper.make_node("Mul", ["weights", "row"], ["box_features"]),
        helper.make_node("Identity", ["fixed"], ["boxes"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["found", 4]),
        helper.make_tensor_value_info("box_features", TensorProto.FLOAT, ["found", 3]),
    ]
    constants = [
        numpy_helper.from_array(boxes, "fixed"),
        numpy_helper.from_array(np.array([1, 3]), "flat"),
        numpy_helper.from_array(np.array([[1], [2], [3]], np.float32), "weights"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "detector", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def adapted(capsys, graph, folder, *options):
    main([str(graph), "--output", str(folder), "--size", str(SIDE), *map(str, options)])
    return FeatureExtractor(type(graph)(capsys.readouterr().out.strip()), "cpu")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def scaled(pixels, mean=0.5, std=0.25):
    return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2), np.float32)


@pytest.mark.parametrize("tokens", [True, False])
@pytest.mark.parametrize("dynamic", [True, False])
def test_patches_of_a_trunk_become_regions(tmp_path, capsys, pixels, tokens, dynamic):
    graph = written(tmp_path / "trunk.onnx", tokens=tokens, dynamic=dynamic)
    options = ["--mean", 0.5, 0.5, 0.5, "--std", 0.25, 0.25, 0.25, *(["--skip", 2] if tokens else [])]
    pooled = adapted(capsys, graph, tmp_path / "out", *options)(pixels)
    every = adapted(capsys, graph, tmp_path / "out", *options, "--regions", "all")(pixels)
    run = OnnxRuntimeGraph(graph, "cpu").run
    for number, image in enumerate(scaled(pixels)):
        (found,) = run({"images": np.stack([image] * (2 if dynamic else 1))}).values()
        patches = found[0, 2:] if tokens else found[0].reshape(5, 64).T
        np.testing.assert_allclose(every[number].features, patches, atol=1e-5)
        # Of 8 x 8 patches, 6 x 6 regions each have those that they touch, 2 x 2 of them.
        np.testing.assert_allclose(pooled[number].features[0], patches.reshape(8, 8, 5)[:2, :2].mean((0, 1)), atol=1e-5)
        assert pooled[number].features.shape == (36, 5)
    np.testing.assert_allclose(every[0].boxes[9], [1 / 8, 1 / 8, 2 / 8, 2 / 8])


def test_a_detectors_rows_come_with_relative_boxes(tmp_path, capsys, pixels):
    graph = detector(tmp_path / "detector.onnx")
    found = adapted(
        capsys, graph, tmp_path / "out", "--features", "box_features", "--boxes", "boxes", "--most", 2
    )(pixels)  # fmt: skip
    means = (pixels / 255).mean((1, 2))
    for number, regions in enumerate(found):
        np.testing.assert_allclose(regions.features, means[number] * [[1], [2]], atol=1e-5)
        np.testing.assert_allclose(regions.boxes, [[0, 0, 0.5, 0.75], [0.25, 0.25, 1, 1]])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "has 66 patches, which are no square: give the tokens that stand for no patch"),
        (["--skip", 2, "--features", "other"], "has no output other: it has found"),
        (["--skip", 2, "--boxes", "found"], "name outputs with a row for each region, and 4 numbers a box"),
    ],
)
def test_outputs_that_are_no_regions_are_named(tmp_path, capsys, options, told):
    graph = written(tmp_path / "trunk.onnx", tokens=True)
    with pytest.raises(InputError) as error:
        adapted(capsys, graph, tmp_path / "out", *options)
    assert told in str(error.value)


def test_a_graph_needs_its_size(tmp_path):
    graph = detector(tmp_path / "detector.onnx")
    with pytest.raises(InputError, match="give --size"):
        main([str(graph), "--output", str(tmp_path)])
    with pytest.raises(InputError, match="name the graph's file"):
        main([str(tmp_path / "none.onnx"), "--output", str(tmp_path), "--size", "32"])
