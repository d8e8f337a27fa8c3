"""Every benchmark has a test, every report says where it comes from; and scripts that measure nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_reports import ROOT, assert_options_exist, report


def test_every_script_has_a_test():
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    # What the scripts share, and what large_gallery.py compares with.
    modules = {"command", "linked", "provenance", "recombined", "reports", "warm_worker", "written_set"}
    modules |= {"other_engines", "other_indexes"}
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - modules
    assert [name for name in sorted(names) if f'script("{name}")' not in tests and f'"{name}.py"' not in tests] == []


def test_pictures(script, tmp_path):
    script("pictures").main(["--output", str(tmp_path / "demo.jpg")])
    assert (tmp_path / "demo.jpg").read_bytes().startswith(b"\xff\xd8")


def test_pinned(script, tmp_path, capsys):
    queries = tmp_path / "queries.txt"
    queries.write_text("a dog on grass\na windmill\n")
    pinned = script("pinned")
    only = ["--only", "photo.json", "scores.npy"]
    assert pinned.main(["--against", str(ROOT), "--queries", str(queries), *only]) == 0
    same = {line.removesuffix(": the same") for line in capsys.readouterr().out.splitlines()[1:]}
    assert same == {"photo.json", "scores.npy", "scores.rows.txt", "scores.columns.txt"}
    for words in pinned.commands("photo.jpg").values():
        assert_options_exist(words)


def test_pinned_tells_what_differs(script, tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text('{"hits": [{"score": 1.5}, {"score": 0.5}], "seconds": 1}')
    other.write_text('{"hits": [{"score": 1.25}, {"score": 0.49999994}], "seconds": 2}')
    different, close = script("pinned").compare(one, other)
    assert different == "/hits/0/score: 1.5 and 1.25"
    assert close == pytest.approx(6e-8)


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/results").glob("*.json")), ids=lambda path: path.name)
def test_committed_reports_say_where_they_come_from(path):
    found = list(recorded_within(report(path)))
    assert found
    for one in found:
        assert one["date"]
        assert one.get("commit") or one["added_in"]


def recorded_within(value):
    if isinstance(value, dict):
        held = value.get("recorded", {})
        yield from [held] if "date" in held else held.values()
        for part in value.values():
            yield from recorded_within(part)
    if isinstance(value, list):
        for part in value:
            yield from recorded_within(part)
