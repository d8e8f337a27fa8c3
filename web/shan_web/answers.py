"""What the API answers: the structs that the OpenAPI document describes, and how they are made and sent."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct, field
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.captions import CaptionHits
from shan_engine.search.results import Hit, QueryHits
from shan_engine.writers.json_answer import as_dict, captions_as_dict, hit_as_dict
from starlette.responses import Response

Box = tuple[float, float, float, float]


class WordRegion(Struct, forbid_unknown_fields=True):
    """The region that a word means: its box in pixels of the photo as x0, y0, x1, y1."""

    word: str
    region: int
    box: Box | None
    weight: float


class SeenAs(Struct, forbid_unknown_fields=True):
    """A class that a photo was seen as, and the region where it shows most."""

    name: str
    probability: float
    region: int
    box: Box | None


class WrittenLine(Struct, forbid_unknown_fields=True):
    """A line that is written in a photo, where, and how sure the reader was, from 0 to 1."""

    text: str
    confidence: float
    box: Box


class HitAnswer(Struct, forbid_unknown_fields=True):
    """A photo that was found; `step_scores` are the parts of its score, which `score_parts` names."""

    rank: int
    score: float
    probability: float | None
    id: str
    path: str
    width: int
    height: int
    version: str
    step_scores: list[float]
    hubness: float | None
    words: list[WordRegion]
    seen: list[SeenAs]
    written: list[WrittenLine]
    metadata: dict[str, str | int | float | bool | None]
    alike: list[str]


class Scanned(Struct, forbid_unknown_fields=True):
    """How many photos each stage of a search looked at."""

    first_pass: int
    step_1: int
    all_steps: int
    proven: bool


class MissingAnswer(Struct, forbid_unknown_fields=True):
    """A shard of the gallery that did not answer, how many photos it has, and why."""

    gallery: str
    photos: int
    why: str


class SearchAnswer(Struct, forbid_unknown_fields=True):
    """Hits, best first; `next` is the `skip` of the next page, null after the last one."""

    gallery: str
    photos: int
    query: str
    matching: int
    milliseconds: float
    nothing_fits: bool
    next: int | None
    hits: list[HitAnswer]
    error: str | None
    replaced_words: dict[str, str]
    unknown_words: list[str]
    unlearnt_words: list[str]
    best_probability: float | None
    words_left_out: int
    hints: list[str]
    scanned: Scanned | None
    score_parts: list[str]
    missing: list[MissingAnswer]
    cards: list[str] = field(default_factory=list)


class CaptionAnswer(Struct, forbid_unknown_fields=True):
    """A caption that fits a photo."""

    rank: int
    score: float
    id: str
    caption: str
    step_scores: list[float]
    words: list[WordRegion]


class CaptionsAnswer(Struct, forbid_unknown_fields=True):
    """Captions, best first, of `captions` that were scored."""

    gallery: str
    captions: int
    milliseconds: float
    score_parts: list[str]
    hits: list[CaptionAnswer]


class GalleryAnswer(Struct, forbid_unknown_fields=True):
    """A gallery that is served; `kind` is photos or captions. `problem` says why it cannot be searched now."""

    name: str
    kind: str
    size: int
    path: str
    problem: str


class GalleriesAnswer(Struct, forbid_unknown_fields=True):
    """All galleries; `can_open` says whether `POST /api/open` opens folders."""

    galleries: list[GalleryAnswer]
    can_open: bool


class ColumnAnswer(Struct, forbid_unknown_fields=True):
    """A column that a filter may name, of how many photos it is known, its range and frequent values."""

    name: str
    type: str
    known: int
    least: str | int | float | bool | None
    most: str | int | float | bool | None
    values: list[str | int | float | bool]


class ColumnsAnswer(Struct, forbid_unknown_fields=True):
    """The columns of a gallery."""

    gallery: str
    columns: list[ColumnAnswer]


class UploadAnswer(Struct, forbid_unknown_fields=True):
    """The name under which a search finds the photo that was sent."""

    upload: str


class HealthAnswer(Struct, forbid_unknown_fields=True):
    """`ok`, or `failing` where a gallery cannot be searched."""

    status: str


class DoneAnswer(Struct, forbid_unknown_fields=True):
    """What was asked is done."""

    done: bool


class Problem(Struct, forbid_unknown_fields=True):
    """One sentence: what is wrong, and the fix."""

    error: str


class JsonAnswer(Response):
    """JSON in ASCII, so that a file name that is no valid UTF-8 goes through as it is."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of a document. Raises ValueError for NaN and infinity."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def version(image: GalleryImage) -> str:
    """What changes when a photo does: an address that names it may be cached."""
    return f"{image.checksum & (1 << 64) - 1:016x}"


def hit_answer(hit: Hit) -> dict[str, Any]:
    """A hit as `HitAnswer`."""
    image = hit.image
    beside = {"width": image.width, "height": image.height, "version": version(image)}
    return hit_as_dict(hit) | beside | {"alike": [other.id for other in hit.alike]}


def search_answer(
    found: QueryHits, *, gallery: str, photos: int, seconds: float, following: int | None
) -> dict[str, Any]:
    """A search as `SearchAnswer`; `following` is the skip of the next page."""
    return as_dict(found) | {
        "gallery": gallery,
        "photos": photos,
        "milliseconds": round(1000 * seconds, 1),
        "nothing_fits": found.nothing_fits,
        "next": following,
        "hits": [hit_answer(hit) for hit in found.hits],
    }


def captions_answer(found: CaptionHits, *, gallery: str, seconds: float) -> dict[str, Any]:
    """A search for captions as `CaptionsAnswer`."""
    answer = captions_as_dict(found) | {"gallery": gallery, "milliseconds": round(1000 * seconds, 1)}
    del answer["photo"]  # the path of a temporary file
    return answer
