"""Near-identical photos are one hit of a grouped search, and its k counts such hits."""

from __future__ import annotations

import numpy as np
import pytest
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.search.answer import search
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from shan_engine.writers.html_report import write_report
from tiny import EXTRACTOR, FEATURES

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
