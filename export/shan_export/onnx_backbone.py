"""A feature extractor from any ONNX graph: a timm trunk, or a detector of torchvision or Detectron.

Nodes behind the graph's own make regions of its outputs: tokens or a feature map become regions of a grid, a detector's
rows lose their scale in pixels. The graph itself stays as it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import InputError
from shan_engine.base.files import sha256
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor, Recipe

from shan_export.onnx_file import save_whole
from shan_export.vision_language.reference import demo_photos
from shan_export.vision_language.towers import GRID, pooled_patches

RELATIVE = 1.5
"""No relative coordinate of a box is greater; those in pixels are."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Which outputs of a graph are read, and how.

    `features` are tokens B x N x F, a map B x F x H x W, or a detector's rows K x F or 1 x K x F; by default the first
    output. The first `skip` tokens stand for no patch. `boxes` are those of a detector, K x 4, in pixels or relative;
    the first `most` rows count, all where it is 0. With `all_regions` no patches are averaged.
    """

    features: str | None = None
    boxes: str | None = None
    skip: int = 0
    most: int = 0
    all_regions: bool = False


def adapt_graph(graph: Path, output: Path, recipe: Recipe, outputs: Outputs) -> Path:
    """Write an extractor made of `graph` and its recipe into the folder `output`; returns its path.

    The recipe's name is made of the graph's. Raises InputError where the graph cannot be run on a photo, or where its
    outputs are no regions.
    """
    kind = "detector" if outputs.boxes else "patches" if outputs.all_regions else f"grid{GRID}"
    named = replace(recipe, name=f"{graph.stem}-{sha256(graph)[:8]}-{kind}")
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{named.name}.onnx"
    model = onnx.load(graph)
    names = [value.name for value in model.graph.output]
    for name in (outputs.features, outputs.boxes):
        if name is not None and name not in names:
            raise InputError(f"{graph} has no output {name}: it has {', '.join(names)}")
    features = outputs.features or names[0]
    wanted = [features, *([outputs.boxes] if outputs.boxes else [])]
    found = _tried(graph, named, wanted)
    if outputs.boxes:
        nodes = _of_detector(graph, features, outputs, found, named)
    else:
        nodes = _of_patches(graph, features, outputs, found[0].shape)
    _replace_outputs(model, nodes)
    save_whole(model, path)
    onnx.checker.check_model(path)
    held = {key: value for key, value in asdict(named).items() if value != getattr(Recipe, key, None)}
    path.with_suffix(".json").write_text(json.dumps(held, indent=2) + "\n", "utf-8")
    pixels = np.stack([_pixels(photo, named) for photo in demo_photos()])
    FeatureExtractor(path, "cpu")(pixels)  # it names what is wrong
    return path


class _Nodes(list[onnx.NodeProto]):
    """Nodes with their constants; each node's output is the next one's input."""

    def __init__(self, graph: Path) -> None:
        super().__init__()
        self.graph = graph
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str | NDArray[np.generic], **attributes: Any) -> str:
        """A node; arrays among its inputs become constants. Returns the name of its output."""
        names = []
        for held in inputs:
            if isinstance(held, str):
                names.append(held)
                continue
            names.append(f"regions_constant_{len(self.constants)}")
            self.constants.append(numpy_helper.from_array(np.asarray(held), names[-1]))
        made = f"regions_{len(self)}"
        self.append(helper.make_node(kind, names, [made], **attributes))
        return made

    def end(self, features: str, boxes: str | None = None) -> None:
        """Give the results the names of the extractor's outputs."""
        for name, result in (("features", features), ("boxes", boxes)):
            if result is not None:
                self.append(helper.make_node("Identity", [result], [f"region_{name}"]))


