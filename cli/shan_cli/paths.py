"""Paths alone, for other programs: `search --paths` and `--print0`; and links to photos in tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.text import Text
from shan_engine.gallery.blocks import GalleryImage

from shan_cli.console import printable

# Terminals that are known to open OSC 8 links set one of these. Others may print them.
_KNOWING = ("WT_SESSION", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "WEZTERM_PANE", "GHOSTTY_RESOURCES_DIR", "DOMTERM")
_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "Hyper", "ghostty", "Tabby", "rio")
_VTE = 5000  # GNOME's terminals, from version 0.50 on


def print_paths(images: Iterable[GalleryImage], *, zero: bool) -> None:
    """The path of each image once, or its id where none is known: one a line, or each ended by a zero byte.

    Into a pipe, names are written byte for byte; a terminal gets control characters as escapes.
    """
    names = dict.fromkeys(image.path or image.id for image in images)
    if sys.stdout.isatty() and not zero:
        for name in names:
            print(printable(name))
        return
    sys.stdout.flush()
    end = b"\0" if zero else b"\n"
    sys.stdout.buffer.write(b"".join(os.fsencode(name) + end for name in names))


def named(image: GalleryImage, alike: int = 0, *, links: bool = False) -> Text:
    """An image's id for a table with the number of those alike; on a terminal perhaps with a link to its file."""
    file = Path(image.path)
    linked = links and image.path and file.is_absolute()
    shown = Text(printable(image.id), style=f"link {file.as_uri()}" if linked else "")
    return shown.append(f" +{alike} alike", style="dim") if alike else shown


def knows_links(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard output is a terminal that is known to show OSC 8 links."""
    vte = environment.get("VTE_VERSION", "")
    known = (
        any(name in environment for name in _KNOWING)
        or environment.get("TERM_PROGRAM") in _PROGRAMS
        or environment.get("TERM", "").startswith(("foot", "xterm-kitty", "alacritty"))
        or (vte.isdigit() and int(vte) >= _VTE)
    )
    return known and sys.stdout.isatty()
