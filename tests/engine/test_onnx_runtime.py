"""What ONNX Runtime is asked for, and what is said of graphs that cannot be fed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from extractors import save
from onnx import TensorProto, helper
from shan_engine.backends import load_graph, onnx_runtime
from shan_engine.errors import BackendError


def identity(path: Path, kind: int) -> Path:
    x, y = (helper.make_tensor_value_info(name, kind, [2]) for name in "xy")
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], [x], [y], {})


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.INT8, "int8"), (TensorProto.STRING, "string")])
def test_an_input_type_that_cannot_be_fed_is_named(tmp_path: Path, kind: int, name: str) -> None:
    with pytest.raises(BackendError, match=rf"g\.onnx has an input 'x' of type tensor\({name}\): export it with"):
        load_graph(identity(tmp_path / "g.onnx", kind), "cpu", threads=1)


def test_an_input_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    x = helper.make_value_info("x", helper.make_sequence_type_proto(floats))
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    model = save(tmp_path / "g.onnx", [helper.make_node("SequenceLength", ["x"], ["y"])], [x], [y], {})
    with pytest.raises(BackendError, match=r"an input 'x' of type seq\(tensor\(float\)\)"):
        load_graph(model, "cpu", threads=1)


def test_tf32_is_off_on_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    class Session:
        def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return [provider if isinstance(provider, str) else provider[0] for provider in asked[-1]]

        def get_inputs(self) -> list[Any]:
            return []

        get_outputs = get_inputs

    fake = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        SessionOptions=SimpleNamespace,
        InferenceSession=Session,
    )
    monkeypatch.setattr(onnx_runtime, "import_onnx_runtime", lambda: fake)
    for device in ("cuda", "auto", "cpu"):
        load_graph(tmp_path / "g.onnx", device)
    cuda = [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"]
    assert asked == [cuda, cuda, ["CPUExecutionProvider"]]


def test_a_provider_takes_options_that_are_numbers(tmp_path: Path) -> None:
    """ONNX Runtime itself, so that the form of `test_tf32_is_off_on_cuda` is one it takes."""
    ort = onnx_runtime.import_onnx_runtime()
    model = identity(tmp_path / "g.onnx", onnx.TensorProto.FLOAT)
    session = ort.InferenceSession(str(model), providers=[("CPUExecutionProvider", {"use_tf32": 0})])
    np.testing.assert_array_equal(session.run(None, {"x": np.ones(2, np.float32)})[0], 1)
