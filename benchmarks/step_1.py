"""What exact step 1 costs a pair on one core, by storage, and how much of it is widening and packing a photo's regions.

    OMP_NUM_THREADS=1 python benchmarks/step_1.py [--dims 256 1024 --regions 10 36 100 --rounds 9]

A search in stages scores step 1 of some hundred photos with one caption: their regions are read as the gallery stores
them, widened to floats and laid out for the processor, once for each call. With many captions in a call, each pair
takes a small share of that. So the difference of the two costs is what packing costs one caption:
(one - many) x C / (C - 1). Captions have 16 words, so that none of the kernel's panels is padded. All storages and
kernels take turns; microseconds of a core's time are medians of the rounds. Writes benchmarks/results/step_1.json.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import recorded
from reports import write_report
from shan_engine.gallery.storage import packed
from shan_engine.kernel.constants import MASK, REGIONS, ShanConstants
from shan_engine.kernel.library import variants
from shan_engine.kernel.shan import Kernel

RESULTS = Path(__file__).parent / "results" / "step_1.json"
WORDS, MANY = 16, 32
STORAGES = ("float32", "float16", "int8")
NUMBERS = 2**24  # of all photos' regions: more than a processor's caches hold


def problem(dim: int, regions: int, random: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Regions of photos and words of captions, rows of length 1."""
    shapes = {"images": (NUMBERS // (dim * regions), regions, dim), "captions": (MANY, WORDS, dim)}
    made = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    return {name: rows / np.linalg.norm(rows, axis=2, keepdims=True) for name, rows in made.items()}


def measure(dim: int, regions: int, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Microseconds a pair, for each variant of the kernel and each storage: one caption, many, packing."""
    made = problem(dim, regions, np.random.default_rng(0))
    images, words = made["images"], made["captions"]
    stored = {name: packed(REGIONS, images, name) | {MASK: np.ones(images.shape[:2], np.bool_)} for name in STORAGES}
    captions = {"caption_words": words, "caption_queries": 9 * words, "word_mask": np.ones(words.shape[:2], np.bool_)}
    one = {name: array[:1] for name, array in captions.items()}
    kernels = {name: Kernel(ShanConstants(None, None, 9.0, 1.0, 1.0, 1), name, threads=1) for name in variants()}
    taken: dict[tuple[str, str, int], list[float]] = {}
    for _ in range(rounds):
        for variant, storage, asked in itertools.product(kernels, STORAGES, (one, captions)):
            count = len(asked["caption_words"])
            # as many pairs with one caption as with many
            some = {
                name: array[: len(images) if count == 1 else len(images) // 8]
                for name, array in stored[storage].items()
            }
            began = time.process_time()
            scores = kernels[variant].step_1(some, asked)
            taken.setdefault((variant, storage, count), []).append(1e6 * (time.process_time() - began) / scores.size)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for variant, storage in itertools.product(kernels, STORAGES):
        single, many = (statistics.median(taken[variant, storage, count]) for count in (1, MANY))
        packing = (single - many) * MANY / (MANY - 1)
        found.setdefault(variant, {})[storage] = {
            "one_caption": round(single, 2),
            "many_captions": round(many, 2),
            "packing": round(packing, 2),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--regions", type=int, nargs="+", default=[10, 36, 100])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--report", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for dim, regions in itertools.product(options.dims, options.regions):
        rows.append({"dim": dim, "regions": regions, "variants": measure(dim, regions, options.rounds)})
        for variant, storages in rows[-1]["variants"].items():
            for storage, row in storages.items():
                print(f"D = {dim}, K = {regions}, {variant}, {storage}: microseconds a pair {row}", flush=True)
    write_report(options.report, {"words": WORDS, "captions": MANY, "recorded": recorded(), "rows": rows})


if __name__ == "__main__":
    main()
