"""Shards in one process answer as one gallery of the same images does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import shan_engine
from in_process import output_of, shan
from shan_engine.api import open_shards
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.search.query import Query
from shan_engine.shards.worker import ShardWorker
from tiny import CAPTIONS


@pytest.fixture(scope="module")
def both(whole, shards, bundle_path):
    with (
        shan_engine.open(whole, bundle_path, device="cpu", threads=1) as one,
        open_shards([shards], bundle_path, device="cpu", threads=1) as parts,
    ):
        yield one, parts


def same(found, expected, *, to=None):
    """But for the folders of photos. Explanations are computed several at a time, so their last digits differ.

    So do those of weighted sums, where scores are compared `to` some digits.
    """

    def placed(image):
        return replace(image, path=image.path[-12:])

    def plain(answer):
        hits = [
            replace(
                hit,
                image=placed(hit.image),
                alike=tuple(map(placed, hit.alike)),
                step_scores=(),
                words=(),
                score=hit.score if to is None else round(hit.score, to),
            )
            for hit in answer.hits
        ]
        return replace(answer, hits=tuple(hits))

    assert list(map(plain, found)) == list(map(plain, expected))
    for hit, other in zip((hit for one in found for hit in one), (hit for one in expected for hit in one), strict=True):
        assert hit.step_scores == pytest.approx(other.step_scores, abs=1e-5)
        assert [(word.word, word.region, word.box) for word in hit.words] == [
            (word.word, word.region, word.box) for word in other.words
        ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_k": 3},
        {"top_k": 12, "skip": 5},
        {"top_k": 50},
        {"grouped": True, "top_k": 5},
        {"grouped": True, "top_k": 41, "skip": 2},
        {"where": "id like 'photo1%' or id = 'photo33'", "top_k": 6},
        {"where": "id like 'photo1%'", "top_k": 3},
        {"ids": ["photo3", "photo18"], "explain": False},
        {"normalise": False, "with_metadata": False},
        {"grouped": True, "top_k": 7, "skip": 1, "explain": False},
        {"top_k": 12, "skip": 5, "explain": False},
    ],
)
def test_an_answer_is_that_of_one_gallery(both, options):
    one, parts = both
    queries = [
        *CAPTIONS,
        Query.of("a dog", also="grass", without="man"),
        Query.of("a dog", photo=one.stored_photo("photo18")),
    ]
    plain = {"exhaustive": True, **options}
    same(parts.search_all(CAPTIONS, **plain), one.search_all(CAPTIONS, **plain))
    same(parts.search_all(queries, **plain), one.search_all(queries, **plain), to=4)


def test_a_shard_is_asked_once_where_it_is_the_only_one_or_nothing_is_explained(whole, both, bundle_path, monkeypatch):
    monkeypatch.setattr(ShardWorker, "describe", lambda *_: pytest.fail("a second call"))
    one, parts = both
    with open_shards([whole], bundle_path, device="cpu", threads=1) as alone:
        for options in ({}, {"grouped": True, "top_k": 8, "skip": 2}, {"explain": False}):
            same(alone.search_all(CAPTIONS, **options), one.search_all(CAPTIONS, **options))
    plain = {"explain": False, "top_k": 12, "exhaustive": True}
    same(parts.search_all(CAPTIONS, **plain), one.search_all(CAPTIONS, **plain))


def test_twins_of_two_shards_are_one_hit(both):
    _, parts = both
    found = parts.search("a dog", grouped=True, top_k=41)
    assert any({hit.image.id, *(image.id for image in hit.alike)} >= {"photo3", "photo20"} for hit in found)
    assert len(parts) == 41


def test_many_queries_are_in_order(both):
    one, parts = both
    queries = [CAPTIONS[number % 5] for number in range(100)]
    done = []
    found = parts.search_all(queries, top_k=2, explain=False, on_pairs=done.append)
    assert [hits.query for hits in found] == queries
    assert done[-1] == 4100
    same(found, one.search_all(queries, top_k=2, explain=False))


def test_what_else_is_asked_of_a_gallery(both):
    one, parts = both
    assert parts.columns == one.columns
    assert {fact.name: fact.known for fact in parts.column_facts} == {
        fact.name: fact.known for fact in one.column_facts
    }
    assert parts.stored_photo("photo35").images.keys() == one.stored_photo("photo35").images.keys()
    assert parts.image("photo35").id == "photo35"
    same([parts.browse(skip=2, top_k=33)], [one.browse(skip=2, top_k=33)])
    with pytest.raises(InputError, match="no shard has an image 'photo99'"):
        parts.image("photo99")
    with pytest.raises(InputError, match="no shard has an image 'photo99'"):
        parts.search("a dog", ids=["photo99"])


def test_what_cannot_be_asked(both):
    _, parts = both
    with pytest.raises(InputError, match="the filter 'size > 3' cannot be used"):
        parts.search("a dog", where="size > 3")
    with pytest.raises(InputError, match="top-k is 0"):
        parts.search("a dog", top_k=0)
    with pytest.raises(InputError, match="xyzzy"):
        parts.search_all(["a dog", "xyzzy"])
    found = parts.search_all([*["a dog"] * 16, "xyzzy"], mark_unanswerable=True, top_k=1)
    assert [bool(one.error) for one in found] == [False] * 16 + [True]
    with pytest.raises(InputError, match="xyzzy"):
        parts.search_all(["xyzzy"], mark_unanswerable=True)


def test_shards_that_do_not_fit_are_refused(shards, bundle_path, gallery_of_other_bundle, tmp_path):
    with pytest.raises(GalleryError, match=r"the gallery .* was made by bundle .* name the bundle that made it"):
        open_shards([shards, gallery_of_other_bundle], bundle_path, device="cpu")
    with pytest.raises(GalleryError, match="is named twice: name it once"):
        open_shards([shards, shards / "1.gallery"], bundle_path, device="cpu")
    with pytest.raises(GalleryError, match="there is no gallery in"):
        open_shards([tmp_path / "other-store"], bundle_path, device="cpu")


@pytest.fixture
def gallery_of_other_bundle(local_bundle, tmp_path):
    from shan_engine.bundle.contents import Bundle
    from shan_engine.indexing.images import index_store
    from shan_engine.scoring.scorer import Scorer
    from tiny import make_store

    with make_store(tmp_path / "other-store", range(4)) as store:
        index_store(store, Scorer(Bundle.open(local_bundle), "cpu"), tmp_path / "other.gallery")
    return tmp_path / "other.gallery"


def test_new_shards_are_taken_up_and_others_named(shards, bundle_path, make, gallery_of_other_bundle, tmp_path):
    folder = tmp_path / "all"
    shutil.copytree(shards, folder)
    with open_shards([folder], bundle_path, device="cpu", threads=1) as engine:
        assert not engine.refresh()
        make(folder, 9, range(50, 55))
        assert engine.refresh()
        assert len(engine) == 46
        assert engine.search("a dog", top_k=46, explain=False).matching == 46
        shutil.copytree(gallery_of_other_bundle, folder / "95.gallery")
        engine.refresh()
        (missing,) = engine.search("a dog", top_k=1).missing
        assert missing.gallery.endswith("95.gallery")
        assert "was made by bundle" in missing.why
        shutil.rmtree(folder / "95.gallery")
        (folder / "9.gallery").rename(tmp_path / "elsewhere")
        assert engine.refresh()
        found = engine.search("a dog", top_k=46)
        assert found.matching == 41
        ((gone, photos, why),) = [(Path(one.gallery).name, one.photos, one.why) for one in found.missing]
        assert (gone, photos) == ("9.gallery", 5)
        assert "put it back, or start the command again" in why
        assert engine.browse(top_k=1).missing == found.missing
        (tmp_path / "elsewhere").rename(folder / "9.gallery")
        assert engine.refresh()
        assert engine.search("a dog", top_k=46).missing == ()
    with pytest.raises(InputError, match="this engine is closed"):
        engine.search("a dog")


def test_the_command_names_what_is_missing(shards, bundle_path, gallery_of_other_bundle, tmp_path, monkeypatch):
    """A shard that does not fit any more comes after the command has opened the others."""
    from shan_engine.shards.sharded import ShardedEngine

    folder = tmp_path / "all"
    shutil.copytree(shards, folder)
    opened = ShardedEngine.check_filter

    def later(self, *arguments):
        if not (folder / "95.gallery").exists():
            shutil.copytree(gallery_of_other_bundle, folder / "95.gallery")
            self.refresh()
        opened(self, *arguments)

    monkeypatch.setattr(ShardedEngine, "check_filter", later)
    options = ("--gallery", folder, "--model", bundle_path, "--device", "cpu", "--top-k", "2")
    done = shan("search", "a dog", *options)
    assert done.returncode == 0, done.stderr
    assert f"41 images in 3 galleries: {folder}" in done.stderr
    assert f"a dog: hits of 0 images in {folder / '95.gallery'} are missing: the gallery" in done.stderr
    found = json.loads(output_of("search", "a dog", "--json", "--gallery", shards / "0.gallery",
                                 "--gallery", shards / "1.gallery", *options[2:]))  # fmt: skip
    assert (found[0]["matching"], found[0]["missing"]) == (30, [])
