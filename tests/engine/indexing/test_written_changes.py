"""An index of written words that changes is the one that would be written at once, also after a crash."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shan_engine.base.errors import GalleryError
from shan_engine.base.merkle_tree import Appender
from shan_engine.gallery.manifest import GalleryManifest
from shan_engine.gallery.reader import Gallery
from shan_engine.gallery.written import WrittenFile
from shan_engine.gallery.written_format import WordCounts, unpacked_lines, unpacked_places, written_path
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.written import renew_written
from shan_engine.parts.written import WrittenWords
from shan_engine.store.feature_store import FeatureStore
from tiny import make_record, make_store
from written_photos import lines_of, written_gallery

WORDS = ("the", "the", "the", "of", "of", "budget", "budgets", "bvdget", "42", "1O0", "東京", "café", "harbour", "zoo")
QUERIES = ("the budget", '"the of"', "budget 42", "bud*", '"the the"', "100", "東京", "harbor", "zoo")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, value in (("_NODE_BYTES", 300), ("_CHILDREN", 4), ("_MOST_INSIDE", 24)):
        monkeypatch.setattr(f"shan_engine.base.merkle_tree.{name}", value)
    monkeypatch.setattr("shan_engine.indexing.written_anew.FEWEST_COMMON", 12)
    monkeypatch.setattr("shan_engine.indexing.written.MOST_CHANGED", 10.0)  # never written anew


def text(draw: random.Random) -> Any:
    return lines_of(*(" ".join(draw.choices(WORDS, k=draw.randint(0, 6))) for _ in range(draw.randint(0, 3))))


def changed(store: FeatureStore, draw: random.Random, following: int) -> int:
    """Change a store somehow; returns the number of its next photo."""
    ids = store.ids()
    kind = draw.choice(("text", "text", "add", "delete", "nothing"))
    if kind == "text":
        store.put_text({id: text(draw) for id in draw.sample(ids, draw.randint(1, 5))}, reader="test 1")
    elif kind == "add":
        more = [make_record(number) for number in range(following, following + draw.randint(1, 6))]
        store.write(more)
        store.put_text({record.id: text(draw) for record in more if draw.random() < 0.7}, reader="test 1")
        following += len(more)
    elif kind == "delete":
        store.delete(draw.sample(ids, draw.randint(1, min(6, len(ids) - 6))))
    return following


def dump(file: WrittenFile) -> dict[str, Any]:
    """All that an index says, by block and row."""
    of = {block.base + row: (name, row) for name, block in file.facts.blocks.items() for row in range(block.images)}
    held = {key: file.tree.value(value) for key, value in file.tree.items("", "\U0010ffff")}
    places: dict[str, set[Any]] = {}
    for key in (key for key in held if key[0] == "p"):
        found = unpacked_places([(int(key[-4:], 16), held[key])]).tolist()
        places.setdefault(key[1:-5], set()).update((of[one >> 16], one & 0xFFFF) for one in found)
    counts = {key[1:]: WordCounts.unpacked(value)[:2] for key, value in held.items() if key[0] == "w"}
    assert all(counts[word] == (len({of for of, _ in found}), len(found)) for word, found in places.items())
    return {
        "lines": {of[int(key[1:], 16)]: unpacked_lines(value) for key, value in held.items() if key[0] == "d"},
        "counts": counts,
        "places": places,
        "looks": {key for key in held if key[0] in "lm"},
        "photos": (file.photos, file.facts.texts, file.stamp == file.counted),
    }


def evidence(gallery: Gallery) -> dict[str, dict[str, float]]:
    words, found = WrittenWords([gallery]), {}
    for query in QUERIES:
        pairs = [
            zip(block.ids, words.evidence(words.docs(block, block.rows), query).tolist(), strict=True)
            for block in gallery.blocks
        ]
        found[query] = {id: value for own in pairs for id, value in own if value}
    return found


def written_at_once(gallery: Path, store: FeatureStore) -> str:
    manifest = GalleryManifest.load(gallery)
    return renew_written(gallery, GalleryManifest(**{**vars_of(manifest), "written": ""}), store).written


def vars_of(manifest: GalleryManifest) -> dict[str, Any]:
    return {name: getattr(manifest, name) for name in manifest.__struct_fields__}


@pytest.mark.parametrize("seed", range(4))
def test_changes_give_the_index_that_is_written_at_once(scorer, tmp_path, seed):
    draw, following, appended = random.Random(seed), 24, 0
    gallery, sizes = tmp_path / "gallery", BlockSizes(8)
    with make_store(tmp_path / "store", range(following)) as store:
        store.put_text({id: text(draw) for id in store.ids() if draw.random() < 0.7}, reader="test 1")
        index_store(store, scorer, gallery, sizes=sizes)
        for _ in range(7):
            before = GalleryManifest.load(gallery).written
            following = changed(store, draw, following)
            index_store(store, scorer, gallery, sizes=sizes)
            now = Gallery.open(gallery, scorer.bundle)
            appended += now.manifest.written.startswith(before[:16]) and now.manifest.written != before
            anew = written_at_once(gallery, store)
            own, other = WrittenFile(gallery, now.manifest.written), WrittenFile(gallery, anew)
            own.check()
            assert dump(own) == dump(other)
            pairs = [(one, two) for one in dict.fromkeys(WORDS) for two in dict.fromkeys(WORDS)]
            for pair in pairs:
                assert len(own.in_order(pair)) == len(other.in_order(pair))
            assert all(sorted(own.forms(word)) == sorted(other.forms(word)) for word in WORDS)
            assert evidence(now) == evidence(
                Gallery(gallery, GalleryManifest(**{**vars_of(now.manifest), "written": anew}))
            )
            assert own.photos == len(now)
    assert appended >= 3


def test_a_run_that_ends_at_any_write_leaves_the_old_index(scorer, tmp_path, monkeypatch):
    written_gallery(tmp_path, scorer, photos=24)
    with FeatureStore.open(tmp_path / "store", readonly=False) as store:
        store.put_text({"photo5": lines_of("harbour budget"), "photo3": ()}, reader="test 1")
        store.delete(["photo2"])
    before = evidence(Gallery.open(tmp_path / "gallery", scorer.bundle))
    writes, failing = 0, 10**9
    append = Appender.append

    def counting(to: Appender, data: bytes) -> Any:
        nonlocal writes
        writes += 1
        if writes == failing:
            to._file.write(data[: len(data) // 2])
            raise KeyboardInterrupt
        return append(to, data)

    monkeypatch.setattr(Appender, "append", counting)

    def run(at: Path) -> dict[str, dict[str, float]]:
        with FeatureStore.open(at / "store") as store:
            index_store(store, scorer, at / "gallery", sizes=BlockSizes(64))
        return evidence(Gallery.open(at / "gallery", scorer.bundle))

    shutil.copytree(tmp_path, tmp_path.parent / "whole")
    after = run(tmp_path.parent / "whole")
    assert after != before
    for number in range(1, writes + 1, 5):
        at = tmp_path.parent / f"at-{number}"
        shutil.copytree(tmp_path, at)
        writes, failing = 0, number
        with pytest.raises(KeyboardInterrupt):
            run(at)
        failing = 10**9
        assert evidence(Gallery.open(at / "gallery", scorer.bundle)) == before
        assert run(at) == after
        shutil.rmtree(at)
    shutil.rmtree(tmp_path.parent / "whole")


def test_an_index_that_has_grown_is_written_anew(scorer, tmp_path, monkeypatch):
    gallery = written_gallery(tmp_path, scorer, photos=24)
    monkeypatch.setattr("shan_engine.indexing.written.ROOM", 0)
    files = set()
    for number in range(12):
        with FeatureStore.open(tmp_path / "store", readonly=False) as store:
            store.put_text({"photo5": lines_of(f"harbour {number}")}, reader="test 1")
            index_store(store, scorer, gallery.path, sizes=BlockSizes(64))
        now = Gallery.open(gallery.path, scorer.bundle)
        held = WrittenFile(gallery.path, now.manifest.written)
        assert held.count(str(number)) == 1
        assert held.count(str(number - 1)) == 0
        files.add(held.path)
    assert 2 <= len(files) < 12
    index_again = [path for path in gallery.path.glob("written-*") if path != held.path]
    assert len(index_again) <= 1  # the one before, for those who read it now


def test_any_damage_is_written_anew(scorer, tmp_path):
    gallery = written_gallery(tmp_path, scorer, photos=24)
    path = written_path(gallery.path, gallery.manifest.written)
    data, wanted = path.read_bytes(), evidence(gallery)
    for place in range(0, len(data), 97):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(GalleryError, match="missing or damaged"):
            WrittenFile(gallery.path, gallery.manifest.written).check()
    with FeatureStore.open(tmp_path / "store") as store:
        index_store(store, scorer, gallery.path, sizes=BlockSizes(64))
    assert evidence(Gallery.open(gallery.path, scorer.bundle)) == wanted


def test_a_changed_byte_gives_the_answer_or_is_told(scorer, tmp_path):
    gallery = written_gallery(tmp_path, scorer, photos=24)
    path = written_path(gallery.path, gallery.manifest.written)
    data, wanted, told = path.read_bytes(), evidence(gallery), 0
    for place in np.random.default_rng(0).permutation(len(data))[:150].tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            assert evidence(gallery) == wanted
        except GalleryError:
            told += 1
    assert told > 20


def test_an_index_of_an_earlier_version_is_written_again(scorer, tmp_path):
    gallery = written_gallery(tmp_path, scorer, photos=24)
    wanted = evidence(gallery)
    written_path(gallery.path, gallery.manifest.written).rename(gallery.path / "written-0123456789abcdef.sqlite")
    GalleryManifest(**{**vars_of(gallery.manifest), "written": "0123456789abcdef"}).save(gallery.path)
    with pytest.raises(GalleryError, match="write it again with `shan-engine index"):
        evidence(Gallery.open(gallery.path))
    with FeatureStore.open(tmp_path / "store") as store:
        index_store(store, scorer, gallery.path, sizes=BlockSizes(64))
        index_store(store, scorer, gallery.path, sizes=BlockSizes(64))
    assert evidence(Gallery.open(gallery.path)) == wanted
    assert not list(gallery.path.glob("*.sqlite"))
