"""Captions encoded once, and those that fit a photo."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from resigned import sign_fields
from shan_engine.base.errors import BundleError, GalleryError, InputError, StoreError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.captions import index_captions
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.captions import search_captions
from shan_engine.search.photo_query import QueryPhoto, open_extractor
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.function_words import is_function_word
from tiny import CAPTIONS

MANY = [*CAPTIONS, *(f"a dog and {'red ' * number}hat" for number in range(20)), "man", "man"]


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(MANY) + "\n", "utf-8")
    return path


@pytest.fixture
def photo(seeing, album):
    return QueryPhoto.read(album / "photos" / "05.png", seeing.encoders, lambda: open_extractor(seeing.bundle))


def scores_of(scorer, photo, captions):
    """Each caption scored with the photo alone."""
    images = scorer.pairs.prepare(photo.images)
    return [
        float(scorer.score_pairs(images, scorer.encoders.encode_captions([scorer.encoders.tokens(c)]))[0, 0])
        for c in captions
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("int8", 5e-2)])
def test_captions_are_ranked_by_their_exact_scores(seeing, photo, captions, tmp_path, monkeypatch, dtype, tolerance):
    monkeypatch.setattr("shan_engine.indexing.captions.BLOCK_CAPTIONS", 8)
    monkeypatch.setattr("shan_engine.search.captions.SCORED_TOGETHER", 3)
    monkeypatch.setattr("shan_engine.indexing.captions.BLOCK_WORDS", 100)
    done = []
    assert index_captions(captions, seeing, tmp_path / "g", dtype=dtype, on_captions=done.append) == len(MANY)
    assert done == sorted(done)
    assert (done[0], done[-1]) == (8, len(MANY))
    for file in (tmp_path / "g").glob("blocks/*/word_mask.npy"):
        assert np.load(file).size <= 100
    gallery = CaptionGallery.open(tmp_path / "g", seeing.bundle)
    assert len(gallery) == len(MANY)
    expected = scores_of(seeing, photo, MANY)
    found = search_captions(seeing, gallery, photo, top_k=len(MANY))
    assert [hit.rank for hit in found] == list(range(1, len(MANY) + 1))
    assert sorted(int(hit.id) for hit in found) == list(range(1, len(MANY) + 1))
    for hit in found:
        assert hit.caption == MANY[int(hit.id) - 1].strip()
        assert hit.score == pytest.approx(expected[int(hit.id) - 1], abs=tolerance)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    men = [int(hit.id) for hit in found if hit.caption == "man"]
    assert men == sorted(men)  # equal scores: the first in the file first
    few = search_captions(seeing, gallery, photo, top_k=3)
    assert few.hits == found.hits[:3]


def test_a_hit_says_where_its_words_look(seeing, photo, captions, tmp_path):
    index_captions(captions, seeing, tmp_path / "g")
    gallery = CaptionGallery.open(tmp_path / "g", seeing.bundle)
    for hit in search_captions(seeing, gallery, photo, top_k=4):
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)
        assert [word.word for word in hit.words] == [word for word in hit.caption.split() if not is_function_word(word)]
        assert all(word.box in ((0, 0, 20, 20), (20, 0, 40, 20)) for word in hit.words)
    assert search_captions(seeing, gallery, photo, explain=False).hits[0].words == ()


def test_a_table_names_captions_by_their_image(seeing, photo, tmp_path):
    table = tmp_path / "captions.tsv"
    table.write_text("split\timage\tcaption\ntrain\ta.jpg\ta dog\ntest\tb.jpg\ta cat\ntrain\ta.jpg\tman\n")
    index_captions(table, seeing, tmp_path / "g")
    found = search_captions(seeing, CaptionGallery.open(tmp_path / "g", seeing.bundle), photo)
    assert {hit.id: hit.caption for hit in found} == {"a.jpg#0": "a dog", "b.jpg#0": "a cat", "a.jpg#1": "man"}


def test_made_anew_it_holds_the_new_captions_alone(seeing, photo, captions, tmp_path, monkeypatch):
    index_captions(captions, seeing, tmp_path / "g")
    captions.write_text("a cat\n")

    def stop(*arguments):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shan_engine.base.manifests.replacing", stop)
        with pytest.raises(KeyboardInterrupt):
            index_captions(captions, seeing, tmp_path / "g")
    assert len(CaptionGallery.open(tmp_path / "g", seeing.bundle)) == len(MANY)
    assert len(list((tmp_path / "g" / "blocks").iterdir())) == 1
    for _ in range(2):
        index_captions(captions, seeing, tmp_path / "g")
    gallery = CaptionGallery.open(tmp_path / "g", seeing.bundle)
    assert [hit.caption for hit in search_captions(seeing, gallery, photo)] == ["a cat"]
    assert len(list((tmp_path / "g" / "blocks").iterdir())) <= 2


def test_a_gallery_of_the_wrong_kind_is_said(seeing, album, captions, tmp_path):
    with pytest.raises(GalleryError, match="is a gallery of photos, not of captions"):
        CaptionGallery.open(album / "gallery", seeing.bundle)
    with pytest.raises(GalleryError, match="is a gallery of photos"):
        index_captions(captions, seeing, album / "gallery")
    index_captions(captions, seeing, tmp_path / "g")
    with pytest.raises(GalleryError, match="is a gallery of captions, not of photos: search it with a photo"):
        Gallery.open(tmp_path / "g", seeing.bundle)


def test_what_cannot_be_opened_or_made(seeing, bundle_path, photo, captions, tmp_path):
    with pytest.raises(GalleryError, match="there is no gallery at"):
        CaptionGallery.open(tmp_path / "g", seeing.bundle)
    with pytest.raises(InputError, match=r"is not empty, it holds 'captions\.txt'"):
        index_captions(captions, seeing, tmp_path)
    index_captions(captions, seeing, tmp_path / "g")
    with pytest.raises(GalleryError, match=r"were encoded by bundle .*, not by"):
        CaptionGallery.open(tmp_path / "g", Bundle.open(bundle_path))
    gallery = CaptionGallery.open(tmp_path / "g", seeing.bundle)
    with pytest.raises(InputError, match="top-k is 0"):
        search_captions(seeing, gallery, photo, top_k=0)
    captions.write_text("a dog\n" + "dog " * 200 + "\n")
    with pytest.raises(InputError, match=r"caption 2 of .* has 200 words"):
        index_captions(captions, seeing, tmp_path / "g")
    assert len(CaptionGallery.open(tmp_path / "g", seeing.bundle)) == len(MANY)
    manifest = tmp_path / "g" / "manifest.json"
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**fields, "fingerprint": "0"}))
    with pytest.raises(GalleryError, match=r"not those that were written\): run `shan-engine repair .*/g`"):
        CaptionGallery.open(tmp_path / "g", seeing.bundle)
    for name in ("../../../etc", "0123456789AB"):
        sign_fields(manifest, **{**fields, "blocks": [{**fields["blocks"][0], "name": name}]})
        with pytest.raises(GalleryError, match="is not named by 12 hexadecimal characters"):
            CaptionGallery.open(tmp_path / "g", seeing.bundle)
    manifest.write_text(json.dumps({**fields, "version": 9}))
    with pytest.raises(GalleryError, match="schema 9, newer than 1"):
        CaptionGallery.open(tmp_path / "g", seeing.bundle)


def test_what_may_not_be_read_is_not_said_to_be_missing(seeing, tmp_path, monkeypatch):
    """Tests may run as root, to whom nothing is forbidden: the system's answer is made up."""

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    monkeypatch.setattr(Path, "stat", forbidden)
    openings = {
        GalleryError: (lambda: Gallery.open(tmp_path), lambda: CaptionGallery.open(tmp_path, seeing.bundle)),
        BundleError: (lambda: Bundle.open(tmp_path),),
    }
    for error, open_it in ((error, one) for error, several in openings.items() for one in several):
        with pytest.raises(error, match=r"cannot read .*/manifest\.json: Permission denied; check its permissions"):
            open_it()
    with pytest.raises(StoreError, match=r"the store .* cannot be opened: permission denied, let its owner"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize("name", ["caption_words.npy", "captions.jsonl"])
def test_a_changed_byte_is_named(seeing, photo, captions, tmp_path, name):
    index_captions(captions, seeing, tmp_path / "g")
    (file,) = (tmp_path / "g").glob(f"blocks/*/{name}")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=f"{name} is damaged"):
        search_captions(seeing, CaptionGallery.open(tmp_path / "g", seeing.bundle), photo)


def test_without_the_kernel_scores_are_the_same(seeing, photo, captions, tmp_path, monkeypatch):
    index_captions(captions, seeing, tmp_path / "g")
    gallery = CaptionGallery.open(tmp_path / "g", seeing.bundle)
    compiled = search_captions(seeing, gallery, photo, top_k=99)
    monkeypatch.setenv("SHAN_KERNEL", "off")
    seeing = Scorer(seeing.bundle, "cpu", threads=1)
    plain = search_captions(seeing, gallery, photo, top_k=99)
    scores = {hit.id: hit.score for hit in plain}
    np.testing.assert_allclose([hit.score for hit in compiled], [scores[hit.id] for hit in compiled], atol=1e-5)
