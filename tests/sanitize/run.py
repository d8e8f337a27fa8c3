"""Build the score kernel with sanitizers and call it with random shapes: python tests/sanitize/run.py [CALLS].

AddressSanitizer and UndefinedBehaviorSanitizer watch one thread, ThreadSanitizer eight. Exits 1 at the first fault.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KERNEL = Path(__file__).parents[2] / "engine" / "shan_engine" / "kernel"
CALLS = Path(__file__).parent / "random_calls.c"
# Floats in a vector, and the processor: a variant that this one may not run is left out.
VARIANTS = {"baseline": (4, "x86-64-v2"), "x86-64-v3": (8, "x86-64-v3"), "x86-64-v4": (16, "x86-64-v4")}
# The kernel computes with infinities and NaN on purpose; everything else that C leaves undefined ends the run.
WATCHED = {
    "address,undefined": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-fsanitize=thread"],
}
PLAIN = ["-std=gnu11", "-O0", "-g1", "-fno-omit-frame-pointer", "-ffp-contract=fast", "-fno-math-errno"]


def compiler() -> str | None:
    """The system's C compiler, None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path, variant: str, watched: str) -> Path | None:
    """A program that calls one variant under some sanitizers; None where the compiler cannot build it."""
    lanes, processor = VARIANTS[variant]
    program = folder / f"{variant}-{watched.partition(',')[0]}"
    sources = [str(path) for path in (CALLS, *sorted(KERNEL.glob("*.c")))]
    flags = [*PLAIN, *WATCHED[watched], f"-march={processor}", f"-DLANES={lanes}", f"-I{KERNEL}"]
    made = subprocess.run(
        [compiler() or "cc", *flags, *sources, "-lm", "-lpthread", "-o", str(program)], capture_output=True
    )
    return program if made.returncode == 0 else None


def run(program: Path, *, calls: int, threads: int, seed: int = 1) -> subprocess.CompletedProcess[str]:
    """Make random calls; the exit status is 0 where no sanitizer complained."""
    options = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
    command = [str(program), str(seed), str(calls), str(threads)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **options}, timeout=3600)


def main(calls: int) -> int:
    """Run every variant that this processor can run."""
    from shan_engine.kernel.library import variants

    with tempfile.TemporaryDirectory() as folder:
        for variant in variants() or ("baseline",):
            for watched in WATCHED:
                program = build(Path(folder), variant, watched)
                if program is None:
                    print(f"{variant}, {watched}: the compiler cannot build it", flush=True)
                    continue
                began = time.monotonic()
                done = run(program, calls=calls, threads=8 if watched == "thread" else 1)
                print(f"{variant}, {watched}: {done.stdout.strip()} ({time.monotonic() - began:.0f} s)", flush=True)
                if done.returncode:
                    print(done.stderr[:4000])
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000))
