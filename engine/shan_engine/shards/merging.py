"""Join what shards found for a query, in their order, as if they were blocks of one gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from shan_engine.search.groups import SeenText
from shan_engine.search.ranking import StageCounts
from shan_engine.search.results import QueryHits
from shan_engine.search.selection import Candidates, Selection


@dataclass(frozen=True)
class Joined:
    """The best images of all shards; `shards` N and `ranks` N say where each is."""

    candidates: Candidates
    shards: NDArray[np.int64]
    ranks: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Sequence[Candidates], depth: int) -> Joined:
        """The best `depth` of all; on ties, those of the first shard come first, as photos indexed first do."""
        shards = np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])
        ranks = np.concatenate([np.arange(len(part.scores)) for part in parts])
        scores = np.concatenate([part.scores for part in parts])
        chances = [part.chances for part in parts if part.chances is not None]
        vectors = [part.vectors for part in parts if part.vectors is not None]
        known = any(part.texts is not None for part in parts)
        texts = [part.texts or [SeenText()] * len(part.scores) for part in parts] if known else None
        whole = Candidates(
            scores,
            np.concatenate(chances) if len(chances) == len(parts) else None,
            np.concatenate(vectors) if vectors else None,  # a shard without candidates has no vectors
            None if texts is None else list(chain.from_iterable(texts)),
        )
        best = np.argsort(-scores, kind="stable")[:depth]
        return cls(whole.at(best), shards[best], ranks[best])

    def wanted(self, chosen: Selection, shard: int) -> tuple[list[int], list[int]]:
        """Which ranks of a shard are hits, and which are named beside one."""

        def own(places: Sequence[int]) -> list[int]:
            return [int(self.ranks[place]) for place in places if self.shards[place] == shard]

        return own(chosen.heads), own(chosen.others)

    def place(self, shard: int) -> dict[int, int]:
        """The place among all of each rank of a shard."""
        own = np.flatnonzero(self.shards == shard)
        return dict(zip(self.ranks[own].tolist(), own.tolist(), strict=True))


def joined_facts(parts: Sequence[QueryHits]) -> QueryHits:
    """What shards say of a query and of their search, as one; a shard searched exhaustively scored all in full."""
    stages = None
    if any(part.stages for part in parts):
        whole = [part.stages or StageCounts(part.matching, part.matching, part.matching, True) for part in parts]
        stages = StageCounts(
            sum(one.first_pass for one in whole),
            sum(one.step_1 for one in whole),
            sum(one.all_steps for one in whole),
            all(one.proven for one in whole),
        )
    return replace(
        parts[0],
        stages=stages,
        matching=sum(part.matching for part in parts),
        score_parts=max((part.score_parts for part in parts), key=len),
        unlearnt=tuple(word for word in parts[0].unlearnt if all(word in part.unlearnt for part in parts)),
        hints=tuple(dict.fromkeys(hint for part in parts for hint in part.hints)),
    )
