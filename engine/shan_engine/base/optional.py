"""Packages that only some installations have, imported where they are needed."""

from __future__ import annotations

import importlib.util
from typing import Any

from shan_engine.base.errors import BackendError, InputError


def import_pyarrow(doing: str = "writing .parquet") -> Any:
    """The `pyarrow` module with `pyarrow.parquet` loaded. Raises InputError where it is missing."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{doing} needs pyarrow, which is not installed: {install_command('parquet')}") from error
    return pyarrow


def require(extra: str, *modules: str) -> None:
    """Raise BackendError for the first of these modules that is not installed, with the extra that brings it."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise BackendError(f"{module} is not installed: {install_command(extra)}")


def install_command(*extras: str, force: bool = False) -> str:
    """How to fix a missing or broken package: the command that installs any one of these extras.

    It names the project's folder, as the project is on no package index.
    """
    first, *others = [f"'.[{extra}]'" for extra in extras] or ["."]
    choice = f" (or {', '.join(others)})" if others else ""
    return f"pip install {'--force-reinstall ' if force else ''}{first}{choice} in the project's folder"
