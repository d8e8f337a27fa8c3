"""Questions of several parts: their scores are the weighted sums of separate exhaustive searches'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.kernel.library import variants
from shan_engine.search.answer import search
from shan_engine.search.photo_query import QueryPhoto, open_extractor, step_1
from shan_engine.search.query import UNWANTED, Phrase, Query
from shan_engine.search.tuning import StageWidths
from tiny import CAPTIONS, EXTRACTOR, make_store

IMAGES = 300


def read_photo(path, scorer, extractor=None):
    return QueryPhoto.read(path, scorer.encoders, lambda: open_extractor(scorer.bundle, extractor))


HAS_KERNEL = bool(variants())


@pytest.fixture(scope="module")
def coded(scorer, tmp_path_factory) -> Gallery:
    """A gallery that is searched in stages."""
    folder = tmp_path_factory.mktemp("combined")
    with make_store(folder / "store", range(IMAGES)) as store:
        index_store(store, scorer, folder / "gallery", sizes=BlockSizes(128, staged_from=100))
    return Gallery.open(folder / "gallery")


@pytest.fixture(scope="module")
def photos(scorer, coded) -> dict[str, QueryPhoto]:
    """Photos that are in the gallery, as if they had been read from files."""
    found = {}
    for number in (3, 40, 250):
        block, row = coded.find(number)
        found[f"photo{number}"] = QueryPhoto(
            Path(block.images_at([row])[0].path), block.rows_of([row]), block.boxes(row)
        )
    return found


@pytest.fixture(scope="module")
def alone(scorer, coded, photos) -> dict[str, dict[str, float]]:
    """Every image's score with each caption and each photo, from separate exhaustive searches."""
    questions = [Query((Phrase(caption),)) for caption in CAPTIONS]
    questions += [Query(photo=photo) for photo in photos.values()]
    found = search(scorer, coded, questions, top_k=IMAGES, exhaustive=True, explain=False)
    return {
        name: {hit.image.id: hit.score for hit in result.hits}
        for name, result in zip([*CAPTIONS, *photos], found, strict=True)
    }


WEIGHTS = st.floats(0.1, 2.0)


@settings(max_examples=12)
@given(
    phrases=st.lists(st.tuples(st.sampled_from(CAPTIONS), WEIGHTS, st.sampled_from([1, -1])), max_size=4),
    photo=st.sampled_from([None, "photo3", "photo40", "photo250"]),
    photo_weight=WEIGHTS,
    exhaustive=st.booleans(),
)
def test_a_combined_search_is_the_sum_of_separate_ones(
    scorer, coded, photos, alone, phrases, photo, photo_weight, exhaustive
):
    weighted = [Phrase(text, weight * sign) for text, weight, sign in phrases]
    if photo is None and not any(phrase.weight > 0 for phrase in weighted):
        weighted.append(Phrase(CAPTIONS[0]))
    question = Query(tuple(weighted), photos.get(photo or ""), photo_weight)
    expected = dict.fromkeys(next(iter(alone.values())), 0.0)
    for phrase in weighted:
        expected = {id: score + phrase.weight * alone[phrase.text][id] for id, score in expected.items()}
    if photo is not None:
        expected = {id: score + photo_weight * alone[photo][id] for id, score in expected.items()}
    (found,) = search(scorer, coded, [question], top_k=IMAGES, exhaustive=exhaustive, recall_target=1.0, explain=False)
    assert (found.stages is None) == (exhaustive or not HAS_KERNEL)
    assert len(found.hits) == IMAGES
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    np.testing.assert_allclose(scores, [expected[hit.image.id] for hit in found.hits], atol=2e-5)


@pytest.mark.skipif(not HAS_KERNEL, reason="the kernel is not built")
def test_few_seen_in_steps_have_their_exact_scores(scorer, coded, photos):
    widths = StageWidths(150, 40)
    question = Query((Phrase(CAPTIONS[0]), Phrase(CAPTIONS[1], -0.4)), photos["photo40"], 0.5)
    found, plain = search(scorer, coded, [question, CAPTIONS[0]], top_k=10, widths=widths)
    exact, _ = search(scorer, coded, [question, CAPTIONS[0]], top_k=IMAGES, exhaustive=True)
    scores = {hit.image.id: hit.score for hit in exact.hits}
    assert (found.stages.step_1, found.stages.all_steps, found.stages.proven) == (150, 40, False)
    assert all(hit.score == pytest.approx(scores[hit.image.id], abs=2e-5) for hit in found.hits)
    assert len({hit.image.id for hit in found.hits} & {hit.image.id for hit in exact.hits[:10]}) >= 5
    assert plain == search(scorer, coded, [CAPTIONS[0]], top_k=10, widths=widths)[0]


@pytest.mark.parametrize("exhaustive", [True, False])
def test_step_scores_add_up_and_words_are_those_wanted(scorer, coded, photos, exhaustive):
    question = Query((Phrase("a dog"), Phrase("the grass", 0.5), Phrase("red hat", -0.4)), photos["photo3"], 0.7)
    (found,) = search(scorer, coded, [question], top_k=5, exhaustive=exhaustive)
    for hit in found.hits:
        assert len(hit.step_scores) == 3
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=2e-5)
        assert [word.word for word in hit.words] == ["dog", "grass"]


def test_a_photo_is_most_like_itself(scorer, coded, photos):
    for name, photo in photos.items():
        hits = search(scorer, coded, [Query(photo=photo)], top_k=3, exhaustive=True)[0].hits
        assert hits[0].image.id == name
        assert hits[0].score > hits[1].score
        assert hits[0].step_scores[0] == pytest.approx(hits[0].score, abs=1e-5)
        assert hits[0].words == ()


