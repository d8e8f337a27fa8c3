"""Whether ONNX Runtime can be used here."""

from __future__ import annotations

from typing import Any

from shan_engine.base.errors import BackendError
from shan_engine.base.optional import install_command, pip_command


def import_onnx_runtime() -> Any:
    """Import `onnxruntime`. Raises BackendError, naming the package to install, if it is missing or damaged."""
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendError(f"ONNX Runtime is not installed: {install_command('cpu', 'gpu')}") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(
            "ONNX Runtime's files are damaged (two of its packages overwrote each other): "
            f"{pip_command('uninstall')} onnxruntime onnxruntime-gpu, then {install_command('cpu', 'gpu')}"
        )
    return onnxruntime
