"""A bundle's manifest: what the bundle holds, and the checksums of its files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field

from shan_engine.base.errors import BundleError
from shan_engine.base.manifests import Fields, Format, NotNegative, Sha256, Size, demand, is_file_name

SCHEMA_VERSION = 2
IMAGE_ENCODER, TEXT_ENCODER = "image_encoder.onnx", "text_encoder.onnx"
GRAPHS = (IMAGE_ENCODER, TEXT_ENCODER, "pair_scorer.onnx")
MANIFEST = "manifest.json"
QUERYBANK = "querybank.txt"
OF_PARTS = ("parts", "querybank", "calibration")
_SHA256 = re.compile("[0-9a-f]{64}")


class Manifest(Fields, frozen=True):
    """What a bundle holds. `fingerprint` stands for its weights, tokenizer and configuration.

    `parity` is the largest difference between graphs and PyTorch modules at export; `files` maps a
    file's name to its SHA-256; `max_words` counts the start and end markers too. `parts` maps each further part of a
    score (the package `parts`) to its settings. `querybank` says how the bundle's own bank (`querybank.txt`) is used:
    its `inverse_temperature`, and the `weight` of hubness. `calibration` turns the parts of a score into a probability
    (search/calibration.py). A bundle that has none of these does not write their fields.
    """

    fingerprint: Sha256
    model: dict[str, Any]
    feature_dim: Size
    feature_extractor: str | None
    max_words: Annotated[int, Meta(gt=2)]
    parity: NotNegative
    files: dict[str, str]
    version: int = SCHEMA_VERSION
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    querybank: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, bundle: Path) -> Manifest:
        """Of the bundle in a folder. Raises BundleError where it is missing, damaged or of another schema."""
        return FORMAT.read(bundle / MANIFEST)

    def save(self, bundle: Path) -> None:
        """Write it into the bundle's folder."""
        FORMAT.save(bundle / MANIFEST, self)

    def as_dict(self) -> dict[str, Any]:
        """All fields by name; without those of a score's parts that are empty, as older bundles have it."""
        return {name: value for name, value in super().as_dict().items() if value or name not in OF_PARTS}

    def validate(self) -> None:
        """Names of files lead nowhere else, and each has a SHA-256."""
        for name, held in self.files.items():
            demand(is_file_name(name), f"the file name {name!r} is not a plain one")
            demand(_SHA256.fullmatch(held) is not None, f"the file {name} has no SHA-256")
        for name, settings in (*self.parts.items(), ("querybank", self.querybank), ("calibration", self.calibration)):
            demand(all(map(math.isfinite, settings.values())), f"the settings of {name} are not finite")
        if self.querybank:
            whole = set(self.querybank) == {"inverse_temperature", "weight"} and QUERYBANK in self.files
            demand(whole and self.querybank["inverse_temperature"] > 0, "its querybank is not whole")
        known = {"bias", "steps", "hubness", *self.parts}
        demand(set(self.calibration) <= known, "its calibration names an unknown part of a score")


def _refuse_gallery(fields: Mapping[str, Any], bundle: Path) -> None:
    if "blocks" in fields:
        raise BundleError(f"{bundle} is a gallery, not a bundle: name it with --gallery, and a bundle with --model")


FORMAT = Format(
    fields=Manifest,
    error=BundleError,
    holder="the bundle {place}",
    missing="there is no bundle at {place}: make one with `shan-engine export`",
    damaged="{path} is damaged or not a bundle's ({fault}): export the bundle again with `shan-engine export`",
    remake="export its checkpoint again with `shan-engine export`",
    version=SCHEMA_VERSION,
    indent=2,
    refuse=_refuse_gallery,
)
