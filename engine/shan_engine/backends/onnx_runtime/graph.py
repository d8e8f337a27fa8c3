"""ONNX Runtime on CPU or CUDA, on the device that was asked for or not at all."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from shan_engine.backends.interface import Array
from shan_engine.backends.onnx_runtime.available import import_onnx_runtime
from shan_engine.base.choices import Device
from shan_engine.base.errors import BackendError, first_line
from shan_engine.base.optional import install_command, pip_command
from shan_engine.base.threads import usable_cpus

log = logging.getLogger(__name__)

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def runs_on_cpu(device: Device) -> bool:
    """Whether a graph certainly runs on the CPU. Raises BackendError where ONNX Runtime is missing."""
    available = import_onnx_runtime().get_available_providers()
    return device == "cpu" or (device == "auto" and _PROVIDERS["cuda"] not in available)


class OnnxRuntimeGraph:
    """One ONNX graph in an ONNX Runtime session."""

    def __init__(
        self, path: Path, device: Device = "auto", *, threads: int | None = None, engines: Path | None = None
    ) -> None:
        ort = import_onnx_runtime()
        available = ort.get_available_providers()
        fallback = device == "auto" and engines is None
        kind = "tensorrt" if engines else device
        if fallback:
            kind = "cuda" if _PROVIDERS["cuda"] in available else "cpu"
        if _PROVIDERS[kind] not in available:
            raise BackendError(
                f"ONNX Runtime {ort.__version__} here has no {kind} support: "
                f"{pip_command('uninstall')} onnxruntime, then {install_command('gpu')}, or use --device cpu"
            )
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised, too
        options.intra_op_num_threads = threads or usable_cpus()
        # Threads that spin between graphs take the core from whoever has work (benchmarks/busy_machine.py).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers: list[Any] = [_PROVIDERS["cpu"]]
        given: dict[str, Any] = {"enable_fallback": 0} if kind == "cpu" else {}  # there is nothing to fall back to
        # Where a provider fails, that is printed. Output belongs to all threads, so it is redirected only for those.
        caught = nullcontext(io.StringIO()) if kind == "cpu" else redirect_stdout(io.StringIO())
        if kind != "cpu":
            # TF32 keeps 10 bits of a product's factors: scores would be off by more than parity allows.
            providers.insert(0, (_PROVIDERS["cuda"], {"use_tf32": 0}))
        try:
            with caught as banner:
                if engines:
                    inputs = ort.InferenceSession(str(path), options, providers=[_PROVIDERS["cpu"]]).get_inputs()
                    shapes = {value.name: tuple(value.shape) for value in inputs}
                    providers.insert(0, (_PROVIDERS["tensorrt"], tensorrt_options(shapes, engines)))
                session = ort.InferenceSession(str(path), options, providers=providers, **given)
            described = [(value.name, value.type, tuple(value.shape)) for value in session.get_inputs()]
            self.outputs: Sequence[str] = [value.name for value in session.get_outputs()]
        except Exception as error:  # ONNX Runtime raises many types of its own
            raise BackendError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error
        loaded = session.get_providers()[0]
        if loaded != _PROVIDERS[kind]:
            fault = (
                f"ONNX Runtime lists {_PROVIDERS[kind]} but could not load it (is the CUDA or TensorRT library of "
                "its version installed?)"
            )
            if not fallback:
                raise BackendError(f"{fault}: fix that, or use --device cpu")
            log.info("%s: %s runs on the CPU", fault, path.name)
        if said := " ".join(banner.getvalue().replace("*", " ").split()):
            log.info("ONNX Runtime says: %s", said)
        self.device = "cpu" if loaded == _PROVIDERS["cpu"] else "cuda"
        self._path, self._session = path, session
        self.inputs: dict[str, tuple[np.dtype[Any], tuple[int | str | None, ...]]] = {}
        for name, type_name, shape in described:
            if type_name not in _DTYPES:
                raise BackendError(
                    f"{path} has an input '{name}' of type {type_name}: export it with inputs of "
                    f"{', '.join(np.dtype(dtype).name for dtype in _DTYPES.values())}"
                )
            self.inputs[name] = (np.dtype(_DTYPES[type_name]), shape)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name; contiguous inputs of the graph's types are fed without a copy."""
        names = list(outputs or self.outputs)
        if missing := sorted(self.inputs.keys() - inputs):
            raise BackendError(f"{self._path} has an input '{missing[0]}' that nothing gives: export it again")
        feed = {name: np.ascontiguousarray(inputs[name], dtype) for name, (dtype, _) in self.inputs.items()}
        try:
            return dict(zip(names, self._session.run(names, feed), strict=True))
        except Exception as error:  # ONNX Runtime raises many types of its own
            raise BackendError(f"ONNX Runtime failed: {first_line(error)}") from error

    def begin(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None
    ) -> Callable[[], dict[str, Array]]:
        """Runs at once."""
        results = self.run(inputs, outputs)
        return lambda: results


def tensorrt_options(shapes: Mapping[str, Sequence[int | str | None]], engines: Path) -> dict[str, Any]:
    """ONNX Runtime's TensorRT provider for inputs of these shapes: one profile, and all that it compiles kept."""
    from shan_engine.bundle.plans import Limits, profile  # here: a GPU machine may lack what reads manifests

    profiles = {name: profile(name, shape, Limits()) for name, shape in shapes.items()}
    bounds = {
        bound: ",".join(f"{name}:{'x'.join(str(axis[place]) for axis in axes)}" for name, axes in profiles.items())
        for place, bound in enumerate(("min", "opt", "max"))
    }
    return {
        **{f"trt_{cache}_cache_enable": True for cache in ("engine", "timing")},
        **{f"trt_{cache}_cache_path": str(engines) for cache in ("engine", "timing")},
        **{f"trt_profile_{bound}_shapes": text for bound, text in bounds.items()},
    }
