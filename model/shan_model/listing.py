"""The models to choose from, and what was measured of them side by side."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shan_model.pooled.global_models import GlobalModel
from shan_model.registry import find_registration, registered_names

Held = Literal["regions", "one vector"]


@dataclass(frozen=True)
class ListedModel:
    """A model by its name: what its score is, and what can be done with it.

    `trained` by `train`; others are imported. `exported` as a bundle. `held` is what a gallery holds of a photo.
    `explained`: a search tells which regions a word means.
    """

    name: str
    summary: str
    trained: bool
    exported: bool
    held: Held
    explained: bool


def listed_models() -> list[ListedModel]:
    """Every registered model, also those of other packages. Raises InputError for one that cannot be loaded."""
    return [_listed(name) for name in registered_names()]


def _listed(name: str) -> ListedModel:
    model = find_registration(name).model
    held: Held = "one vector" if issubclass(model, GlobalModel) else "regions"
    return ListedModel(name, model.summary, bool(model.text_sources), True, held, model.explains)


def measured_models() -> dict[str, Any]:
    """The committed report of `benchmarks/models.py`: the same photos and the same training for each row."""
    here = Path(__file__).resolve().parent
    path = here / "measured.json"  # in an installed package
    if not path.exists():
        path = here.parents[1] / "benchmarks" / "results" / "models.json"
    held: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return held
