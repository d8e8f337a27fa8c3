"""`shan-engine index-captions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import (
    Device,
    DeviceOption,
    EncoderModel,
    GalleryStorageOption,
    Json,
    messages,
    print_json,
    progress,
)


def index_captions(
    captions: Annotated[
        Path,
        typer.Argument(help="Text file, one caption a line; or a table or folder as for `evaluate --captions`."),
    ],
    output: Annotated[Path, typer.Option(help="Gallery of captions to make, or to make anew.")],
    model: EncoderModel = None,
    device: Device = DeviceOption.AUTO,
    storage: Annotated[
        GalleryStorageOption,
        typer.Option(help="Numbers on disk: float16 takes half the space, int8 a quarter."),
    ] = GalleryStorageOption.FLOAT32,
    json: Json = False,
) -> None:
    """Encode captions, so that `search --image` finds those that fit a photo.

    Example: shan-engine index-captions captions.txt --output captions.gallery
    """
    from shan_engine.bundle.contents import Bundle
    from shan_engine.indexing.captions import index_captions as encode
    from shan_engine.locate import locate_bundle
    from shan_engine.scoring.encoders import Scorer

    scorer = Scorer(Bundle.open(locate_bundle(model)), device.value)
    with progress("encoding", "captions") as (on_start, on_captions):
        count = encode(captions, scorer, output, dtype=storage.value, on_start=on_start, on_captions=on_captions)
    if json:
        print_json({"captions": count, "gallery": str(output)})
        return
    messages.print(f"{output}: {count:,} captions encoded", markup=False, soft_wrap=True)
