"""A job as large as COCO's 5K test, the same by a SCAN-style PyTorch loop on a sample, and Ray against one process.

    python benchmarks/jobs.py [--dims 256 1024 --images 5000 --captions 25000 --work FOLDER]
    python benchmarks/jobs.py --images 500 --captions 500 --dims 256     # a quick look

Photos are synthetic, in SCAN's format (`test_ims.npy`, images x 36 x 2048), captions are Flickr8k's, repeated, the
model has random weights and all three steps. Every job is the installed command in a process of its own, start and
loading included; its memory is the process's peak, mapped files included. The loop is SCAN's evaluation
(`shard_xattn`: 128 images at a time against one caption after another), with SHAN's module in PyTorch on encoded
images and captions; it does --sample pairs in the same run, and what the whole would take is its time a pair times all
pairs. `--ray N` also runs the job on a local cluster of N workers, and of one worker against one process of one thread.
`--jobs` chooses among dense, "top 10", "top 10, image to text" and loop; what the report holds of others of these
sizes stays.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command import COMMAND, run
from provenance import recorded
from reports import captions, read_report, write_report
from shan_engine.base.threads import usable_cpus
from shan_engine.text.tokenizer import pad
from shan_engine.text.vocabulary import Vocabulary, tokenise
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.config import ShanConfig
from shan_model.shan.network import Shan

RESULTS = Path(__file__).parent / "results" / "jobs.json"
K, F, EXTRACTOR = 36, 2048, "synthetic"
SHARD = 128  # images of SCAN's evaluation at a time


def model_name(dim: int, texts: list[str]) -> str:
    """Of a model of this size whose vocabulary is these captions'."""
    return f"{dim}-{hashlib.sha256(chr(10).join(texts).encode()).hexdigest()[:8]}"


def prepare(work: Path, dim: int, texts: list[str], images: int) -> tuple[Path, Path]:
    """A bundle with random weights and a gallery of synthetic photos; kept in `work` for another run."""
    name = model_name(dim, texts)
    bundle, gallery, store = work / f"{name}.bundle", work / f"{name}-{images}.gallery", work / f"{images}.store"
    if not store.exists():
        scan = work / "test_ims.npy"
        array = np.lib.format.open_memmap(scan, "w+", np.float32, (images, K, F))
        chance = np.random.default_rng(0)
        for start in range(0, images, 100):
            array[start : start + 100] = np.abs(chance.standard_normal((min(100, images - start), K, F), np.float32))
        del array
        run("import", scan, "--store", store, "--extractor", EXTRACTOR, "--storage", "float16")
        scan.unlink()
    if not gallery.exists():
        torch.manual_seed(0)
        vocabulary = Vocabulary.build(word for text in texts for word in tokenise(text))
        config = ShanConfig(feature_dim=F, vocab_size=len(vocabulary), embed_dim=dim, word_vector_dim=300)
        save_checkpoint(Shan(config), vocabulary, work / f"{name}.checkpoint")
        run(
            "export",
            work / f"{name}.checkpoint",
            "--output",
            bundle,
            "--feature-extractor-name",
            EXTRACTOR,
            "--overwrite",
        )
        run("index", store, "--model", bundle, "--output", gallery)
    return bundle, gallery


