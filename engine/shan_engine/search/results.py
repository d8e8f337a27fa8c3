"""What a search returns: hits with the parts of their scores and the regions behind the words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shan_engine.base.optional import import_pyarrow
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.explain import SeenAs, WordRegion
from shan_engine.search.ranking import StageCounts

if TYPE_CHECKING:
    from shan_engine.base.column_types import Value


LIKELY = 0.25
"""Below this probability, the best guess is said to fit nothing; of the demo's thirty queries, one right one is."""


@dataclass(frozen=True)
class Hit:
    """One image found for a query; `step_scores` are the score's parts, `words` explain it, `metadata` by column.

    The parts are the model's steps and the bundle's further parts; `QueryHits.score_parts` names them. The score is
    their sum, minus `hubness` in a normalised gallery: the image's own, times the phrases' weights. `hubness` is None
    if the gallery is not normalised or hits are not explained. `seen` are the classes that the photo was seen as, the
    most probable first. `probability` is that the photo shows what was asked: None without a calibration, and for a
    query that is not a single phrase. `alike` are the near-identical photos that a search in groups shows with it.
    `written` are the lines in the photo that have words of the query.
    """

    rank: int
    score: float
    image: GalleryImage
    step_scores: tuple[float, ...] = ()
    words: tuple[WordRegion, ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)
    hubness: float | None = None
    seen: tuple[SeenAs, ...] = ()
    probability: float | None = None
    alike: tuple[GalleryImage, ...] = ()
    written: tuple[TextLine, ...] = ()


@dataclass(frozen=True)
class MissingShard:
    """A part of a gallery that did not answer: its folder, how many photos it has, and why."""

    gallery: str
    photos: int
    why: str


@dataclass(frozen=True)
class QueryHits:
    """The best images for a query, best first; `replaced`, `unknown` and `left_out` are as in `tokenizer.Tokenized`.

    `stages` counts the images that each stage of the cascade scored; None after an exhaustive search. `matching` is
    how many images were searched: all, or those that pass the filter. `score_parts` names a hit's `step_scores`.
    `unlearnt` are words that no photo taught the model. `best_probability` is the highest of the ranked images, those
    below a threshold too. `hints` tell what in the query a search does not understand. `error` says why a query of
    several could not be answered; it then has no hits. `missing` are the shards of a gallery that did not answer.
    """

    query: str
    hits: tuple[Hit, ...]
    replaced: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    left_out: int = 0
    stages: StageCounts | None = None
    matching: int = 0
    score_parts: tuple[str, ...] = ()
    unlearnt: tuple[str, ...] = ()
    best_probability: float | None = None
    hints: tuple[str, ...] = ()
    error: str = ""
    missing: tuple[MissingShard, ...] = ()

    @property
    def nothing_fits(self) -> bool:
        """Whether no image is likelier than not to show what was asked; false where probabilities are not known."""
        return self.best_probability is not None and self.best_probability < LIKELY

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def records(self) -> list[dict[str, Any]]:
        """A flat dictionary for each hit: rank, score, id and path, then its metadata by column."""
        records = []
        for hit in self.hits:
            own = {"rank": hit.rank, "score": hit.score, "id": hit.image.id, "path": hit.image.path}
            records.append({**own, **hit.metadata, **own})  # these override a metadata column of the same name
        return records

    def to_numpy(self) -> NDArray[Any]:
        """A structured array of the hits: rank int32, score float32, id text."""
        kind = [("rank", np.int32), ("score", np.float32), ("id", object)]
        return np.array([(hit.rank, hit.score, hit.image.id) for hit in self.hits], kind)

    def to_arrow(self) -> Any:
        """The records as a `pyarrow.Table`. Raises InputError if pyarrow is missing."""
        return import_pyarrow("an Arrow table").Table.from_pylist(self.records())
