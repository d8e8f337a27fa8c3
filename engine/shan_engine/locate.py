"""Locate the gallery and the bundle to use when a command does not name them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shan_engine.base.errors import GalleryError


@dataclass(frozen=True)
class Place:
    """A gallery, the bundle that made it, and why they were chosen, for the user to read."""

    gallery: Path
    bundle: Path
    reason: str


def demo_folder() -> Path | None:
    """The folder of the demo, in the installed package or in a checkout's `artifacts/demo`; None if there is none."""
    here = Path(__file__).resolve().parent
    for folder in (here / "demo", here.parents[1] / "artifacts" / "demo"):
        if (folder / "bundle" / "manifest.json").is_file():
            return folder
    return None


def demo_bundle() -> Path:
    """The folder of the demo's bundle. Raises GalleryError if this installation has no demo."""
    folder = demo_folder()
    if folder is None:
        raise GalleryError("this installation has no demo: name a bundle with --model")
    return folder / "bundle"


def locate_bundle(bundle: Path | None) -> Path:
    """`bundle` if given, else the one in SHAN_MODEL, else the demo's. Raises GalleryError if there is no demo."""
    if bundle is not None:
        return bundle
    named = os.environ.get("SHAN_MODEL")
    return Path(named).expanduser() if named else demo_bundle()


def bundle_reason(bundle: Path | None) -> str:
    """Why `locate_bundle` gives the bundle that it gives, for the user to read."""
    if bundle is not None:
        return "--model"
    return "SHAN_MODEL" if os.environ.get("SHAN_MODEL") else "the bundled demo"


def locate_gallery(gallery: Path | None, bundle: Path | None) -> Place:
    """`gallery` if given, else the one in SHAN_GALLERY, else the demo's; the bundle as in `locate_bundle`."""
    model = locate_bundle(bundle)
    if gallery is not None:
        return Place(gallery, model, "--gallery")
    named = os.environ.get("SHAN_GALLERY")
    if named:
        return Place(Path(named).expanduser(), model, "SHAN_GALLERY")
    demo = demo_bundle().parent
    return Place(demo / "gallery", model, "the bundled demo")
