"""The back ends by name, and which of them a request gets.

A new back end is one package beside this module, with `available.py` and `scorer.py`, and one line in `RUNTIMES`.
"""

from __future__ import annotations

import logging
from importlib import import_module

from shan_engine.backends.interface import Request, Runtime
from shan_engine.base.choices import Backend
from shan_engine.base.errors import BackendError, BundleError

log = logging.getLogger(__name__)

RUNTIMES: dict[Backend, str] = {
    "onnxruntime": "shan_engine.backends.onnx_runtime.scorer.OnnxRuntime",
    "onnxruntime-tensorrt": "shan_engine.backends.onnx_runtime.scorer.OnnxRuntimeTensorRt",
    "tensorrt": "shan_engine.backends.tensorrt.scorer.TensorRt",
    "torch": "shan_engine.backends.torch_cuda.scorer.TorchCuda",
}
"""Classes, imported when they are asked for: a back end's library may be missing."""


def open_runtime(request: Request, backend: Backend = "onnxruntime") -> Runtime:
    """The back end that was asked for. `auto` is torch for CUDA where it can run, else ONNX Runtime; the log says why.

    Raises BackendError where a back end that was named cannot run here, BundleError where it cannot score the model.
    """
    if backend != "tensorrt" and request.precision:
        raise BackendError(f"only TensorRT's plans have a precision ({request.precision}): add --backend tensorrt")
    if backend != "auto":
        return _open(backend, request)
    if request.device == "cuda":
        try:
            return _open("torch", request)
        except (BackendError, BundleError) as error:
            log.info("the torch back end is not used: %s", error)  # ONNX Runtime has the last word
    return _open("onnxruntime", request)


def _open(backend: Backend, request: Request) -> Runtime:
    module, _, name = RUNTIMES[backend].rpartition(".")
    runtime: Runtime = getattr(import_module(module), name)(request)
    return runtime
