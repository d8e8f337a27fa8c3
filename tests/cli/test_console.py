"""What the command says and how it ends: progress in a log, interrupts, readers that leave, odd file names."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys

import pytest
from extractors import detector
from installed import shan, start, wait_for
from PIL import Image
from shan_cli import console
from tiny import make_store


def test_a_log_gets_lines_with_time_left_and_note(capsys):
    with console.progress("training", "steps", log_seconds=0) as (on_start, on_done):
        on_start(2000)
        on_done(500)  # where a resumed run begins: says nothing of the speed
        on_done(1000, "loss 0.500")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training: 1,000 of 2,000 steps, 0:00:0")
    assert lines[0].endswith(" left, loss 0.500")


def test_json_has_no_nan(capsys):
    console.print_json({"score": 0.5})
    assert capsys.readouterr().out == '{\n  "score": 0.5\n}\n'
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            console.print_json([{"score": number}])
    assert capsys.readouterr().out == ""


def test_a_short_job_says_nothing_between(capsys):
    with console.progress("indexing", "images") as (on_start, on_done):
        on_start(10)
        on_done(5)
        on_done(10)
    assert capsys.readouterr().err == ""


def test_an_interrupt_says_what_is_kept(bundle_path, tmp_path):
    make_store(tmp_path / "s", range(4000)).close()
    process = start("index", tmp_path / "s", "--output", tmp_path / "g", "--model", bundle_path)
    wait_for((tmp_path / "g" / "blocks").exists, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert "interrupted: what was complete is kept; run the command again to go on" in told
    assert "Traceback" not in told


def test_a_reader_that_leaves_is_no_error(gallery_path, bundle_path):
    process = start("search", "a dog", "--gallery", gallery_path, "--model", bundle_path, "--json", "-k", 41)
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert "Traceback" not in told
    assert "Exception" not in told


def test_a_file_name_that_is_no_utf_8_is_printed_with_its_bytes_spelt_out(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 8)).save(tmp_path / "photos" / "good.png")
    (tmp_path / "photos" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"broken")
    done = shan("extract", tmp_path / "photos", "--store", tmp_path / "s", "--extractor", detector(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9.png" in done.stderr


def test_verbose_logs_what_was_chosen_and_why(place, tmp_path):
    chosen = {"SHAN_GALLERY": str(place.gallery), "SHAN_MODEL": str(place.bundle)}
    quiet, told = shan("search", "a dog", **chosen), shan("search", "a dog", "-v", **chosen)
    assert "shan_engine." not in quiet.stderr
    assert quiet.stdout == told.stdout
    lines = told.stderr.splitlines()
    assert f"shan_engine.command: bundle {place.bundle} (SHAN_MODEL)" in lines
    assert any(line.startswith(f"shan_engine.api: gallery {place.gallery} (SHAN_GALLERY)") for line in lines)
    assert "shan_engine.command: a dog: all 41 images scored" in lines
    told = shan("index", place.store, "--output", tmp_path / "g", "--model", place.bundle, "-v")
    assert f"shan_engine.command: bundle {place.bundle} (--model)" in told.stderr.splitlines()


def test_help_starts_without_heavy_modules():
    heavy = ("torch", "numpy", "onnxruntime", "lmdb", "PIL", "rich.progress")
    script = f"import sys, shan_cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
