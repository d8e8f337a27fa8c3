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
from shan_engine.backends.onnx_runtime import graph as onnx_runtime
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.choices import Device
from shan_engine.base.errors import BackendError


def identity(path: Path, kind: int) -> Path:
    x, y = (helper.make_tensor_value_info(name, kind, [2]) for name in "xy")
    return save(path, [helper.make_node("Identity", ["x"], ["y"])], [x], [y], {})


@pytest.mark.parametrize(("kind", "name"), [(TensorProto.INT8, "int8"), (TensorProto.STRING, "string")])
def test_an_input_type_that_cannot_be_fed_is_named(tmp_path: Path, kind: int, name: str) -> None:
    with pytest.raises(BackendError, match=rf"g\.onnx has an input 'x' of type tensor\({name}\): export it with"):
        OnnxRuntimeGraph(identity(tmp_path / "g.onnx", kind), "cpu", threads=1)


def test_an_input_that_is_no_tensor_is_named(tmp_path: Path) -> None:
    floats = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    x = helper.make_value_info("x", helper.make_sequence_type_proto(floats))
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    model = save(tmp_path / "g.onnx", [helper.make_node("SequenceLength", ["x"], ["y"])], [x], [y], {})
    with pytest.raises(BackendError, match=r"an input 'x' of type seq\(tensor\(float\)\)"):
        OnnxRuntimeGraph(model, "cpu", threads=1)


def test_a_damaged_graph_prints_nothing_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = identity(tmp_path / "g.onnx", TensorProto.FLOAT)
    path.write_bytes(path.read_bytes().replace(b"Identity", b"\xe9dentity", 1))
    with pytest.raises(BackendError, match=r"cannot load .*g\.onnx"):
        OnnxRuntimeGraph(path, "cpu", threads=1)
    assert capsys.readouterr().out == ""


def test_tf32_is_off_on_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    class Session:
        def __init__(self, path: str, options: Any, providers: list[Any], **given: Any) -> None:
            asked.append(providers)

        def get_providers(self) -> list[str]:
            return [provider if isinstance(provider, str) else provider[0] for provider in asked[-1]]

        def get_inputs(self) -> list[Any]:
            return []

        get_outputs = get_inputs

    fake = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda name, value: None),
        InferenceSession=Session,
    )
    monkeypatch.setattr(onnx_runtime, "import_onnx_runtime", lambda: fake)
    for device in ("cuda", "auto", "cpu"):
        OnnxRuntimeGraph(tmp_path / "g.onnx", device)
    cuda = [("CUDAExecutionProvider", {"use_tf32": 0}), "CPUExecutionProvider"]
    assert asked == [cuda, cuda, ["CPUExecutionProvider"]]


@pytest.mark.parametrize(
    ("listed", "on_cpu"),
    [(["CPU"], {"cpu", "auto"}), (["CUDA", "CPU"], {"cpu"}), (["Tensorrt", "CPU"], {"cpu", "auto"})],
)
def test_a_graph_is_known_to_run_on_the_cpu_where_no_gpu_can_run_it(
    monkeypatch: pytest.MonkeyPatch, listed: list[str], on_cpu: set[str]
) -> None:
    fake = SimpleNamespace(get_available_providers=lambda: [f"{name}ExecutionProvider" for name in listed])
    monkeypatch.setattr(onnx_runtime, "import_onnx_runtime", lambda: fake)
    devices: tuple[Device, ...] = ("cpu", "auto", "cuda")
    assert {device for device in devices if onnx_runtime.runs_on_cpu(device)} == on_cpu


def test_a_fallback_to_the_cpu_is_logged_or_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime lists CUDA where it cannot load it, and falls back by itself."""
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"], get_inputs=list, get_outputs=list)
    fake = SimpleNamespace(
        get_available_providers=lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
        SessionOptions=lambda: SimpleNamespace(add_session_config_entry=lambda name, value: None),
        InferenceSession=lambda *arguments, **options: session,
    )
    monkeypatch.setattr(onnx_runtime, "import_onnx_runtime", lambda: fake)
    caplog.set_level("INFO", logger="shan_engine")
    assert OnnxRuntimeGraph(tmp_path / "g.onnx", "auto").device == "cpu"
    assert "lists CUDAExecutionProvider but could not load it" in caplog.text
    with pytest.raises(BackendError, match=r"could not load it .*: fix that, or use --device cpu"):
        OnnxRuntimeGraph(tmp_path / "g.onnx", "cuda")


def test_a_provider_takes_options_that_are_numbers(tmp_path: Path) -> None:
    """ONNX Runtime itself, so that the form of `test_tf32_is_off_on_cuda` is one it takes."""
    ort = onnx_runtime.import_onnx_runtime()
    model = identity(tmp_path / "g.onnx", onnx.TensorProto.FLOAT)
    session = ort.InferenceSession(str(model), providers=[("CPUExecutionProvider", {"use_tf32": 0})])
    np.testing.assert_array_equal(session.run(None, {"x": np.ones(2, np.float32)})[0], 1)


def test_the_tensorrt_provider_gets_one_profile_and_a_place_for_its_engines(tmp_path: Path) -> None:
    shapes = {"image_regions": ("images", "regions", 32), "word_mask": ("captions", "words"), "lengths": (None,)}
    options = onnx_runtime.tensorrt_options(shapes, tmp_path)
    assert options == {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(tmp_path),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(tmp_path),
        "trt_profile_min_shapes": "image_regions:1x1x32,word_mask:1x1,lengths:1",
        "trt_profile_opt_shapes": "image_regions:64x36x32,word_mask:16x16,lengths:16",
        "trt_profile_max_shapes": "image_regions:256x128x32,word_mask:32x128,lengths:32",
    }


def test_a_provider_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="here has no tensorrt support"):
        OnnxRuntimeGraph(identity(tmp_path / "g.onnx", TensorProto.FLOAT), engines=tmp_path / "engines")


@pytest.mark.parametrize("named", ["../weights.bin", "link.bin", "absolute"])
def test_weights_outside_the_bundles_folder_are_not_read(tmp_path: Path, named: str) -> None:
    """The author of a bundle may name any file of this machine."""
    outside, bundle = tmp_path / "weights.bin", tmp_path / "bundle"
    bundle.mkdir()
    np.ones(2, np.float32).tofile(outside)
    (bundle / "link.bin").symlink_to(outside)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    weights = {"w": np.ones(2, np.float32)}
    model = save(bundle / "g.onnx", [helper.make_node("Add", ["x", "w"], ["y"])], [x], [y], weights)
    changed = onnx.load(model)
    (tensor,) = changed.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(outside) if named == "absolute" else named)
    model.write_bytes(changed.SerializeToString())
    with pytest.raises(BackendError, match=r"[Ee]xternal data"):
        OnnxRuntimeGraph(model, "cpu", threads=1)
