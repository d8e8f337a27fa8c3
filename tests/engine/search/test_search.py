from __future__ import annotations

import numpy as np
import pytest
from gallery_scores import by_id, matrix
from oracle import shan_score
from resigned import sign_again
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.evaluation.evaluate import evaluate_split
from shan_engine.evaluation.recall import recall
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing import encoding
from shan_engine.jobs.run import score_job
from shan_engine.scoring.passes import caption_groups, group_scores
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.store.records import pad_regions
from shan_engine.text.captions import CaptionTable
from shan_engine.text.query_files import numbered
from tiny import CAPTIONS, make_record


@pytest.fixture(params=["kernel", "onnx-runtime"], autouse=True)
def way(request, scorer, monkeypatch) -> None:
    """Both ways to a score; where the kernel is not built, ONNX Runtime twice."""
    if request.param == "onnx-runtime":
        monkeypatch.setenv("SHAN_KERNEL", "off")
        scorer = Scorer(scorer.bundle, "cpu", threads=1)


def test_a_gallerys_scores_are_the_papers(scorer, checkpoint, gallery_path, tmp_path):
    """Photos with 1 to 9 regions, padded together; captions of 1 to 21 words, padded together."""
    gallery = Gallery.open(gallery_path, scorer.bundle)
    assert len(gallery) == 41
    found = by_id(scorer, gallery, tmp_path)
    for number in (0, 1, 3, 6, 12, 40):
        record = make_record(number)
        for row, caption in enumerate(CAPTIONS):
            expected = shan_score(
                checkpoint.tensors, checkpoint.config, record.features, scorer.encoders.tokens(caption)
            )
            assert found[record.id][row] == pytest.approx(sum(expected), abs=1e-4)


def test_padding_and_batching_never_change_a_score(scorer, tmp_path):
    records = [make_record(number) for number in range(8)]
    tokens = [scorer.encoders.tokens(caption) for caption in CAPTIONS]
    together = scorer.score_pairs(
        scorer.encoders.encode_images(*pad_regions(records)),
        scorer.encoders.encode_captions(tokens),
    )
    for i, record in enumerate(records):
        alone = scorer.encoders.encode_images(*pad_regions([record]))
        wider = scorer.encoders.encode_images(*encoding.pad_to([record], 15))
        for c, caption in enumerate(tokens):
            words = scorer.encoders.encode_captions([caption])
            for image in (alone, wider):
                assert scorer.score_pairs(image, words)[0, 0] == pytest.approx(together[i, c], abs=1e-5)


def test_small_calls_give_the_same_matrix(scorer, gallery_path, tmp_path, monkeypatch):
    gallery = Gallery.open(gallery_path)
    whole = matrix(scorer, gallery, tmp_path)
    monkeypatch.setattr("shan_engine.backends.graph_scorer.CALL_FLOATS", 1)
    monkeypatch.setattr("shan_engine.backends.compiled.scorer.LEAST_IMAGES", 1)
    monkeypatch.setattr("shan_engine.scoring.passes.MAX_CAPTIONS", 2)
    monkeypatch.setattr("shan_engine.scoring.passes.GROUP_CAPTIONS", 3)
    cut, done = np.empty_like(whole), []
    tokens = [scorer.encoders.tokens(caption) for caption in CAPTIONS]
    for group in caption_groups(scorer, tokens, 4 * len(gallery)):
        for rows, images, scores in group_scores(scorer, gallery, group, done.append):
            cut[group.numbers][rows, images] = scores.T
    np.testing.assert_allclose(cut, whole, rtol=0, atol=1e-5)
    assert done == sorted(done)
    assert done[-1] == whole.size


def test_search_is_the_top_of_the_matrix(scorer, gallery_path, tmp_path, monkeypatch):
    gallery = Gallery.open(gallery_path)
    scores = matrix(scorer, gallery, tmp_path)
    images = gallery.images()
    monkeypatch.setattr("shan_engine.scoring.passes.GROUP_CAPTIONS", 3)
    for top_k, columns in ((1, 1024), (7, 1024), (500, 1024), (3, 1), (7, 9)):
        monkeypatch.setattr("shan_engine.search.ranking.MERGED_COLUMNS", columns)
        monkeypatch.setattr("shan_engine.backends.graph_scorer.CALL_FLOATS", 4_000_000 if columns == 1024 else 1)
        monkeypatch.setattr("shan_engine.backends.compiled.scorer.LEAST_IMAGES", 128 if columns == 1024 else 1)
        results = search(scorer, gallery, CAPTIONS, top_k=top_k, explain=False)
        assert [result.query for result in results] == list(CAPTIONS)
        for row, result in zip(scores, results, strict=True):
            order = np.argsort(-row, kind="stable")[:top_k]
            assert [hit.image for hit in result.hits] == [images[place] for place in order]
            assert [hit.rank for hit in result.hits] == list(range(1, len(order) + 1))
            np.testing.assert_allclose([hit.score for hit in result.hits], row[order], rtol=0, atol=1e-6)


