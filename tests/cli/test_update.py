"""One command a day: `init`, `update`, `search` and `watch` in real processes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from pathlib import Path

import installed
import odd_photos
import pytest
from in_process import output_of, refusal, shan
from installed import environment, start, wait_for
from PIL import Image
from shan_engine.collections.named import collection_file, find_collection
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.lmdb import open_environment


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A configuration of this test's own, for it and the commands that it starts."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def pictures(tmp_path):
    """A folder with three photos, a text that calls itself one, and a file that is passed over."""
    folder = tmp_path / "pictures"
    for number in range(3):
        add_photo(folder, number)
    (folder / "broken.jpg").write_bytes(b"not a photo")
    (folder / "notes.txt").write_text("no photo")
    return folder


def add_photo(folder: Path, number: int, size: int = 40) -> Path:
    path = folder / f"{number}.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (7 * number % 256, number // 36, 99)).save(path)
    return path


def update(*options: str) -> dict:
    return json.loads(output_of("update", "--json", *options))


def searched() -> list[str]:
    """The ids that a search without options finds, sorted."""
    (answer,) = json.loads(output_of("search", "a dog", "--json"))
    return sorted(hit["id"] for hit in answer["hits"])


def test_photos_are_searched_after_init_and_update_without_any_option(seeing_bundle, pictures):
    assert refusal("update") == "there is no collection yet: make one with `shan-engine init PHOTOS`"
    made = installed.shan("init", pictures, "--model", seeing_bundle)
    assert made.returncode == 0, made.stderr
    assert "4 photos in " in made.stderr
    (told,) = re.findall(r"the first update takes about .* and about ([\d.]+) MB in", made.stderr)
    assert float(told) * 1e6 >= 0.9 * sum(file.stat().st_size for file in seeing_bundle.iterdir())  # which it copies
    assert made.stderr.endswith("next: shan-engine update\n")
    assert refusal("search", "a dog").endswith("has no gallery yet: make it with `shan-engine update`")

    first = installed.shan("update")
    assert first.returncode == 0, first.stderr
    assert "broken.jpg cannot be decoded" in first.stderr
    assert "photos: 3 added or renewed, 1 broken; 3 photos to search" in first.stderr
    found = shan("search", "a dog", "--json")
    assert "(the collection photos)" in found.stderr
    assert searched() == ["0.png", "1.png", "2.png"]
    with FeatureStore.open(find_collection(None).store) as store:
        assert store.schema.dtype == "float16"
    assert Gallery.open(find_collection(None).gallery).manifest.dtype == "float16"

    add_photo(pictures, 4)
    (pictures / "0.png").unlink()
    again = update()
    assert (again["added"], again["unchanged"], again["removed"], len(again["broken"])) == (1, 2, 1, 1)
    assert (again["indexing"]["added"], again["indexing"]["removed"]) == (1, 1)
    assert searched() == ["1.png", "2.png", "4.png"]
    nothing = update()
    assert (nothing["added"], nothing["unchanged"], nothing["indexing"]["unchanged"]) == (0, 3, 3)


def test_every_odd_photo_is_found_or_named(seeing_bundle, tmp_path):
    folder = tmp_path / "odd"
    written = {path.name for _, _, path in odd_photos.write(folder)}
    output_of("init", folder, "--model", seeing_bundle)
    done = update()
    (answer,) = json.loads(output_of("search", "a dog", "--json", "-k", 500))
    copies = [(hit["metadata"]["copies"] or "").split("; ") for hit in answer["hits"]]
    found = {hit["id"] for hit in answer["hits"]} | {Path(path).name for paths in copies for path in paths if path}
    named = {name for name in written - found if any(f"/{name} " in sentence for sentence in done["broken"])}
    unread = {name for name in written if Path(name).suffix in done["passed_over"]}  # where an extra is not installed
    assert len(written) > 180
    assert written - found - named == unread
    assert len(unread) == sum(done["passed_over"].values())
    assert len(found) == done["added"] + done["copied"]
    assert {name.rpartition("-")[0] for name in named} == {"a-text--not-a-photo"}


def test_init_writes_over_nothing_unasked(seeing_bundle, pictures, tmp_path):
    output_of("init", pictures, "--model", seeing_bundle)
    before = collection_file("photos").read_bytes()
    sentence = refusal("init", tmp_path, "--model", seeing_bundle)
    assert all(part in sentence for part in ("'photos' already", str(collection_file("photos")), "--replace", "--name"))
    assert collection_file("photos").read_bytes() == before
    told = json.loads(output_of("init", pictures, "--name", "work", "--model", seeing_bundle, "--json"))
    assert (told["collection"], told["photos"], told["file"]) == ("work", 4, str(collection_file("work")))
    assert told["bytes"] > 0
    output_of("init", pictures, "--model", seeing_bundle, "--replace", "--exclude", "a/")
    assert find_collection("photos").exclude == ("a/",)


@pytest.mark.parametrize(
    "wrong", [("nowhere",), ("pictures", "--model", "nowhere"), ("pictures", "--metadata", "no.csv")]
)
def test_init_writes_nothing_for_what_cannot_be_used(seeing_bundle, pictures, monkeypatch, wrong):
    monkeypatch.chdir(pictures.parent)
    model = () if "--model" in wrong else ("--model", seeing_bundle)
    assert "no" in refusal("init", *wrong, *model)
    assert not collection_file("photos").exists()


def test_a_folder_that_vanished_keeps_its_photos_until_it_is_pruned(seeing_bundle, pictures, tmp_path):
    for number in range(20, 22):
        add_photo(tmp_path / "share" / "photos", number)
    output_of("init", pictures, tmp_path / "share", "--model", seeing_bundle)
    assert update()["added"] == 5
    (pictures / "0.png").rename(pictures / "zero.png")
    shutil.rmtree(tmp_path / "share" / "photos")
    told = installed.shan("update")
    assert told.returncode == 0, told.stderr
    assert "is missing or empty: its 2 photos stay" in told.stderr
    assert "photos: 0 added or renewed, 2 unchanged, 1 renamed, 2 kept of missing folders" in told.stderr
    assert "share/photos/20.png" in searched()
    assert "pictures/zero.png" in searched()
    assert update("--prune")["removed"] == 2
    assert searched() == ["pictures/1.png", "pictures/2.png", "pictures/zero.png"]


@pytest.mark.parametrize(("answer", "left"), [("y", 3), ("n", 5)])
def test_at_a_terminal_it_asks_about_a_folder_that_vanished(seeing_bundle, pictures, tmp_path, answer, left):
    for number in range(20, 22):
        add_photo(tmp_path / "share", number)
    output_of("init", pictures, tmp_path / "share", "--model", seeing_bundle)
    update()
    shutil.rmtree(tmp_path / "share")
    child, terminal = pty.fork()
    if not child:
        os.execve(installed.COMMAND, ["shan-engine", "update"], environment())
    shown = b""
    with contextlib.suppress(OSError):  # the terminal closes as the command ends
        while part := os.read(terminal, 1024):
            shown += part
            if b"[y/N]" in shown and answer:
                os.write(terminal, f"{answer}\n".encode())
                answer = ""
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert b"Remove these photos from the collection?" in shown
    assert len(searched()) == left


def test_a_table_of_the_collection_is_read_at_each_update(seeing_bundle, pictures, tmp_path):
    table = tmp_path / "facts.csv"
    table.write_text("id,year\n0.png,2019\n1.png,2020\n")
    output_of("init", pictures, "--model", seeing_bundle, "--metadata", table)
    update()
    search = ("search", "a dog", "--where", "year >= 2020", "--paths")
    assert output_of(*search).split() == [str(pictures / "1.png")]
    table.write_text("id,year\n0.png,2021\n1.png,2020\n2.png,2000\n")
    assert "metadata of 3 of 3 photos" in shan("update").stderr
    assert sorted(output_of(*search).split()) == [str(pictures / "0.png"), str(pictures / "1.png")]


def test_a_store_that_was_killed_before_it_was_one_gets_the_collections_dtype(seeing_bundle, pictures):
    output_of("init", pictures, "--model", seeing_bundle)
    store = find_collection(None).store
    store.mkdir(parents=True)
    open_environment(store, readonly=False).close()
    assert update()["added"] == 3
    with FeatureStore.open(store) as opened:
        assert opened.schema.dtype == "float16"


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_an_update_that_was_stopped_goes_on(seeing_bundle, tmp_path, how, code):
    for number in range(150):
        add_photo(tmp_path / "many", number, size=500)
    output_of("init", tmp_path / "many", "--model", seeing_bundle)
    process = start("update")
    wait_for(lambda: held(find_collection(None).store) >= 8, process)
    process.send_signal(how)
    _, errors = process.communicate()
    assert process.returncode == code
    if how != signal.SIGKILL:
        assert errors.count("interrupted: what was complete is kept; run the command again to go on") == 1
    before = held(find_collection(None).store)
    done = update()
    assert (done["added"], done["unchanged"]) == (150 - before, before)
    output_of("store", "verify", find_collection(None).store)
    assert len(Gallery.open(find_collection(None).gallery)) == 150


def held(store: Path) -> int:
    """How many images a store has, which may not be there yet."""
    try:
        with FeatureStore.open(store) as opened:
            return len(opened)
    except Exception:  # it is being made
        return 0


def test_a_second_update_at_once_is_told(seeing_bundle, pictures):
    from filelock import FileLock

    output_of("init", pictures, "--model", seeing_bundle)
    store = find_collection(None).store
    store.parent.mkdir(parents=True)
    with FileLock(store.parent / "store.lock"):
        assert refusal("update") == ("another process is updating the collection 'photos': wait for it and run again")
    commands = [start("update"), start("update")]
    ends = [(process.communicate()[1], process.returncode) for process in commands]
    assert {code for _, code in ends} <= {0, 1}, ends
    assert 0 in [code for _, code in ends], ends
    assert all("another process is updating" in errors for errors, code in ends if code), ends
    assert searched() == ["0.png", "1.png", "2.png"]


def test_an_upgrade_keeps_the_model_that_made_the_gallery(seeing_bundle, pictures, tmp_path):
    bundle = shutil.copytree(seeing_bundle, tmp_path / "bundle")
    output_of("init", pictures, "--gallery", tmp_path / "g", "--store", tmp_path / "s")
    done = shan("update", SHAN_MODEL=str(bundle))
    assert done.returncode == 0, done.stderr
    add_photo(pictures, 5)
    assert update()["added"] == 1  # without SHAN_MODEL the demo's bundle is the default: the gallery keeps its own
    assert searched() == ["0.png", "1.png", "2.png", "5.png"]


def test_another_model_in_the_file_is_refused_with_both_ways_out(seeing_bundle, pictures):
    output_of("init", pictures, "--model", seeing_bundle)
    update()
    output_of("init", pictures, "--model", demo_bundle(), "--replace")
    sentence = refusal("update")
    assert f"made with another model than {demo_bundle()}" in sentence
    assert "take `model` out of the collection's file" in sentence
    assert f"SHAN_MODEL={demo_bundle()} shan-engine index {find_collection(None).store}" in sentence
    file = collection_file("photos")
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("model")))
    assert update()["unchanged"] == 3


def test_watch_takes_in_what_comes_and_survives_errors(seeing_bundle, pictures, tmp_path):
    bundle = shutil.copytree(seeing_bundle, tmp_path / "bundle")
    output_of("init", pictures, "--model", bundle)
    gallery = find_collection(None).gallery
    process = start("watch")
    wait_for(lambda: images(gallery) == 3, process)
    bundle.rename(tmp_path / "away")
    add_photo(pictures, 6)
    assert "error: " in line_with("error", process)
    (tmp_path / "away").rename(bundle)
    add_photo(pictures / "new folder", 7)
    wait_for(lambda: images(gallery) == 5, process)
    (pictures / "0.png").unlink()
    wait_for(lambda: images(gallery) == 4, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert searched() == ["1.png", "2.png", "6.png", "new folder/7.png"]


def images(gallery: Path) -> int:
    try:
        return len(Gallery.open(gallery))
    except Exception:  # it is being made
        return 0


def line_with(text: str, process: subprocess.Popen[str]) -> str:
    """The next line of a process's messages that holds `text`."""
    return next(line for line in process.stderr if text in line)
