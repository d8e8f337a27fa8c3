"""Models side by side: the benchmark runs on tiny input, and the page holds what its report does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "benchmarks" / "results" / "models.json"


def test_models(script, tmp_path, gallery_path, bundle_path, store_path, monkeypatch):
    benchmark, path, runs = script("models"), tmp_path / "models.json", tmp_path / "runs"
    for name in ("shan-l2l", "shan-l2l-s1", "sgraf-saf", "sgraf-sgr"):
        (runs / name).mkdir(parents=True)
        (runs / name / "done").touch()
        (runs / name / "bundle").symlink_to(bundle_path)
        (runs / name / "gallery").symlink_to(gallery_path)
    table = tmp_path / "captions.tsv"
    lines = [f"test\tphoto{number}\ta dog runs over the grass {number % 3}" for number in range(41)]
    table.write_text("\n".join(["split\timage\tcaption", *lines]) + "\n")
    common = ["--captions", str(table), "--runs", str(runs), "--report", str(path), "--rounds", "1", "--images", "9"]
    benchmark.main(["test", "--store", str(store_path), *common])
    benchmark.main(["measure", *common])
    found = json.loads(path.read_text("utf-8"))
    assert list(found["rows"]) == ["shan-l2l", "sgraf-saf", "sgraf-sgr", "sgraf"]
    assert len({row["recall"]["rsum"] for row in found["rows"].values()}) == 1  # all are the same bundle
    assert [len(row["recall"]["seeds"]) for row in found["rows"].values()] == [2, 1, 1, 1]
    one, whole = found["rows"]["sgraf-saf"], found["rows"]["sgraf"]
    assert (one["times_shan"] > 0, whole["bytes_a_photo"]) == (True, 2 * one["bytes_a_photo"])
    assert all(row["share_of_bound"] > 0 for row in found["rows"].values() if "share_of_bound" in row)
    assert len(benchmark.table(found)) == 6


def test_the_bound_is_of_the_products_that_a_score_needs(script):
    products, n, D = script("models").products, 10, 256
    cosines = 2 * 36 * n * D
    assert products({"model": "chan", "embed_dim": D}, n) == cosines
    assert products({"model": "scan", "embed_dim": D, "direction": "i2t"}, n) == cosines + 2 * 36 * n * n
    assert products({"model": "esa", "embed_dim": D}, n) == 0
    of_sgraf = [
        products({"model": "sgraf", "embed_dim": D, "similarity_dim": 64, "reasoning_steps": 3, "module": module}, n)
        for module in ("saf", "sgr")
    ]
    assert 2 * cosines < of_sgraf[0] < of_sgraf[1]


@pytest.mark.parametrize("name", ["train", "test", "measure"])
def test_each_phase_says_what_it_needs(script, tmp_path, capsys, name):
    benchmark = script("models")
    if name == "measure":  # nothing is trained: nothing to measure
        with pytest.raises(SystemExit, match="nothing is trained"):
            benchmark.main([name, "--runs", str(tmp_path), "--report", str(tmp_path / "r.json")])
        return
    with pytest.raises(SystemExit):
        benchmark.main([name])
    assert f"{name} needs --store" in capsys.readouterr().err


def test_the_page_holds_what_was_measured(script):
    benchmark = script("models")
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    _, _, rest = page.partition(benchmark.START)
    assert rest.partition(benchmark.END)[0].splitlines() == benchmark.table(json.loads(REPORT.read_text("utf-8")))
