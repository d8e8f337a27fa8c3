"""A bundle: the graphs, vocabulary and manifest that score without PyTorch.

Files: `manifest.json`, `image_encoder.onnx`, `text_encoder.onnx`, `pair_scorer.onnx`, `vocab.json`, and
optionally `feature_extractor.onnx` with its recipe. The engine knows a model only by its graphs:

- image encoder: `features` B x K x F, `region_mask` B x K (bool) -> the arrays a gallery stores;
- text encoder: `tokens` C x n (int64), `lengths` C (int64) -> the arrays of a caption;
- pair scorer: those arrays and `region_mask` by name -> `scores` B x C, `step_scores` B x C x steps,
  and, where the model has it, `word_attention` B x C x n x K: the weight each word gives to each region.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import BundleError
from .files import replacing, sha256
from .text import Vocabulary

SCHEMA_VERSION = 1
GRAPHS = ("image_encoder.onnx", "text_encoder.onnx", "pair_scorer.onnx")
MANIFEST = "manifest.json"


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
        """Write as JSON, beside and renamed."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")


@dataclass(frozen=True)
class Bundle:
    """An opened bundle; its graphs are loaded by a scorer."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Read the manifest and check every file against it.

        Raises BundleError for a missing or changed file, or a newer schema.
        """
        manifest = _read_manifest(path / MANIFEST)
        missing = [name for name in (*GRAPHS, "vocab.json") if name not in manifest.files]
        if missing:
            raise BundleError(f"the manifest of {path} does not list {missing[0]}: export the bundle again")
        for name, digest in manifest.files.items():
            file = path / name
            if not file.is_file():
                raise BundleError(f"the bundle {path} has no {name}: export it again")
            if sha256(file) != digest:
                raise BundleError(f"{file} is not the file that was exported: copy or export the bundle again")
        return cls(path, manifest)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words the text encoder knows."""
        return Vocabulary.load(self.path / "vocab.json")

    @property
    def feature_extractor(self) -> Path | None:
        """The extractor's ONNX file, where the bundle has one."""
        path = self.path / "feature_extractor.onnx"
        return path if path.is_file() else None


def _read_manifest(path: Path) -> Manifest:
    try:
        data = json.loads(path.read_text("utf-8"))
        version = int(data["version"])
        if version <= SCHEMA_VERSION:
            return Manifest(**data)
    except OSError as error:
        raise BundleError(f"there is no bundle at {path.parent}: make one with `shan-engine export`") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path} is damaged ({error}): export the bundle again") from error
    raise BundleError(
        f"the bundle {path.parent} has schema {version}, newer than {SCHEMA_VERSION}: upgrade shan-engine"
    )
