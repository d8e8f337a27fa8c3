"""The compiled variants of the kernel, and the choice of one that this processor can run."""

from __future__ import annotations

import ctypes
import os
from ctypes import c_float, c_int, c_int64, c_void_p
from functools import cache
from pathlib import Path

from shan_engine.base.errors import BackendError

FOLDER = Path(__file__).parent
# The variants, best first, with the x86-64 level that each needs.
LEVELS = {"x86-64-v4": 4, "x86-64-v3": 3, "baseline": 0}
CHOICE = "SHAN_KERNEL"

_SIGNATURES = {
    "shan_captions_new": (c_void_p, [c_void_p] * 5 + [c_int64] * 3 + [c_void_p] * 2 + [c_float] * 3 + [c_int]),
    "shan_captions_free": (None, [c_void_p]),
    "shan_score": (c_int, [c_void_p] * 5 + [c_int64] * 2 + [c_void_p, c_int64]),
    "shan_local_of": (c_int, [c_void_p] * 2 + [c_int] + [c_void_p] * 2 + [c_int64] * 2 + [c_void_p]),
    "shan_train_local": (
        c_int,
        [c_void_p] * 6 + [c_int64] * 4 + [c_float] * 2 + [c_void_p] * 6,
    ),
    "shan_evidence_pieces": (
        c_int,
        [c_void_p] * 3 + [c_int64] * 2 + [c_void_p] + [c_int64] * 2 + [c_float, c_void_p, c_int64],
    ),
    "shan_scan_pieces": (None, [c_void_p] * 3 + [c_int64] * 2 + [c_void_p, c_int64, c_void_p, c_int64]),
}


@cache
def load_library(variant: str) -> ctypes.CDLL:
    """Load the shared library of a variant and declare its functions.

    Raises OSError if it cannot be loaded, BackendError if it was built from other sources than these.
    """
    path = FOLDER / f"{variant}.so"
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            raise BackendError(f"{path} was built from other sources, it lacks {name}: install shan-engine again")
        function.restype, function.argtypes = result, arguments
    return library


@cache
def variants() -> tuple[str, ...]:
    """Names of the variants that are built and that this processor can run, best first."""
    try:
        level = int(load_library("baseline").shan_cpu_level())
    except OSError:
        return ()
    return tuple(name for name, needed in LEVELS.items() if needed <= level and (FOLDER / f"{name}.so").exists())


def chosen_variant() -> str | None:
    """The variant to use: the best one, unless the environment variable SHAN_KERNEL names another or says `off`.

    None if the kernel is off or not built. Raises BackendError if SHAN_KERNEL names a variant that cannot run here.
    """
    names = variants()
    choice = os.environ.get(CHOICE, "")
    if choice == "off":
        return None
    if not choice:
        return names[0] if names else None
    if choice not in names:
        raise BackendError(
            f"{CHOICE}={choice} names no variant of the score kernel that runs here: "
            f"set it to {', '.join([*names, 'off'])}, or unset it"
        )
    return choice
