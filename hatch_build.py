"""Compiles the score kernel (engine/shan_engine/kernel) into the wheel, or in place for an editable install.

A C compiler of the system is used where one works, else the one of the `ziglang` wheel, which the build asks for.
Where neither works the package is built all the same: the engine then scores through ONNX Runtime alone.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import tempfile
from functools import cached_property
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
        """Compile every variant: into the wheel, tagged for this platform, or beside the sources if editable."""
        editable = version == "editable"
        sources = Path(self.root) / KERNEL
        folder = sources if editable else Path(self._scratch.name)
        for old in folder.glob("*.so"):
            old.unlink()
        compiler = system_compiler() or [sys.executable, "-m", "ziglang", "cc"]
        try:
            for name, (lanes, processor) in VARIANTS.items():
                compile_variant(compiler, sources, folder / f"{name}.so", lanes, processor)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = (
                error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else error
            )
            self.app.display_warning(f"the score kernel was not compiled, scores go through ONNX Runtime: {detail}")
            return
        if not editable:
            made = folder.glob("*.so")
            build_data["force_include"] |= {str(path): f"shan_engine/kernel/{path.name}" for path in made}
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled and is in the wheel now."""
        self._scratch.cleanup()

    @cached_property
    def _scratch(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="shan-kernel-")


def platform_tag() -> str:
    """This platform as a wheel's name has it. A universal Python of macOS compiles for its own processor alone."""
    tag = sysconfig.get_platform().replace("universal2", platform.machine())
    return tag.replace("-", "_").replace(".", "_")


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
    """The first C compiler on PATH that makes a shared library, for the newest processor of the variants, too."""
    newest = next(iter(VARIANTS.values()))[1]
    target = [f"-march={newest}"] if newest else []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <math.h>\nfloat probe(float x) { return sqrtf(x); }\n")
        for name in ("cc", "gcc", "clang"):
            command = [name, *target, "-shared", "-fPIC", str(source), "-o", str(source.with_suffix(".so")), "-lm"]
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                continue
            return [name]
    return None
