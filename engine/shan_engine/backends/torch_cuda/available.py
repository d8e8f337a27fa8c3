"""Whether PyTorch with Triton can score on this machine, and on which devices."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from shan_engine.base.errors import BackendError
from shan_engine.base.optional import install_command, pip_command

if TYPE_CHECKING:
    import torch


def usable_devices(device: str) -> list[torch.device]:
    """All of this machine's devices that `device` (auto, cuda or cpu) means.

    `cpu` works only in Triton's interpreter (TRITON_INTERPRET=1), which tests use; it takes seconds for each pair.
    Raises BackendError, naming what to install, if PyTorch, Triton or a CUDA device is missing.
    """
    for package in ("torch", "triton"):
        if find_spec(package) is None:
            raise BackendError(f"the torch back end needs {package}, which is not installed: {install_command('cuda')}")
    import torch
    import triton

    if triton.knobs.runtime.interpret and device != "cuda":
        return [torch.device("cpu")]
    if device == "cpu":
        raise BackendError("the torch back end scores only on CUDA: use --device cuda, or --backend onnxruntime")
    if not torch.cuda.is_available():
        if torch.version.cuda:
            raise BackendError("PyTorch finds no CUDA device: install NVIDIA's driver, or use --device cpu")
        raise BackendError(
            f"the installed PyTorch {torch.__version__} is built without CUDA: "
            f"{pip_command('uninstall')} torch, then {install_command('cuda')}, or use --device cpu"
        )
    return [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
