"""Rank a large gallery's images for queries, by the stages of a cascade."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from shan_engine.kernel.constants import ShanConstants
from shan_engine.kernel.shan import Kernel
from shan_engine.scoring.passes import refuse_not_finite
from shan_engine.search.cascade import Cascade
from shan_engine.search.query import EncodedClause, ReadQuery
from shan_engine.search.ranking import Ranking, StageCounts, highest
from shan_engine.search.tuning import StageWidths

GROUP = 16  # queries that share a first pass
ROUNDING = 1e-4  # the most by which estimates of a score are off


def rank_in_stages(
    cascade: Cascade,
    queries: Sequence[ReadQuery],
    top_k: int,
    widths: StageWidths,
    on_queries: Callable[[int], None] = lambda done: None,
) -> Iterator[Ranking]:
    """The best `top_k` images for each query, in order; each stage sums the scores of a query's clauses by weight."""
    done, kernel, encoders = 0, cascade.kernel, cascade.scorer.encoders
    with ThreadPoolExecutor(kernel.threads) as pool:
        for start in range(0, len(queries), GROUP):
            group = list(pool.map(lambda query: query.encode(encoders), queries[start : start + GROUP]))
            # Several queries get one thread each; a single query gets all threads.
            own = kernel.on_one_thread() if len(group) > 1 else kernel
            passes = zip(group, *cascade.first_pass(group), strict=True)
            jobs = [pool.submit(_rank, cascade, own, *one, top_k, widths) for one in passes]
            for job in jobs:
                yield job.result()
                done += 1
                on_queries(done)


def _rank(
    cascade: Cascade,
    kernel: Kernel,
    clauses: Sequence[EncodedClause],
    approximate: NDArray[np.float32],
    estimates: NDArray[np.float32],
    top_k: int,
    widths: StageWidths,
) -> Ranking:
    """`approximate` N stands in for step 1 of all images with the clauses, `estimates` N are of what is added to it."""
    weights = np.array([clause.weight for clause in clauses], np.float32)
    near = highest(approximate + estimates, max(widths.step_1, top_k))
    local = np.stack([cascade.step_1(clause.caption, near, kernel) for clause in clauses], axis=1)
    refuse_not_finite(cascade.gallery, near, local)
    second = local @ weights + estimates[near]
    order = highest(second, max(widths.all_steps, top_k))
    places = near[order]
    exact = [
        local[order, column]
        if clause.photo or kernel.constants.steps == 1
        else cascade.all_steps(clause.caption, places, kernel)
        for column, clause in enumerate(clauses)
    ]
    scores = np.stack(exact, axis=1) @ weights + cascade.offsets(clauses, places)
    refuse_not_finite(cascade.gallery, places, scores[:, None])
    ranked = np.lexsort((places, -scores))[:top_k]
    unseen = _highest_unseen(estimates, near)
    limit = _limit(kernel.constants, clauses, np.delete(second, order), unseen)
    proven = bool(scores[ranked[-1]] >= limit)
    captions = [clause.caption for clause in clauses if not clause.photo]
    counts = StageCounts(len(estimates), len(near), len(order), proven)
    return Ranking(scores[ranked], places[ranked], captions, counts)


def _highest_unseen(added: NDArray[np.float32], near: NDArray[np.int64]) -> float | None:
    """The most that is added to an image that is not among `near`; None if all are."""
    if len(near) == len(added):
        return None
    seen = added[near]
    added[near] = -np.inf  # for a moment: a copy of all takes longer than all else here
    most = float(added.max())
    added[near] = seen
    return most


def _limit(
    constants: ShanConstants, clauses: Sequence[EncodedClause], left_out: NDArray[np.float32], unseen: float | None
) -> float:
    """An upper bound on the scores of images with these step 1 scores, or not seen in step 1: cosines are at most 1.

    `unseen` is the most that further parts and normalisation add to an unseen image; None if all were seen.
    """
    a_b = constants.region_weight + constants.word_weight
    everywhere = sum(abs(clause.weight) for clause in clauses)
    phrases = sum(abs(clause.weight) for clause in clauses if not clause.photo)
    local = max(float(left_out.max(initial=-np.inf)), -np.inf if unseen is None else everywhere * a_b + unseen)
    return local + ROUNDING + phrases * ((a_b if constants.steps > 1 else 0) + (1 if constants.steps > 2 else 0))
