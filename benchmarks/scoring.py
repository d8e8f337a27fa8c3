"""The score of a pair, five ways in one run: pairs/s of PyTorch, ONNX Runtime, the kernel, and the bound.

    python benchmarks/scoring.py [--dims 256 1024 --regions 10 36 100 --rounds 7 --threads 1 --captions TSV]

PyTorch is the plain module, batched as in an evaluation, and torch.compile of the factorised score, which the kernel
and the exported graph compute too. All use the same number of threads: every usable CPU unless told. Where other
programs hold cores, compare with one: times are then those of the processor, so that waiting does not count. Each
round takes all ways in turn, so that a busy moment of the machine hits all of them; medians are compared. Rows of
other sizes stay in the report. SHAN_KERNEL=x86-64-v3 measures the kernel's AVX2 variant; PyTorch is held to AVX2 by
ATEN_CPU_CAPABILITY=avx2, MKL_ENABLE_INSTRUCTIONS=AVX2 and ONEDNN_MAX_CPU_ISA=AVX2, ONNX Runtime by nothing.

The bound is the pair's five products (V U^T, α[T;H], β^T[V;X]; 10 K n D operations) at the speed of a large square
product, and its sigmoids ((K + n) D of them) at that of torch.sigmoid_ on an array far larger than the caches. Captions
have the lengths of Flickr8k's where its file is there, else of the demo's queries.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from provenance import recorded
from reports import captions, read_report, write_report
from shan_engine.backends.graph_scorer import CALL_FLOATS
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.threads import usable_cpus
from shan_engine.kernel.library import chosen_variant
from shan_engine.kernel.shan import Kernel
from shan_engine.text.vocabulary import tokenise
from shan_export.bundle_writer import write_pair_scorer
from shan_model.config import ShanConfig
from shan_model.norms import l2_normalise
from shan_model.shan.network import Shan
from shan_model.training.grid import shan_constants

matplotlib.use("Agg")
import matplotlib.pyplot as plt

Arrays = dict[str, NDArray[Any]]
F = 64
COMPILER = "inductor"  # of torch.compile
SHAPES = {"1 caption x 512 images": (512, 1), "32 captions x 64 images": (64, 32)}
PLOTTED = 36  # regions
PLAIN_BATCHES = (2, 8, 32)
PLAIN_SHARE = 8  # the plain module scores one image in so many
PAUSE = 0.1  # threads of the way before spin on their processors for a while
WAYS = ("plain PyTorch", "torch.compile", "ONNX Runtime", "kernel", "bound")
ROOT = Path(__file__).parent.parent
RESULTS, PLOT = ROOT / "benchmarks/results/scoring.json", ROOT / "docs/scoring-speed.svg"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 1024], help="embedding sizes D")
    parser.add_argument("--regions", type=int, nargs="+", default=[10, 36, 100], help="regions a photo, K")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--captions", type=Path, default=Path("../shared/flickr8k/captions.tsv"))
    parser.add_argument("--report", type=Path, default=RESULTS, help="the plot is drawn for the default one alone")
    options = parser.parse_args(arguments)
    variant = chosen_variant()
    if variant is None:
        raise SystemExit("there is no kernel: pip install --editable ., and unset SHAN_KERNEL")
    torch.set_num_threads(options.threads)
    lengths = caption_lengths(options.captions)
    about = {"variant": variant, "threads": options.threads, "rounds": options.rounds, "recorded": recorded()}
    kept = {dim: model_of(dim, options.threads, variant) for dim in options.dims}
    for dim, regions, shape in itertools.product(options.dims, options.regions, SHAPES):
        row = measure(*kept[dim], dim, regions, shape, lengths, options.rounds)
        print_table([row])
        held = {key(one): one for one in read_report(options.report).get("rows", ()) if "regions" in one}
        rows = sorted((held | {key(row): {**row, **about}}).values(), key=key)
        write_report(options.report, {"rows": rows}, indent=2)
    if options.report == RESULTS:
        plot([row for row in rows if row["regions"] == PLOTTED], options.threads)


def key(row: dict[str, Any]) -> tuple[int, int, str]:
    return row["dim"], row["regions"], row["shape"]


def caption_lengths(path: Path) -> NDArray[np.int64]:
    """Words a caption, markers included."""
    return np.array([len(tokenise(caption)) + 2 for caption in captions(path, 5000)])


def model_of(dim: int, threads: int, variant: str) -> tuple[Shan, OnnxRuntimeGraph, Kernel]:
    """A model of all steps with random weights, its exported pair scorer, and the kernel for it."""
    torch.manual_seed(0)
    config = ShanConfig(feature_dim=F, embed_dim=dim, word_vector_dim=8, embedding_dim=8, vocab_size=8)
    model = Shan(config).eval()
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pair_scorer.onnx"
        image, caption = ((torch.randn(*size, dim), torch.ones(size, dtype=torch.bool)) for size in ((3, 5), (2, 4)))
        write_pair_scorer(model, model.image_terms(*image), model.caption_terms(*caption), file)
        graph = OnnxRuntimeGraph(file, "cpu", threads=threads)
    constants = shan_constants(model.kernel_constants())
    assert constants
    return model, graph, Kernel(constants, variant, threads=threads)


def measure(
    model: Shan,
    graph: OnnxRuntimeGraph,
    kernel: Kernel,
    dim: int,
    K: int,
    shape: str,
    lengths: NDArray[np.int64],
    rounds: int,
) -> dict[str, Any]:
    """Pairs/s of every way, medians of `rounds`, and the bytes of arrays that a pair needs."""
    torch.manual_seed(0)
    B, C = SHAPES[shape]
    chosen = np.array([round(lengths.mean())]) if C == 1 else np.random.default_rng(0).choice(lengths, C)
    n = float(chosen.mean())
    V, vm = l2_normalise(torch.randn(B, K, dim)), torch.ones(B, K, dtype=torch.bool)
    tm = torch.arange(int(chosen.max()))[None] < torch.from_numpy(chosen)[:, None]
    T = l2_normalise(torch.randn(C, tm.shape[1], dim)) * tm[..., None]
    with torch.inference_mode():
        own, their = model.image_terms(V, vm), model.caption_terms(T, tm)
        images = {name: term.numpy() for name, term in own.items()}
        captions = {name: term.contiguous().numpy() for name, term in their.items()}
        call = int(CALL_FLOATS / (4 * K * dim * (1 + tm.shape[1] / K) * C))
        call = max(1, min(256, call))
        grid = torch.compile(lambda some: model.score_grid(some, their).scores, backend=COMPILER, dynamic=False)

        def plain(batch: int, share: int = 1) -> NDArray[np.float32]:
            out = np.empty((B // share, C), np.float32)
            for c, length in enumerate(chosen):
                for start in range(0, len(out), batch):
                    v = V[start : min(start + batch, len(out))]
                    words = T[c, :length].expand(len(v), -1, -1), tm[c, :length].expand(len(v), -1)
                    out[start : start + len(v), c] = model.pair_scores(v, vm[: len(v)], *words).sum(-1).numpy()
            return out

        def graph_scores() -> NDArray[np.float32]:
            return np.concatenate(
                [
                    graph.run({**{name: a[i : i + call] for name, a in images.items()}, **captions}, ["scores"])[
                        "scores"
                    ]
                    for i in range(0, B, call)
                ]
            )

        def compiled() -> NDArray[np.float32]:
            size = 1 << (call.bit_length() - 1)  # divides B, so that all calls have one shape
            parts = [grid({name: term[i : i + size] for name, term in own.items()}) for i in range(0, B, size)]
            found: NDArray[np.float32] = torch.cat(parts).numpy()
            return found

        batch = min(PLAIN_BATCHES, key=lambda size: fastest(lambda: plain(size, PLAIN_SHARE), 2))
        ways: dict[str, Callable[[], NDArray[np.float32]]] = {
            "plain PyTorch": lambda: plain(batch, PLAIN_SHARE),
            "torch.compile": compiled,
            "ONNX Runtime": graph_scores,
            "kernel": lambda: kernel.score(images, captions),
        }
        expected = plain(batch, PLAIN_SHARE)
        differences = {name: float(np.abs(way()[: len(expected)] - expected).max()) for name, way in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        pairs = dict.fromkeys(ways, B * C) | {"plain PyTorch": expected.size}
        for _ in range(rounds):
            for name, way in ways.items():
                time.sleep(PAUSE)
                seconds[name].append(fastest(way, 1) / pairs[name])
            time.sleep(PAUSE)
            seconds["bound"].append(bound(dim, K, n))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    kernel_ratios = {name: statistics.median(np.array(seconds[name]) / np.array(seconds["kernel"])) for name in WAYS}
    return {
        "dim": dim,
        "regions": K,
        "shape": shape,
        "words": n,
        "plain_batch": batch,
        "pairs_per_second": {name: round(1 / value) for name, value in medians.items()},
        "kernel_over": {name: round(value, 3) for name, value in kernel_ratios.items()},
        "largest_difference_to_plain": differences,
        "bytes_per_pair": bytes_per_pair(dim, K, n, B, C),
    }


def fastest(run: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest of some runs; of the processor, where there is one thread."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    taken = []
    for _ in range(times):
        began = clock()
        run()
        taken.append(clock() - began)
    return min(taken)


_square = torch.randn(1536, 1536)
_large = torch.randn(2**25)


def bound(dim: int, K: int, words: float) -> float:
    """Seconds a pair cannot do without: its products and its sigmoids."""
    product = fastest(lambda: _square @ _square, 1) / (2 * len(_square) ** 3)
    sigmoid = fastest(lambda: torch.sigmoid_(_large), 1) / len(_large)
    return 10 * K * words * dim * product + (K + words) * dim * sigmoid


def bytes_per_pair(dim: int, K: int, words: float, images: int, captions: int) -> dict[str, int]:
    """Bytes of input that a pair takes its share of, and of results between that it writes and reads again.

    Rows of D floats: an image has 3 a region (and its share of a Gram matrix in the graph), a caption 4 a word.
    Between, the plain module makes 6 a region or word (projected, attended, joined twice, gate, fused), the graph 4
    (attended, its gate term, gate, fused), the kernel 1 (fused).
    """
    row = 4 * dim
    read = 3 * K * row / captions + 4 * words * row / images
    made = (K + words) * row
    plain_read = K * row / captions + words * row / images
    return {
        "plain PyTorch": round(plain_read + 2 * 6 * made),
        "ONNX Runtime": round(read + K * K * 4 / captions + 2 * 4 * made),
        "kernel": round(read + 2 * made),
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    print(f"{'D':>5}{'K':>5}  {'shape':<24}{'words':>6}  " + "".join(f"{way:>15}" for way in WAYS) + "  pairs/s")
    for row in rows:
        speeds = "".join(f"{row['pairs_per_second'][way]:>15,}" for way in WAYS)
        print(f"{row['dim']:>5}{row['regions']:>5}  {row['shape']:<24}{row['words']:>6.1f}  {speeds}")
        ratios = "".join(f"{row['kernel_over'][way]:>15.2f}" for way in WAYS)
        print(f"{'':>12}{'kernel, times this':<32}{ratios}")
        kilobytes = ", ".join(f"{way} {size / 1000:,.0f}" for way, size in row["bytes_per_pair"].items())
        print(f"{'':>12}kB a pair: {kilobytes}", flush=True)


def plot(rows: list[dict[str, Any]], threads: int) -> None:
    figure, axes = plt.subplots(figsize=(8.8, 4.2))
    for place, way in enumerate(WAYS):
        speeds = [row["pairs_per_second"][way] for row in rows]
        bars = axes.barh(np.arange(len(rows)) + 0.17 * place, speeds, 0.16, label=way)
        axes.bar_label(bars, [f"{speed:,}" for speed in speeds], padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(rows)) + 0.34, [f"D = {row['dim']}\n{row['shape']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel(f"pairs a second (threads: {threads})")
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
