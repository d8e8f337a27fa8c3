"""Which files are photos, by suffix, and which packages read them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from shan_engine.base.errors import InputError
from shan_engine.base.optional import install_command

PLAIN = frozenset(
    {".apng", ".avif", ".avifs", ".bmp", ".dib", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".webp"}
    | {".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx", ".tif", ".tiff"}
)
"""Suffixes of the photos that every installation reads."""
HEIF = frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})
RAW = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
VIDEO = frozenset({".3gp", ".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".webm", ".wmv"})

_EXTRAS = (("heic", "pi_heif", HEIF), ("raw", "rawpy", RAW), ("video", "av", VIDEO))


READ = PLAIN.union(*(suffixes for _, module, suffixes in _EXTRAS if find_spec(module)))
"""Suffixes of the photos that this installation reads."""
UNREAD = frozenset({".jxl", ".psd", ".svg"}).union(*(suffixes for *_, suffixes in _EXTRAS)) - READ
"""Suffixes of photos that this installation does not read. They are counted, so that a user learns of them."""


def how_to_read(suffix: str) -> str:
    """What makes photos with this suffix readable."""
    extra = next((extra for extra, _, suffixes in _EXTRAS if suffix in suffixes), None)
    return f"save them as JPEG{f' or {install_command(extra)}' if extra else ''}"


def require_reader(path: Path) -> None:
    """Raise InputError if reading this photo needs an extra that is not installed."""
    suffix = path.suffix.lower()
    for extra, module, suffixes in _EXTRAS:
        if suffix in suffixes and not find_spec(module):
            raise InputError(f"{path} needs {module}, which is not installed: {install_command(extra)}")
