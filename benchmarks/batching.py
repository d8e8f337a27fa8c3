"""How much one call of the pair scorer should take: pairs/s for several sizes, in one run.

    python benchmarks/batching.py [--gallery G --model BUNDLE]                  # the kernel: images a call
    SHAN_KERNEL=off python benchmarks/batching.py [--gallery G --model BUNDLE]  # ONNX Runtime: floats a call

Sizes take turns, so that a busy moment of the machine hits all of them; medians and ratios to the engine's
own choice are printed. One query a call and 32 a call differ, so both are shown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shan_engine.backends import graph_scorer
from shan_engine.backends.compiled import scorer as compiled
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import locate_gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.exhaustive import best_of_captions

FLOATS = (500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000, 16_000_000)
IMAGES = (16, 32, 64, 128, 256, 512)
QUERY = "two children play with a red ball in the water while a dog looks on"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, default=None, help="else the demo's")
    parser.add_argument("--model", type=Path, default=None, help="else the demo's")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    place = locate_gallery(options.gallery, options.model)
    bundle = Bundle.open(place.bundle)
    gallery, scorer = Gallery.open(place.gallery, bundle), Scorer(bundle)
    kernel = scorer.kernel is not None
    module: Any = compiled if kernel else graph_scorer
    setting, sizes, unit = ("LEAST_IMAGES", IMAGES, "images") if kernel else ("CALL_FLOATS", FLOATS, "floats")
    chosen = getattr(module, setting)
    compiled.PAIRS = compiled.PAIRS_OF_ALL_STEPS = 0  # images alone decide, also of few captions
    for captions in (1, 32):
        tokens = [scorer.encoders.tokens(QUERY)] * captions
        speeds: dict[int, list[float]] = {size: [] for size in sizes}
        for turn in range(options.turns + 1):
            for size in sizes:
                setattr(module, setting, size)
                began = time.perf_counter()
                list(best_of_captions(scorer, gallery, tokens, 10))
                if turn:  # the first turn warms up
                    speeds[size].append(captions * len(gallery) / (time.perf_counter() - began))
        reference = statistics.median(speeds[chosen])
        print(f"{captions} captions of {len(tokens[0])} words, {len(gallery)} images")
        for size, values in speeds.items():
            median = statistics.median(values)
            print(
                f"  {size:>11,} {unit} a call: {median:>9,.0f} pairs/s, {median / reference:.2f} of the engine's choice"
            )


if __name__ == "__main__":
    main()
