"""`verify`: whatever byte of a file changes, the file is named with the command that repairs it, or nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from in_process import shan
from shan_engine.base.isolated import isolated
from shan_engine.integrity.findings import Finding
from shan_engine.integrity.verify import verify


def findings_of(path: Path) -> list[Finding]:
    return [finding for verdict in verify(path) for finding in verdict.findings]


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place, 0 if place >= 0 else 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 16]))


def test_everything_is_told_apart_and_sound(place) -> None:
    done = shan("verify", place.store, place.gallery, place.bundle)
    assert done.returncode == 0
    kinds = [line.split(": ")[1].split(",")[0] for line in done.stderr.splitlines()]
    assert kinds == ["a store", "a gallery", "a bundle"]
    assert "all 41 images are intact" in done.stderr


def test_a_changed_row_names_its_photo_and_the_command(place) -> None:
    (block,) = (place.gallery / "blocks").iterdir()
    flip(block / "image_regions.npy", -1)
    done = shan("verify", place.gallery, "--json")
    assert done.returncode == 1
    (verdict,) = json.loads(done.stdout)
    (finding,) = verdict["findings"]
    assert (verdict["kind"], verdict["images"], verdict["sound"]) == ("gallery", 41, False)
    assert finding["ids"] == ["photo40"]
    assert f"{block} is damaged, as bytes of image 'photo40' have changed" in finding["sentence"]
    assert f"run `shan-engine repair {place.gallery} --store STORE`" in finding["sentence"]


@pytest.mark.parametrize(
    "name", ["images.jsonl", "id-rows.npy", "rows.npy", "boxes.npy", "region_mask.npy", "image_regions.npy"]
)
def test_a_cut_or_missing_file_of_a_block_is_named(place, name: str) -> None:
    (file,) = (place.gallery / "blocks").glob(f"*/{name}")
    file.write_bytes(file.read_bytes()[:-1])
    assert name in {finding.file for finding in findings_of(place.gallery)}
    file.unlink()
    assert name in {finding.file for finding in findings_of(place.gallery)}


def test_each_damaged_file_of_a_bundle_is_named(place) -> None:
    flip(place.bundle / "vocab.json", 3)
    (place.bundle / "text_encoder.onnx").unlink()
    assert {finding.file for finding in findings_of(place.bundle)} == {"vocab.json", "text_encoder.onnx"}


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    done = shan("verify", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path} is not a store, gallery, bundle, job or collection" in done.stderr


def test_a_process_that_a_signal_ends_is_told_from_one_that_fails(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "ends.py").write_text("import os, signal\nprint(1, flush=True)\nos.kill(os.getpid(), signal.SIGBUS)")
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    values = isolated("ends")
    assert next(values) == 1
    with pytest.raises(EOFError):
        next(values)
    with pytest.raises(ChildProcessError, match="3"):
        list(isolated("fails"))


def test_a_process_whose_parent_is_killed_ends_without_a_word(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    (tmp_path / "endless.py").write_text(
        "import itertools\nfrom shan_engine.base.isolated import tell\ntell(itertools.count())"
    )
    parent = (
        "import os, signal\nfrom shan_engine.base.isolated import isolated\n"
        "for _ in isolated('endless'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    # Standard error ends when both have ended.
    done = subprocess.run([sys.executable, "-c", parent], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
