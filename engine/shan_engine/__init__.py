"""The run time: feature store, bundle, gallery, scoring and search. Needs no PyTorch.

What `__all__` names is the public surface; anything else may change without notice. The packages, from the lowest to
the highest, each importing only those before it:

    base        errors, files, ids, manifests, choices, threads
    text        captions to tokens
    bundle      a trained model's graphs, tokenizer and manifest
    kernel      SHAN's score in C and NumPy: the only place that knows SHAN's arrays
    backends    how graphs run and pairs are scored
    gallery     encoded photos on disk
    scoring     encoders, pair scorer, the one loop over pairs
    store       region features as an extractor saw them
    photos      files to region features
    search      queries to hits
    indexing    what writes galleries
    evaluation  recall
    writers     output formats
    jobs        scoring of whole collections, resumable
    shards      several galleries searched as one, here or on a Ray cluster
    engine      `Engine`, which owns what is loaded; `api` opens one, `doctor` checks an installation
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime reads it as it loads; without it, it writes a device id to the home folder and looks up a host.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from shan_engine.api import from_regions, open, open_captions
    from shan_engine.base.errors import (
        BackendError,
        BundleError,
        GalleryError,
        InputError,
        ShanError,
        StoreError,
    )
    from shan_engine.caption_engine import CaptionEngine
    from shan_engine.engine import Engine
    from shan_engine.gallery.blocks import GalleryImage
    from shan_engine.search.captions import CaptionHit, CaptionHits
    from shan_engine.search.explain import WordRegion
    from shan_engine.search.options import SearchOptions
    from shan_engine.search.photo_query import QueryPhoto
    from shan_engine.search.query import Phrase, Query
    from shan_engine.search.ranking import StageCounts
    from shan_engine.search.results import Hit, QueryHits

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "BundleError",
    "CaptionEngine",
    "CaptionHit",
    "CaptionHits",
    "Engine",
    "GalleryError",
    "GalleryImage",
    "Hit",
    "InputError",
    "Phrase",
    "Query",
    "QueryHits",
    "QueryPhoto",
    "SearchOptions",
    "ShanError",
    "StageCounts",
    "StoreError",
    "WordRegion",
    "__version__",
    "from_regions",
    "open",
    "open_captions",
]

_HOMES = {
    "shan_engine.api": ("from_regions", "open", "open_captions"),
    "shan_engine.base.errors": (
        "BackendError",
        "BundleError",
        "GalleryError",
        "InputError",
        "ShanError",
        "StoreError",
    ),
    "shan_engine.caption_engine": ("CaptionEngine",),
    "shan_engine.engine": ("Engine",),
    "shan_engine.gallery.blocks": ("GalleryImage",),
    "shan_engine.search.captions": ("CaptionHit", "CaptionHits"),
    "shan_engine.search.explain": ("WordRegion",),
    "shan_engine.search.options": ("SearchOptions",),
    "shan_engine.search.photo_query": ("QueryPhoto",),
    "shan_engine.search.query": ("Phrase", "Query"),
    "shan_engine.search.ranking": ("StageCounts",),
    "shan_engine.search.results": ("Hit", "QueryHits"),
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import shan_engine` takes no time.
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
