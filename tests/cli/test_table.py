"""The table of hits on consoles of several widths."""

from __future__ import annotations

import pytest
from shan_cli.printing import print_table
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.explain import SeenAs, WordRegion
from shan_engine.search.results import Hit, QueryHits
from shan_engine.writers.json_answer import as_dict

WORDS = tuple(
    WordRegion(word, 9 * place, None, 0.5)
    for place, word in enumerate(("grandmother", "photographer", "mountains", "swimming"))
)
ID = "holiday/2019/greece/at-the-harbour.jpg"


def table(monkeypatch, capsys, columns, *images):
    """What is printed on a console that wide for (id, path) of hits."""
    monkeypatch.setenv("COLUMNS", str(columns))
    hits = [Hit(1, 2.5, GalleryImage(id, path, 8, 8, 0), (), WORDS) for id, path in images]
    print_table(QueryHits("a harbour", tuple(hits)))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    return lines


def test_a_narrow_console_leaves_out_a_path_that_ends_with_the_id(monkeypatch, capsys):
    lines = table(monkeypatch, capsys, 80, (ID, f"/home/someone/{ID}"), ("b.jpg", "/home/someone/b.jpg"), ("c", ""))
    assert any(f"│ {ID} │" in line for line in lines)
    text = "\n".join(lines)
    assert "path" not in text
    assert "/home" not in text
    assert all(word.word in text for word in WORDS)


def test_a_wide_console_has_the_path(monkeypatch, capsys):
    text = "\n".join(table(monkeypatch, capsys, 200, (ID, f"/home/someone/{ID}")))
    assert ID in text
    assert "path" in text
    assert f"/home/someone/{ID}" in text


def test_a_path_that_does_not_end_with_the_id_stays(monkeypatch, capsys):
    lines = table(monkeypatch, capsys, 80, ("7", "/photos/beach.jpg"))
    assert any("│ /photos/beach.jpg" in line for line in lines)


@pytest.mark.parametrize("columns", [30, 60, 80, 119])
def test_an_id_too_long_for_any_console_is_folded_and_whole(monkeypatch, capsys, columns):
    id = "x" * 150 + ".jpg"
    lines = table(monkeypatch, capsys, columns, (id, f"/home/{id}"))
    assert "".join(line.split("│")[3].strip() for line in lines if line.startswith("│")) == id


def test_a_hit_tells_what_it_is_seen_as_and_its_parts_where_a_model_has_more_than_steps(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    seen = (SeenAs("porcupine", 0.7, 12, None), SeenAs("echidna", 0.104, 40, (0, 0, 8, 8)))
    hit = Hit(1, 0.5, GalleryImage("a.jpg", "", 8, 8, 0), (0.25, 0.125, 0.325), WORDS[:1], {}, 0.2, seen)
    print_table(QueryHits("a porcupine", (hit,), score_parts=("l2l", "global", "classes")))
    text = capsys.readouterr().out
    assert "grandmother #0 0.50 " in text
    assert "seen as porcupine 0.70, echidna 0.10 " in text
    assert "l2l 0.250  global 0.125  classes 0.325  hubness -0.200 " in text
    told = as_dict(QueryHits("a porcupine", (hit,), score_parts=("l2l", "global", "classes")))
    assert told["score_parts"] == ["l2l", "global", "classes"]
    assert told["hits"][0]["seen"][1] == {"name": "echidna", "probability": 0.104, "region": 40, "box": (0, 0, 8, 8)}
    print_table(QueryHits("a porcupine", (hit,), score_parts=("l2l", "g2l", "g2g")))
    assert "l2l" not in capsys.readouterr().out
