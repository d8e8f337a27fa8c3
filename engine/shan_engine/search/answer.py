"""Answer queries: read them, rank a gallery's images exhaustively or in stages, and describe the best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from shan_engine.base.choices import DEFAULT_RECALL_TARGET
from shan_engine.base.errors import InputError
from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.centroids import FROM_IMAGES
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.calibration import Calibration, check_threshold
from shan_engine.search.cascade import Cascade, has_cascade, rank_in_stages
from shan_engine.search.exhaustive import rank_exhaustively
from shan_engine.search.explain import Explanation, explain
from shan_engine.search.groups import NearGroups, looked_at
from shan_engine.search.hints import hints
from shan_engine.search.query import Query, ReadQuery
from shan_engine.search.ranking import Ranking
from shan_engine.search.results import Hit, QueryHits
from shan_engine.search.tuning import StageWidths, check_target, choose_widths

if TYPE_CHECKING:
    from shan_engine.base.column_types import Value

log = logging.getLogger(__name__)

EXPLAINED_TOGETHER = 256  # hits


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str | Query],
    *,
    top_k: int = 10,
    explain: bool = True,
    exhaustive: bool = False,
    recall_target: float = DEFAULT_RECALL_TARGET,
    threshold: float | None = None,
    where: str | None = None,
    with_metadata: bool = True,
    mark_unanswerable: bool = False,
    grouped: bool = False,
    cascade: Cascade | None = None,
    cascade_from: int = FROM_IMAGES,
    widths: StageWidths | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> list[QueryHits]:
    """The `top_k` best images for each query, among those for which the SQL condition `where` is true.

    A large gallery is searched in stages (cascade.py), careful enough to find `recall_target` of the hits that an
    `exhaustive` search finds. All other searches are exhaustive, also where few images match the condition. A
    `threshold` leaves out those of the hits with a smaller probability (calibration.py). `explain` and `with_metadata`
    say whether hits carry explanations and metadata. `cascade` is the whole gallery's, where the caller keeps one;
    fewer matching images than `cascade_from` are not worth it, and `widths` overrules `recall_target`. `on_start` is
    called with the number of pairs of query and image, `on_pairs` with how many are done.

    Memory: one call's images and captions, k rows per query, and in stages the codes of all images and what further
    parts read of them. A query of several clauses also holds a score of every image. Ties go to the image indexed
    first. A `grouped` search shows near-identical photos as one hit, and k counts such hits (groups.py).

    With `mark_unanswerable`, a query that cannot be read has an `error` instead of hits, unless all are so.

    Raises InputError for a query that is empty or has no known word, an empty gallery, an invalid condition, k
    below 1, a target outside 0 to 1, or a threshold where hits have no probability.
    """
    if top_k < 1:
        raise InputError(f"top-k is {top_k}: ask for at least 1")
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    check_target(recall_target)
    searched = gallery
    if where is not None:
        from shan_engine.gallery.filters import matching  # here, as most searches do without SQLite

        searched = matching(gallery, where)
    asked = [Query.of(query) if isinstance(query, str) else query for query in queries]
    calibration = Calibration.of(scorer, gallery)
    check_threshold(threshold, calibration, asked, scorer)
    readings = [_read(scorer, query, mark_unanswerable) for query in asked]
    read = [one for one in readings if isinstance(one, ReadQuery)]
    if not read and readings:
        raise next(one for one in readings if isinstance(one, InputError))
    on_start(len(read) * len(searched))
    ranked = looked_at(top_k) if grouped else top_k
    rankings: Iterator[Ranking]
    if not len(searched):
        rankings = iter([Ranking(np.zeros(0, np.float32), np.zeros(0, np.int64))] * len(read))
    elif exhaustive or not has_cascade(scorer, searched) or (where is not None and len(searched) < cascade_from):
        log.info("every one of %d images is scored", len(searched))
        rankings = rank_exhaustively(scorer, searched, read, ranked, on_pairs)
    else:
        # Hits of a filtered search are hits of the whole gallery further down: the widths are those of the whole.
        widths = widths or choose_widths(gallery.path, len(gallery), ranked, recall_target)
        log.info("%d images in stages: step 1 of %d, all steps of %d", len(searched), widths.step_1, widths.all_steps)
        stages = cascade if cascade and cascade.gallery is searched else Cascade(scorer, searched)
        rankings = rank_in_stages(stages, read, ranked, widths, lambda done: on_pairs(done * len(searched)))
    found, near = [], NearGroups(searched)
    for query, ranking in zip(read, rankings, strict=True):
        chances = calibration.of_ranking(scorer, searched, ranking) if calibration and query.query.plain else None
        best = None if chances is None or not len(chances) else float(chances.max())
        if chances is not None and threshold is not None:
            ranking, chances = ranking.only(chances >= threshold), chances[chances >= threshold]
        groups = near.of(ranking.places.tolist(), top_k) if grouped else []
        alike = [tuple(_image(searched, ranking, rank) for rank in group[1:]) for group in groups]
        if grouped:
            first = np.isin(np.arange(len(ranking.places)), [group[0] for group in groups])
            ranking, chances = ranking.only(first), None if chances is None else chances[first]
        hits = _hits(scorer, searched, query, ranking, explained=explain, with_metadata=with_metadata)
        if chances is not None:
            hits = tuple(replace(hit, probability=float(chance)) for hit, chance in zip(hits, chances, strict=True))
        if grouped:
            hits = tuple(replace(hit, alike=others) for hit, others in zip(hits, alike, strict=True))
        found.append(
            QueryHits(
                str(query.query),
                hits,
                {word: other for reading in query.readings for word, other in reading.replaced.items()},
                tuple(dict.fromkeys(word for reading in query.readings for word in reading.unknown)),
                sum(reading.left_out for reading in query.readings),
                ranking.stages,
                len(searched),
                scorer.score_parts,
                unlearnt=query.unlearnt(scorer.bundle.learnt),
                best_probability=best,
                hints=hints(query.query, query.readings),
            )
        )
    answers = iter(found)
    return [
        next(answers) if isinstance(one, ReadQuery) else QueryHits(str(query), (), error=str(one))
        for query, one in zip(asked, readings, strict=True)
    ]


def _image(gallery: Gallery, ranking: Ranking, rank: int) -> GalleryImage:
    block, row = gallery.find(int(ranking.places[rank]))
    (image,) = block.images_at([row])
    return image


def _read(scorer: Scorer, query: Query, mark_unanswerable: bool) -> ReadQuery | InputError:
    try:
        return ReadQuery.read(scorer.encoders, query)
    except InputError as error:
        if not mark_unanswerable:
            raise
        return error


def _hits(
    scorer: Scorer, gallery: Gallery, query: ReadQuery, ranking: Ranking, *, explained: bool, with_metadata: bool
) -> tuple[Hit, ...]:
    """The ranked images as hits, best first; a block's list of images is read once."""
    hits: list[Hit | None] = [None] * len(ranking.places)
    numbers = np.searchsorted(gallery.ends, ranking.places, side="right")
    explanations = _explanations(scorer, gallery, query, ranking) if explained else [Explanation()] * len(hits)
    for number in np.unique(numbers):
        block = gallery.blocks[number]
        ranks = np.flatnonzero(numbers == number).tolist()
        rows = (ranking.places[ranks] - (gallery.ends[number] - len(block))).tolist()
        known: Sequence[Mapping[str, Value]] = [{}] * len(rows)
        if with_metadata and block.metadata_file:
            from shan_engine.gallery.filters import metadata_of  # here, as most searches do without SQLite

            known = metadata_of(block, rows)
        for rank, image, metadata in zip(ranks, block.images_at(rows), known, strict=True):
            why = explanations[rank]
            score = float(ranking.scores[rank])
            hits[rank] = Hit(rank + 1, score, image, why.step_scores, why.words, metadata, why.hubness, why.seen)
    return tuple(hit for hit in hits if hit is not None)


def _explanations(scorer: Scorer, gallery: Gallery, query: ReadQuery, ranking: Ranking) -> list[Explanation]:
    """Why each ranked image was found, a few hundred images per call."""
    found: list[Explanation] = []
    for start in range(0, len(ranking.places), EXPLAINED_TOGETHER):
        at = [gallery.find(int(place)) for place in ranking.places[start : start + EXPLAINED_TOGETHER]]
        images = _together([block.rows_of([row]) for block, row in at])
        known = _together([scorer.parts.read(block, block.rows[row : row + 1]) for block, row in at])
        boxes = np.stack([block.boxes(row) for block, row in at])
        found += explain(scorer, query, ranking.captions, images, boxes, known)
    return found


def _together(images: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([one[name] for one in images]) for name in images[0]}
