"""What bundles, galleries and feature stores write about themselves, and how it is checked when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shan_engine.base.files import replacing


def demand(condition: bool, fault: str) -> None:
    """Raise ValueError with `fault`, a clause, unless the condition holds."""
    if not condition:
        raise ValueError(fault)


def digest(fields: Mapping[str, Any]) -> str:
    """Hex SHA-256 of fields as JSON: what a manifest says of itself, so that a changed byte is found."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def save_manifest(path: Path, fields: Mapping[str, Any], *, indent: int) -> None:
    """Write fields and their digest as JSON, beside and renamed."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**fields, "digest": digest(fields)}, indent=indent) + "\n", "utf-8")


def other_schema(version: int, own: int, remake: str) -> str:
    """What is said of another schema than our `own`: `remake` mends an older one."""
    order, mend = ("older", remake) if version < own else ("newer", "upgrade shan-engine")
    return f"schema {version}, {order} than {own}: {mend}"


def is_size(value: Any) -> bool:
    """Whether a field read from JSON is a whole number above 0."""
    return type(value) is int and value > 0
