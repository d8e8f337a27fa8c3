"""Measure on a user's own queries how many images the cascade's stages must see."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.errors import InputError
from shan_engine.gallery.pooled import FROM_IMAGES
from shan_engine.gallery.reader import Gallery
from shan_engine.parts.written import saying
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.cascade import Cascade, has_cascade
from shan_engine.search.exhaustive import best_of_captions
from shan_engine.search.query import EncodedClause
from shan_engine.search.tuning import FIRST_PASS, LOST_BEFORE_STEP_1, TARGETS, Tuning


def tune_gallery(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str],
    *,
    top_k: int = 10,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Tuning:
    """Measure search in stages against exhaustive search on queries, and save the result in the gallery.

    `on_pairs` counts each pair of query and image twice. Raises InputError where the gallery cannot be searched in
    stages or a query cannot be used.
    """
    if not has_cascade(scorer, gallery):
        raise InputError(
            f"the gallery {gallery.path} is searched exhaustively, there is nothing to tune: searches in stages need "
            f"the compiled kernel (see `shan-engine doctor`), a SHAN bundle and {FROM_IMAGES:,} images when indexed"
        )
    scorer = scorer.reading([gallery])
    tokens = [list(scorer.encoders.read(query).tokens) for query in queries]
    rows = best_of_captions(scorer, gallery, tokens, top_k, on_pairs, texts=queries)
    exhaustive = [hits for _, _, places in rows for hits in places]
    pairs = len(tokens) * len(gallery)
    cascade = Cascade(scorer, gallery)
    tuning = measure(
        cascade, exhaustive, list(zip(tokens, queries, strict=True)), lambda done: on_pairs(pairs + done * len(gallery))
    )
    tuning.save(gallery.path)
    return tuning


def measure(
    cascade: Cascade,
    exhaustive: Sequence[NDArray[np.int64]],
    queries: Sequence[tuple[Sequence[int], str]],
    on_queries: Callable[[int], None] = lambda done: None,
) -> Tuning:
    """Measure the ranks of exhaustive searches' hits in the earlier stages.

    `exhaustive` holds the places of each query's hits, `queries` its tokens and its text.
    """
    count = len(cascade.gallery)
    everything = np.arange(count)
    first, second = [], []
    for done, (hits, (tokens, text)) in enumerate(zip(exhaustive, queries, strict=True), 1):
        asked = [[EncodedClause(1.0, saying(cascade.scorer.encoders.encode_captions([tokens]), [text]))]]
        (stand_in,), (estimates,) = cascade.first_pass(asked)
        first.append(_ranks(stand_in + estimates, hits))
        exact = cascade.step_1(asked[0][0].caption, everything)
        second.append(_ranks(exact + cascade.offsets(asked[0], everything), hits))
        on_queries(done)
    before, after = np.concatenate(first), np.concatenate(second)
    kept_before = [1 - LOST_BEFORE_STEP_1 * (1 - target) for target in TARGETS]
    kept_after = [1 - (1 - LOST_BEFORE_STEP_1) * (1 - target) for target in TARGETS]
    return Tuning(
        first_pass=FIRST_PASS,
        images=count,
        queries=len(queries),
        top_k=max(len(hits) for hits in exhaustive),
        step_1=tuple(float(np.quantile(before, share, method="higher")) / count for share in kept_before),
        all_steps=tuple(int(np.quantile(after, share, method="higher")) for share in kept_after),
    )


def _ranks(scores: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Ranks, from 1, of the images at `places`."""
    return np.array([np.count_nonzero(scores >= scores[place]) for place in places])
