"""Compiles the score kernel (engine/shan_engine/kernel) into the wheel, or in place for an editable install.

A C compiler of the system is used where one works, else the one of the `ziglang` wheel. Without either the package
is built all the same: the engine then scores through ONNX Runtime alone.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNEL = Path("engine/shan_engine/kernel")
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-shared"]
X86_64 = platform.machine().lower() in ("x86_64", "amd64")
WINDOWS = sys.platform == "win32"
# Variant of the kernel: floats in a vector, and the processor it is compiled for.
VARIANTS = (
    {"x86-64-v4": (16, "x86-64-v4"), "x86-64-v3": (8, "x86-64-v3"), "baseline": (4, "x86-64-v2")}
    if X86_64
    else {"baseline": (4, None)}
)


class KernelBuildHook(BuildHookInterface[Any]):
    """Adds the compiled variants of the kernel to a wheel."""

    def dependencies(self) -> list[str]:
        """`ziglang`, where the system has no C compiler that works."""
        return [] if system_compiler() else ["ziglang"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile every variant and tag the wheel for this platform."""
        folder = Path(self.root) / KERNEL
        for old in folder.glob("*.so"):
            old.unlink()
        compiler = system_compiler() or [sys.executable, "-m", "ziglang", "cc"]
        try:
            for name, (lanes, processor) in VARIANTS.items():
                compile_variant(compiler, folder, folder / f"{name}.so", lanes, processor)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = (
                error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else error
            )
            self.app.display_warning(f"the score kernel was not compiled, scores go through ONNX Runtime: {detail}")
            return
        build_data["artifacts"].append(f"{KERNEL.as_posix()}/*.so")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compile_variant(compiler: list[str], folder: Path, output: Path, lanes: int, processor: str | None) -> None:
    """Compile the folder's C files into one shared library, put in place when whole."""
    target = [f"-march={processor}"] if processor else []
    if processor and "ziglang" in compiler:
        target = [f"-mcpu={processor.replace('-', '_')}"]
    system = [] if WINDOWS else ["-fPIC", "-lm"]
    fresh = output.with_suffix(".tmp")
    sources = [str(source) for source in sorted(folder.glob("*.c"))]
    command = [*compiler, *FLAGS, *target, f"-DLANES={lanes}", *sources, *system, "-o", str(fresh)]
    subprocess.run(command, check=True, capture_output=True)
    fresh.replace(output)


def system_compiler() -> list[str] | None:
    """The first C compiler on PATH that makes a shared library."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <math.h>\nfloat probe(float x) { return sqrtf(x); }\n")
        for name in ("cc", "gcc", "clang"):
            command = [name, "-shared", "-fPIC", str(source), "-o", str(source.with_suffix(".so")), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                continue
            return [name]
    return None
