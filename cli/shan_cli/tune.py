"""`shan-engine tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import print_json, progress, say
from shan_cli.opening import open_engine
from shan_cli.options import Device, Json, Model, Verbose


def tune(
    gallery: Annotated[Path, typer.Argument(help="Gallery to measure. It keeps the settings.")],
    queries: Annotated[
        Path, typer.Option(help="File of queries like those of your users, one per line; a hundred or more.")
    ],
    model: Model = None,
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="Hits to find for each query.")] = 10,
    device: Device = "auto",
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure how many images each stage of a search must score to find what an exhaustive search finds.

    Example: shan-engine tune pictures.gallery --queries asked.txt

    Every query is searched exhaustively, so this takes a while. `search --recall-target` then uses what was measured.

    Run it again when the gallery or the queries have changed a lot.
    """
    from shan_engine.search.tuning import TARGETS
    from shan_engine.text.query_files import read_captions

    wanted = read_captions(queries)
    engine = open_engine(gallery, model, device, "onnxruntime")
    with progress("measuring", "pairs") as (on_start, on_pairs):
        on_start(2 * len(wanted) * len(engine))
        tuning = engine.tune(wanted, top_k=top_k, on_pairs=on_pairs)
    if json:
        print_json({"targets": list(TARGETS), **tuning.as_dict(), "gallery": str(gallery)})
        return
    for target in TARGETS:
        widths = tuning.widths(len(engine), top_k, target)
        say(
            f"to find {target:.1%} of the hits: {widths.step_1:,} of {len(engine):,} images in step 1, "
            f"{widths.all_steps:,} in all steps"
        )
