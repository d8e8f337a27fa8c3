"""One ONNX file from a PyTorch module, or from an ONNX file whose weights lie beside it."""

from __future__ import annotations

import inspect
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

OPSET = 20
LARGEST = 1_900_000_000
"""Bytes of weights that a file holds with its graph, for protobuf ends at 2 GiB. More lie beside it, in `….data`."""


def export_graph(
    module: nn.Module,
    *,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Trace `module` on example `inputs` and write an ONNX file, opset 20; weights beyond LARGEST lie beside it.

    `dynamic` names the axes that may change at run time, as {input: {axis: symbol}}; an example must
    have a size above 1 on such an axis, since the exporter freezes ones.
    """
    names = {symbol for axes in dynamic.values() for symbol in axes.values()}
    symbols = dict.fromkeys(names, torch.export.Dim.DYNAMIC)
    shapes = tuple({axis: symbols[s] for axis, s in dynamic.get(name, {}).items()} for name in inputs)
    parameters = inspect.signature(module.forward).parameters.values()
    variadic = any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters)
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=(shapes,) if variadic else shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=True,
        )
        assert program is not None
        for value in program.model.graph.inputs:
            assert value.shape is not None
            for axis, name in dynamic.get(value.name or "", {}).items():
                value.shape[axis] = name  # one name wherever sizes are equal; the exporter has a number for each
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # source lines and paths of the machine that exports
        held = (value.const_value for value in program.model.graph.initializers.values())
        program.save(str(path), external_data=sum(value.nbytes for value in held if value is not None) > LARGEST)


def copy_whole(source: Path, target: Path) -> None:
    """Copy an ONNX file that can be loaded, with the weights that it keeps in files of their own."""
    if (
        source.stat().st_size < LARGEST and b"location" not in source.read_bytes()
    ):  # what names such a file has this key
        shutil.copyfile(source, target)
        return
    save_whole(onnx.load(source), target)


def save_whole(model: onnx.ModelProto, path: Path) -> None:
    """Write a loaded model with its weights, those beyond LARGEST to a file beside it."""
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)  # the library appends
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGEST
    onnx.save(model, path, save_as_external_data=large, location=beside.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about itself (no torchvision, nodes it does not fold) from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