def scan_style(checkpoint: Path, gallery: Path, texts: list[str], sample: int) -> dict[str, Any]:
    """Seconds a pair of SCAN's evaluation loop with SHAN's module, and its differences to the engine's scores."""
    from shan_engine.gallery.reader import Gallery

    model, vocabulary = load_checkpoint(checkpoint)
    model.eval()
    block = Gallery.open(gallery).blocks[0]
    count = min(SHARD, len(block))
    V = torch.from_numpy(np.array(block.rows_of(np.arange(count))["image_regions"], np.float32))
    mask = torch.ones(count, K, dtype=torch.bool)
    chosen = texts[: max(1, sample // count)]
    tokens, lengths = (torch.from_numpy(array) for array in pad([vocabulary.encode(text).tokens for text in chosen]))
    scores = np.empty((len(chosen), count), np.float32)
    with torch.no_grad():
        words, _ = model.text_encoder(tokens, lengths)
        began = time.perf_counter()
        for row, length in enumerate(lengths.tolist()):
            one = words[row, :length].expand(count, -1, -1)
            there = torch.ones(count, length, dtype=torch.bool)
            scores[row] = model.pair_scores(V, mask, one, there).sum(-1).numpy()
        seconds = time.perf_counter() - began
    return {"pairs": scores.size, "seconds": round(seconds, 2), "pairs_per_second": round(scores.size / seconds),
            "scores": scores}  # fmt: skip


def measure(options: argparse.Namespace, work: Path, dim: int) -> dict[str, Any]:
    texts = captions(options.table, options.captions)
    bundle, gallery = prepare(work, dim, texts, options.images)
    queries = work / "captions.txt"
    queries.write_text("".join(f"{text}\n" for text in texts), "utf-8")
    common = ("score", "--gallery", gallery, "--model", bundle, "--queries", queries)
    pairs = options.images * options.captions
    rows: dict[str, Any] = {}
    for name, output, more in (
        ("dense", work / "scores.npy", ()),
        ("top 10", work / "best.parquet", ()),
        ("top 10, image to text", work / "texts.parquet", ("--direction", "image-to-text")),
    ):
        if name not in options.jobs:
            continue
        usage = run(*common, "--output", output, *more)
        rows[name] = {
            "seconds": round(usage.seconds, 1), "pairs_per_second": round(pairs / usage.seconds),
            "peak_mib": round(usage.peak_mib),
            "result_bytes": output.stat().st_size, "recorded": recorded(),
        }  # fmt: skip
        print(dim, name, json.dumps(rows[name]), flush=True)
    if "loop" in options.jobs:
        torch.set_num_threads(usable_cpus())
        loop = scan_style(work / f"{model_name(dim, texts)}.checkpoint", gallery, texts, options.sample)
        scores = loop.pop("scores")
        if "dense" in rows:
            held = np.load(work / "scores.npy", mmap_mode="r")[: len(scores), : scores.shape[1]]
            loop["largest_difference"] = float(np.abs(held - scores).max())
        loop["hours_for_all_pairs"] = round(pairs / loop["pairs_per_second"] / 3600, 2)
        rows["SCAN-style PyTorch loop"] = {**loop, "recorded": recorded()}
        print(dim, "loop", json.dumps(loop), flush=True)
    if options.ray:
        rows["ray"] = ray_against_one(common, work, options)
        print(dim, "ray", json.dumps(rows["ray"]), flush=True)
    return rows


def ray_against_one(common: tuple[object, ...], work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same blocks of some captions in one process of one thread, on one Ray worker, and on several."""
    queries = work / "some-captions.txt"
    queries.write_text("".join(f"{text}\n" for text in captions(options.table, options.ray_captions)), "utf-8")
    common = (*common[: common.index("--queries")], "--queries", queries)
    outputs: dict[str, Path] = {}
    figures: dict[str, Any] = {}
    for name, workers in {"one process": 0, "1 worker": 1, f"{options.ray} workers": options.ray}.items():
        outputs[name] = work / f"ray-{name.replace(' ', '-')}.parquet"
        blocks = ("--output", outputs[name], "--block-pairs", options.ray_block_pairs, "--log-json")
        command = [*map(str, (COMMAND, *common, *blocks))]
        if workers:
            command += ["--ray", "local", "--workers", str(workers)]
        elif hasattr(os, "sched_getaffinity"):
            command = ["taskset", "-c", str(max(os.sched_getaffinity(0))), *command]
        figures[name] = timed_blocks(command, max(1, workers))
    figures["recorded"] = recorded()
    figures["equal_bytes"] = len({output.read_bytes() for output in outputs.values()}) == 1
    return figures


def timed_blocks(command: list[str], workers: int) -> dict[str, Any]:
    """Seconds of a whole job, and of a block from the moment that every worker has done one."""
    began, moments = time.perf_counter(), {}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if line.startswith("{"):
                done = json.loads(line)
                moments[done["blocks_done"]] = time.perf_counter()
    if process.returncode:
        raise SystemExit(f"{command} failed")
    first, last = min(workers, done["blocks"]), done["blocks"]
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "blocks": last,
        "seconds_to_the_first_blocks": round(moments[first] - began, 1),
        "milliseconds_a_block_then": round(1e3 * (moments[last] - moments[first]) / max(1, last - first), 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=25_000)
    parser.add_argument("--jobs", nargs="+", default=["dense", "top 10", "top 10, image to text", "loop"])
    parser.add_argument("--sample", type=int, default=20_000, help="pairs of the PyTorch loop")
    parser.add_argument("--ray", type=int, default=0, help="workers of a local Ray cluster; 0: without")
    parser.add_argument("--ray-captions", type=int, default=500)
    parser.add_argument("--ray-block-pairs", type=int, default=2**17)
    parser.add_argument("--table", type=Path, default=Path("../shared/flickr8k/captions.tsv"))
    parser.add_argument("--work", type=Path, help="folder for bundles and galleries; else a temporary one")
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    report: dict[str, Any] = {
        "machine": f"{platform.machine()}, {usable_cpus()} usable CPUs", "images": options.images,
        "captions": options.captions,
    }  # fmt: skip
    before = read_report(options.report)
    if {name: before.get(name) for name in report} == report:
        report = before
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        for dim in options.dims:
            report[str(dim)] = report.get(str(dim), {}) | measure(options, work, dim)
            write_report(options.report, report)


if __name__ == "__main__":
    main()
