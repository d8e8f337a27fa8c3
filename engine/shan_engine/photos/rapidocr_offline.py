"""Import the package `rapidocr` without what it downloads with.

It imports `requests` to fetch graphs that it lacks. That alone opens a socket, to see whether this machine has IPv6.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Nothing(ModuleType):
    """Stands for `requests`: has every name, and nothing that can be called."""

    def __getattr__(self, name: str) -> None:
        return None


def import_rapidocr() -> Any:
    """The package with its class RapidOCR, which cannot reach a network."""
    if "rapidocr.main" not in sys.modules:
        held = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "requests"}
        sys.modules["requests"] = _Nothing("requests")
        try:
            import rapidocr.main
        finally:
            del sys.modules["requests"]
            sys.modules.update(held)
    import rapidocr

    return rapidocr
