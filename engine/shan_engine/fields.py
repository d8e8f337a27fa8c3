"""What bundles, galleries and feature stores write about themselves, and how it is checked when read."""

from __future__ import annotations

DTYPES = ("float32", "float16")  # of numbers on disk, the first unless another is asked for


def demand(condition: bool, fault: str) -> None:
    """Raise ValueError with `fault`, a clause, unless the condition holds."""
    if not condition:
        raise ValueError(fault)
