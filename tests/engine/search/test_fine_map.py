"""Words are found in the photo itself: a box follows a square that moves, and files that are gone change nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from extractors import backbone
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.constants import REGIONS
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.search.fine_map import CELLS, PhotoViews
from shan_engine.search.pointing import Pointer
from shan_engine.search.query import Query
from shan_engine.text.tokenizer import Word

RED, GREEN = (220, 20, 20), (20, 200, 40)
WIDTH, HEIGHT = 80, 60


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Mean colours of a view's quarters."""
    return FeatureExtractor(backbone(tmp_path_factory.mktemp("fine")), "cpu")


@pytest.fixture(scope="module")
def red(seeing, network):
    """A word whose row is that of a red region."""
    (regions,) = network(np.full((1, 8, 8, 3), RED, np.uint8))
    row = seeing.encoders.encode_images(regions.features[None, :1], np.ones((1, 1), np.bool_))[REGIONS][0]
    return Pointer((Word("red", 0, 3, (0,)),), row / np.linalg.norm(row), None)


@pytest.mark.parametrize("left", [0, 80, 160, 240])
@pytest.mark.parametrize("top", [0, 60, 180])
def test_the_box_follows_the_thing(seeing, network, red, tmp_path, left, top):
    photo = Image.new("RGB", (320, 240), GREEN)
    photo.paste(RED, (left, top, left + WIDTH, top + HEIGHT))
    photo.save(tmp_path / "photo.png")
    (found,) = PhotoViews.read(tmp_path / "photo.png", seeing.encoders, network).maps(red)
    x0, y0, x1, y1 = found.peak.box
    assert left <= (x0 + x1) / 2 <= left + WIDTH
    assert top <= (y0 + y1) / 2 <= top + HEIGHT
    assert 0 <= x0 < x1 <= 320
    assert 0 <= y0 < y1 <= 240
    y, x = np.unravel_index(found.values.argmax(), found.values.shape)
    assert x0 <= (x + 0.5) * 320 / CELLS <= x1
    assert y0 <= (y + 0.5) * 240 / CELLS <= y1
    quarter = 2 * (y >= CELLS // 2) + (x >= CELLS // 2)
    assert (found.peak.word, found.peak.region, found.peak.evidence) == ("red", quarter, "cosine")


@pytest.fixture
def engine(seeing, album):
    return Engine(seeing, Gallery.open(album / "gallery", seeing.bundle))


def test_hits_get_the_regions_of_the_photo(engine):
    query = Query.of("a dog", also="grass", without="man")
    results = engine.search_all([query], top_k=3)
    (fine,) = engine.fine_regions([query], results)
    for before, after in zip(results[0], fine, strict=True):
        maps = [found for text in ("a dog", "grass") for found in engine.word_maps(before.image.path, text)]
        assert after.words == tuple(found.peak for found in maps)
        assert [word.word for word in after.words] == ["dog", "grass"]
        assert all(word.box[2] - word.box[0] <= 40 / 8 for word in after.words)
        assert replace(after, words=()) == replace(before, words=())


def test_a_photo_that_is_gone_keeps_its_stored_regions(engine, tmp_path):
    query = Query.of("a dog")
    (found,) = engine.search_all([query], top_k=3)
    (tmp_path / "damaged.png").write_bytes(b"no photo")
    paths = [str(tmp_path / "gone.png"), str(tmp_path / "damaged.png"), ""]
    hits = tuple(replace(hit, image=replace(hit.image, path=path)) for hit, path in zip(found.hits, paths, strict=True))
    (fine,) = engine.fine_regions([query], [replace(found, hits=hits)])
    assert fine.hits == hits
    with pytest.raises(InputError, match=r"gone\.png"):
        engine.word_maps(paths[0], "a dog")
