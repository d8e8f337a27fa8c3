"""The paper's sizes, F = 2048 and D = 1024: run with `-m slow`."""

from __future__ import annotations

import numpy as np
import pytest
from oracle import shan_score
from shan_engine.bundle.contents import Bundle
from shan_engine.scoring.scorer import Scorer

F, D = 2048, 1024
REGIONS = (36, 20, 1)
CAPTIONS = ([1, 9, 4, 17, 6, 2], [1, *range(4, 24), 2], [5])

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def large(make_checkpoint, exported, tmp_path_factory):
    """A checkpoint of the paper's sizes, a scorer of its bundle, and photos K x F."""
    checkpoint = make_checkpoint(seed=7, feature_dim=F, embed_dim=D, word_vector_dim=300, embedding_dim=64)
    bundle = tmp_path_factory.mktemp("large") / "bundle"
    assert exported(checkpoint.folder, bundle).parity < 1e-4
    random = np.random.default_rng(3)
    photos = [np.abs(random.normal(size=(count, F))).astype(np.float32) for count in REGIONS]
    return checkpoint, Scorer(Bundle.open(bundle), "cpu"), photos


def step_scores(scorer, photos, captions, *, regions=None, words=None):
    """Images x captions x steps, all padded to so many regions and words."""
    features = np.zeros((len(photos), regions or max(map(len, photos)), F), np.float32)
    mask = np.arange(features.shape[1]) < np.array([len(photo) for photo in photos])[:, None]
    features[mask] = np.concatenate(photos)
    longest = [[1, *[3] * (words - 2), 2]] if words else []  # left out again
    encoded = scorer.encoders.encode_captions([*captions, *longest])
    found = scorer.explain(scorer.encoders.encode_images(features, mask), encoded)["step_scores"]
    return found[:, : len(captions)]


def test_scores_are_the_papers(large):
    checkpoint, scorer, photos = large
    expected = [
        [shan_score(checkpoint.tensors, checkpoint.config, photo, caption) for caption in CAPTIONS] for photo in photos
    ]
    found = step_scores(scorer, photos, CAPTIONS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), np.sum(expected, -1), rtol=0, atol=1e-4)


def test_neither_padding_nor_batching_changes_a_score(large):
    _, scorer, photos = large
    together = step_scores(scorer, photos, CAPTIONS)
    padded = step_scores(scorer, photos, CAPTIONS, regions=100, words=60)
    alone = [[step_scores(scorer, [photo], [caption])[0, 0] for caption in CAPTIONS] for photo in photos]
    np.testing.assert_allclose(padded, together, rtol=0, atol=1e-5)
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-5)
