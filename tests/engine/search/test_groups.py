"""Near-identical photos are one hit of a grouped search, and its k counts such hits."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.copy import split_gallery
from shan_engine.indexing.images import index_store
from shan_engine.search.answer import search
from shan_engine.search.groups import SeenText
from shan_engine.shards.host import LocalHost
from shan_engine.shards.sharded import ShardedEngine
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from shan_engine.writers.html_report import write_report
from tiny import EXTRACTOR, FEATURES
from written_photos import indexed, write_texts

SCENES, SHOTS = 6, 4


@pytest.fixture(scope="module")
def bursts(scorer, tmp_path_factory) -> Gallery:
    """Six scenes, each photographed four times."""
    folder, random = tmp_path_factory.mktemp("bursts"), np.random.default_rng(5)
    records = []
    for scene in range(SCENES):
        regions = random.standard_normal((4, FEATURES)) * 3
        for shot in range(SHOTS):
            shaken = regions + random.standard_normal(regions.shape) * 0.05
            records.append(RegionRecord(f"scene{scene}/shot{shot}", shaken.astype(np.float32)))
    with FeatureStore.create(folder / "store", StoreSchema(EXTRACTOR, FEATURES)) as store:
        store.write(records)
        index_store(store, scorer, folder / "gallery")
    return Gallery.open(folder / "gallery")


@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_a_burst_is_one_hit_with_the_others(scorer, bursts, top_k, tmp_path):
    (photos,) = search(scorer, bursts, ["a dog"], top_k=SCENES * SHOTS, explain=False)
    (found,) = search(scorer, bursts, ["a dog"], top_k=top_k, grouped=True)
    scenes = list(dict.fromkeys(hit.image.id.split("/")[0] for hit in photos))
    assert [hit.image.id.split("/")[0] for hit in found] == scenes[:top_k]
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    scores = {hit.image.id: hit.score for hit in photos}
    for hit in found:
        shots = [hit.image, *hit.alike]
        assert {image.id.split("/")[0] for image in shots} == {hit.image.id.split("/")[0]}
        assert len({image.id for image in shots}) == SHOTS
        assert hit.score == pytest.approx(max(scores[image.id] for image in shots), abs=1e-5)
    assert not any(hit.alike for hit in photos)
    write_report(tmp_path / "report.html", [found])
    assert f"{found.hits[0].image.id} +3 alike" in (tmp_path / "report.html").read_text()


RECEIPT = ["HARDWARE STORE", "Main Street 4", "hammer 12.50", "nails 3.20", "screws 4.90", "total 20.60", "2024-05-17"]
OTHER = [*RECEIPT[:4], "saw 31.00", "total 46.70", "2024-06-02"]


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (RECEIPT, OTHER, True),
        (RECEIPT, RECEIPT, False),
        (RECEIPT, [*RECEIPT[:2], "harnmer l2.5O", *RECEIPT[3:]], False),  # misread
        (RECEIPT, RECEIPT[2:5], False),  # a crop
        (RECEIPT, [], False),  # a shot in which nothing could be read
        (["the bus to the market 42"], ["the bus to the market 17"], True),  # numbers alone
        (["A"], ["X"], False),  # textures
        (["東京"], ["京都"], True),
    ],
)
def test_text_differs_by_more_than_a_reader_gets_wrong(one, other, differs):
    assert SeenText.of(one).differs(SeenText.of(other)) is differs
    assert SeenText.of(other).differs(SeenText.of(one)) is differs


def test_photos_that_look_alike_but_have_other_text_are_hits_of_their_own(scorer, bursts, tmp_path):
    texts = {"scene0/shot0": RECEIPT, "scene0/shot1": OTHER, "scene0/shot2": RECEIPT, "scene1/shot0": ["EXIT"]}
    shutil.copytree(bursts.path.parent / "store", tmp_path / "store")
    write_texts(tmp_path / "store", texts)
    gallery = indexed(tmp_path / "store", scorer, tmp_path / "gallery")
    with Engine(scorer, gallery) as engine:
        found = engine.search("a dog", top_k=50, grouped=True, explain=False)
    groups = {frozenset(image.id for image in (hit.image, *hit.alike)) for hit in found}
    assert len(groups) == SCENES + 1
    (own,) = (group for group in groups if "scene0/shot1" in group)
    assert not own & {"scene0/shot0", "scene0/shot2"}
    split_gallery(gallery, 2, tmp_path / "shards")
    shards = ShardedEngine(scorer, [tmp_path / "shards"], LocalHost(scorer))
    again = shards.search("a dog", top_k=50, grouped=True, explain=False)
    assert {frozenset(image.id for image in (hit.image, *hit.alike)) for hit in again} == groups
    shards.close()
