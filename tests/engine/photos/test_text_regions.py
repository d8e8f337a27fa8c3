"""Where a second look goes."""

from __future__ import annotations

import numpy as np
from shan_engine.photos.text_regions import text_regions


def quad(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)


def test_lines_close_together_are_one_region_and_others_their_own() -> None:
    near = [quad(100, 100, 200, 110), quad(100, 115, 180, 125)]
    regions = text_regions(np.stack([*near, quad(400, 300, 460, 312)]), 640, 480, full=6, area=10**9)
    assert [region.box for region in regions] == [(90, 90, 210, 135), (388, 288, 472, 324)]
    assert [region.zoom for region in regions] == [3.6, 3.0]  # lines become 36 pixels high


def test_what_may_be_several_lines_of_small_print_is_enlarged_more() -> None:
    (region,) = text_regions(quad(100, 100, 140, 130)[None], 640, 480, full=6, area=10**9)
    assert region.zoom == 3.6


def test_a_region_stays_in_the_photo_and_is_not_enlarged_beyond_its_pixels() -> None:
    (region,) = text_regions(quad(0, 0, 640, 8)[None], 640, 480, full=1.5, area=10**9)
    assert (region.box, region.zoom) == ((0, 0, 640, 16), 1.5)


def test_all_regions_together_keep_to_an_area() -> None:
    quads = np.stack([quad(20, y, 620, y + 6) for y in range(20, 460, 60)])
    regions = text_regions(quads, 640, 480, full=6, area=300_000)
    sizes = [np.multiply((r.box[2] - r.box[0], r.box[3] - r.box[1]), r.zoom) for r in regions]
    assert len(regions) == 8
    assert 290_000 < sum(width * height for width, height in sizes) <= 300_001


def test_thousands_of_lines_are_one_region() -> None:
    quads = np.stack([quad(x, y, x + 4, y + 3) for x in range(50, 500, 10) for y in range(50, 400, 8)])
    (region,) = text_regions(quads, 640, 480, full=6, area=1_200_000)
    x1, y1, x2, y2 = region.box
    assert max(x1, y1) < 50
    assert (x2 - 494 > 0, y2 - 394 > 0) == (True, True)
    assert (x2 - x1) * (y2 - y1) * region.zoom**2 <= 1_200_001


def test_the_lines_of_a_screen_are_enlarged_less() -> None:
    quads = np.stack([quad(20, y, 620, y + 8) for y in range(20, 470, 10)])
    (region,) = text_regions(quads, 640, 480, full=6, area=10**9)
    assert region.zoom == 3.0  # lines become 24 pixels high
