"""The run time: feature store, bundle, gallery, scoring and search. Needs no PyTorch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shan_engine.api import CaptionEngine, Engine, Query, open, open_captions

__all__ = ["CaptionEngine", "Engine", "Query", "open", "open_captions"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import shan_engine` takes no time.
    if name in __all__:
        from shan_engine import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
