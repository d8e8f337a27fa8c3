"""The parts that exist, and those of a bundle."""

from __future__ import annotations

from collections.abc import Callable

from shan_engine.base.errors import BundleError
from shan_engine.bundle.contents import Bundle
from shan_engine.parts.class_evidence import ClassEvidence
from shan_engine.parts.global_term import GlobalTerm
from shan_engine.parts.part import Part, Parts
from shan_engine.parts.written import Written

PARTS: dict[str, Callable[..., Part]] = {part.name: part for part in (GlobalTerm, ClassEvidence)}
"""By name, with what makes one of the settings in a bundle's manifest."""
NAMES = (*PARTS, Written.name)
"""All parts; what is written in photos is a part wherever a gallery knows it."""


def open_parts(bundle: Bundle) -> Parts:
    """The parts that a bundle's manifest lists. Raises BundleError for one that is unknown, or has wrong settings."""
    parts = []
    for name, settings in bundle.manifest.parts.items():
        if name == Written.name:  # its weight; the rest comes with a gallery
            continue
        if name not in PARTS:
            raise BundleError(f"scores of the bundle {bundle.path} have the unknown part '{name}': upgrade shan-engine")
        try:
            parts.append(PARTS[name](**settings))
        except TypeError as error:
            given = ", ".join(settings) or "nothing"
            raise BundleError(
                f"the part '{name}' of the bundle {bundle.path} has wrong settings ({given}): export the bundle again"
            ) from error
    return Parts(parts)
