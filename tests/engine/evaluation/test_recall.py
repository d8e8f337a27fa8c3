from __future__ import annotations

import numpy as np
import pytest
from shan_engine.base.errors import InputError
from shan_engine.evaluation import recall as recall_module
from shan_engine.evaluation.recall import recall


def test_recall_against_brute_force(monkeypatch):
    monkeypatch.setattr(recall_module, "BLOCK_ROWS", 10)  # several blocks, the last one shorter
    random = np.random.default_rng(0)
    images, captions = 23, 60
    owner = np.concatenate([np.arange(images), random.integers(0, images, captions - images)])
    scores = random.normal(size=(images, captions)).astype(np.float32)
    scores[owner, np.arange(captions)] += 1
    found = recall(scores, owner)
    text = [
        1
        + min(
            sum(scores[i, m] > scores[i, own] for m in range(captions) if owner[m] != i)
            for own in np.flatnonzero(owner == i)
        )
        for i in range(images)
    ]
    image = [1 + sum(scores[i, m] > scores[owner[m], m] for i in range(images)) for m in range(captions)]
    for cut, value in zip((1, 5, 10), found.text_retrieval, strict=True):
        assert value == pytest.approx(100 * np.mean([rank <= cut for rank in text]))
    for cut, value in zip((1, 5, 10), found.image_retrieval, strict=True):
        assert value == pytest.approx(100 * np.mean([rank <= cut for rank in image]))
    assert found.text_ranks == pytest.approx((np.median(text), np.mean(text)))
    assert found.image_ranks == pytest.approx((np.median(image), np.mean(image)))
    assert found.rsum == pytest.approx(sum(found.text_retrieval) + sum(found.image_retrieval))


def test_a_tie_counts_against_the_right_answer():
    outcome = recall(np.zeros((3, 3), np.float32), np.arange(3))
    assert outcome.text_ranks == outcome.image_ranks == (3, 3)


def test_recall_refuses_nan_and_an_image_without_captions():
    with pytest.raises(InputError, match="NaN"):
        recall(np.full((2, 2), np.nan, np.float32), np.arange(2))
    with pytest.raises(InputError, match="no caption"):
        recall(np.zeros((3, 2), np.float32), np.arange(2))


def test_intervals_are_those_of_images_drawn_again_with_their_captions():
    random = np.random.default_rng(1)
    owner = np.concatenate([np.arange(40), random.integers(0, 40, 60)])
    found = recall_module.Ranks(random.integers(1, 20, 40), random.integers(1, 20, 100), owner)
    intervals = found.intervals(resamples=4000)
    drawn = []
    for _ in range(4000):
        images = random.integers(0, 40, 40)
        captions = np.concatenate([np.flatnonzero(owner == image) for image in images])
        drawn.append([(found.text[images] <= 5).mean() * 100, (found.image[captions] <= 10).mean() * 100])
    expected = np.percentile(drawn, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose([intervals["text_retrieval_r5"], intervals["image_retrieval_r10"]], expected, atol=1.5)
    assert intervals["rsum"][0] < found.recall().rsum < intervals["rsum"][1]


def test_joined_ranks_are_the_mean_of_equal_folds():
    random = np.random.default_rng(2)
    folds = [
        recall_module.Ranks(random.integers(1, 15, 10), random.integers(1, 15, 20), np.arange(20) // 2)
        for _ in range(3)
    ]
    whole = recall_module.joined(folds)
    for name in ("text_retrieval", "image_retrieval"):
        mean = np.mean([getattr(fold.recall(), name) for fold in folds], axis=0)
        np.testing.assert_allclose(getattr(whole.recall(), name), mean)
    assert whole.caption_images.tolist() == (np.arange(60) // 2).tolist()
