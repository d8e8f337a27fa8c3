"""`make gpu-check` without a GPU: every part runs, in Triton's interpreter, and says that it proves no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
ROOT = Path(__file__).parents[2]
# Packages of the engine that a machine with nothing but PyTorch and Triton lacks.
MISSING = (
    "lmdb",
    "nltk",
    "rapidfuzz",
    "faiss",
    "filelock",
    "msgspec",
    "xxhash",
    "jinja2",
    "typer",
    "onnx",
    "safetensors",
)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """From the tree, as on a machine where the project is not installed."""
    for name in MISSING:
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not here')")
    paths = os.pathsep.join(map(str, (folder, ROOT / "model", ROOT / "engine", ROOT / "benchmarks")))
    return subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu_check", *arguments],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_part_runs_on_cpu_and_is_honest_about_it(tmp_path) -> None:
    page = (ROOT / "docs" / "performance.md").read_bytes()
    done = run(tmp_path, "--output", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "PyTorch found no NVIDIA GPU, so the kernels ran in Triton's interpreter" in done.stdout
    pasted = done.stdout.split("-" * 80)[1]
    assert "- name: no GPU: Triton's interpreter on CPU\n" in pasted
    assert all(
        f"\n- {name}: " in pasted for name in ("python", "torch", "triton", "commit", "onnxruntime cuda", "parity")
    )
    assert str(ROOT) not in pasted
    assert "FAILED" not in pasted
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["gpu"] is False
    assert set(found["recorded"]) == {"commit", "date", "cpu", "cpus", "versions"}
    assert {row["precision"] for row in found["parity"]} == {"float32", "float16"}
    assert all(row["difference"] < 1e-4 for row in found["parity"] if row["precision"] == "float32")
    assert [(row["precision"], row["passed"]) for row in found["training"]] == [("float32", True), ("bfloat16", True)]
    assert all(row["pairs_per_s"] > 0 for row in found["training"])
    assert found["parity"][-1]["shape"] == "levels terms, regions, streamed"
    assert found["back_ends"]["onnxruntime cpu"]["passed"]
    assert set(found["back_ends"]) == {
        "torch",
        "onnxruntime cpu",
        "onnxruntime cuda",
        "onnxruntime-tensorrt",
        "tensorrt fp32",
        "tensorrt fp16",
    }
    for part in ("galleries", "coco", "against_pytorch", "sweep"):
        assert found[part]
        assert "failed" not in found[part]
    assert (ROOT / "docs" / "performance.md").read_bytes() == page


def test_a_python_without_pytorch_is_one_sentence(tmp_path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    done = run(tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr == f"error: {sys.executable} has no torch: run the check with a Python that has PyTorch with CUDA\n"
    )


def test_back_ends_say_what_their_number_is(monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu_check")
    import report

    assert report.answered({"reason": "no CUDA"}) == "does not run: no CUDA"
    assert report.answered({"runs": True}) == "runs"
    assert report.answered({"runs": True, "difference": 3e-8}) == "runs, largest difference of a score 3.0e-08"


def test_a_table_replaces_the_last_one_between_its_marks(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "gpu_check")
    import report

    rates = {"kernel": 9e6, "compiled factorised": 1e6, "plain": 1e5}
    gallery = {"images": 10**6, "D": 256, "queries": 1, "level": "terms", "ms": 21.5, "pairs_per_s": 4.6e7}
    tiles = {"D": 256, "kernel": "rows", "tile": 16, "dims": 256, "stages": 3, "images": 9, "captions": 1}
    found = {
        "gpu": True,
        "machine": {"name": "NVIDIA H100 80GB HBM3", "torch": "2.11.0", "triton": "3.6.0"},
        "bounds": {"copy_bytes_per_s": 3e12, "matrix_operations_per_s": 7e14},
        "parity": [
            {"precision": "float32", "difference": 2e-6, "recall_at_10": 1.0},
            {"precision": "float16", "difference": 2e-3, "recall_at_10": 0.97},
        ],
        "galleries": [
            {**gallery, "share_of_memory_bound": 0.86, "share_of_matrix_bound": 0.1, "goal_ms": 30.0},
            {"images": 100_000, "D": 1024, "skipped": "no time was left"},
        ],
        "coco": {"captions_measured": 9_600, "whole_seconds": 42.0, "extrapolated": True},
        "against_pytorch": [{"D": 256, "pairs_per_s": rates, "times_compiled": 9.0, "times_plain": 90.0}],
        "training": [{"D": 256, "precision": "bfloat16", "pairs_per_s": 5e5, "difference": 2e-3, "passed": True}],
        "sweep": [{**tiles, "warps": warps, "pairs_per_s": warps * 1e6} for warps in (4, 8)],
    }
    page = tmp_path / "performance.md"
    page.write_text(f"# Times\n\n{report.START}\nstale\n{report.END}\n\nmore\n")
    for _ in range(2):
        report.update(page, found)
    text = page.read_text()
    assert "stale" not in text
    assert text.startswith("# Times\n\n<!-- gpu-check -->")
    assert text.endswith("<!-- /gpu-check -->\n\nmore\n")
    assert text.count("| 1,000,000 | 256 | 1 | terms | 21.5 | 30 | 46,000,000 | 0.86 | 0.10 |") == 1
    assert "42.0 s, from 9,600 of 25,000 captions" in text
    assert "Training, D = 256, encoders in bfloat16: 500,000 pairs/s" in text
    assert "Best tiles for 1 captions, D = 256: kernel rows, tile 16, dims 256, warps 8, stages 3" in text
    assert report.place(ROOT, found).name == "gpu-nvidia-h100-80gb-hbm3.json"
