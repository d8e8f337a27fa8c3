"""Packages that only some installations have, imported where they are needed."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

from shan_engine.base.errors import BackendError, InputError

PROJECT = "shan-engine"


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

    For a working copy it names the project's folder, else the extras' packages: the project is on no package index.
    """
    install = f"{pip_command('install')} {'--force-reinstall ' if force else ''}"
    if _working_copy() or not extras:
        first, *others = [f"'.[{extra}]'" for extra in extras] or ["."]
        end = " in the project's folder"
    else:
        (first, *others), end = [_packages(extra) for extra in extras], ""
    choice = f" (or {', '.join(others)})" if others else ""
    return f"{install}{first}{choice}{end}"


def pip_command(verb: str) -> str:
    """`pip` with a verb, such as install, as it is called for the environment that this process runs in."""
    if _working_copy():
        return f"pip {verb}"
    if Path(sys.prefix, "pipx_metadata.json").is_file():
        return f"pipx runpip {Path(sys.prefix).name} {verb}"
    if importlib.util.find_spec("pip") is None:  # as in `uv tool install`
        return f"uv pip {verb} --python {sys.executable}"
    return f"{sys.executable} -m pip {verb}"


def _working_copy() -> bool:
    """Whether the code runs from a folder that its author changes, or from one that was never installed."""
    from importlib import metadata  # takes a twentieth of a second

    try:
        record = metadata.distribution(PROJECT).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return True
    return bool(json.loads(record or "{}").get("dir_info", {}).get("editable"))


def _packages(extras: str) -> str:
    """The packages of some extras, such as `train,export`, and those missing that all need; quoted for a shell."""
    from importlib import metadata

    found = []
    for line in metadata.requires(PROJECT) or []:
        package, _, marker = (part.strip() for part in line.partition(";"))
        of = re.search(r"extra == [\"']([\w-]+)", marker)
        if of[1] in extras.split(",") if of else not _installed(package):
            found.append(package)
    return " ".join(f"'{package}'" for package in dict.fromkeys(found))


def _installed(requirement: str) -> bool:
    from importlib import metadata

    try:
        metadata.distribution(re.split(r"[^\w.-]", requirement)[0])
    except metadata.PackageNotFoundError:
        return False
    return True
