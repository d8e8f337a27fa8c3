"""`shan-engine gallery`: look at a gallery, cut it into parts, put galleries together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import Json, messages, print_json

app = typer.Typer(help="Look at a gallery, cut it into parts, put galleries together.", no_args_is_help=True)
OneGallery = Annotated[Path, typer.Argument(help="Gallery.")]


@app.command()
def info(gallery: OneGallery, json: Json = False) -> None:
    """Show what a gallery holds.

    Example: shan-engine gallery info pictures.gallery
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import gallery_facts

    facts = gallery_facts(Gallery.open(gallery))
    if json:
        print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):18} {value}")


@app.command()
def split(
    gallery: OneGallery,
    parts: Annotated[int, typer.Option(min=1, help="How many galleries to make.")],
    output: Annotated[Path, typer.Option(help="New folder for them: part-000, part-001 and so on.")],
) -> None:
    """Cut a gallery into parts of equal size, as for several machines. Nothing is encoded again.

    Example: shan-engine gallery split pictures.gallery --parts 4 --output shards
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import split_gallery

    for path in split_gallery(Gallery.open(gallery), parts, output):
        messages.print(f"{path}: {len(Gallery.open(path)):,} images", markup=False, soft_wrap=True)


@app.command()
def merge(
    galleries: Annotated[list[Path], typer.Argument(help="Galleries, in the order of their images.")],
    output: Annotated[Path, typer.Option(help="New folder for the gallery of all their images.")],
) -> None:
    """Put galleries of one bundle and storage together. Nothing is encoded again.

    Example: shan-engine gallery merge monday.gallery tuesday.gallery --output week.gallery
    """
    from shan_engine.gallery.reader import Gallery
    from shan_engine.indexing.copy import merge_galleries

    merged = merge_galleries([Gallery.open(path) for path in galleries], output)
    messages.print(f"{output}: {len(merged):,} images", markup=False, soft_wrap=True)
