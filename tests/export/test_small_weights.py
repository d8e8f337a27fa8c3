"""Small weights: a module is rounded as its file stores it, and ONNX Runtime runs the same float32 graph."""

import copy

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto
from shan_export.onnx_file import export_graph
from shan_export.small_weights import fold_batch_norms, pack_weights, quantised, round_weights
from torch import nn


def layers():
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 300, 1, bias=False),
        nn.BatchNorm2d(300),
        nn.ReLU6(),
        nn.Conv2d(300, 300, 3, padding=1, groups=300, bias=False),
        nn.BatchNorm2d(300),
        nn.Conv2d(300, 320, 1),
        nn.Flatten(2),
        nn.Linear(64, 1400),
    ).eval()
    for layer in made:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(), layer.running_var.uniform_(0.5, 2), layer.weight.data.normal_(1, 0.2)
    return made


def test_rounding_changes_a_module_little_and_its_file_not_at_all(tmp_path):
    original, images = layers(), torch.rand(2, 3, 8, 8)
    module = copy.deepcopy(original)
    fold_batch_norms(module)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    with torch.no_grad():
        torch.testing.assert_close(module(images), original(images), atol=1e-4, rtol=1e-4)
    round_weights(module)
    expected = module(images).detach()
    close = original(images).detach()
    assert 1e-4 < (expected - close).norm() / close.norm() < 0.02
    export_graph(module, inputs={"x": images}, outputs=["y"], dynamic={"x": {0: "batch"}}, path=tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").stat().st_size
    pack_weights(tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < before * 0.28
    kinds = {one.name: one.data_type for one in onnx.load(tmp_path / "m.onnx").graph.initializer}
    assert list(kinds.values()).count(TensorProto.INT8) == 2
    assert list(kinds.values()).count(TensorProto.FLOAT16) == 1  # the convolutions within channels
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session = ort.InferenceSession(tmp_path / "m.onnx", options, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": images.numpy()})[0], expected, atol=1e-4, rtol=1e-4)
    loaded = onnx.load(tmp_path / "loaded.onnx").graph
    assert not {"Cast", "Mul"} & {node.op_type for node in loaded.node}
    assert all(one.data_type != TensorProto.INT8 for one in loaded.initializer)


def test_rounded_weights_are_found_again():
    weight = np.random.default_rng(0).standard_normal((50, 30)).astype(np.float32)
    weight[7] = 0
    weight[8] *= 1e-6
    values, scale = quantised(weight)
    again, same = quantised(values * scale)
    np.testing.assert_array_equal(values, again)
    np.testing.assert_array_equal(scale, same)
    assert (np.abs(values * scale - weight) <= 0.8 * scale).all()
