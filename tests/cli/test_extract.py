"""`extract` over several folders: runs that are killed, two at once, and what it asks."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from extractors import detector
from in_process import output_of, refusal, shan
from installed import COMMAND, environment, start, wait_for
from PIL import Image
from shan_engine.base.errors import StoreError
from shan_engine.photos.extract import extract_photos
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.store.contents import Content, Place
from shan_engine.store.facts import StoredFacts
from shan_engine.store.feature_store import FeatureStore
from tiny import make_store


def photo(path: Path, *colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour or (1, 2, 3)).save(path)


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    """Two folders with 200 photos, of which every fourth is a copy."""
    for number in range(200):
        photo(tmp_path / "ab"[number % 2] / f"{number:03}.png", number // 4 * 4 if number % 4 == 3 else number, 0, 0)
    return [tmp_path / "a", tmp_path / "b"]


def stored(store: Path) -> int:
    """How many photos a store that is being made has by now."""
    try:
        with FeatureStore.open(store) as opened:
            return len(opened)
    except StoreError:
        return 0


def whole(store: Path) -> bool:
    """Whether a store has all photos of `many`, each once."""
    with FeatureStore.open(store) as opened:
        held = opened.contents()
        assert opened.entries() == {150}
        assert held.keys() == set(opened.ids())
        files = sorted(Path(file.path).name for content in held.values() for file in content.files)
        return files == [f"{number:03}.png" for number in range(200)]


def test_a_killed_run_goes_on(tmp_path: Path, many: list[Path]) -> None:
    store, options = tmp_path / "s", ("--extractor", detector(tmp_path), "--batch-size", "1")
    with start("extract", *many, "--store", store, *options) as run:
        wait_for(lambda: stored(store) > 5, run)
        run.kill()
    for folder in many:
        folder.rename(folder.with_name(f"{folder.name}-moved"))  # at the worst moment
    moved = [folder.with_name(f"{folder.name}-moved") for folder in many]
    roots = [argument for folder, new in zip(many, moved, strict=True) for argument in ("--root", f"{folder}={new}")]
    told = shan("extract", *moved, "--store", store, *options, *roots, "--json")
    result = json.loads(told.stdout)
    assert result["unchanged"] >= 5
    assert result["added"] + result["unchanged"] + result["copied"] == 200
    assert f"photos moved from {many[0]} to {moved[0]}" in told.stderr
    assert whole(store)


def test_two_runs_at_once(tmp_path: Path, many: list[Path]) -> None:
    store = tmp_path / "s"
    command = ("extract", *many, "--store", store, "--extractor", detector(tmp_path), "--batch-size", "7")
    for names in ("new", "newer"):  # all photos are new, then some have new names
        with start(*command) as one, start(*command) as other:
            for run in (one, other):
                told = run.communicate()
                assert run.returncode == 0, told
        assert whole(store)
        (many[0] / names).mkdir()
        for path in sorted(many[0].glob("*.png"))[::3]:
            path.rename(many[0] / names / path.name)


def test_a_share_that_is_not_there(tmp_path: Path) -> None:
    for name in ("here/a.png", "share/b.png", "share/c.png"):
        photo(tmp_path / name, ord(name[-5]), 0, 0)
    folders, store, model = [tmp_path / "here", tmp_path / "share"], tmp_path / "s", detector(tmp_path)
    extract_photos(folders, store, FeatureExtractor(model, "cpu", threads=1))
    shutil.rmtree(tmp_path / "share")
    command = ("extract", *folders, "--store", store, "--extractor", model)
    told = shan(*command)
    assert told.returncode == 0
    assert f"{tmp_path / 'share'} is missing or empty: its 2 photos stay in the store. If you deleted" in told.stderr
    for answer, removed in (("", 0), ("y", 2)):
        assert f"{removed} removed" in asked(answer, *command)


def asked(answer: str, *command: object) -> str:
    """What a command prints on a terminal where somebody answers."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([COMMAND, *map(str, command)], env=environment(), stdin=theirs, stderr=theirs, stdout=theirs):
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        told = b""
        try:
            while part := os.read(ours, 4096):
                told += part
        except OSError:  # the command has ended
            pass
    os.close(ours)
    assert b"Remove these photos from the collection? [y/N]" in told
    return told.decode()


def test_copies_are_one_hit_with_its_other_places(tmp_path: Path, bundle_path: Path) -> None:
    places = (Place("image-0", "/one/a.png", ""), Place("again", "/two/again.png", ""))
    with make_store(tmp_path / "s", range(2)) as store:
        store.put_facts({id: StoredFacts("", {"width": 4}) for id in store.ids()})
        first = store.ids()[0]
        store.put_contents({first: Content("0", (replace(places[0], id=first), places[1]))})
    model = ("--model", bundle_path)
    output_of("index", tmp_path / "s", "--output", tmp_path / "g", *model)
    (result,) = json.loads(output_of("search", "a", "--gallery", tmp_path / "g", *model, "--json"))
    copies = {hit["id"]: hit["metadata"]["copies"] for hit in result["hits"]}
    assert copies == {id: "/two/again.png" if id == first else None for id in copies}
    assert len(copies) == 2


def test_wrong_roots_and_patterns(tmp_path: Path) -> None:
    photo(tmp_path / "photos" / "a.png")
    model, store, here = detector(tmp_path), tmp_path / "s", tmp_path / "photos"
    extract_photos(here, store, FeatureExtractor(model, "cpu", threads=1))
    command = ("extract", here, "--store", store, "--extractor", model)
    assert "--root 'here' is not of the form OLD=NEW" in refusal(*command, "--root", "here")
    assert "--exclude has an invalid pattern" in refusal(*command, "--exclude", "!")
