"""Tiny ONNX feature extractors whose features are known: mean colours of cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BOXES = np.array([[[0, 0, 0.5, 1], [0.5, 0, 1, 1]]], np.float32)


def save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "extractor", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def detector(folder: Path) -> Path:
    """Raw pixels B x 8 x 16 x 3 in; mean colours of the left and right half, and their boxes, out."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Squeeze", ["pooled", "axis"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["regions"], perm=[0, 2, 1]),
        helper.make_node("Shape", ["image"], ["batch"], start=0, end=1),
        helper.make_node("Concat", ["batch", "ones"], ["repeats"], axis=0),
        helper.make_node("Tile", ["box", "repeats"], ["boxes"]),
    ]
    (folder / "detector.json").write_text(json.dumps({"name": "halves", "width": 16, "height": 8}))
    return save(
        folder / "detector.onnx",
        nodes,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["b", 8, 16, 3])],
        [
            helper.make_tensor_value_info("regions", TensorProto.FLOAT, ["b", 2, 3]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["b", 2, 4]),
        ],
        {"axis": np.array([2]), "ones": np.array([1, 1]), "box": BOXES},
    )


def backbone(folder: Path, **recipe: object) -> Path:
    """Float planes B x 3 x 8 x 8 in; their feature map of 2 x 2 cells out."""
    data = {
        "name": "map",
        "width": 8,
        "height": 8,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.25, 0.5],
        **recipe,
    }
    (folder / "backbone.json").write_text(json.dumps(data))
    return save(
        folder / "backbone.onnx",
        [helper.make_node("AveragePool", ["image"], ["map"], kernel_shape=[4, 4], strides=[4, 4])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3, 8, 8])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["b", 3, 2, 2])],
        {},
    )


SEEN = {
    "seen_classes": np.array([[2, 0]]),
    "seen_probabilities": np.array([[0.75, 0.125]], np.float32),
    "seen_regions": np.array([[1, 0]]),
}


def classifier(folder: Path, **seen: np.ndarray) -> Path:
    """`detector`, which sees every photo as `SEEN` of three classes, or as other arrays 1 x m."""
    told = {**SEEN, **seen}
    graph = onnx.load(detector(folder)).graph
    nodes = [*graph.node, *(helper.make_node("Tile", [f"{name}_one", "repeats_of_rows"], [name]) for name in told)]
    nodes.insert(-len(told), helper.make_node("Concat", ["batch", "single"], ["repeats_of_rows"], axis=0))
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in told.items()}
    outputs = [helper.make_tensor_value_info(name, kind, ["b", 2]) for name, kind in kinds.items()]
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    constants |= {"single": np.array([1]), **{f"{name}_one": array for name, array in told.items()}}
    recipe = {"name": "halves-and-classes", "width": 16, "height": 8, "classes": ["cat", "dog", "hen"]}
    (folder / "classifier.json").write_text(json.dumps(recipe))
    # The outputs that tell classes come first, for they are found by name.
    return save(folder / "classifier.onnx", nodes, list(graph.input), [*outputs, *graph.output], constants)
