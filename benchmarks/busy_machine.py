"""What thread pools that spin cost where another process keeps a core busy: ratios, each setting in turn.

    python benchmarks/busy_machine.py

On all usable CPUs, alone and beside one process that spins: the demo's pair scorer in ONNX Runtime, whose idle
threads spin or sleep, and small matrix products as in training in PyTorch, whose OpenMP threads spin or sleep.
Each setting runs in a process of its own. Figures are medians of the turns, as ratios to spinning threads alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from shan_engine.base.threads import usable_cpus

SPINNING = "while True: pass"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=30, help="runs of a graph, or of 10 training steps, in a turn")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print({"onnxruntime": onnx_runtime, "torch": torch}[options.measure](options.rounds))
        return
    for library in ("onnxruntime", "torch"):
        seconds: dict[tuple[str, bool], list[float]] = {}
        for _ in range(options.turns):
            for threads in ("spin", "sleep"):
                for busy in (False, True):
                    seconds.setdefault((threads, busy), []).append(measured(library, threads, busy, options.rounds))
        base = statistics.median(seconds["spin", False])
        for (threads, busy), values in seconds.items():
            beside = "beside a busy process" if busy else "alone"
            print(f"{library:12} threads {threads:5} {beside:22} {statistics.median(values) / base:5.2f}")


def measured(library: str, threads: str, busy: bool, rounds: int) -> float:
    """Seconds of one process with these settings, without its start."""
    policy = {"OMP_WAIT_POLICY": "PASSIVE"} if threads == "sleep" else {}
    held = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    command = [sys.executable, __file__, "--measure", library, "--rounds", str(rounds)]
    other = subprocess.Popen([sys.executable, "-c", SPINNING]) if busy else None
    try:
        environment = {**held, **policy, "SHAN_SPIN": str(int(threads == "spin"))}
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    finally:
        if other is not None:
            other.kill()
            other.wait()


def onnx_runtime(rounds: int) -> float:
    """Seconds of the demo's pair scorer on 64 images of 36 regions and a caption of 12 words."""
    import numpy as np
    import onnxruntime
    from shan_engine.locate import demo_bundle

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = usable_cpus()
    settings.add_session_config_entry("session.intra_op.allow_spinning", os.environ["SHAN_SPIN"])
    path = demo_bundle() / "pair_scorer.onnx"
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    sizes = {"images": 64, "regions": 36, "captions": 1, "words": 12}
    random, feed = np.random.default_rng(0), {}
    for value in session.get_inputs():
        shape = [sizes.get(axis, axis) for axis in value.shape]
        feed[value.name] = np.ones(shape, np.bool_) if "bool" in value.type else random.random(shape, np.float32)
    session.run(None, feed)
    began = time.perf_counter()
    for _ in range(rounds):
        session.run(None, feed)
    return time.perf_counter() - began


def torch(rounds: int) -> float:
    """Seconds of small products forth and back, as training has them: 10 steps a round."""
    import torch as library

    library.set_num_threads(usable_cpus())
    layers = library.nn.Sequential(*(library.nn.Linear(256, 256) for _ in range(4)))
    batch = library.randn(128, 36, 256)
    layers(batch).square().mean().backward()
    began = time.perf_counter()
    for _ in range(10 * rounds):
        layers(batch).square().mean().backward()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
