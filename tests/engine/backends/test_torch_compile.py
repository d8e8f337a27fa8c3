"""The Triton kernels compile to machine code of GPUs that are not here; that they run there, `make gpu-check` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
SCRIPT = Path(__file__).parents[2] / "compile_kernels.py"
SHARED_MEMORY = 99 * 1024  # of the smallest GPUs from sm_80 on


@pytest.mark.parametrize(
    "arch", [pytest.param("80", marks=pytest.mark.slow), "90", pytest.param("120", marks=pytest.mark.slow)]
)
def test_kernels_compile_and_fit(arch, tmp_path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    run = subprocess.run([sys.executable, SCRIPT, arch], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    made = json.loads(run.stdout)
    assert {one["kernel"] for one in made} == {"rows", "chunks"}
    for one in made:
        half = one["shape"][3] != "fp32"
        assert one["shared"] <= SHARED_MEMORY, one
        assert one["tensor_cores"] is half, one  # products of float32 are exact, not TF32
        assert one["fast_tanh"] is (half and one["shape"][4] > 1), one
