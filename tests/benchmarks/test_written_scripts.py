"""The scripts that measure what written words do for a search."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image, ImageFont
from written_reports import ROOT, report


def test_written_queries(script, tmp_path, capsys):
    options, module = ["--photos", "4", "--work", str(tmp_path / "work")], script("written_queries")
    module.STEPS = {"weight": (0.2, 2.0), "told": (0.05,), "learnt": (0.05,), "alone": (0.05,)}
    module.main([*options, "--report", str(tmp_path / "report.json")])
    found = report(tmp_path / "report.json")
    assert set(found) == {"photos", "weight", "trust", "written", "plain", "bare", "recorded"}
    assert (found["photos"], found["written"]["queries"]) == (8, 8)
    assert found["written"]["with"] > found["written"]["without"]
    assert found["plain"]["with"] == pytest.approx(found["plain"]["without"], abs=0.5)
    capsys.readouterr()
    module.main([*options, "--learn"])
    assert "weight: 2.0" in capsys.readouterr().out


def test_written(script, tmp_path, monkeypatch):
    module = script("written")
    monkeypatch.setattr(module, "VOCABULARY", 6000)
    monkeypatch.setattr(module, "TURNS", 2)
    monkeypatch.setattr(module, "RARE", 5000)
    monkeypatch.setattr(module, "STORED", 100)
    module.main(["--photos", "3000", "--report", str(tmp_path / "report.json")])
    found = report(tmp_path / "report.json")
    measured = {"write_seconds", "bytes_a_photo", "open_ms", "check_ms", "appended", "queries", "fts5_ms"}
    measured |= {"compare_us_a_photo"}
    assert set(found) == {"photos", "recorded", *measured}
    one, block = (found["appended"][count] for count in ("1", "2048"))
    assert 0 < one["bytes"] < block["bytes"]
    counts = [one["photos"] for one in found["queries"].values()]
    assert counts[1] > counts[2] > counts[0] == counts[-1] == 0  # the first is in most photos, and not looked for
    assert counts[3] > 0  # a misspelt word
    assert all(one["slowest_ms"] >= one["median_ms"] > 0 for one in found["queries"].values())


def test_reading(script, tmp_path, monkeypatch):
    pytest.importorskip("rapidocr")
    words, reading = script("written_words"), script("reading")
    fonts = tmp_path / "fonts"
    fonts.mkdir()
    (fonts / "DejaVuSans.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    kinds = {name: kind for name, kind in words.kinds().items() if name in ("numbers", "turned 30°", "Korean")}
    monkeypatch.setattr(words, "kinds", lambda: kinds)
    assert words.make(tmp_path / "words", fonts, photos=1) == ["Korean"]
    reading.main([str(tmp_path / "words"), "--blank", "1", "--report", str(tmp_path / "report.json")])
    found = report(tmp_path / "report.json")
    assert set(found["ways"]["two looks"]) == {"kinds", "least", "without_text"}
    assert found["ways"]["two looks"]["kinds"]["turned 30°"]["recall"] == 1
    assert set(found["ways"]["two looks"]["kinds"]) == {"numbers", "turned 30°"}


def test_written_pages(script, tmp_path, monkeypatch):
    pages, reading = script("written_pages"), script("reading")
    (tmp_path / "DejaVuSans.ttf").write_bytes(ImageFont.load_default(20).font_bytes)
    few = {"upright": pages.Page(60, 2, (600, 400)), "turned": pages.Page(60, 2, (600, 400), turn=5)}
    monkeypatch.setattr(pages, "PAGES", few)
    pages.main([str(tmp_path / "pages"), "--fonts", str(tmp_path)])
    rows = json.loads((tmp_path / "pages" / "words.json").read_text("utf-8"))
    assert [row["kind"] for row in rows] == list(few)
    assert all(len(reading.words(row["lines"])) == 60 for row in rows)
    with Image.open(tmp_path / "pages" / "0.jpg") as image:
        assert image.size == (600, 400)
    reading.WAYS["two looks"] = lambda: lambda path: [(line, 1.0) for line in reversed(rows[int(path.stem)]["lines"])]
    reading.main([str(tmp_path / "pages"), "--blank", "0", "--report", str(tmp_path / "report.json")])
    kinds = report(tmp_path / "report.json")["ways"]["two looks"]["kinds"]
    assert all(kind["recall"] == 1 and 0.5 < kind["in_order"] < 1 for kind in kinds.values())


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_screenshots(script, tmp_path, monkeypatch):
    pytest.importorskip("playwright")
    module = script("screenshots")
    monkeypatch.setattr(module, "PAGES", ("text",))
    monkeypatch.setattr(module, "SIZES", (24,))
    module.main([str(tmp_path)])
    light, dark = json.loads((tmp_path / "words.json").read_text("utf-8"))
    assert (light["kind"], dark["kind"]) == ("screenshot, 24 pixels", "screenshot, light on dark")
    assert light["lines"] == dark["lines"]
    assert light["lines"][:2] == ["Text in photos", "Reading it"]
    with Image.open(tmp_path / light["file"]) as image, Image.open(tmp_path / dark["file"]) as other:
        assert image.size == other.size == (1280, 800)
        assert image.convert("L").getpixel((5, 5)) > 200 > 100 > other.convert("L").getpixel((5, 5))


def test_real_photos_are_there():
    folder = ROOT / "benchmarks" / "real_text"
    rows = json.loads((folder / "words.json").read_text("utf-8"))
    assert all((folder / row["file"]).is_file() and row["lines"] for row in rows)
