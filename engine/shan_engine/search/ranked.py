"""One gallery's ranking of a query, and how its images become hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.packing import Arrays
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.explain import Explanation, explain
from shan_engine.search.groups import NearVectors, SeenText
from shan_engine.search.hints import hints
from shan_engine.search.query import ReadQuery
from shan_engine.search.ranking import Ranking
from shan_engine.search.results import Hit, QueryHits
from shan_engine.search.selection import Candidates
from shan_engine.search.written_lines import lines_found

if TYPE_CHECKING:
    from shan_engine.base.column_types import Value

EXPLAINED_TOGETHER = 256  # hits


@dataclass(frozen=True)
class RankedQuery:
    """The best images of a gallery for a query, before it is decided which of them are shown.

    `chances` are their probabilities, None where they have none. `near` is None where the answer has no groups.
    """

    scorer: Scorer
    gallery: Gallery
    query: ReadQuery
    ranking: Ranking
    chances: NDArray[np.float64] | None
    near: NearVectors | None

    def candidates(self) -> Candidates:
        """What the choice of hits needs to know of them."""
        vectors = None if self.near is None else self.near.of(self.ranking.places.tolist())
        return Candidates(self.ranking.scores, self.chances, vectors, self._texts() if vectors is not None else None)

    def _texts(self) -> list[SeenText] | None:
        words = self.scorer.written_words
        if words is None:
            return None
        at = [self.gallery.find(int(place)) for place in self.ranking.places]
        lines = (words.lines(block, block.rows[row : row + 1])[0] for block, row in at)
        return [SeenText.of(line.text for line in own) for own in lines]

    def said(self) -> QueryHits:
        """An answer that has no hits yet: what is to be known of the query and of the search."""
        query, readings = self.query.query, self.query.readings
        return QueryHits(
            str(query),
            (),
            {word: other for reading in readings for word, other in reading.replaced.items()},
            tuple(dict.fromkeys(word for reading in readings for word in reading.unknown)),
            sum(reading.left_out for reading in readings),
            self.ranking.stages,
            len(self.gallery),
            self.scorer.score_parts,
            unlearnt=_unlearnt(self.scorer, self.query),
            hints=hints(query, readings, self.scorer.written_words),
        )

    def hits(self, ranks: Sequence[int], *, explain: bool, with_metadata: bool) -> dict[int, Hit]:
        """The images at some ranks from 0, as hits."""
        part = self.ranking.only(np.isin(np.arange(len(self.ranking.places)), ranks))
        why = _explanations(self.scorer, self.gallery, self.query, part) if explain else ()
        return dict(zip(sorted(ranks), described(self.gallery, part, why, with_metadata=with_metadata), strict=True))

    def images(self, ranks: Sequence[int]) -> dict[int, GalleryImage]:
        """The images at some ranks from 0, without more."""
        return {rank: _image(self.gallery, self.ranking, rank) for rank in ranks}


def described(
    gallery: Gallery,
    ranking: Ranking,
    explanations: Sequence[Explanation] = (),
    *,
    skip: int = 0,
    with_metadata: bool = True,
) -> tuple[Hit, ...]:
    """The ranked images as hits, best first; `skip` are before them. A block's list of images is read once."""
    hits: list[Hit | None] = [None] * len(ranking.places)
    numbers = np.searchsorted(gallery.ends, ranking.places, side="right")
    for number in sorted(set(numbers.tolist())):
        block = gallery.blocks[number]
        ranks = np.flatnonzero(numbers == number).tolist()
        rows = (ranking.places[ranks] - (gallery.ends[number] - len(block))).tolist()
        known: Sequence[Mapping[str, Value]] = [{}] * len(rows)
        if with_metadata and block.metadata_file:
            from shan_engine.gallery.filters import metadata_of  # here, as most searches do without SQLite

            known = metadata_of(block, rows)
        for rank, image, metadata in zip(ranks, block.images_at(rows), known, strict=True):
            why = explanations[rank] if explanations else Explanation()
            score = float(ranking.scores[rank])
            hits[rank] = Hit(
                skip + rank + 1,
                score,
                image,
                why.step_scores,
                why.words,
                metadata,
                why.hubness,
                why.seen,
                written=why.written,
            )
    return tuple(hit for hit in hits if hit is not None)


def _explanations(scorer: Scorer, gallery: Gallery, query: ReadQuery, ranking: Ranking) -> list[Explanation]:
    """Why each ranked image was found, a few hundred images per call."""
    found: list[Explanation] = []
    for start in range(0, len(ranking.places), EXPLAINED_TOGETHER):
        at = [gallery.find(int(place)) for place in ranking.places[start : start + EXPLAINED_TOGETHER]]
        images = _together([block.rows_of([row]) for block, row in at])
        known = _together([scorer.parts.read(block, block.rows[row : row + 1]) for block, row in at])
        boxes = np.stack([block.boxes(row) for block, row in at])
        why = explain(scorer, query, ranking.captions, images, boxes, known)
        if words := scorer.written_words:
            lines = [words.lines(block, block.rows[row : row + 1])[0] for block, row in at]
            shown = lines_found(words, query.query, lines)
            why = [replace(one, written=own) for one, own in zip(why, shown, strict=True)]
        found += why
    return found


def _unlearnt(scorer: Scorer, query: ReadQuery) -> tuple[str, ...]:
    """Words that no photo taught the model, unless they are written in one."""
    words = scorer.written_words
    return tuple(one for one in query.unlearnt(scorer.bundle.learnt) if not (words and words.finds(one)))


def _together(images: Sequence[Arrays]) -> Arrays:
    return {name: np.concatenate([one[name] for one in images]) for name in images[0]}


def _image(gallery: Gallery, ranking: Ranking, rank: int) -> GalleryImage:
    block, row = gallery.find(int(ranking.places[rank]))
    (image,) = block.images_at([row])
    return image
