"""Answer queries: read them, rank a gallery's images exhaustively or in stages, and describe the best."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Unpack

import numpy as np

from shan_engine.base.errors import InputError
from shan_engine.gallery.pooled import FROM_IMAGES
from shan_engine.gallery.reader import Gallery
from shan_engine.parts.written import Written
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.bounded import has_bound, rank_within_bound
from shan_engine.search.calibration import Calibration, check_threshold
from shan_engine.search.cascade import Cascade, has_cascade
from shan_engine.search.exhaustive import rank_exhaustively
from shan_engine.search.groups import NearVectors
from shan_engine.search.options import SearchKeywords, SearchOptions
from shan_engine.search.query import Query, ReadQuery
from shan_engine.search.ranked import RankedQuery
from shan_engine.search.ranking import Ranking
from shan_engine.search.results import QueryHits
from shan_engine.search.selection import assembled, select
from shan_engine.search.stages import rank_in_stages
from shan_engine.search.tuning import StageWidths, choose_widths

log = logging.getLogger(__name__)


def search(
    scorer: Scorer,
    gallery: Gallery,
    queries: Sequence[str | Query],
    *,
    cascade: Cascade | None = None,
    cascade_from: int = FROM_IMAGES,
    widths: StageWidths | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
    **given: Unpack[SearchKeywords],
) -> list[QueryHits]:
    """The best images for each query, with the options of `SearchOptions`.

    A large gallery is searched in stages (cascade.py), careful enough to find `recall_target` of the hits that an
    `exhaustive` search finds; by late interaction it finds all of them (bounded.py). All other searches are exhaustive,
    also where few images match the condition. `normalise` is the caller's matter: the gallery is searched as it is.
    `cascade` is the whole gallery's, where the caller keeps one; fewer matching images than `cascade_from` are not
    worth it, and `widths` overrules `recall_target`. `on_start` is called with the number of pairs of query and image,
    `on_pairs` with how many are done.

    Memory: one call's images and captions, k rows per query, and in stages the mean regions of all images and what
    further parts read of them. A query of several clauses also holds a score of every image. Ties go to the image
    indexed first.

    Raises InputError for a query that is empty or has no known word, an empty gallery, an invalid condition, options
    out of range, or a threshold where hits have no probability.
    """
    options = SearchOptions(**given)
    asked = [Query.of(query) if isinstance(query, str) else query for query in queries]
    found: list[QueryHits] = []
    errors: list[InputError] = []
    for one in rank(
        scorer,
        gallery,
        asked,
        options,
        cascade=cascade,
        cascade_from=cascade_from,
        widths=widths,
        on_start=on_start,
        on_pairs=on_pairs,
    ):
        if isinstance(one, InputError):
            errors.append(one)
            found.append(QueryHits(str(asked[len(found)]), (), error=str(one)))
            continue
        candidates = one.candidates()
        chosen = select(candidates, options)
        hits = one.hits(chosen.heads, explain=options.explain, with_metadata=options.with_metadata)
        found.append(assembled(one.said(), chosen, hits, one.images(chosen.others), candidates))
    if errors and len(errors) == len(asked):
        raise errors[0]
    return found


def rank(
    scorer: Scorer,
    gallery: Gallery,
    asked: Sequence[Query],
    options: SearchOptions,
    *,
    cascade: Cascade | None = None,
    cascade_from: int = FROM_IMAGES,
    widths: StageWidths | None = None,
    on_start: Callable[[int], None] = lambda total: None,
    on_pairs: Callable[[int], None] = lambda done: None,
) -> Iterator[RankedQuery | InputError]:
    """Rank a gallery's images for each query, as `search` does; the choice of hits comes afterwards.

    As many images are ranked as that choice needs. A `threshold` is only checked. Where queries are marked, an error
    takes the place of one that cannot be read.
    """
    gallery = gallery if options.ids is None else gallery.restricted_to(options.ids)
    if not len(gallery):
        raise InputError(f"the gallery {gallery.path} is empty: index some images first")
    scorer = scorer.reading([gallery])
    searched = gallery
    if options.where is not None:
        from shan_engine.gallery.filters import matching  # here, as most searches do without SQLite

        searched = matching(gallery, options.where, seconds=options.filter_seconds)
    calibration = Calibration.of(scorer, gallery)
    check_threshold(options.threshold, calibration, asked, scorer)
    readings = [_read(scorer, query, options.mark_unanswerable) for query in asked]
    read = [one for one in readings if isinstance(one, ReadQuery)]
    if not read:
        yield from (one for one in readings if isinstance(one, InputError))
        return
    on_start(len(read) * len(searched))
    ranked, few = options.ranked, options.where is not None and len(searched) < cascade_from
    rankings: Iterator[Ranking]
    if not len(searched):
        rankings = iter([Ranking(np.zeros(0, np.float32), np.zeros(0, np.int64))] * len(read))
    elif not options.exhaustive and has_bound(scorer, searched, read, cascade_from):
        log.info("%d images by their vectors, and those that can be hits word by word", len(searched))
        rankings = rank_within_bound(scorer, searched, read, ranked, on_pairs)
    elif options.exhaustive or few or not has_cascade(scorer, searched):
        log.info("every one of %d images is scored", len(searched))
        rankings = rank_exhaustively(scorer, searched, read, ranked, on_pairs)
    else:
        # Hits of a filtered search are hits of the whole gallery further down: the widths are those of the whole.
        widths = widths or choose_widths(
            gallery.path,
            len(gallery),
            ranked,
            options.recall_target,
            parts=_has_parts(scorer),
            steps=len(scorer.steps),
        )
        log.info("%d images in stages: step 1 of %d, all steps of %d", len(searched), widths.step_1, widths.all_steps)
        stages = cascade.over(searched) if cascade else Cascade(scorer, searched)
        rankings = rank_in_stages(stages, read, ranked, widths, lambda done: on_pairs(done * len(searched)))
    near, answers = NearVectors(searched) if options.grouped else None, zip(read, rankings, strict=True)
    for reading in readings:
        if isinstance(reading, InputError):
            yield reading
            continue
        query, ranking = next(answers)
        plain = calibration if query.query.plain else None
        chances = plain.of_ranking(scorer, searched, ranking) if plain else None
        yield RankedQuery(scorer, searched, query, ranking, chances, near)


def _has_parts(scorer: Scorer) -> bool:
    """Whether scores have further parts that say something of every photo."""
    return any(name != Written.name for name in scorer.parts.names)


def _read(scorer: Scorer, query: Query, mark_unanswerable: bool) -> ReadQuery | InputError:
    try:
        return ReadQuery.read(scorer.encoders, query, scorer.written_words)
    except InputError as error:
        if not mark_unanswerable:
            raise
        return error
