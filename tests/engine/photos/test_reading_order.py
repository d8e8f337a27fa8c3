"""In which order lines are read. Layouts are drawn: each run of letters is a line, in cells of 10 x 20 pixels."""

from __future__ import annotations

import re

import numpy as np
import pytest
from shan_engine.photos.reading_order import reading_order

TWO_COLUMNS = """
the-headline-of-both-columns
aaaaaaaaaaaaaaaa dddddddddddddddd
bbbbbbbbbbbbbbbb eeeeeeeeeeee
cccccccccccccccc ffffffffffffffff
.                gggggggggggggggg
"""
TWO_BLOCKS = """
aaaaaaaaaaaaaaaa dddddddddddddddd
bbbbbbbbbbbbbbbb eeeeeeeeeeeeeeee
cccccccccccccccc ffffffffffffffff
a-caption-below-both-of-the-columns
gggggggggggggggg jjjjjjjjjjjjjjjj
hhhhhhhhhhhhhhhh kkkkkkkkkkkkkkkk
iiiiiiiiiiiiiiii llllllllllllllll
"""
THREE_COLUMNS = """
aaaaaaaaaaaaaa dddddddddddddd gggggggggggggg
bbbbbbbbbbbbbb eeeeeeeeeeeeee hhhhhhhhhhhhhh
cccccccccccccc ffffffffffffff iiiiiiiiiiiiii
"""
STAGGERED = """
aaaaaaaaaaaaaaaa
.                eeeeeeeeeeeeeeee
bbbbbbbbbbbbbbbb
.                ffffffffffffffff
cccccccccccccccc
.                gggggggggggggggg
dddddddddddddddd
.                hhhhhhhhhhhhhhhh
"""
RECEIPT = """
hardware-store
hammer-and-nails  12.50
a-bucket-of-paint  9.00
three-new-brushes  4.20
.           total 25.70
thank-you-for-your-visit
"""
TABLE = """
city    people  rivers
Berlin  3.7     Spree
Vienna  2.0     Danube
Paris   2.1     Seine
"""


def drawn(layout: str) -> tuple[np.ndarray, list[str]]:
    """Boxes of a layout, and their texts, in an order of no meaning."""
    found = [
        ((10 * run.start(), 20 * row, 10 * run.end(), 20 * row + 18), run.group())
        for row, line in enumerate(layout.strip("\n").split("\n"))
        for run in re.finditer(r"[^\s.]\S*", line)
    ]
    order = np.random.default_rng(0).permutation(len(found))
    return np.array([found[at][0] for at in order], np.float64), [found[at][1] for at in order]


def read(layout: str) -> list[str]:
    boxes, texts = drawn(layout)
    return [texts[row] for row in reading_order(boxes, texts)]


def first_letters(layout: str) -> str:
    return "".join(text[0] for text in read(layout))


@pytest.mark.parametrize(
    ("layout", "golden"),
    [(TWO_COLUMNS, "tabcdefg"), (TWO_BLOCKS, "abcdefaghijkl"), (THREE_COLUMNS, "abcdefghi"), (STAGGERED, "abcdefgh")],
)
def test_columns_are_read_one_after_another(layout, golden):
    assert first_letters(layout) == golden


@pytest.mark.parametrize("layout", [RECEIPT, TABLE])
def test_short_cells_belong_to_their_row(layout):
    assert read(layout) == [word for word in layout.split() if word != "."]


def test_rows_are_read_from_the_top_and_each_from_the_left():
    boxes = np.array([(0, 50, 20, 60), (200, 2, 260, 14), (300, 30, 330, 44), (0, 0, 90, 12)], np.float64)
    assert reading_order(boxes, list("dbca")) == [3, 1, 2, 0]


def test_columns_of_arabic_and_hebrew_start_at_the_right():
    boxes, texts = drawn(TWO_COLUMNS)
    for letter in ("\u0628", "\u05d0"):
        written = [letter * len(text) for text in texts]
        assert "".join(texts[row][0] for row in reading_order(boxes, written)) == "tdefgabc"
    assert [texts[row] for row in reading_order(boxes, texts)][1][0] == "a"


def test_cells_of_a_row_of_arabic_start_at_the_right():
    boxes = np.array([(0, 0, 50, 18), (100, 0, 150, 18), (0, 30, 50, 48)], np.float64)
    assert reading_order(boxes, ["\u0628\u0627\u0628", "\u0645\u062f\u062e\u0644", "12"]) == [1, 0, 2]


def test_boxes_that_overlap_as_detectors_draw_them():
    boxes, texts = drawn(TWO_COLUMNS)
    boxes += np.array([-4, -3, 4, 3])
    assert "".join(texts[row][0] for row in reading_order(boxes, texts)) == "tabcdefg"


def test_nothing_and_lines_without_size():
    assert reading_order(np.zeros((0, 4)), []) == []
    assert sorted(reading_order(np.zeros((9, 4)), [""] * 9)) == list(range(9))


def test_every_line_is_read_once_wherever_it_is():
    random = np.random.default_rng(1)
    for _ in range(50):
        low = random.uniform(0, 300, (40, 2))
        boxes = np.concatenate([low, low + random.uniform(1, 200, (40, 2)) * (1, 0.1)], axis=1)
        assert sorted(reading_order(boxes, ["word"] * 40)) == list(range(40))
