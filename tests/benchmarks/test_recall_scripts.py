"""Benchmarks of what is found run on tiny input; the figures themselves say nothing."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys

import numpy as np
from written_reports import DEMO, RECORDED, assert_options_exist, report


def test_asking(script, captions, capsys):
    script("asking").main([str(DEMO / "gallery"), str(captions), "--queries", "3"])
    printed = capsys.readouterr().out
    assert printed.count("wanted and not unwanted") == 10
    found = {line[:34].strip(): float(line[34:]) for line in printed.splitlines() if not line.startswith("weight")}
    assert found["captions themselves (the best)"] >= max(found.values())
    assert len(found) == 9


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
