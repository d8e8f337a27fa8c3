"""What the further parts of a score cost a query over a large gallery, and hubness by them: on random arrays.

OMP_NUM_THREADS=1 python benchmarks/further_parts.py [--photos 1000000] [--dim 256]

Parts: milliseconds of one core a query. Hubness: seconds that `index` takes of one core for 100,000 photos, by a
querybank of 2,000.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
from shan_engine.base.packing import Arrays
from shan_engine.indexing.querybank import INVERSE_TEMPERATURE, mean_of_exponentials
from shan_engine.parts.class_evidence import ClassEvidence
from shan_engine.parts.global_term import GlobalTerm
from shan_engine.parts.part import Part, Parts

CLASSES, SEEN = 1000, 16
BANK, INDEXED, BATCH = 2000, 100_000, 32


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args(arguments)
    random, N, D = np.random.default_rng(0), options.photos, options.dim
    images: Arrays = {
        "seen_classes": random.integers(0, CLASSES, (N, SEEN), np.uint16),
        "seen_probabilities": random.random((N, SEEN), np.float32),
        "image_vector": random.integers(-127, 128, (N, D), np.int8),
        "image_vector.scales": random.random(N, np.float32),
    }
    parts: tuple[Part, ...] = (ClassEvidence(1.0, 0.1), GlobalTerm(1.0))
    for queries in (1, 16):
        captions: Arrays = {
            "class_weights": random.random((queries, CLASSES), np.float32),
            "query_vector": random.random((queries, D), np.float32),
        }
        for part in parts:
            least = min(_seconds(part, images, captions) for _ in range(options.turns))
            print(f"{part.name}: {least * 1000 / queries:.1f} ms a query, {queries} together, {N:,} photos")
    bank: Arrays = {
        "class_weights": np.asfortranarray(random.random((BANK, CLASSES), np.float32)),
        "query_vector": np.asfortranarray(random.random((BANK, D), np.float32)),
    }
    some = {name: array[:BATCH] for name, array in images.items()}
    began = time.process_time()
    for _ in range(options.turns):
        mean_of_exponentials(Parts(parts).totals(some, bank, (BATCH, BANK)), INVERSE_TEMPERATURE)
    taken = (time.process_time() - began) / options.turns * INDEXED / BATCH
    print(f"hubness: {taken:.1f} s for {INDEXED:,} photos by {BANK:,} queries")


def _seconds(part: Part, images: Arrays, captions: Arrays) -> float:
    began = time.process_time()
    part.scores(images, captions)
    return time.process_time() - began


if __name__ == "__main__":
    main()
