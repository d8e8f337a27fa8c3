"""`shan-engine gallery`: show, split and merge galleries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.commands import App
from shan_cli.console import print_facts, print_json, say
from shan_cli.options import Json, Verbose

app = App(help="Show what a gallery holds; split and merge galleries.", no_args_is_help=True)
OneGallery = Annotated[Path, typer.Argument(help="Gallery.")]


@app.command()
def info(gallery: OneGallery, json: Json = False, verbose: Verbose = False) -> None:
    """Show what a gallery holds.

    Example: shan-engine gallery info pictures.gallery
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import gallery_facts

    facts = gallery_facts(Gallery.open(gallery))
    if json:
        print_json(facts)
    else:
        print_facts(facts)


@app.command()
def split(
    gallery: OneGallery,
    parts: Annotated[int, typer.Option(min=1, help="How many galleries to make.")],
    output: Annotated[Path, typer.Option(help="New folder for the parts: part-000, part-001 and so on.")],
    verbose: Verbose = False,
) -> None:
    """Split a gallery into parts of equal size, for example for several machines.

    Example: shan-engine gallery split pictures.gallery --parts 4 --output shards

    Nothing is encoded again.
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import split_gallery

    for path in split_gallery(Gallery.open(gallery), parts, output):
        say(f"{path}: {len(Gallery.open(path)):,} images")


@app.command()
def merge(
    galleries: Annotated[list[Path], typer.Argument(help="Galleries to merge, in this order.")],
    output: Annotated[Path, typer.Option(help="New folder for the merged gallery.")],
    verbose: Verbose = False,
) -> None:
    """Merge galleries that were made with the same bundle and storage.

    Example: shan-engine gallery merge monday.gallery tuesday.gallery --output week.gallery

    Nothing is encoded again.
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import merge_galleries

    merged = merge_galleries([Gallery.open(path) for path in galleries], output)
    say(f"{output}: {len(merged):,} images")
