"""Convert a graph's products to 16 bits. Strongly typed TensorRT networks take their types from the ONNX file.

Products (MatMul) and sigmoids are computed in 16 bits, and so are elementwise sums and products whose results
feed only those: they would be rounded there anyway. Softmaxes, lengths, means and the scores stay float32, and so
does the GRU, which no TensorRT parses in 16 bits with `sequence_lens`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import ml_dtypes
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
NUMPY: dict[int, np.dtype[np.generic]] = {
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
ALWAYS = {"MatMul", "Sigmoid"}
ELEMENTWISE = {"Add", "Sub", "Mul"}
MOVES = {"Reshape", "Transpose", "Squeeze", "Unsqueeze"}  # they run in the type of their input


def lower_precision(model: ModelProto, precision: str, *, full_outputs: Collection[str] = ()) -> ModelProto:
    """A copy of a float32 model with its products in `precision`, fp16 or bf16.

    With fp16 its float inputs and outputs are fp16 too, except `full_outputs`. With bf16 they stay float32: NumPy has
    no bfloat16.
    """
    result = ModelProto()
    result.CopyFrom(model)
    inferred = shape_inference.infer_shapes(model).graph
    ends = {value.name for value in (*model.graph.input, *model.graph.output)} & _float_tensors(inferred)
    half_ends = ends - set(full_outputs) if precision == "fp16" else set[str]()
    _Rewriter(result.graph, LOW[precision], _low_nodes(inferred, ends - half_ends), half_ends).run()
    del result.graph.value_info[:]  # their types are those before the conversion
    return result


def _low_nodes(graph: GraphProto, full: Collection[str]) -> set[str]:
    """First outputs of the nodes that are computed in 16 bits; graph outputs in `full` are float32."""
    floats = _float_tensors(graph)
    consumers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            consumers[name].append(node)
    candidates = {
        node.output[0]: node for node in graph.node if node.op_type in ALWAYS | ELEMENTWISE and node.output[0] in floats
    }

    def only_feeds_low(name: str) -> bool:
        return name not in full and all(
            only_feeds_low(user.output[0]) if user.op_type in MOVES else user.output[0] in candidates
            for user in consumers[name]
        )

    while True:
        dropped = [
            name for name, node in candidates.items() if node.op_type in ELEMENTWISE and not only_feeds_low(name)
        ]
        if not dropped:
            return set(candidates)
        for name in dropped:
            del candidates[name]


def _float_tensors(graph: GraphProto) -> set[str]:
    values = [*graph.value_info, *graph.input, *graph.output]
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT} | {
        tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT
    }


class _Rewriter:
    """One pass over a graph's nodes. A tensor exists in float32, in 16 bits, or in both if both are needed.

    `half_ends` are the inputs and outputs that are in 16 bits; they keep their names.
    """

    def __init__(self, graph: GraphProto, low: int, low_nodes: set[str], half_ends: set[str]) -> None:
        self.graph, self.low, self.low_nodes, self.half_ends = graph, low, low_nodes, half_ends
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.full: dict[str, str] = {}  # the names of both forms, by the original name
        self.half: dict[str, str] = {}
        self.nodes: list[NodeProto] = []

    def run(self) -> None:
        for value in (*self.graph.input, *self.graph.output):
            if value.name in self.half_ends:
                value.type.tensor_type.elem_type = self.low
        for name in (*(value.name for value in self.graph.input), *self.constants):
            (self.half if name in self.half_ends else self.full)[name] = name
        for node in list(self.graph.node):
            moves = node.op_type in MOVES and node.input[0] not in self.full
            half = moves or node.output[0] in self.low_nodes
            data = node.input[:1] if moves else node.input
            inputs = [self.as_half(name) if half and name in data else self.as_full(name) for name in node.input]
            self.add(node, inputs, half=half)
        for value in self.graph.output:
            (self.as_half if value.name in self.half_ends else self.as_full)(value.name)
        used = {name for node in self.nodes for name in node.input}
        for held, new in (
            (self.graph.node, self.nodes),
            (self.graph.initializer, [tensor for tensor in self.constants.values() if tensor.name in used]),
        ):
            del held[:]
            held.extend(new)

    def add(self, node: NodeProto, inputs: list[str], *, half: bool) -> None:
        new = NodeProto()
        new.CopyFrom(node)
        del new.input[:], new.output[:]
        new.input.extend(inputs)
        for name in node.output:
            form, new_name = (self.half, self.half_name(name)) if half else (self.full, self.full_name(name))
            form[name] = new_name
            new.output.append(new_name)
        self.nodes.append(new)

    def half_name(self, name: str) -> str:
        return name if name in self.half_ends else f"{name}_low"

    def full_name(self, name: str) -> str:
        return f"{name}_full" if name in self.half_ends else name

    def as_half(self, name: str) -> str:
        if name not in self.half:
            self.half[name] = self.half_name(name)
            if name in self.constants:
                array = numpy_helper.to_array(self.constants[name]).astype(NUMPY[self.low])
                self.constants[self.half[name]] = numpy_helper.from_array(array, self.half[name])
            else:
                self.nodes.append(helper.make_node("Cast", [self.full[name]], [self.half[name]], to=self.low))
        return self.half[name]

    def as_full(self, name: str) -> str:
        if not name:
            return name  # an omitted optional input
        if name not in self.full:
            self.full[name] = self.full_name(name)
            self.nodes.append(helper.make_node("Cast", [self.half[name]], [self.full[name]], to=TensorProto.FLOAT))
        return self.full[name]
