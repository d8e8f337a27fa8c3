"""Benchmarks of speed and size run on tiny input; the figures themselves say nothing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from shan_engine.gallery.reader import Gallery
from shan_engine.integrity.verify import verify
from written_reports import DEMO, RECORDED, ROOT, report


def test_updates(script, seeing_bundle, tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))  # the script changes them
    options = ["--photos", "6", "--new", "2", "--runs", "1", "--model", str(seeing_bundle)]
    script("updates").main([*options, "--work", str(tmp_path / "work"), "--report", str(tmp_path / "report.json")])
    found = report(tmp_path / "report.json")
    assert set(found) == {"photos", "first", "bytes", "nothing_new", "new", "recorded"}
    assert (found["photos"], found["new"]["photos"], set(found["recorded"])) == (6, 2, RECORDED)
    assert all(found[name]["cpu_seconds"] > 0 for name in ("first", "nothing_new", "new"))
    assert len(list((tmp_path / "work" / "photos").rglob("*.jpg"))) == 8


def test_further_parts(script, capsys):
    script("further_parts").main(["--photos", "5000", "--dim", "8", "--turns", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["classes", "global", "classes", "global", "hubness"]
    assert all(float(line.split()[1]) >= 0 and line.endswith("together, 5,000 photos") for line in lines[:4])
    assert lines[4].endswith("s for 100,000 photos by 2,000 queries")


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
    benchmark.main(["make", "--images", "100", "--output", str(tmp_path / "100.gallery")])
    benchmark.main(["link", "--source", str(tmp_path / "100.gallery"), "--times", "3", "--output", str(made)])
    benchmark.main(["run", str(made), "--queries", "4", "--report", str(path)])
    (row,) = report(path)["rows"]
    assert (row["images"], row["queries_together"], row["queries_compared"]) == (300, 4, 4)
    assert row["agreement_at_10"] == 1  # so few photos are searched exhaustively
    assert set(row["recorded"]) == RECORDED
    few = ["--queries", "4", "--work", str(tmp_path), "--engines", "faiss-flat", "faiss-hnsw", "--report", str(path)]
    benchmark.main(["compare", str(tmp_path / "100.gallery"), *few])
    found = report(path)["100"]
    assert (found["images"], found["queries"], set(found["recorded"])) == (100, 4, RECORDED)
    agreement = {row["engine"]: [one["agreement_at_10"] for one in row["settings"]] for row in found["engines"]}
    assert set(agreement) == {"shan-engine", "faiss flat", "faiss hnsw"}
    assert agreement["faiss flat"] == [1]  # it is the exhaustive ranking
    assert agreement["shan-engine"] == sorted(agreement["shan-engine"])  # more candidates find no less


def test_galleries_that_share_exact_rows(script, tmp_path):
    benchmark, source, made = script("large_gallery"), tmp_path / "source.gallery", tmp_path / "made.gallery"
    benchmark.main(["make", "--images", "300", "--output", str(source)])
    vectors = ["--vectors", str(DEMO / "gallery")]
    benchmark.main(["link", "--source", str(source), "--times", "2", *vectors, "--output", str(made)])
    opened = Gallery.open(made)
    (verdict,) = verify(made)
    assert verdict.sound
    one, other = opened.blocks
    regions = [made / "blocks" / block.name / "image_regions.npy" for block in opened.blocks]
    assert regions[0].samefile(regions[1])
    means = [block.pooled.vectors * block.pooled.scales[:, None] for block in (one, other)]
    assert (means[0] != means[1]).mean() > 0.9
    lengths = [np.linalg.norm(rows, axis=1).mean() for rows in means]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.02)  # as those of regions that were made
    assert not np.array_equal(one.files["image_vector"], other.files["image_vector"])


def test_agreement(script, captions, tmp_path, monkeypatch):
    from shan_engine.search import tuning

    benchmark, many, path = script("agreement"), tmp_path / "many.gallery", tmp_path / "agreement.json"
    first, *rows = captions.read_text("utf-8").splitlines()
    rows = [*rows[:7], *(row.replace("test", "train", 1) for row in rows[7:])]
    captions.write_text("\n".join([first, *rows]) + "\n", "utf-8")
    script("large_gallery").main(["make", "--images", "300", "--planted", str(captions), "--output", str(many)])
    found = {}
    for width in (300, 10):
        monkeypatch.setattr(tuning, "_at_least", lambda *_, width=width: tuning.StageWidths(width, width))
        for phase in ("ten", "planted"):
            asked = ["--captions", str(captions), "--queries", "5", "--report", str(path)]
            benchmark.main([phase, str(many), *asked])
        (ten,), (planted,) = report(path)["demo"]["ten"], report(path)["demo"]["planted"]
        assert (ten["images"], planted["images"], set(ten["recorded"])) == (307, 307, RECORDED)
        found[width] = [ten["captions"]["mean"], ten["short"]["mean"], planted["found"] / planted["belong"]]
        assert 0 <= ten["short"]["least"] <= ten["short"]["percentile_5"] <= ten["short"]["mean"]
    assert found[300] == [1, 1, 1]  # so many of 307 leave nothing out
    assert max(found[10]) < 1


def test_growth(script, store_path, bundle_path, tmp_path):
    table, path = tmp_path / "captions.tsv", tmp_path / "growth.json"
    table.write_text("split\timage\tcaption\ntest\tphoto1\ta brown dog runs over the grass\n")
    benchmark, work = script("growth"), ["--bundle", str(bundle_path), "--work", str(tmp_path), "--report", str(path)]
    benchmark.main([str(store_path), "--captions", str(table), *work])
    found = report(path)
    assert found["sizes"][0] < 0.4 * found["images"]
    assert found["sizes"][-1] == found["images"] == 41
    assert found["same_photos"]
    assert (found["blocks"], set(found["recorded"])) == ({"grown": 1, "at once": 1}, RECORDED)  # merged as it grows
    for kind in ("captions", "short"):
        for row in found[kind].values():  # so few photos are searched exhaustively
            assert (row["queries"], row["mean"], row["percentile_5"]) == (1, 1, 1)
            assert row["cpu_milliseconds"] > 0


def test_stages(script, tmp_path, capsys):
    gallery, path = tmp_path / "100.gallery", tmp_path / "stages.json"
    script("large_gallery").main(["make", "--images", "100", "--output", str(gallery)])
    benchmark = script("stages")
    benchmark.main([str(gallery), "--queries", "2", "--report", str(path)])
    (row,) = report(path)["demo"]
    spent = row["milliseconds"]
    assert (row["images"], row["scored"]["first_pass"], set(row["recorded"])) == (100, 100, RECORDED)
    assert set(spent) == {"query", *(stage for stage, _, _ in benchmark.STAGES), benchmark.REST}
    assert all(spent[stage] > 0 for stage in ("encode the query", "first pass: mean regions", "exact step 1", "hits"))
    assert spent["all steps"] == 0  # the demo's model has step 1 alone
    assert spent["query"] > spent["exact step 1"]
    assert re.search(r"first pass: mean regions +\d+\.\d+ ms +\d+\.\d%", capsys.readouterr().out)


def test_pipeline(script, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for photo in sorted((DEMO / "photos").iterdir())[:2]:
        shutil.copy(photo, photos)
    script("pipeline").main([str(photos), "--repeats", "1", "--output", str(tmp_path / "pipeline.json")])
    found = report(tmp_path / "pipeline.json")
    assert found["images"] == 2
    assert set(found["recorded"]) == RECORDED


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch._dynamo", "ignore::DeprecationWarning:torch._inductor")
def test_scoring(script, tmp_path, monkeypatch):
    path = tmp_path / "scoring.json"
    benchmark = script("scoring")
    monkeypatch.setattr(benchmark, "SHAPES", {"2 captions x 16 images": (16, 2)})
    monkeypatch.setattr(benchmark, "COMPILER", "eager")  # C++ would be compiled for a minute
    options = ["--dims", "16", "--regions", "5", "--rounds", "1", "--threads", "1"]
    benchmark.main([*options, "--report", str(path), "--captions", str(tmp_path / "none")])
    rows = report(path)["rows"]
    assert [row["regions"] for row in rows] == [5]
    for row in rows:
        assert set(row["recorded"]) == RECORDED
        assert max(row["largest_difference_to_plain"].values()) < 1e-5
        assert set(row["pairs_per_second"]) == {"plain PyTorch", "torch.compile", "ONNX Runtime", "kernel", "bound"}
        assert set(row["largest_difference_to_plain"]) == set(row["pairs_per_second"]) - {"bound"}


def test_step_1(script, tmp_path, monkeypatch):
    path, benchmark = tmp_path / "step_1.json", script("step_1")
    monkeypatch.setattr(benchmark, "NUMBERS", 2**14)
    benchmark.main(["--dims", "16", "--regions", "8", "--rounds", "1", "--report", str(path)])
    found = report(path)
    (row,) = found["rows"]
    assert (row["dim"], row["regions"], set(found["recorded"])) == (16, 8, RECORDED)
    assert "baseline" in row["variants"]
    for storages in row["variants"].values():
        assert set(storages) == {"float32", "float16", "int8"}
        for one in storages.values():
            assert min(one["one_caption"], one["many_captions"]) > 0
            assert one["packing"] == pytest.approx((one["one_caption"] - one["many_captions"]) * 32 / 31, abs=0.03)


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


def test_serving(script, tmp_path, capsys):
    sys.path.insert(0, str(ROOT / "tests" / "web"))
    from served import served

    with served(tmp_path) as server:
        arguments = [server.address, "--clients", "1", "3", "--requests", "6", "--process", str(server.process.pid)]
        script("serving").main([*arguments, "--report", str(tmp_path / "report.json")])
    rounds = report(tmp_path / "report.json")["rounds"]
    assert [(row["clients"], row["answers"], row["errors"]) for row in rounds] == [(1, 6, 0), (3, 6, 0)]
    assert all(row["p99_ms"] >= row["p50_ms"] > 0 and row["megabytes"] > 0 for row in rounds)
    assert capsys.readouterr().out.count("clients") == 2


def test_shards(script, tmp_path, monkeypatch):
    """Without Ray, in whose place the shards are in this process: tests/engine/shards has Ray itself."""
    module = script("shards")
    opened = module.opened
    monkeypatch.setattr(module, "opened", lambda shards, ray=None: opened(shards))
    module.main(["--photos", "6", "--queries", "3", "--report", str(tmp_path / "shards.json")])
    found = report(tmp_path / "shards.json")
    assert (found["photos"], found["queries"], set(found["recorded"])) == (6, 3, RECORDED)
    for name in ("1 workers", "2 workers"):
        assert found[name]["equal"]
        assert found[name]["queries_per_second"] > 0
        assert found[name]["overhead_p99_ms"] >= found[name]["overhead_ms"]
