from __future__ import annotations

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.gallery.blocks import GalleryImage
from shan_engine.search.explain import SeenAs, WordRegion
from shan_engine.search.results import Hit, QueryHits
from shan_engine.writers.html_report import write_report

HOSTILE = "<script>alert(\"x\")</script> & 'quoted'"


class Page(HTMLParser):
    """Elements as (tag, attributes), and the text in each kind of element."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = ""
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "collection"
    folder.mkdir()
    Image.fromarray(np.full((600, 800, 3), (200, 30, 30), np.uint8)).save(folder / "red.png")
    monkeypatch.chdir(folder)
    return folder


def hit(path: str, *words: WordRegion, id: str = "red", size: tuple[int, int] = (800, 600)) -> Hit:
    return Hit(1, 0.75, GalleryImage(id, path, *size, 0), (0.5, 0.25), words)


def report(tmp_path: Path, *results: QueryHits) -> Page:
    write_report(tmp_path / "report.html", results)
    return Page(tmp_path / "report.html")


def test_a_hit_shows_its_scores_and_a_small_photo(tmp_path: Path, root: Path) -> None:
    page = report(tmp_path, QueryHits("a red wall", (hit("red.png"),)))
    (image,) = page.all("img")
    kind, data = str(image["src"]).split(",")
    assert kind == "data:image/jpeg;base64"
    photo = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (photo.format, photo.size) == ("JPEG", (320, 240))
    assert np.abs(np.asarray(photo).astype(int) - (200, 30, 30)).max() < 8
    assert page.texts["h2"] == ["a red wall"]
    score, steps, id = page.texts["p"]
    assert score.split() == ["#1", "0.7500"]
    assert steps == "steps 0.5000 · 0.2500"
    assert id == "red"


def test_a_hit_shows_named_parts_and_what_it_is_seen_as(tmp_path: Path, root: Path) -> None:
    seen = (SeenAs("brick", 0.7, 0, None), SeenAs(HOSTILE, 0.1, 0, None))
    result = QueryHits("a red wall", (replace(hit("red.png"), seen=seen),), score_parts=("l2l", "classes"))
    _, parts, told, _ = report(tmp_path, result).texts["p"]
    assert parts == "l2l 0.5000 · classes 0.2500"
    assert told == f"seen as brick 0.70, {HOSTILE} 0.10"


def test_a_hit_shows_what_is_known_of_it(tmp_path: Path, root: Path) -> None:
    known = replace(hit("red.png"), metadata={"year": 2020, "licence": None, "author": HOSTILE})
    page = report(tmp_path, QueryHits("a red wall", (known,)))
    assert page.texts["p"][3] == f"year: 2020 · author: {HOSTILE}"
    assert "script" in page.texts  # the report's own
    assert len(page.all("script")) == 1


def test_rectangles_are_in_pixels_of_the_original_and_belong_to_their_chips(tmp_path: Path, root: Path) -> None:
    words = (
        WordRegion("wall", 3, (80.0, 60.0, 400.0, 300.0), 0.5),
        WordRegion("red", 7, (0.0, 0.0, 800.0, 600.0), 0.25),
    )
    page = report(tmp_path, QueryHits("wall red", (hit("red.png", *words), hit("red.png", *words))))
    assert [svg["viewbox"] for svg in page.all("svg")] == ["0 0 800 600"] * 2
    rectangles = page.all("rect")
    places = [tuple(float(str(r[name])) for name in ("x", "y", "width", "height")) for r in rectangles]
    assert places == [(80, 60, 320, 240), (0, 0, 800, 600)] * 2
    keys = [rectangle["id"] for rectangle in rectangles]
    assert len(set(keys)) == 4
    assert [chip["data-region"] for chip in page.all("button")] == keys
    assert page.all("button")[0]["title"] == "region 3, weight 0.50"
    assert page.texts["button"] == ["wall", "red"] * 2


def test_only_the_three_heaviest_telling_words_are_drawn_at_first(tmp_path: Path, root: Path) -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    weights = {"The": 0.9, "dog": 0.3, "on": 0.8, "green": 0.1, "grass": 0.4, "runs": 0.2, ".": 0.95}
    words = [WordRegion(word, 0, box, weight) for word, weight in weights.items()]
    page = report(tmp_path, QueryHits("q", (hit("red.png", *words),)))
    drawn = {r["id"]: str(r["class"]) for r in page.all("rect") if "class" in r}
    chips = {chip["data-region"]: text for chip, text in zip(page.all("button"), page.texts["button"], strict=True)}
    assert {chips[key]: name for key, name in drawn.items()} == {
        "grass": "drawn c0",
        "dog": "drawn c1",
        "runs": "drawn c2",
    }
    assert list(chips.values()) == list(weights)


def test_a_word_without_a_box_or_a_photo_without_size_is_a_plain_chip(tmp_path: Path, root: Path) -> None:
    boxed = WordRegion("dog", 0, (0.0, 0.0, 1.0, 1.0), 0.5)
    hits = (hit("red.png", WordRegion("cat", 1, None, 0.5)), hit("red.png", boxed, size=(0, 0)))
    page = report(tmp_path, QueryHits("q", hits))
    assert page.all("rect") == page.all("button") == []
    assert page.texts["span"] == ["cat", "dog"]


def test_what_users_wrote_is_text_and_never_markup(tmp_path: Path, root: Path) -> None:
    id = "\"'><img src=x onerror=alert(1)>"
    word = WordRegion("<b>\"'", 0, (0.0, 0.0, 1.0, 1.0), 1.0)
    hits = (hit("red.png", word, id=id), hit(f"gone{id}.jpg", word, id=id))
    page = report(tmp_path, QueryHits(HOSTILE, hits))
    assert len(page.all("script")) == 1
    assert page.texts["h2"] == [HOSTILE]
    (image,) = page.all("img")
    assert set(image) == {"alt", "src"}
    assert image["alt"] == id
    assert page.texts["button"] == ["<b>\"'"]
    assert page.texts["span"] == ["<b>\"'"]
    assert page.all("b") == []
    assert any(f"photo not found: gone{id}.jpg" in text for text in page.texts["div"])


def test_missing_and_broken_photos_leave_a_placeholder(tmp_path: Path, root: Path) -> None:
    (root / "broken.jpg").write_bytes(b"not a photo")
    hits = (hit("gone.jpg"), hit("broken.jpg"), hit(""))
    page = report(tmp_path, QueryHits("q", hits))
    assert page.all("img") == []
    boxes = [
        text
        for (_, attributes), text in zip(
            [element for element in page.elements if element[0] == "div"], page.texts["div"], strict=True
        )
        if attributes["class"] == "missing"
    ]
    assert boxes[0] == "photo not found: gone.jpg"
    assert boxes[1].startswith("cannot read the photo: broken.jpg")
    assert boxes[2].startswith("no photo")


def test_absolute_paths_need_no_root_and_nothing_is_loaded_from_elsewhere(tmp_path: Path, root: Path) -> None:
    page = report(tmp_path, QueryHits("q", (hit(str(root / "red.png")),)))
    assert [link["href"] for link in page.all("a")] == [(root / "red.png").as_uri()]
    assert len(page.all("img")) == 1
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert page.all("link") == []


def test_a_failed_write_keeps_the_old_report(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot write"):
        write_report(tmp_path / "file" / "report.html", [])
    assert (tmp_path / "file").read_text() == "x"