@pytest.mark.parametrize("direction", ["full", "i2t", "t2i"])
def test_without_the_kernel_photos_are_as_alike(make_checkpoint, exported, tmp_path, monkeypatch, direction):
    from shan_engine.bundle.contents import Bundle
    from shan_engine.scoring.scorer import Scorer

    if not HAS_KERNEL:
        pytest.skip("the kernel is not built")
    bundle = tmp_path / "bundle"
    exported(make_checkpoint(direction=direction).folder, bundle, feature_extractor_name=EXTRACTOR)
    scorer = Scorer(Bundle.open(bundle), "cpu", threads=1)
    with make_store(tmp_path / "s", range(30)) as store:
        index_store(store, scorer, tmp_path / "g")
    gallery = Gallery.open(tmp_path / "g")
    stored = gallery.blocks[0].rows_of(np.arange(30))
    photo = QueryPhoto(tmp_path / "x.jpg", gallery.blocks[0].rows_of([7]), gallery.blocks[0].boxes(7))
    compiled = step_1(scorer, stored, photo.as_caption())
    monkeypatch.setenv("SHAN_KERNEL", "off")
    scorer = Scorer(scorer.bundle, "cpu", threads=1)
    np.testing.assert_allclose(step_1(scorer, stored, photo.as_caption()), compiled, atol=2e-5)
    (found,) = search(scorer, gallery, [Query((Phrase("a dog"),), photo)], top_k=30, explain=False)
    text = {hit.image.id: hit.score for hit in search(scorer, gallery, ["a dog"], top_k=30, explain=False)[0].hits}
    for hit in found.hits:
        place = gallery.ids().index(hit.image.id)
        assert hit.score == pytest.approx(text[hit.image.id] + compiled[place], abs=5e-5)


def test_a_photo_file_is_read_as_extract_reads_it(seeing, album):
    gallery = Gallery.open(album / "gallery")
    for number in (0, 11):
        photo = read_photo(album / "photos" / f"{number:02}.png", seeing)
        block, row = gallery.find(gallery.ids().index(f"{number:02}.png"))
        np.testing.assert_allclose(photo.images["image_regions"], block.rows_of([row])["image_regions"], atol=1e-6)
        np.testing.assert_allclose(photo.boxes, block.boxes(row))
        (found,) = search(seeing, gallery, [Query(photo=photo)], top_k=1)
        assert found.hits[0].image.id == f"{number:02}.png"
        assert found.query == f"like {number:02}.png"


def test_photos_that_cannot_be_asked_with(seeing, scorer, tmp_path):
    from extractors import backbone

    with pytest.raises(InputError, match="there is no photo"):
        read_photo(tmp_path / "nowhere.jpg", seeing)
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(InputError, match=r"text\.jpg cannot be decoded"):
        read_photo(tmp_path / "text.jpg", seeing)
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    with pytest.raises(InputError, match=r"has no feature extractor to read .* --extractor"):
        read_photo(tmp_path / "black.png", scorer)
    with pytest.raises(InputError, match=r"is the extractor 'map', the bundle .* was trained on 'halves'"):
        read_photo(tmp_path / "black.png", seeing, backbone(tmp_path))


def test_phrases_are_read_with_their_weights():
    question = Query.of("a dog: brown", also=["on grass:0.5", "running"], without=["snow", "a cat:2"])
    assert question.phrases == (
        Phrase("a dog: brown"),
        Phrase("on grass", 0.5),
        Phrase("running", 1.0),
        Phrase("snow", -UNWANTED),
        Phrase("a cat", -2.0),
    )
    assert str(question) == "a dog: brown, with on grass (0.5), with running (1), without snow (0.4), without a cat (2)"
    assert str(Query.of(None, also=["a dog:2"], without=["snow"])) == "with a dog (2), without snow (0.4)"
    for text, said in (
        ("snow:lots", "the phrase 'snow:lots' has the weight 'lots': give a number above 0"),
        ("snow:-1", "has the weight '-1'"),
        ("snow:0", "has the weight '0'"),
        ("snow:nan", "has the weight 'nan'"),
        ("snow:inf", "has the weight 'inf'"),
        ("snow:1e39", "has the weight '1e39': give a number above 0, at most 1,000, after the colon"),
        (" ", "a phrase to search with or without is empty"),
        (":0.5", "a phrase to search with or without is empty"),
    ):
        with pytest.raises(InputError, match=said):
            Query.of("a dog", without=[text])


def test_no_weight_is_so_large_that_scores_become_infinite(photos):
    assert Query((Phrase("a dog", 1000.0), Phrase("snow", -1000.0)))
    with pytest.raises(InputError, match=r"the weight of 'snow' is -1e\+39: give at most 1,000"):
        Query((Phrase("a dog"), Phrase("snow", -1e39)))
    with pytest.raises(InputError, match=r"the photo's weight is 1e\+39: give a number above 0, at most 1,000"):
        Query.of("a dog", photo=photos["photo3"], photo_weight=1e39)


def test_something_must_be_wanted(scorer, coded, photos):
    for question in (Query.of(None), Query.of(None, without=["a dog"])):
        with pytest.raises(InputError, match="nothing to search for"):
            search(scorer, coded, [question])
    with pytest.raises(InputError, match="the photo's weight is -1"):
        Query.of(None, photo=photos["photo3"], photo_weight=-1)
    assert len(search(scorer, coded, [Query.of(None, also=["a dog"])])[0].hits) == 10
