"""Hits as a plain list, on consoles of several widths."""

from __future__ import annotations

import pytest
from shan_cli.hit_list import print_captions, print_hits
from shan_cli.printing import print_results
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.captions import CaptionHit, CaptionHits
from shan_engine.search.explain import SeenAs, WordRegion
from shan_engine.search.results import Hit, QueryHits

WORDS = tuple(
    WordRegion(word, 9 * place, None, weight)
    for place, (word, weight) in enumerate((("red", 0.1), ("hat", 0.3), ("woman", 0.2), ("near", 0.01), ("hat", 0.25)))
)


def image(id: str, path: str = "") -> GalleryImage:
    return GalleryImage(id, path, 8, 8, 0)


def lines(capsys, result, columns=(), width=80):
    print_hits(result, columns)
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= width
    assert all(line == line.rstrip() for line in shown)
    return shown


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def test_a_list_has_rank_probability_photo_date_and_best_words(capsys):
    taken = {"taken": "2023-07-14 18:30:12"}
    alike = (image("c.jpg"),) * 3
    hits = (
        Hit(1, 1.25, image("2023/a.jpg", "/p/2023/a.jpg"), (), WORDS, taken, probability=0.868, alike=alike),
        Hit(10, 0.5, image("b.jpg", "/p/b.jpg"), (), WORDS[:1], probability=0.031, seen=(SeenAs("ox", 0.7, 1, None),)),
    )
    assert lines(capsys, QueryHits("a woman", hits)) == [
        "a woman",
        "rank  probability  photo                taken       best words",
        "   1         0.87  2023/a.jpg +3 alike  2023-07-14  hat, woman, red",
        "  10         0.03  b.jpg                            red",
    ]


def test_a_list_has_the_score_where_no_probability_is_known_and_a_path_that_is_not_the_id(capsys):
    hits = (Hit(1, 1.25, image("7", "/photos/beach.jpg"), seen=(SeenAs("shore", 0.7, 1, None),)),)
    assert lines(capsys, QueryHits("like a.jpg", hits)) == [
        "like a.jpg",
        "rank  score  photo  seen as  path",
        "   1  1.250  7      shore    /photos/beach.jpg",
    ]


def test_the_columns_asked_for_stand_in_a_list_even_if_they_are_empty(capsys):
    hits = (Hit(1, 0.5, image("a.jpg", "/p/a.jpg"), (), WORDS, {"town": None, "taken": "2023-07-14 18:30:12"}),)
    assert lines(capsys, QueryHits("a dog", hits), ["town", "taken"]) == [
        "a dog",
        "rank  score  photo  town  taken",
        "   1  0.500  a.jpg        2023-07-14 18:30:12",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 119])
def test_an_id_too_long_for_any_console_is_folded_and_whole(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    id = "x" * 150 + ".jpg"
    shown = lines(capsys, QueryHits("a hat", (Hit(1, 0.5, image(id, f"/p/{id}"), (), WORDS),)), width=width)
    at = shown[1].index("photo")
    assert "".join(line[at:].split("  ")[0] for line in shown[2:]) == id


def test_several_queries_have_an_empty_line_between_them(capsys):
    hits = (Hit(1, 0.5, image("a.jpg")),)
    print_results([QueryHits("a", hits), QueryHits("none", ()), QueryHits("b", hits)], [])
    shown = capsys.readouterr().out.splitlines()
    assert shown[:1] + shown[3:5] == ["a", "", "b"]
    assert len(shown) == 7


def test_a_list_of_captions_has_their_best_words(capsys, tmp_path, monkeypatch):
    hits = (CaptionHit(1, 0.807, "c1", "a woman in\x1b a red hat", (), WORDS), CaptionHit(2, 0.5, "c2", "a hat"))
    monkeypatch.setenv("COLUMNS", "200")
    print_captions(CaptionHits(tmp_path / "a.jpg", hits, 2))
    assert capsys.readouterr().out.splitlines()[1:] == [
        "rank  score  id  caption                   best words",
        "   1  0.807  c1  a woman in\\x1b a red hat  hat, woman, red",
        "   2  0.500  c2  a hat",
    ]
