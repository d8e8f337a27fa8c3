"""The score of a pair, four ways in one run: pairs/s of plain PyTorch, ONNX Runtime, the kernel, and the bound.

    python benchmarks/scoring.py [--dims 256 1024 --rounds 7 --threads 1 --captions TSV]

All use the same number of threads: every usable CPU unless told. Where other programs hold cores, compare with one,
since PyTorch's threads wait for the slowest. Each round takes all ways in turn, so that a busy moment of the machine
hits all of them; medians are compared. The bound is the pair's five products (V U^T, α[T;H], β^T[V;X]; 10 K n D
operations) at the speed of a large square product, and its sigmoids ((K + n) D of them) at that of torch.sigmoid_ on
an array far larger than the caches. Captions have the lengths of Flickr8k's where its file is there, else of the
demo's queries.
"""

from __future__ import annotations

import argparse
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
from reports import captions, write_report
from shan_engine.backends.graph_scorer import CALL_FLOATS
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.threads import usable_cpus
from shan_engine.kernel.library import variants
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
K, F = 36, 64
SHAPES = {"1 caption x 512 images": (512, 1), "32 captions x 64 images": (64, 32)}
PLAIN_BATCHES = (2, 8, 32)
PLAIN_SHARE = 8  # the plain module scores one image in so many
PAUSE = 0.1  # threads of the way before spin on their processors for a while
WAYS = ("plain PyTorch", "ONNX Runtime", "kernel", "bound")
ROOT = Path(__file__).parent.parent
RESULTS, PLOT = ROOT / "benchmarks/results/scoring.json", ROOT / "docs/scoring-speed.svg"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 1024], help="embedding sizes D")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--captions", type=Path, default=Path("../shared/flickr8k/captions.tsv"))
    parser.add_argument("--report", type=Path, default=RESULTS, help="the plot is drawn for the default one alone")
    options = parser.parse_args(arguments)
    if not variants():
        raise SystemExit("the kernel is not built: pip install --editable .")
    torch.set_num_threads(options.threads)
    lengths = caption_lengths(options.captions)
    rows = [measure(options.threads, dim, shape, lengths, options.rounds) for dim in options.dims for shape in SHAPES]
    print_table(rows)
    report = {
        "variant": variants()[0],
        "threads": options.threads,
        "regions": K,
        "rounds": options.rounds,
        "recorded": recorded(),
        "rows": rows,
    }
    write_report(options.report, report, indent=2)
    if options.report == RESULTS:
        plot(rows, options.threads)


def caption_lengths(path: Path) -> NDArray[np.int64]:
    """Words a caption, markers included."""
    return np.array([len(tokenise(caption)) + 2 for caption in captions(path, 5000)])


def measure(threads: int, dim: int, shape: str, lengths: NDArray[np.int64], rounds: int) -> dict[str, Any]:
    """Pairs/s of every way, medians of `rounds`, and the bytes of arrays that a pair needs."""
    torch.manual_seed(0)
    B, C = SHAPES[shape]
    chosen = np.array([round(lengths.mean())]) if C == 1 else np.random.default_rng(0).choice(lengths, C)
    n = float(chosen.mean())
    config = ShanConfig(feature_dim=F, embed_dim=dim, word_vector_dim=8, embedding_dim=8, vocab_size=8)
    model = Shan(config).eval()
    V, vm = l2_normalise(torch.randn(B, K, dim)), torch.ones(B, K, dtype=torch.bool)
    tm = torch.arange(int(chosen.max()))[None] < torch.from_numpy(chosen)[:, None]
    T = l2_normalise(torch.randn(C, tm.shape[1], dim)) * tm[..., None]
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        images = {name: term.numpy() for name, term in model.image_terms(V, vm).items()}
        captions = {name: term.contiguous().numpy() for name, term in model.caption_terms(T, tm).items()}
        file = Path(folder) / "pair_scorer.onnx"
        image, caption = ((torch.randn(*size, dim), torch.ones(size, dtype=torch.bool)) for size in ((3, 5), (2, 4)))
        write_pair_scorer(model, model.image_terms(*image), model.caption_terms(*caption), file)
        graph = OnnxRuntimeGraph(file, "cpu", threads=threads)
        call = int(CALL_FLOATS / (4 * K * dim * (1 + tm.shape[1] / K) * C))
        call = max(1, min(256, call))
        constants = shan_constants(model.kernel_constants())
        assert constants
        kernel = Kernel(constants, variants()[0], threads=threads)

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

        batch = min(PLAIN_BATCHES, key=lambda size: fastest(lambda: plain(size, PLAIN_SHARE), 2))
        ways: dict[str, Callable[[], NDArray[np.float32]]] = {
            "plain PyTorch": lambda: plain(batch, PLAIN_SHARE),
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
            seconds["bound"].append(bound(dim, n))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    kernel_ratios = {name: statistics.median(np.array(seconds[name]) / np.array(seconds["kernel"])) for name in WAYS}
    return {
        "dim": dim,
        "shape": shape,
        "words": n,
        "plain_batch": batch,
        "pairs_per_second": {name: round(1 / value) for name, value in medians.items()},
        "kernel_over": {name: round(value, 3) for name, value in kernel_ratios.items()},
        "largest_difference_to_plain": differences,
        "bytes_per_pair": bytes_per_pair(dim, n, B, C),
    }


def fastest(run: Callable[[], Any], times: int) -> float:
    """Seconds of the fastest of some runs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return min(taken)


_square = torch.randn(1536, 1536)
_large = torch.randn(2**25)


def bound(dim: int, words: float) -> float:
    """Seconds a pair cannot do without: its products and its sigmoids."""
    product = fastest(lambda: _square @ _square, 1) / (2 * len(_square) ** 3)
    sigmoid = fastest(lambda: torch.sigmoid_(_large), 1) / len(_large)
    return 10 * K * words * dim * product + (K + words) * dim * sigmoid


def bytes_per_pair(dim: int, words: float, images: int, captions: int) -> dict[str, int]:
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
    print(f"{'D':>5}  {'shape':<24}{'words':>6}  " + "".join(f"{way:>15}" for way in WAYS) + "  pairs/s")
    for row in rows:
        speeds = "".join(f"{row['pairs_per_second'][way]:>15,}" for way in WAYS)
        print(f"{row['dim']:>5}  {row['shape']:<24}{row['words']:>6.1f}  {speeds}")
        ratios = "".join(f"{row['kernel_over'][way]:>15.2f}" for way in WAYS)
        print(f"{'':>7}{'kernel, times this':<32}{ratios}")
        kilobytes = "".join(f"{size / 1000:>15,.0f}" for size in row["bytes_per_pair"].values())
        print(f"{'':>7}{'kB a pair':<32}{kilobytes}")


def plot(rows: list[dict[str, Any]], threads: int) -> None:
    figure, axes = plt.subplots(figsize=(8.8, 3.6))
    for place, way in enumerate(WAYS):
        speeds = [row["pairs_per_second"][way] for row in rows]
        bars = axes.barh(np.arange(len(rows)) + 0.2 * place, speeds, 0.19, label=way)
        axes.bar_label(bars, [f"{speed:,}" for speed in speeds], padding=3, fontsize=8)
    axes.set_yticks(np.arange(len(rows)) + 0.3, [f"D = {row['dim']}\n{row['shape']}" for row in rows])
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
