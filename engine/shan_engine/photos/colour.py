"""Convert pixels from the colours of their ICC profile to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L", "Lab": "LAB"}
_SRGB_NAMES = ("srgb", "iec 61966-2", "iec61966-2", "c2")  # c2: the small sRGB profile that Facebook writes


def profile_mode(profile: bytes) -> str | None:
    """The Pillow mode whose pixels an ICC profile describes; None if it is sRGB, damaged or of another kind."""
    return _opened(profile)[0] if profile else None


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An RGB image. `profile` is the ICC profile of the image's pixels; empty if they have none."""
    transform = _transform(profile, image.mode) if profile or image.mode == "LAB" else None
    if transform is not None:
        image = transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(16)
def _opened(profile: bytes) -> tuple[str | None, ImageCms.ImageCmsProfile | None]:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _SPACES.get(opened.profile.xcolor_space.strip())
        name = (opened.profile.profile_description or "").strip().lower()
    except Exception:  # Pillow raises several types for damaged profiles
        return None, None
    if mode == "RGB" and name.startswith(_SRGB_NAMES):
        return None, None
    return mode, opened


@lru_cache(16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = _opened(profile)[1] if profile else None
    if source is None and mode != "LAB":
        return None
    try:
        return ImageCms.buildTransform(source or ImageCms.createProfile("LAB"), _SRGB, mode, "RGB")
    except ImageCms.PyCMSError:
        return None


_SRGB = ImageCms.createProfile("sRGB")