def test_a_hit_explains_itself(scorer, gallery_path):
    gallery, query = Gallery.open(gallery_path), "a dog runs ."
    result = search(scorer, gallery, [query], top_k=41)[0]
    rows = scorer.encoders.encode_captions([scorer.encoders.tokens(query)])["caption_words"][0]
    words = scorer.encoders.read(query).words
    ids = gallery.ids()
    for hit in result.hits:
        assert sum(hit.step_scores) == pytest.approx(hit.score, abs=1e-5)
        assert [word.word for word in hit.words] == ["dog", "runs"]  # "a" and "." name nothing to see
        number = int(hit.image.id.removeprefix("photo"))
        record = make_record(number)
        block, row = gallery.find(ids.index(hit.image.id))
        cosines = block.rows_of([row])["image_regions"][0] @ rows[[words[1].tokens[0], words[2].tokens[0]]].T
        for word, own in zip(hit.words, cosines[: len(record.features)].T, strict=True):
            assert word.region == own.argmax()
            assert word.weight == pytest.approx(own.max(), abs=1e-5)
            if record.boxes is None:
                assert word.box is None
            else:
                assert word.box == pytest.approx(tuple(record.boxes[word.region]))


def test_evaluation_is_recall_of_the_matrix(scorer, gallery_path, tmp_path):
    gallery = Gallery.open(gallery_path)
    images = ["photo9", "photo2", "photo30"]
    rows = [("test", images[m % 3], caption) for m, caption in enumerate(CAPTIONS)]
    (tmp_path / "c.tsv").write_text("split\timage\tcaption\n" + "".join("\t".join(row) + "\n" for row in rows), "utf-8")
    table = CaptionTable.read(tmp_path / "c.tsv")
    found = by_id(scorer, gallery, tmp_path)
    expected = recall(np.stack([found[id] for id in images]), table.split("test").caption_images)
    outcome = evaluate_split([(scorer, gallery)], table, "test")
    assert outcome.recall == expected
    assert (outcome.images, outcome.captions) == (3, 5)
    (tmp_path / "c.tsv").write_text("split\timage\tcaption\ntest\tnobody\ta dog\n")
    with pytest.raises(InputError, match="nobody"):
        evaluate_split([(scorer, gallery)], CaptionTable.read(tmp_path / "c.tsv"), "test")


def test_a_query_is_cut_where_the_model_takes_no_more(scorer, gallery_path):
    whole, longer = search(scorer, Gallery.open(gallery_path), ["dog " * 126, "dog " * 126 + "cat " * 174])
    assert (whole.left_out, longer.left_out) == (0, 174)
    for one, other in zip(whole.hits, longer.hits, strict=True):
        assert (one.image, pytest.approx(one.score, abs=1e-5)) == (other.image, other.score)


def test_queries_that_cannot_be_answered(scorer, gallery_path, tmp_path):
    gallery = Gallery.open(gallery_path)
    with pytest.raises(InputError, match="empty"):
        search(scorer, gallery, [" "])
    with pytest.raises(InputError, match="the query '\\?!' has no word: describe"):
        search(scorer, gallery, ["a dog", "?!"])
    with pytest.raises(InputError, match="top-k is 0"):
        search(scorer, gallery, ["a dog"], top_k=0)
    with pytest.raises(InputError, match="127 words, the model takes 126"):
        score_job(scorer, [gallery], numbered(["dog " * 127]), tmp_path / "bad.npy")
    with pytest.raises(InputError, match=r"caption 2: .* empty"):
        score_job(scorer, [gallery], numbered(["a dog", ""]), tmp_path / "bad.npy")
    with pytest.raises(InputError, match=r"\.npy"):
        score_job(scorer, [gallery], numbered(["a dog"]), tmp_path / "bad.txt")
    with pytest.raises(InputError, match="no captions"):
        score_job(scorer, [gallery], [], tmp_path / "bad.npy")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_no_number_names_the_image(scorer, gallery_copy, tmp_path, value):
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    array = np.load(file)
    array[17] = value
    np.save(file, array)
    sign_again(gallery_copy)
    gallery = Gallery.open(gallery_copy)
    table = CaptionTable(tmp_path, (("test", "photo3", "a dog"), ("test", "photo17", "a cat")))
    for action in (
        lambda: search(scorer, gallery, ["a dog"], top_k=2),
        lambda: score_job(scorer, [gallery], numbered(CAPTIONS), tmp_path / "scores.npy"),
        lambda: evaluate_split([(scorer, gallery)], table, "test"),
    ):
        with pytest.raises(GalleryError, match=r"'photo17' of the gallery .* NaN or infinite score: delete .* index"):
            action()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "scores.npy.job"]
    part = gallery.restricted_to(["photo16", "photo18"])
    assert len(search(scorer, part, ["a dog"])[0].hits) == 2
