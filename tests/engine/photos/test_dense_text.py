"""Where text is too dense for a first look."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shan_engine.photos.dense_text import dense_regions

AREA = 6_000_000
PHOTOS = Path(__file__).parents[3] / "artifacts" / "demo" / "photos"


def page(pitch: float, *, size=(600, 450), box=(0, 0, 600, 450), contrast=90.0) -> np.ndarray:
    """Pixels with lines of random dashes at an even pitch within a box."""
    x1, y1, x2, y2 = box
    random = np.random.default_rng(0)
    ink = random.random((size[1], size[0])) < 0.7
    rows = np.arange(size[1])[:, None]
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * rows / pitch)
    grey = np.full((size[1], size[0]), 230.0)
    grey[y1:y2, x1:x2] -= (contrast * wave * (0.6 + 0.4 * ink))[y1:y2, x1:x2]
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def test_a_page_is_looked_at_in_strips_that_meet_and_overlap():
    regions = dense_regions(page(4.0), full=7.0, area=AREA)
    assert [region.core[::2] for region in regions] == [(0, 600)] * len(regions)
    tops, bottoms = ([region.core[at] for region in regions] for at in (1, 3))
    assert (tops[0], bottoms[-1]) == (0, 450)
    assert tops[1:] == bottoms[:-1]
    assert all(region.box[1] <= region.core[1] and region.box[3] >= region.core[3] for region in regions)
    assert all(a.box[3] > b.box[1] for a, b in pairwise(regions))
    assert regions[0].zoom == pytest.approx(2.5, rel=0.1)  # 10 pixels from line to line


def test_columns_of_a_page_on_its_side_are_not_cut():
    sideways = np.ascontiguousarray(page(4.0).transpose(1, 0, 2))
    regions = dense_regions(sideways, full=7.0, area=AREA)
    assert len(regions) > 1
    assert all(region.core[1::2] == (0, 600) for region in regions)


def test_a_page_in_a_part_of_a_photo():
    (region,) = dense_regions(page(4.0, box=(200, 100, 456, 356)), full=7.0, area=AREA)
    x1, y1, x2, y2 = region.box
    assert 120 < x1 <= 200
    assert 456 <= x2 < 540
    assert 20 < y1 <= 100
    assert 356 <= y2 < 440


def test_it_is_enlarged_by_no_more_than_the_photo_has_and_the_work_is_bounded():
    assert {region.zoom for region in dense_regions(page(4.0), full=1.5, area=AREA)} == {1.5}
    regions = dense_regions(page(2.5), full=9.0, area=1_000_000)
    assert sum(600 * (r.core[3] - r.core[1]) * r.zoom**2 for r in regions) == pytest.approx(1_000_000)


@pytest.mark.parametrize(
    "pixels",
    [page(12.0), page(4.0, contrast=3), page(4.0, box=(300, 200, 380, 280)), page(4.0, size=(50, 40)), page(1e9)],
    ids=["wide", "faint", "small", "tiny photo", "even"],
)
def test_what_a_first_look_can_tell_apart_or_is_too_little_for_a_page(pixels):
    assert dense_regions(pixels, full=7.0, area=AREA) == []


def test_noise_and_photos_are_no_pages():
    noise = np.random.default_rng(0).integers(0, 256, (450, 600, 3)).astype(np.uint8)
    assert dense_regions(noise, full=7.0, area=AREA) == []
    photos = sorted(PHOTOS.glob("*.jpg"))[::8]
    assert len(photos) > 5
    for photo in photos:
        with Image.open(photo) as image:
            assert dense_regions(np.asarray(image.convert("RGB").resize((600, 450))), full=7.0, area=AREA) == [], photo
