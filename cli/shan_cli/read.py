"""`shan-engine read`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shan_cli.console import print_json, printable, say
from shan_cli.options import Json, Verbose


def read(
    photo: Annotated[Path, typer.Argument(help="Photo to read.")], json: Json = False, verbose: Verbose = False
) -> None:
    """Print what is written in a photo: for each line the confidence, the box in pixels, and the text.

    Examples:

      shan-engine read receipt.jpg

      shan-engine read receipt.jpg --json

    Control characters are printed as escapes.
    """
    from shan_engine.base.threads import usable_cpus
    from shan_engine.photos.text_reader import TextReader

    reader = TextReader(threads=usable_cpus())
    found = reader(photo)
    if json:
        lines = [vars(line) for line in found.lines]
        print_json({"photo": str(photo), "reader": reader.name, "lines": lines, "damage": found.damage})
        return
    if found.damage:
        say(f"read in part: {found.damage}")
    if not found.lines:
        say(f"{photo}: no text found")
    for line in found.lines:
        box = ",".join(f"{edge:.0f}" for edge in line.box)
        print(f"{line.confidence:.2f}  {box:20}  {printable(line.text)}")
