"""Weights that need a quarter of their space in an ONNX file, without any change to how the graph runs.

`round_weights` rounds a module's weights: large matrices to 8 bits with a scale for each output, the others to half
precision. The module then gives what the file will give. `pack_weights` stores such weights of a graph as int8 or
float16 and restores them by `Cast` and `Mul`, which ONNX Runtime computes once, when it loads the file: it runs the
same float32 graph. (It would keep `DequantizeLinear` for run time.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from shan_export.onnx_file import save_whole

LARGE = 80_000  # values of a matrix that is rounded to 8 bits: the few values of early layers matter more
LEAST = 1024  # values of an array that is stored in another type
LEVELS = 127


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each frozen batch normalisation into the convolution that stands before it in its parent module."""
    for parent in list(module.modules()):
        last: tuple[str, nn.Conv2d] | None = None
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d):
                last = name, child
            elif isinstance(child, nn.BatchNorm2d) and last is not None:
                setattr(parent, last[0], fuse_conv_bn_eval(last[1], child))
                setattr(parent, name, nn.Identity())
                last = None


def round_weights(module: nn.Module, *, large_to_8_bits: bool = True) -> None:
    """Round the weights of a module's convolutions, embeddings and linear layers to what `pack_weights` stores."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
            weight = layer.weight.detach()
            dense = large_to_8_bits and weight.numel() >= LARGE and getattr(layer, "groups", 1) == 1
            dense = dense and not isinstance(layer, nn.Embedding)
            layer.weight = nn.Parameter(rounded(weight) if dense else weight.half().float(), requires_grad=False)


def rounded(weight: Tensor) -> Tensor:
    """A weight with its outputs on the first axis, rounded to 8 bits; every output has its own scale."""
    values, scale = quantised(weight.numpy())
    return torch.from_numpy(values * scale)


def quantised(weight: NDArray[np.float32], axis: int = 0) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Values from -127 to 127 and a scale for each index of `axis`, of a shape that broadcasts.

    A scale has 8 significant bits, so that products and quotients with it are exact: `quantised(values * scale)`
    gives the same again.
    """
    others = tuple(number for number in range(weight.ndim) if number != axis % weight.ndim)
    greatest = np.abs(weight).max(axis=others, keepdims=True)
    scale: NDArray[np.float32] = torch.from_numpy(greatest / LEVELS).bfloat16().float().numpy()
    values = np.clip(np.round(weight / np.where(scale == 0, 1, scale)), -LEVELS, LEVELS)
    return values.astype(np.int8), scale


def pack_weights(path: Path) -> None:
    """Store the weights of an ONNX file as int8 or float16 wherever that loses nothing."""
    model = onnx.load(path)
    graph = model.graph
    nodes = []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        weight, name = numpy_helper.to_array(tensor), tensor.name
        packed = _packed(weight)
        if packed is None:
            continue
        graph.initializer.remove(tensor)
        values, scale = packed
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_packed"))
        cast = name if scale is None else f"{name}_cast"
        nodes.append(helper.make_node("Cast", [f"{name}_packed"], [cast], to=TensorProto.FLOAT))
        if scale is not None:
            graph.initializer.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes.append(helper.make_node("Mul", [cast, f"{name}_scale"], [name]))
    held = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *held])
    save_whole(model, path)
    onnx.checker.check_model(path)  # the file: a model in memory may be too large


def _packed(
    weight: NDArray[np.float32],
) -> tuple[NDArray[np.int8] | NDArray[np.float16], NDArray[np.float32] | None] | None:
    """A weight's small form and scales; None if it has none that is exact."""
    for axis in (0, -1) if weight.ndim > 1 else ():
        values, scale = quantised(weight, axis)
        if np.array_equal(values * scale, weight):
            return values, scale
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return (half, None) if np.array_equal(half.astype(np.float32), weight) else None
