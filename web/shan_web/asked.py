"""What a request may ask: each kind of request is a struct, read from the address and checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct, field
from shan_engine.base.errors import InputError

DEEPEST = 2000
"""Hits that a query has at most, over all its pages."""
MOST_PHRASES = 16
THUMBNAIL_SIDES = (160, 320, 640, 1280, 2048)

Id = Annotated[str, Meta(min_length=1, max_length=4096, description="The id of a photo of the gallery.")]
Gallery = Annotated[str, Meta(max_length=255, description="The name of a gallery; the first one where it is left out.")]
Text = Annotated[str, Meta(max_length=1000, description="What the photos should show.")]
Phrase = Annotated[str, Meta(max_length=300)]
Phrases = Annotated[
    tuple[Phrase, ...],
    Meta(max_length=MOST_PHRASES, description='Phrases, each "words" or "words:weight". Repeatable.'),
]
Ids = Annotated[tuple[Id, ...], Meta(max_length=MOST_PHRASES, description="Ids of photos of the gallery. Repeatable.")]
Where = Annotated[
    str, Meta(max_length=4000, description="An SQL condition on the gallery's columns: only photos that meet it.")
]
Near = Annotated[
    str, Meta(max_length=100, description="Only photos near a place: latitude,longitude,distance, as 48.85,2.35,5km.")
]
Skip = Annotated[int, Meta(ge=0, le=DEEPEST, description="How many of the best hits to leave out.")]
Limit = Annotated[int, Meta(ge=1, le=200, description="How many hits to send.")]
Share = Annotated[float, Meta(ge=0, le=1, description="Leave out hits with a smaller probability.")]
Upload = Annotated[str, Meta(max_length=64, description="What `POST /api/uploads` answered.")]
Side = Annotated[
    Literal[160, 320, 640, 1280, 2048], Meta(description="The longest side in pixels; the photo is never enlarged.")
]
Cards = Annotated[bool, Meta(description="Also send the hits as the page shows them, in `cards`.")]


class OfGallery(Struct, frozen=True, forbid_unknown_fields=True):
    """A gallery alone."""

    gallery: Gallery = ""


class Browse(Struct, frozen=True, forbid_unknown_fields=True):
    """Photos without a query, the newest first."""

    gallery: Gallery = ""
    where: Where | None = None
    near: Near | None = None
    skip: Skip = 0
    limit: Limit = 60
    cards: Cards = False


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """A query: words, phrases, photos by id, an uploaded photo, and filters."""

    gallery: Gallery = ""
    q: Text | None = None
    also: Phrases = field(default=(), name="with")
    without: Phrases = ()
    like: Annotated[Id, Meta(description="A photo of the gallery: find photos like it.")] | None = None
    unlike: Ids = ()
    upload: Upload | None = None
    where: Where | None = None
    near: Near | None = None
    threshold: Share | None = None
    grouped: Annotated[bool, Meta(description="Show near-identical photos as one hit, which names the others.")] = False
    skip: Skip = 0
    limit: Limit = 60
    cards: Cards = False


class Similar(Struct, frozen=True, forbid_unknown_fields=True):
    """Photos like one of the gallery."""

    id: Id
    gallery: Gallery = ""
    where: Where | None = None
    skip: Skip = 0
    limit: Limit = 60


class Explain(Struct, frozen=True, forbid_unknown_fields=True):
    """Why a photo answers a query; `fine` looks for each word in the photo itself."""

    id: Id
    q: Text
    gallery: Gallery = ""
    fine: bool = False
    cards: Cards = False


class OfPhoto(Struct, frozen=True, forbid_unknown_fields=True):
    """A photo of a gallery."""

    id: Id
    gallery: Gallery = ""
    v: Annotated[str, Meta(max_length=32, description="The version of the photo; it only names what is cached.")] = ""


class Thumbnail(Struct, frozen=True, forbid_unknown_fields=True):
    """A small copy of a photo."""

    id: Id
    gallery: Gallery = ""
    side: Side = 640
    v: Annotated[str, Meta(max_length=32, description="The version of the photo; it only names what is cached.")] = ""


class Captions(Struct, frozen=True, forbid_unknown_fields=True):
    """The captions of a gallery of captions that fit an uploaded photo."""

    upload: Upload
    gallery: Gallery = ""
    limit: Limit = 20


Asked = TypeVar("Asked", bound=Struct)


def asked(kind: type[Asked], query: bytes) -> Asked:
    """The parameters of an address as `kind`. Raises InputError, naming the parameter, for what may not be asked.

    A file name's bytes that are no UTF-8 are read as Python reads them in paths, so that they name the same id.
    """
    lists = {one.encode_name for one in msgspec.structs.fields(kind) if "tuple" in str(one.type)}
    held: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape", max_num_fields=64)
    except ValueError as error:
        raise InputError("the address has more than 64 parameters: leave some out") from error
    for name, value in pairs:
        if name in lists:
            held.setdefault(name, []).append(value)
        elif name in held:
            raise InputError(f"the parameter '{_plain(name)}' is given twice: give it once")
        else:
            held[name] = value
    try:
        return msgspec.convert(held, kind, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise InputError(f"the address cannot be used: {error}") from error


def _plain(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()
