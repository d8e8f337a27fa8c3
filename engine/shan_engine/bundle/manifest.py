"""A bundle's manifest: what it holds, and how it is checked when read."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shan_engine.base.errors import BundleError, unread
from shan_engine.base.manifests import demand, digest, is_size, other_schema, save_manifest

SCHEMA_VERSION = 2


GRAPHS = ("image_encoder.onnx", "text_encoder.onnx", "pair_scorer.onnx")


MANIFEST = "manifest.json"


_SHA256 = re.compile("[0-9a-f]{64}")


_PLAIN_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds. `fingerprint` stands for its weights, vocabulary and configuration.

    `parity` is the largest difference between graphs and PyTorch modules at export; `files` maps a
    file's name to its SHA-256; `max_words` counts the start and end markers too.
    """

    fingerprint: str
    model: dict[str, Any]
    feature_dim: int
    feature_extractor: str | None
    max_words: int
    parity: float
    files: dict[str, str]
    version: int = SCHEMA_VERSION

    def save(self, path: Path) -> None:
        """Write as JSON with a digest of all fields, beside and renamed."""
        save_manifest(path, asdict(self), indent=2)


def read_manifest(path: Path) -> Manifest:
    """A bundle's manifest, by its file. Raises BundleError where it is missing, damaged or of a newer schema."""
    try:
        data = json.loads(path.read_text("utf-8"))
        demand(type(data) is dict and type(data.get("version")) is int, "it has no version")
        if data["version"] == SCHEMA_VERSION:
            return _checked(data)
    except OSError as error:
        missing = f"there is no bundle at {path.parent}: make one with `shan-engine export`"
        raise BundleError(unread(path, error, missing)) from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is damaged or not a bundle's ({error}): export the bundle again") from error
    schema = other_schema(data["version"], SCHEMA_VERSION, "export its checkpoint again")
    raise BundleError(f"the bundle {path.parent} has {schema}")


def _checked(data: dict[str, Any]) -> Manifest:
    names = {*Manifest.__dataclass_fields__, "digest"}
    demand(data.keys() == names, f"its fields are not {', '.join(sorted(names))}")
    demand(_is_sha256(data["fingerprint"]), "its fingerprint is no SHA-256")
    demand(type(data["model"]) is dict, "its model is no configuration")
    demand(is_size(data["feature_dim"]), "its feature_dim is no size")
    extractor = data["feature_extractor"]
    demand(extractor is None or type(extractor) is str, "its feature_extractor is no name")
    demand(type(data["max_words"]) is int and data["max_words"] > 2, "its max_words is no length")
    parity = data["parity"]
    demand(type(parity) in (int, float) and 0 <= parity < math.inf, "its parity is no difference")
    demand(type(data["files"]) is dict, "it has no list of files")
    for name, held in data["files"].items():
        # Joined to the bundle's folder, it must not lead out of it.
        demand(_PLAIN_NAME.fullmatch(name) is not None, f"the file name {name!r} is not a plain one")
        demand(_is_sha256(held), f"the file {name} has no SHA-256")
    fields = {name: value for name, value in data.items() if name != "digest"}
    demand(data["digest"] == digest(fields), "its fields are not those that were written")
    return Manifest(**fields)


def _is_sha256(value: Any) -> bool:
    return type(value) is str and _SHA256.fullmatch(value) is not None
