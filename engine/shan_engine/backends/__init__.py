"""Ways to run a bundle's graphs. `load_graph` picks one; each back end is a file or folder beside this one."""

from __future__ import annotations

from shan_engine.backends.interface import Graph, HeldGallery, load_graph

__all__ = ["Graph", "HeldGallery", "load_graph"]
