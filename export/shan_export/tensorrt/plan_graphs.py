"""Build the graphs that plans are compiled from, in each precision, from a bundle's graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, compose, helper, numpy_helper, shape_inference
from shan_engine.base.choices import Precision
from shan_engine.bundle.contents import IMAGE_TERMS, Bundle
from shan_engine.bundle.manifest import GRAPHS

from shan_export.tensorrt.precision import LOW, lower_precision

SCORES = ("scores", "step_scores", "word_attention")
SCORER = Path(GRAPHS[2]).stem
Feeds = Mapping[str, NDArray[Any]]


def plan_graphs(bundle: Bundle) -> dict[str, ModelProto]:
    """The float32 graphs by name; the pair scorer computes the image terms that no gallery stores."""
    graphs = {Path(name).stem: with_wide_integers(onnx.load(str(bundle.path / name))) for name in GRAPHS}
    if IMAGE_TERMS in bundle.manifest.files:
        graphs[SCORER] = chain_graphs(onnx.load(str(bundle.path / IMAGE_TERMS)), graphs[SCORER])
    return graphs


def with_wide_integers(model: ModelProto) -> ModelProto:
    """The graph with constants of 8 bits in 32: TensorRT takes those of 8 for quantised ones, and refuses a `Cast`."""
    for tensor in model.graph.initializer:
        if tensor.data_type in (TensorProto.INT8, TensorProto.UINT8):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int32), tensor.name))
    del model.graph.value_info[:]  # with the types before
    return model


def chain_graphs(first: ModelProto, second: ModelProto) -> ModelProto:
    """Join two graphs: outputs of the first feed the second's inputs. Inputs of the same name become one."""
    result = compose.add_prefix(first, "terms_", rename_inputs=False, rename_outputs=False)
    made = {value.name for value in result.graph.output}
    given = {value.name for value in result.graph.input}
    result.graph.node.extend(second.graph.node)
    result.graph.initializer.extend(second.graph.initializer)
    result.graph.input.extend(value for value in second.graph.input if value.name not in made | given)
    del result.graph.output[:], result.graph.value_info[:]
    result.graph.output.extend(second.graph.output)
    onnx.checker.check_model(result)
    return result


def convert_graphs(
    graphs: Mapping[str, ModelProto], precision: Precision, calibration: Iterable[Feeds]
) -> dict[str, ModelProto]:
    """The graphs in a precision. int8 applies to the pair scorer's products, with ranges from `calibration`; the
    encoders are fp16, since they run only once for each image or caption."""
    if precision == "fp32":
        return dict(graphs)
    low = "fp16" if precision == "int8" else precision
    result = {name: lower_precision(graph, low, full_outputs=SCORES) for name, graph in graphs.items()}
    if precision == "int8":
        result[SCORER] = quantise(graphs[SCORER], iter(calibration))
    return result


def quantise(model: ModelProto, feeds: Iterator[Feeds]) -> ModelProto:
    """A copy with the inputs of all products in 8 bits: symmetric, as TensorRT requires, with ranges from `feeds`."""
    import logging
    import tempfile

    from onnxruntime.quantization import (  # takes a second to import
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[Any]] | None:
            feed = next(feeds, None)
            return None if feed is None else dict(feed)

    logging.getLogger().setLevel(logging.ERROR)  # it suggests a preprocessing step that our graphs do not need
    given = ModelProto()
    given.CopyFrom(model)  # it removes the weights from the model it is given
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "int8.onnx")
        quantize_static(
            given,
            output,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True},
        )
        return onnx.load(str(output))


def simulate_rounding(model: ModelProto) -> ModelProto:
    """A model that gives the same numbers as a 16-bit one, for a processor without 16-bit products.

    Every node computes in float32; its inputs and outputs are rounded to the model's types.
    """
    types = _types(model)
    result = ModelProto()
    result.CopyFrom(model)
    nodes: list[NodeProto] = []
    low = set(LOW.values())
    for node in model.graph.node:
        if node.op_type == "Cast" or not any(types.get(name) in low for name in (*node.input, *node.output)):
            nodes.append(node)
            continue
        new = NodeProto()
        new.CopyFrom(node)
        after = []
        for number, name in enumerate(node.input):
            if types.get(name) in low:
                new.input[number] = f"{node.output[0]}_in{number}"
                nodes.append(helper.make_node("Cast", [name], [new.input[number]], to=TensorProto.FLOAT))
        for number, name in enumerate(node.output):
            if types.get(name) in low:
                new.output[number] = f"{name}_wide"
                after.append(helper.make_node("Cast", [new.output[number]], [name], to=types[name]))
        nodes += [new, *after]
    del result.graph.node[:], result.graph.value_info[:]
    result.graph.node.extend(nodes)
    return result


def _types(model: ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model, strict_mode=True).graph
    values = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return values | {tensor.name: tensor.data_type for tensor in graph.initializer}
