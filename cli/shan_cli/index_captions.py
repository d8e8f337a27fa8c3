"""`shan-engine index-captions`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from shan_engine.base.choices import GalleryDtype

from shan_cli.console import print_json, progress, say
from shan_cli.opening import open_encoder
from shan_cli.options import SMALLER, Device, EncoderModel, Json, Verbose


def index_captions(
    captions: Annotated[
        Path,
        typer.Argument(help="Text file, one caption a line; or a table or folder as for `evaluate --captions`."),
    ],
    output: Annotated[Path, typer.Option(help="Gallery of captions to make. An existing one is replaced.")],
    model: EncoderModel = None,
    device: Device = "auto",
    storage: Annotated[GalleryDtype, typer.Option(help=f"{SMALLER}, int8 a quarter.")] = "float32",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Encode captions, so that `search --image` finds those that fit a photo.

    Example: shan-engine index-captions captions.txt --output captions.gallery
    """
    from shan_engine.indexing.captions import index_captions as encode

    encoder = open_encoder(model, device)
    with progress("encoding", "captions") as (on_start, on_captions):
        count = encode(captions, encoder, output, dtype=storage, on_start=on_start, on_captions=on_captions)
    if json:
        print_json({"captions": count, "gallery": str(output)})
        return
    say(f"{output}: {count:,} captions encoded")
