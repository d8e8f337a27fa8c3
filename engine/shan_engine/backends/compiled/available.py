"""Whether the compiled kernel can score here, and why not."""

from __future__ import annotations

import os

from shan_engine.kernel.library import CHOICE, chosen_variant


def unavailable() -> str | None:
    """Why the kernel cannot run here; None where it can. Raises BackendError where SHAN_KERNEL names no variant."""
    if chosen_variant() is not None:
        return None
    if os.environ.get(CHOICE) == "off":
        return f"{CHOICE}=off turns it off"
    return "it was not compiled when the package was built"
