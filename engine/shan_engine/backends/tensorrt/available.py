"""Import TensorRT or TensorRT for RTX, NVIDIA's compilers and run times. They share one API."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from shan_engine.base.errors import BackendError, first_line
from shan_engine.base.optional import install_command

# For each module, the extra that installs it.
EXTRAS = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}


@dataclass(frozen=True)
class TensorRt:
    """The module, with the name and version that plans record."""

    module: Any
    name: str
    version: str

    def logger(self) -> Any:
        """A logger that prints nothing and collects the library's error messages, in order, in `errors`."""
        trt = self.module

        class Log(trt.ILogger):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    self.errors.append(message)

        return Log()


def import_tensorrt(name: str | None = None) -> TensorRt:
    """Import TensorRT or, if only that is installed, TensorRT for RTX. `name` asks for one of the two.

    Raises BackendError, naming the packages to install, if it is missing or does not load.
    """
    names = [name] if name else list(EXTRAS)
    faults = []
    for candidate in names:
        try:
            module = importlib.import_module(candidate)
            if hasattr(module, "Builder"):
                return TensorRt(module, candidate, str(module.__version__))
            faults.append(f"{candidate} has no compiler")
        except ModuleNotFoundError as error:
            if error.name != candidate:
                faults.append(f"{candidate} does not load: {first_line(error)}")
        except (ImportError, OSError, RuntimeError) as error:
            faults.append(f"{candidate} does not load: {first_line(error)}")
    extras = install_command(*(EXTRAS[candidate] for candidate in reversed(names)))
    missing = "; ".join(faults) or f"{' or '.join(names)} is not installed"
    raise BackendError(f"{missing}: {extras}")
