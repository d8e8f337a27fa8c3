"""`shan-engine search --image` in a gallery of captions: the captions that fit a photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from shan_engine.base.choices import Device as DeviceChoice

from shan_cli.console import print_json, progress
from shan_cli.opening import open_caption_engine


def holds_captions(gallery: Path | None, model: Path | None) -> bool:
    """Whether a gallery is one of captions."""
    from shan_engine.gallery import captions
    from shan_engine.locate import locate_gallery

    return captions.holds_captions(locate_gallery(gallery, model).gallery)


def refuse_options_of_photos(given: Mapping[str, object]) -> None:
    """Raise InputError for an option that is given and means nothing in a search for captions."""
    from shan_engine.base.errors import InputError

    for option, value in given.items():
        if value:
            raise InputError(f"{option} is for galleries of photos: leave it out in a search for captions")


def search_captions(
    image: Path,
    gallery: Path | None,
    model: Path | None,
    extractor: Path | None,
    top_k: int,
    explain: bool,
    device: DeviceChoice,
    json: bool,
) -> None:
    """Search a gallery of captions for those that fit a photo, and print them."""
    from shan_engine.writers.json_answer import captions_as_dict

    from shan_cli.hit_list import print_captions

    engine = open_caption_engine(gallery, model, device)
    photo = engine.photo(image, extractor=extractor)
    with progress("searching", "captions") as (on_start, on_captions):
        found = engine.search(photo, top_k=top_k, explain=explain, on_start=on_start, on_captions=on_captions)
    if json:
        print_json(captions_as_dict(found))
    else:
        print_captions(found)
