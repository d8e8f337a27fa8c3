"""The installed `score` and `gallery` as their users type them: stopped, refused, out of space, and going on."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path

import installed
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from in_process import output_of, refusal
from installed import COMMAND, environment, heed_interrupts, shan, start, wait_for
from tiny import CAPTIONS, WORDS


@pytest.fixture
def many(tmp_path):
    """A file of 1,000 captions."""
    rng = random.Random(0)
    path = tmp_path / "many.txt"
    path.write_text("".join(" ".join(rng.choices(WORDS, k=3 + number % 9)) + "\n" for number in range(1000)))
    return path


@pytest.fixture
def command(gallery_path, bundle_path, many):
    """A job of some 140 blocks: `command(output, …)`."""

    def make(output: Path, *more: object) -> tuple[object, ...]:
        common = ("--gallery", gallery_path, "--model", bundle_path, "--queries", many, "--block-pairs", 1000)
        return ("score", *common, "--output", output, *more)

    return make


def blocks_done(process: subprocess.Popen[str], wanted: int) -> int:
    """Wait until a job that writes JSON lines has done so many blocks."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and (done := json.loads(line)["blocks_done"]) >= wanted:
            return int(done)
    raise AssertionError("it ended before it could be stopped")


@pytest.mark.parametrize("name", ["best.parquet", "scores.npy"])
def test_killed_again_and_again_it_gives_the_same_bytes(command, tmp_path, name):
    output_of(*command(tmp_path / f"whole-{name}"))
    rng = random.Random(name)
    for begun in (0, 30, 60, 90):
        process = start(*command(tmp_path / name, "--log-json"))
        if begun:
            blocks_done(process, begun + rng.randrange(20))
        process.kill()
        process.communicate()
        assert process.returncode == -9
    output_of(*command(tmp_path / name))
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} <= {f".{name}.job.done"}


def test_ctrl_c_ends_after_the_block_and_the_same_command_goes_on(command, tmp_path):
    process = start(*command(tmp_path / "a.parquet", "--log-json"))
    done = blocks_done(process, 3)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert "stopping after the current block; Ctrl-C again stops at once" in said
    assert "interrupted: what was complete is kept" in said
    again = shan(*command(tmp_path / "a.parquet", "--log-json"))
    lines = [json.loads(line) for line in again.stderr.splitlines() if line.startswith("{")]
    assert done <= lines[0]["blocks_done"] < lines[0]["blocks"] == lines[-1]["blocks_done"]
    assert lines[-1]["pairs_done"] == lines[-1]["pairs"] == 1000 * 41
    assert lines[-1]["pairs_per_second"] > 0
    assert lines[-1]["seconds_left"] == 0
    assert "blocks were done before" in again.stderr


def test_ctrl_c_while_a_report_is_written_is_told_after_it(monkeypatch):
    """A stream that is being written cannot be written by a signal's handler."""
    from shan_cli import score

    said, writing = [], [True]

    def say(text):
        if writing:
            raise RuntimeError("reentrant call")
        said.append(text)

    def report(done):
        signal.raise_signal(signal.SIGINT)
        writing.clear()

    monkeypatch.setattr(score, "say", say)
    with score._stopping(report) as (asked, on_progress):
        assert not asked()
        on_progress(None)
        assert asked()
    assert said == ["stopping after the current block; Ctrl-C again stops at once"]


def test_a_second_process_is_refused(command, tmp_path):
    process = start(*command(tmp_path / "a.parquet", "--log-json"))
    blocks_done(process, 1)
    process.send_signal(signal.SIGSTOP)
    try:
        assert "another process is working on" in refusal(*command(tmp_path / "a.parquet"))
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()
    assert process.returncode == 0


@pytest.mark.parametrize(("name", "first", "then"), [("a.npy", "200k", "1m"), ("a.parquet", "300k", "4m")])
def test_after_a_full_disk_it_goes_on(command, small_disk, tmp_path, name, first, then):
    """The disk holds the journal, but not the result."""
    output_of(*command(tmp_path / name))
    disk = small_disk(first)
    assert "the disk is full while writing" in refusal(*command(disk / name))
    assert not (disk / name).exists()
    subprocess.run(["mount", "-o", f"remount,size={then}", str(disk)], check=True)
    said = shan(*command(disk / name))
    assert said.returncode == 0, said.stderr
    assert (disk / name).read_bytes() == (tmp_path / name).read_bytes()