def _of_patches(graph: Path, features: str, outputs: Outputs, shape: tuple[int, ...]) -> _Nodes:
    nodes = _Nodes(graph)
    if len(shape) == 4:
        count = shape[2] * shape[3]
        rows = nodes.add("Transpose", nodes.add("Reshape", features, np.array([0, 0, -1])), perm=[0, 2, 1])
        square = shape[2] == shape[3]
    elif len(shape) == 3:
        count = shape[1] - outputs.skip
        ends = (np.array([outputs.skip]), np.array([2**62]), np.array([1]))
        rows = nodes.add("Slice", features, *ends)
        square = count == round(max(count, 0) ** 0.5) ** 2
    else:
        raise InputError(
            f"the output {features} of {graph} is {' x '.join(map(str, shape))}: name one of tokens B x N x F or a map "
            "B x F x H x W, or a detector's boxes too"
        )
    if not square or count < 1:
        raise InputError(
            f"the output {features} of {graph} has {count} patches, which are no square: give the tokens that stand "
            "for no patch (--skip), or square photos"
        )
    side = round(count**0.5)
    pooling, boxes = pooled_patches(side, side if outputs.all_regions else min(GRID, side))
    if not outputs.all_regions and side > GRID:
        rows = nodes.add("MatMul", pooling.numpy(), rows)
    batch = nodes.add("Gather", nodes.add("Shape", rows), np.array([0]), axis=0)
    shape_of_boxes = nodes.add("Concat", batch, np.array([1, 1]), axis=0)
    nodes.end(rows, nodes.add("Expand", boxes.numpy()[None], shape_of_boxes))
    return nodes


def _of_detector(
    graph: Path, features: str, outputs: Outputs, found: list[NDArray[np.float32]], recipe: Recipe
) -> _Nodes:
    nodes, (rows, boxes) = _Nodes(graph), found
    if rows.ndim not in (2, 3) or boxes.shape[-1] != 4 or rows.shape[-2] != boxes.shape[-2]:
        raise InputError(
            f"the outputs {features} and {outputs.boxes} of {graph} are {' x '.join(map(str, rows.shape))} and "
            f"{' x '.join(map(str, boxes.shape))}: name outputs with a row for each region, and 4 numbers a box"
        )
    held = nodes.add("Reshape", features, np.array([1, -1, rows.shape[-1]]))
    places = nodes.add("Reshape", outputs.boxes or "", np.array([1, -1, 4]))
    if boxes.max(initial=0) > RELATIVE:
        scale = np.array([recipe.width, recipe.height] * 2, np.float32)
        places = nodes.add("Div", places, scale)
    if outputs.most:
        ends = (np.array([0]), np.array([outputs.most]), np.array([1]))
        held, places = nodes.add("Slice", held, *ends), nodes.add("Slice", places, *ends)
    nodes.end(held, places)
    return nodes


def _tried(graph: Path, recipe: Recipe, names: list[str]) -> list[NDArray[np.float32]]:
    """The outputs of these names for a photo of the demo."""
    held = OnnxRuntimeGraph(graph, "cpu")
    if len(held.inputs) != 1:
        raise InputError(f"{graph} takes {len(held.inputs)} inputs: export it with one, the image")
    ((name, (dtype, _)),) = held.inputs.items()
    pixels = _pixels(demo_photos()[0], recipe)[None]
    if dtype != np.uint8:
        mean, std = (np.array(numbers, np.float32) for numbers in (recipe.mean, recipe.std))
        pixels = np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(0, 3, 1, 2), np.float32)
    found = held.run({name: pixels}, names)
    return [found[name] for name in names]


def _pixels(photo: Path, recipe: Recipe) -> NDArray[np.uint8]:
    return read_scaled(photo, recipe.width, recipe.height, fit=recipe.fit).pixels


def _replace_outputs(model: onnx.ModelProto, nodes: _Nodes) -> None:
    """Give the graph these nodes, and their results as its only outputs."""
    graph = model.graph
    graph.node.extend(nodes)
    graph.initializer.extend(nodes.constants)
    del graph.output[:]
    for name in ("features", "boxes"):
        shape = [None, None, 4 if name == "boxes" else None]
        graph.output.append(helper.make_tensor_value_info(f"region_{name}", TensorProto.FLOAT, shape))
