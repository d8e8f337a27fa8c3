"""`make gpu-check`: proves and measures the torch back end on this machine's GPU; without one, that it is alive.

    PYTHONPATH=model:engine:export:benchmarks python3 benchmarks/gpu_check [--output FILE] [--minutes 7.5] [--show FILE]

METHOD.md beside this file says what is measured and how. Exits with 1 where a score is not what it must be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import torch
    import triton  # noqa: F401
except ModuleNotFoundError as error:
    sys.exit(f"error: {sys.executable} has no {error.name}: run the check with a Python that has PyTorch with CUDA")

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are imported

import machine
import parity
import report
import speed
import training
from provenance import recorded

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="the JSON; else benchmarks/results/gpu-NAME.json, build/ on CPU")
    parser.add_argument("--minutes", type=float, default=7.5, help="what does not fit is left out, and said")
    parser.add_argument(
        "--show", type=Path, help="only put the table of an earlier run's JSON into docs/performance.md"
    )
    options = parser.parse_args()
    if options.show:
        report.update(PAGE, json.loads(options.show.read_text("utf-8")))
        return 0
    began = time.monotonic()

    def left() -> float:
        return 60 * float(options.minutes) - (time.monotonic() - began)

    def said(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", flush=True)

    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    found: dict[str, Any] = {"machine": machine.describe(device), "gpu": device.type == "cuda"}
    found["recorded"] = recorded()
    said(found["machine"]["name"])
    found["back_ends"] = machine.back_ends()
    failed = []
    for name, answer in found["back_ends"].items():
        said(f"{name}: {report.answered(answer)}")
        if not answer.get("passed", True):
            failed.append({"shape": name, "precision": "", "difference": answer["difference"]})
    found["parity"] = rows = parity.check(device)
    failed += [row for row in rows if not row["passed"]]
    said(f"parity: {sum(row['passed'] for row in rows)} of {len(rows)} passed")
    found["bounds"] = bounds = machine.bounds(device)
    parts: dict[str, Callable[[], Any]] = {
        "training": lambda: training.check(device),
        "galleries": lambda: speed.galleries(device, bounds, left),
        "coco": lambda: speed.coco(device, 20.0),
        "against_pytorch": lambda: speed.against_pytorch(device),
        "sweep": lambda: speed.sweep(device, left),
    }
    for name, work in parts.items():
        if left() < 60:
            found[name] = None
            said(f"{name}: left out, no time")
            continue
        try:
            found[name] = work()
        except Exception as error:  # what else can be measured still is
            found[name] = {"failed": f"{type(error).__name__}: {error}"[:2000]}
            failed.append({"shape": name, "precision": "", "difference": str(error)[:200]})
        said(f"{name}: done")
    failed += [row for row in report.rows(found["training"]) if not row["passed"]]
    found["seconds"] = time.monotonic() - began

    output = options.output or report.place(ROOT, found)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print("\nPaste everything between these two lines into an issue:\n" + "-" * 80)
    print(report.block(found, failed, (ROOT, Path.home())))
    print("-" * 80)
    if found["gpu"] and not options.output:
        report.update(PAGE, found)
    print(f"written: {output}")
    for row in failed:
        print(f"FAILED: {row['shape']} {row['precision']}: {row['difference']}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