def test_captions_from_standard_input_and_columns(gallery_path, bundle_path, tmp_path):
    common = ("score", "--gallery", gallery_path, "--model", bundle_path, "--top-k", 2)
    done = subprocess.run(
        [COMMAND, *map(str, (*common, "--queries", "-", "--output", tmp_path / "in.parquet"))],
        input="\n".join(CAPTIONS), capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = tmp_path / "q.csv"
    table.write_text("sku,title\n" + "".join(f's{n},"{text}"\n' for n, text in enumerate(CAPTIONS)))
    options = ("--column", "title", "--id-column", "sku")
    output_of(*common, "--queries", table, *options, "--output", tmp_path / "csv.parquet")
    one, other = (pyarrow.parquet.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("in", "csv"))
    assert one["query_id"] == [str(n) for n in range(1, 6) for _ in range(2)]
    assert other["query_id"] == [f"s{n}" for n in range(5) for _ in range(2)]
    assert one["image_id"] == other["image_id"]


def test_shards_give_the_hits_of_the_whole(gallery_path, bundle_path, many, tmp_path):
    output_of("gallery", "split", gallery_path, "--parts", 3, "--output", tmp_path / "shards")
    facts = [json.loads(output_of("gallery", "info", tmp_path / f"shards/part-00{n}", "--json")) for n in range(3)]
    assert sum(fact["images"] for fact in facts) == 41
    assert "images             41" in output_of("gallery", "info", gallery_path)
    shards = [part for n in range(3) for part in ("--gallery", tmp_path / f"shards/part-00{n}")]
    common = ("score", "--model", bundle_path, "--queries", many, "--direction", "image-to-text")
    output_of(*common, "--gallery", gallery_path, "--output", tmp_path / "one.parquet")
    output_of(*common, *shards, "--output", tmp_path / "three.parquet")
    merged = ("gallery", "merge", *shards[1::2], "--output", tmp_path / "merged")
    output_of(*merged)
    output_of(*common, "--gallery", tmp_path / "merged", "--output", tmp_path / "merged.parquet")
    one, three, again = (
        pyarrow.parquet.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("one", "three", "merged")
    )
    assert set(three.pop("gallery")) == {"part-000", "part-001", "part-002"}
    for name in ("query_id", "rank", "image_id"):
        assert one[name] == three[name] == again[name]
    np.testing.assert_allclose(one["score"], three["score"], rtol=0, atol=1e-6)
    assert "is there already: choose a new folder" in refusal(*merged)


class TestBadInput:
    @pytest.fixture
    def refused(self, gallery_path, bundle_path, tmp_path):
        def check(content: bytes, *more: object, name: str = "q.txt") -> str:
            (tmp_path / name).write_bytes(content)
            common = ("score", "--gallery", gallery_path, "--model", bundle_path, "--queries", tmp_path / name)
            said = refusal(*common, "--output", tmp_path / "a.parquet", *more)
            assert not list(tmp_path.glob("a.parquet*"))
            return said

        return check

    def test_captions(self, refused):
        assert "q.txt, line 2 is empty" in refused(b"a dog\n\na cat\n")
        assert "q.txt, line 2 is longer than 65,536 bytes" in refused(b"a dog\n" + b"dog " * 2_500_000 + b"\n")
        assert "q.txt is not UTF-8 text (line 2)" in refused("a dog\nun café\n".encode("latin-1"))
        assert "q.txt, line 2: the caption 'dog dog" in refused(b"a dog\n" + b"dog " * 400)
        assert "q.txt has no captions" in refused(b"")

    def test_tables(self, refused):
        csv = b"id,caption\n1,a dog\n2,a cat\n1,a man\n"
        assert "q.csv, line 4: the id '1' occurs twice" in refused(csv, "--id-column", "id", name="q.csv")
        assert "q.csv has no column 'title'" in refused(csv, "--column", "title", name="q.csv")
        assert "has lines, not columns" in refused(b"a dog\n", "--column", "title")
        assert "is not a readable Parquet file" in refused(b"PAR1", name="q.parquet")

    def test_options(self, refused):
        assert "'much' is not a size: write one such as 2GB" in refused(b"a dog\n", "--memory", "much")
        assert "give at least 64MB" in refused(b"a dog\n", "--memory", "1MB")
        assert "--workers is for Ray" in refused(b"a dog\n", "--workers", 2)

    def test_galleries(self, refused, gallery_path):
        assert "is given twice: name every gallery once" in refused(b"a dog\n", "--gallery", gallery_path)
        demo = Path(__file__).parents[2] / "artifacts" / "demo" / "gallery"
        assert f"the gallery {demo} was made by bundle" in refused(b"a dog\n", "--gallery", demo)


@pytest.mark.slow
def test_a_cluster_for_one_job(command, tmp_path):
    pytest.importorskip("ray")
    output_of(*command(tmp_path / "one.parquet"))
    installed.output_of(*command(tmp_path / "ray.parquet", "--ray", "local", "--workers", 2), RAY_ADDRESS="127.0.0.1:1")
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "one.parquet").read_bytes()


@pytest.mark.parametrize(("queries", "output"), [("q.parquet", "q.parquet"), ("a.rows.txt", "a.npy")])
def test_a_result_is_not_written_over_its_captions(gallery_path, bundle_path, tmp_path, queries, output):
    if queries.endswith(".parquet"):
        pyarrow.parquet.write_table(pa.table({"caption": CAPTIONS}), tmp_path / queries)
    else:
        (tmp_path / queries).write_text("\n".join(CAPTIONS))
    before = (tmp_path / queries).read_bytes()
    common = ("score", "--gallery", gallery_path, "--model", bundle_path)
    sentence = refusal(*common, "--queries", tmp_path / queries, "--output", tmp_path / output)
    assert f"{tmp_path / queries} would be written over what it is made from: choose another output" in sentence
    assert [file.name for file in tmp_path.iterdir()] == [queries]
    assert (tmp_path / queries).read_bytes() == before


def test_ctrl_c_ends_a_job_that_waits_for_captions(gallery_path, bundle_path, tmp_path):
    common = ("score", "--gallery", gallery_path, "--model", bundle_path, "--queries", "-", "--log-json")
    with subprocess.Popen(
        [COMMAND, *map(str, (*common, "--output", tmp_path / "a.parquet"))],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        wait_for((tmp_path / "a.parquet.job" / "new.sqlite").exists, process)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(240) == 130
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
