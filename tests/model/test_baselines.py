"""The baselines: their factorised scores are their plain ones, and those are the papers' formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shan_engine.base.errors import InputError
from shan_model.registry import MODELS, new_model
from shan_model.training.grid import score_in_chunks

SIZES = {"feature_dim": 11, "vocab_size": 30, "embed_dim": 16, "word_vector_dim": 6, "embedding_dim": 4}
SCANS = [{"direction": direction, "pooling": pooling} for direction in ("t2i", "i2t") for pooling in ("lse", "mean")]
PUBLISHED = [
    ("vse-infinity", {}),
    ("esa", {}),
    ("sgraf", {"module": "sgr"}),
    ("sgraf", {}),
    ("chan", {}),
    ("mlasm", {"whole_dim": 4}),
]
VARIANTS = [("shan", {}), ("vse", {}), ("tern", {"layers": 2}), *PUBLISHED, *(("scan", options) for options in SCANS)]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0], *map(str, variant[1].values())]))
def problem(request):
    """A model, and V, T and masks of 5 images and 4 captions of different sizes."""
    torch.manual_seed(0)
    model = new_model(request.param[0], request.param[1], **SIZES).double().eval()
    region_mask = torch.arange(7) < torch.tensor([7, 1, 3, 7, 5])[:, None]
    V = model.image_encoder(torch.randn(5, 7, 11, dtype=torch.float64))
    T, word_mask = model.text_encoder(torch.randint(3, 30, (4, 9)), torch.tensor([9, 3, 5, 1]))
    return model, V, region_mask, T, word_mask


def plain(model, V, region_mask, T, word_mask):
    rows = [model.pair_scores(V[i].expand(4, -1, -1), region_mask[i].expand(4, -1), T, word_mask) for i in range(5)]
    return torch.stack(rows)


def test_the_grid_is_every_pair(problem):
    model, V, region_mask, T, word_mask = problem
    with torch.no_grad():
        image, caption = model.image_terms(V, region_mask), model.caption_terms(T, word_mask)
        grid = model.score_grid(image, caption)
        torch.testing.assert_close(grid.step_scores, plain(*problem))
        torch.testing.assert_close(grid.scores, grid.step_scores.sum(-1))
        torch.testing.assert_close(score_in_chunks(model, image, caption, images=2, captions=3), grid.scores)
        if grid.word_attention is not None:
            total = grid.word_attention.sum(-1)
            torch.testing.assert_close(
                total[word_mask.expand_as(total)], torch.ones((), dtype=torch.float64).expand(90)
            )
            assert not grid.word_attention.masked_select(~region_mask[:, None, None, :]).any()


def test_masked_rows_never_count(problem):
    model, V, region_mask, T, word_mask = problem
    with torch.no_grad():
        expected = plain(*problem)
        V, T = V.clone(), T.clone()
        V[~region_mask], T[~word_mask] = 7.0, -3.0
        torch.testing.assert_close(plain(model, V, region_mask, T, word_mask), expected)


@pytest.mark.parametrize("options", SCANS, ids=str)
def test_scan_is_the_papers(options):
    """Equations 1 to 8 of Lee et al. 2018, in loops over numpy's float64."""
    random = np.random.default_rng(0)
    V, T = (
        rows / np.linalg.norm(rows, axis=1, keepdims=True)
        for rows in (random.normal(size=(6, 16)), random.normal(size=(4, 16)))
    )
    attending, attended = (T, V) if options["direction"] == "t2i" else (V, T)
    s = np.maximum(attended @ attending.T, 0)  # attended x attending
    s /= np.sqrt((s**2).sum(axis=1, keepdims=True)) + 1e-12
    relevances = []
    for column, row in zip(s.T, attending, strict=True):
        weights = np.exp(9 * column) / np.exp(9 * column).sum()
        context = sum(w * other for w, other in zip(weights, attended, strict=True))
        relevances.append(row @ context / np.linalg.norm(context) / np.linalg.norm(row))
    expected = np.mean(relevances)
    if options["pooling"] == "lse":
        expected = np.log(np.exp(6 * np.array(relevances)).sum()) / 6
    model = new_model("scan", options, **SIZES).double()
    mask = [torch.ones(1, len(rows), dtype=torch.bool) for rows in (V, T)]
    found = model.pair_scores(torch.from_numpy(V)[None], mask[0], torch.from_numpy(T)[None], mask[1])
    assert found.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("problem", [("vse", {})], indirect=True)
def test_vse_is_the_cosine_of_means(problem):
    model, V, region_mask, T, word_mask = problem
    V, T = V.detach().numpy(), T.detach().numpy()
    for i in range(5):
        for j in range(4):
            one, other = V[i][region_mask[i].numpy()].mean(0), T[j][word_mask[j].numpy()].mean(0)
            expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            assert plain(model, *problem[1:])[i, j, 0].item() == pytest.approx(expected)


def test_options_that_a_model_does_not_have():
    with pytest.raises(InputError, match="the model vse has no direction: its own settings are none"):
        new_model("vse", {"direction": "t2i"}, **SIZES)
    with pytest.raises(InputError, match="direction is 'full': it must be one of t2i, i2t"):
        new_model("scan", {"direction": "full"}, **SIZES)
    with pytest.raises(InputError, match="heads are 3: they must divide embed_dim 16"):
        new_model("tern", {"heads": 3}, **SIZES)
    with pytest.raises(InputError, match="'clip': it must be one of shan, scan, vse, tern"):
        new_model("clip", {}, **SIZES)
    assert list(MODELS)[:5] == ["shan", "scan", "vse", "tern", "sentence-shan"]
