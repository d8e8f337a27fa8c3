"""What is asked of galleries: opening them, and `score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .console import Backend, BackendOption, Device, DeviceOption, Gallery, Model, messages, progress

if TYPE_CHECKING:
    from shan_engine.gallery import Gallery as OpenGallery
    from shan_engine.scoring import Scorer


def open_gallery(
    gallery: Path | None,
    model: Path | None,
    device: DeviceOption,
    backend: BackendOption = BackendOption.ONNXRUNTIME,
) -> tuple[Scorer, OpenGallery]:
    """Open what a command means, and say on standard error which gallery that is."""
    from shan_engine.bundle import Bundle
    from shan_engine.gallery import Gallery as OpenGallery
    from shan_engine.locate import locate_gallery
    from shan_engine.scoring import Scorer

    place = locate_gallery(gallery, model)
    bundle = Bundle.open(place.bundle)
    opened = OpenGallery.open(place.gallery, bundle)
    messages.print(f"{len(opened):,} images in {place.gallery} ({place.reason})", markup=False, soft_wrap=True)
    return Scorer(bundle, device.value, backend=backend.value), opened


def score(
    queries: Annotated[Path, typer.Option(help="File of captions, one a line.")],
    output: Annotated[
        Path,
        typer.Option(
            help="scores.npy: the matrix, captions x images, and its columns' ids in scores.ids.txt; "
            "scores.parquet: the best rows."
        ),
    ],
    gallery: Gallery = None,
    model: Model = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Rows for each caption in a .parquet.")] = 10,
    device: Device = DeviceOption.AUTO,
    backend: Backend = BackendOption.AUTO,
) -> None:
    """Score every caption of a file with every image of a gallery.

    Examples:

      shan-engine score --gallery G --queries captions.txt --output scores.npy

      shan-engine score --gallery G --queries captions.txt --output best.parquet --top-k 20
    """
    from shan_engine.errors import InputError
    from shan_engine.score_job import read_captions, score_matrix, score_top_k

    if output.suffix not in (".npy", ".parquet"):
        raise InputError(f"cannot write scores to {output}: name it .npy (the matrix) or .parquet (the best rows)")
    captions = read_captions(queries)
    scorer, opened = open_gallery(gallery, model, device, backend)
    with progress("scoring", "pairs") as (on_start, on_pairs):
        on_start(len(captions) * len(opened))
        if output.suffix == ".npy":
            score_matrix(scorer, opened, captions, output, on_pairs=on_pairs)
        else:
            score_top_k(scorer, opened, captions, output, top_k=top_k, on_pairs=on_pairs)
    messages.print(f"{output}: {len(captions):,} captions x {len(opened):,} images", markup=False, soft_wrap=True)
