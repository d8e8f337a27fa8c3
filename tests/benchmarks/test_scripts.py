"""Every benchmark runs on tiny input and reports what its docstring promises; the figures themselves say nothing."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import typer.main
from shan_cli.main import app

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "artifacts" / "demo"
RECORDED = {"commit", "date", "cpu", "cpus", "versions"}


def report(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def assert_options_exist(words: Sequence[str]) -> None:
    """Of a call of `shan-engine`."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in rest if word.startswith("--")} <= known, shlex.join(words)


def test_every_script_has_a_test():
    tests = "".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    modules = {"command", "provenance", "reports", "warm_worker"}  # what the scripts share
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - modules
    assert [name for name in sorted(names) if f'script("{name}")' not in tests and f'"{name}.py"' not in tests] == []


def test_further_parts(script, capsys):
    script("further_parts").main(["--photos", "5000", "--dim", "8", "--turns", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["classes", "global", "classes", "global", "hubness"]
    assert all(float(line.split()[1]) >= 0 and line.endswith("together, 5,000 photos") for line in lines[:4])
    assert lines[4].endswith("s for 100,000 photos by 2,000 queries")


def test_asking(script, captions, capsys):
    script("asking").main([str(DEMO / "gallery"), str(captions), "--queries", "3"])
    printed = capsys.readouterr().out
    assert printed.count("wanted and not unwanted") == 10
    found = {line[:34].strip(): float(line[34:]) for line in printed.splitlines() if not line.startswith("weight")}
    assert found["captions themselves (the best)"] >= max(found.values())
    assert len(found) == 9


def test_busy_machine(script, monkeypatch, capsys):
    module = script("busy_machine")
    monkeypatch.setenv("SHAN_SPIN", "0")
    for library in ("onnxruntime", "torch"):
        module.main(["--measure", library, "--rounds", "1"])
        assert float(capsys.readouterr().out) > 0
    monkeypatch.setattr(module, "measured", lambda library, threads, busy, rounds: (2 if busy else 1) * rounds)
    module.main(["--turns", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split()[-1]) for line in lines] == [1, 2, 1, 2] * 2


def test_batching(gallery_path, bundle_path):
    # In a process of its own, as it changes the engine's sizes of calls.
    command = [sys.executable, ROOT / "benchmarks" / "batching.py", "--turns", "1"]
    options = ["--gallery", gallery_path, "--model", bundle_path]
    printed = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    assert printed.count("pairs/s") == 12
    assert printed.count("1.00 of the engine's choice") >= 2


def test_calibration(script, gallery_path, bundle_path, tmp_path, capsys):
    benchmark, names = script("calibration"), ("dog", "cat", "bike", "grass", "water")
    rows = [f"photo{number}\t{name}" for place, name in enumerate(names) for number in range(place, 40, 5)]
    (tmp_path / "boxes.tsv").write_text("\n".join(["image\tcategory", *rows]))
    paths = ["--judged", tmp_path / "boxes.tsv", "--output", tmp_path / "weights.json", "--report", tmp_path / "r.json"]
    benchmark.main([str(word) for word in [*paths, "--gallery", gallery_path, "--model", bundle_path]])
    found = report(tmp_path / "r.json")
    assert json.loads(capsys.readouterr().out)["weights"] == report(tmp_path / "weights.json") == found["weights"]
    assert found["weights"].keys() == {"bias", "steps"}
    assert sum(pairs for pairs, _, _ in found["reliability"]["bins"]) == found["reliability"]["pairs"]
    assert set(found["recorded"]) == RECORDED


def test_a_calibration_finds_the_weights_of_pairs_drawn_from_one(script):
    random, benchmark = np.random.default_rng(0), script("calibration")
    rows = random.normal(size=(20_000, 2)) * [0.1, 3]
    p = benchmark.probabilities(np.array([-1, 20, 0.5]), rows)
    right = (random.random(len(p)) < p).astype(float)
    np.testing.assert_allclose(benchmark.fit(rows, right), [-1, 20, 0.5], rtol=0.1)
    assert benchmark.reliability(p, right)["expected_calibration_error"] < 0.02
    passed = benchmark.chance(np.array([0.2, 0.6]))["0.5"]
    assert passed == {"share": 0.5, "best of 254": 1.0, "best of 1,000,000": 1.0}


def test_animals_that_no_file_name_says(script):
    absent = script("calibration").absent_animals(["zebras-2.jpg", "dog.jpg", "bee_on_flower.jpg"])
    assert not {"zebra", "Norfolk terrier", "bee", "flamingos"} & set(absent)
    assert {"ostrich", "hippopotamus", "flamingo"} <= set(absent)


def test_blanks(script, tmp_path, capsys):
    for name in ("bee.jpg", "cat.jpg", "bison.jpg"):
        shutil.copy(DEMO / "photos" / name, tmp_path)
    script("blanks").main(["--photos", str(tmp_path), "--queries", "12"])
    head, *rows = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"of 1?\d queries: .*", head)
    names = ["white", "black", "grey", "noise", "text"]
    assert [row.split()[0] for row in rows[:5]] == [f"drawn-{name}.png" for name in names]
    # Three of eight photos come first for each query.
    assert sum(float(row.split()[2].rstrip("%")) for row in rows[:5]) <= 300
    assert re.fullmatch(r"a page of text: rank [1-8] of 8", rows[5])


def test_demo_queries(script, capsys):
    script("demo_queries").main([])
    lines = capsys.readouterr().out.splitlines()
    right = sum(line.endswith("| yes |") for line in lines)
    assert lines[-1] == f"{right} of 30 queries have a right photo among the first three."


def test_filters(script, gallery_path, bundle_path, tmp_path, capsys):
    work = ["--work", str(tmp_path / "work"), "--images", "100", "--report", str(tmp_path / "filters.json")]
    script("filters").main([str(gallery_path), "--model", str(bundle_path), *work])
    printed = capsys.readouterr().out
    assert re.findall(r"^(\d+) images: tables", printed, re.MULTILINE) == ["41", "123"]
    assert re.findall(r"  1: (\d+) match", printed) == ["41", "123"]
    assert printed.count("a search where") == 5
    assert [row["images"] for row in report(tmp_path / "filters.json")["rows"]] == [41, 123]


def test_jobs(script, tmp_path):
    options = ["--dims", "16", "--images", "12", "--captions", "6", "--sample", "24", "--jobs", "dense", "loop"]
    paths = ["--work", str(tmp_path / "work"), "--report", str(tmp_path / "jobs.json")]
    script("jobs").main([*options, *paths, "--table", str(tmp_path / "none.tsv")])
    rows = report(tmp_path / "jobs.json")["16"]
    assert rows["SCAN-style PyTorch loop"]["largest_difference"] < 1e-4
    assert rows["dense"]["result_bytes"] == 128 + 4 * 12 * 6
    assert all(set(row["recorded"]) == RECORDED for row in rows.values())


def test_kill_jobs(script, tmp_path):
    options = ["--kills", "1", "--captions", "40", "--pause", "0.2", "--block-pairs", "1000", "--output-kind", "npy"]
    script("kill_jobs").main(
        [*options, "--table", str(tmp_path / "none.tsv"), "--report", str(tmp_path / "kills.json")]
    )
    found = report(tmp_path / "kills.json")["npy"]
    assert found["kills"] == 1
    assert found["equal"] == found["results"] >= 1
    assert set(found["recorded"]) == RECORDED


def test_large_gallery(script, tmp_path):
    benchmark, made, path = script("large_gallery"), tmp_path / "made.gallery", tmp_path / "large.json"
    benchmark.main(["make", "--images", "300", "--output", str(made)])
    benchmark.main(["run", str(made), "--queries", "4", "--report", str(path)])
    (row,) = report(path)["rows"]
    assert (row["images"], row["queries_together"], row["queries_compared"]) == (300, 4, 4)
    assert row["agreement_at_10"] == 1  # so few photos are searched exhaustively
    assert set(row["recorded"]) == RECORDED
    pooled = "faiss, pooled vectors"
    benchmark.main(
        ["compare", str(made), "--queries", "4", "--work", str(tmp_path), "--engines", pooled, "--report", str(path)]
    )
    assert 0 <= report(path)["others"][pooled]["agreement_at_10"] <= 1


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


def test_pipeline(script, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((DEMO / "photos").iterdir())[:2]:
        shutil.copy(photo, photos)
    script("pipeline").main([str(photos), "--repeats", "1", "--output", str(tmp_path / "pipeline.json")])
    found = report(tmp_path / "pipeline.json")
    assert found["images"] == 2
    assert set(found["recorded"]) == RECORDED


def test_scoring(script, tmp_path, monkeypatch):
    path = tmp_path / "scoring.json"
    benchmark = script("scoring")
    monkeypatch.setattr(benchmark, "SHAPES", {"2 captions x 16 images": (16, 2)})
    benchmark.main(
        ["--dims", "16", "--rounds", "1", "--threads", "1", "--report", str(path), "--captions", str(tmp_path / "none")]
    )
    found = report(path)
    assert set(found["recorded"]) == RECORDED
    for row in found["rows"]:
        assert max(row["largest_difference_to_plain"].values()) < 1e-5
        assert set(row["pairs_per_second"]) == {"plain PyTorch", "ONNX Runtime", "kernel", "bound"}


def test_storage(script, store_path, bundle_path, tmp_path):
    table, path = tmp_path / "captions.tsv", tmp_path / "storage.json"
    lines = [f"test\tphoto{number}\ta dog runs over the grass {number % 3}" for number in range(41)]
    table.write_text("\n".join(["split\timage\tcaption", *lines]) + "\n")
    benchmark, model = script("storage"), ["--model", str(bundle_path)]
    photos = benchmark.of_photos(store_path, table, bundle_path, tmp_path)
    assert photos["float32"]["largest_difference"] == 0
    assert photos["int8"]["bytes_of_regions"] < photos["float16"]["bytes_of_regions"]
    assert 0 < photos["float16"]["largest_difference"] < photos["int8"]["largest_difference"]
    demo = shutil.copytree(tmp_path, tmp_path / "again")  # what is there is taken as it is
    assert benchmark.of_photos(store_path, table, bundle_path, demo) == photos
    with pytest.raises(SystemExit, match="failed"):  # the tiny bundle reads no photo
        benchmark.main([str(store_path), str(table), "--work", str(demo), *model, "--report", str(path)])
    rows = benchmark.of_captions(table, 5, DEMO / "bundle", tmp_path)
    assert {name: row["captions"] for name, row in rows.items()} == {"float32": 5, "int8": 5}


def test_warm(script, tmp_path):
    path = tmp_path / "warm.json"
    sizes = ["--images", "40", "--large-k", "20", "--turns", "1", "--callers", "3"]
    script("warm").main([*sizes, "--against", str(ROOT), "--report", str(path)])
    found = report(path)
    assert {name: set(value) for name, value in found["recorded"].items()} == {"this": RECORDED, "against": RECORDED}
    asked = [(row["images"], row["top_k"], row["explain"]) for row in found["rows"]]
    assert asked == [(40, 10, True), (40, 10, False), (20, 10, True), (20, 20, True)]
    assert all(row["times_as_fast"] > 0 for row in found["rows"])
    assert [(row["callers"], row["threads"]) for row in found["callers"]] == [(1, 1), (3, 1), (1, 2)]


# A stand-in for shan-engine that leaves what training, exporting and testing would, and notes how it was called.
STAND_IN = """#!{python}
import json, sys
from pathlib import Path

words = sys.argv[1:]
with Path({log!r}).open("a") as log:
    log.write(json.dumps(words) + "\\n")
if words[0] == "train":
    run = Path(words[words.index("--output") + 1])
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{{"precision": "float32"}}\\n')
    (run / "model.safetensors").touch()
print(json.dumps({{"feature_extractor": "tiny", "rsum": 100.0}}))
"""


def test_flickr8k(script, tmp_path, monkeypatch):
    benchmark, log, command = script("flickr8k"), tmp_path / "log", tmp_path / "shan-engine"
    command.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(benchmark, "COMMAND", command)
    path, views = tmp_path / "results.json", [word for n in range(3) for word in ("--view", f"view{n}")]
    common = ["--store", "f8k", "--captions", "c.tsv", "--runs", str(tmp_path / "runs"), "--results", str(path)]
    benchmark.main(["train", *common, *views, "--word-vectors", "glove.gz", "--rows", "shan-l2l-s[01]"])
    benchmark.main(["test", *common])
    found = report(path)
    names = ("shan-l2l-s0", "shan-l2l-s1", "ensemble-l2l-s0-s1")
    assert set(found) == {f"{name}{bank}" for name in names for bank in ("", "+querybank")}
    assert all(set(row["recorded"]) == RECORDED and row["rsum"] == 100 for row in found.values())
    calls = [json.loads(line) for line in log.read_text().splitlines()]
    assert {words[0] for words in calls} == {"train", "store", "export", "index", "evaluate"}
    for words in calls:  # the stand-in takes any option
        assert_options_exist(words)


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
