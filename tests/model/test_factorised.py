from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shan_model.norms import l2_normalise
from shan_model.shan.alignment import Alignment
from shan_model.shan.factorised import caption_terms, image_terms, score_grid

STEPS = ("l2l", "g2l", "g2g")


@st.composite
def problems(draw):
    """An alignment, and regions and words with masks, from drawn sizes and a drawn seed."""
    images, regions, captions, words = (draw(st.integers(1, most)) for most in (3, 7, 3, 6))
    dim = draw(st.sampled_from([8, 13, 24]))
    direction = draw(st.sampled_from(["full", "i2t", "t2i"]))
    steps = STEPS[: draw(st.integers(1, 3))]
    torch.manual_seed(draw(st.integers(0, 2**31)))
    alignment = Alignment(
        embed_dim=dim, temperature=draw(st.sampled_from([1.0, 9.0])), direction=direction, steps=steps
    )
    masks = []
    for count, size in ((images, regions), (captions, words)):
        mask = torch.rand(count, size) < draw(st.sampled_from([0.3, 0.8, 1.0]))
        mask[torch.arange(count), torch.randint(size, (count,))] = True
        masks.append(mask)
    V = l2_normalise(torch.randn(images, regions, dim, dtype=torch.float64))
    T = l2_normalise(torch.randn(captions, words, dim, dtype=torch.float64)) * masks[1][:, :, None]
    return alignment.double(), V, masks[0], T, masks[1]


def plain(alignment, V, region_mask, T, word_mask):
    rows = [
        alignment(V[i].expand(len(T), -1, -1), region_mask[i].expand(len(T), -1), T, word_mask) for i in range(len(V))
    ]
    return torch.stack(rows)


def factorised(alignment, V, region_mask, T, word_mask, **options):
    return score_grid(
        alignment, image_terms(alignment, V, region_mask), caption_terms(alignment, T, word_mask), **options
    )


@given(problems())
@settings(max_examples=60)
def test_factorised_is_plain(problem):
    alignment, V, region_mask, T, word_mask = problem
    with torch.no_grad():
        expected = plain(*problem)
        found = factorised(*problem)
        torch.testing.assert_close(found.step_scores, expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(found.scores, expected.sum(-1), rtol=0, atol=1e-9)
        single = factorised(alignment.float(), V.float(), region_mask, T.float(), word_mask)
        torch.testing.assert_close(single.step_scores.double(), expected, rtol=0, atol=1e-5)
        weights = found.word_attention
        assert weights.shape == (len(V), len(T), T.shape[1], V.shape[1])
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        assert weights.masked_select(~region_mask[:, None, None, :]).abs().sum() == 0


@given(problems())
@settings(max_examples=20)
def test_a_leading_axis_pairs_image_p_with_caption_p(problem):
    alignment, V, region_mask, T, word_mask = problem
    with torch.no_grad():
        image, caption = image_terms(alignment, V, region_mask), caption_terms(alignment, T, word_mask)
        grid = score_grid(alignment, image, caption)
        count = len(V) * len(T)
        i, c = torch.arange(count) // len(T), torch.arange(count) % len(T)
        pairs = score_grid(
            alignment,
            {name: term[i][:, None] for name, term in image.items()},
            {name: term[c][:, None] for name, term in caption.items()},
        )
    assert pairs.scores.shape == (count, 1, 1)
    torch.testing.assert_close(pairs.scores.reshape(len(V), len(T)), grid.scores, rtol=0, atol=1e-12)
    torch.testing.assert_close(pairs.step_scores.reshape(grid.step_scores.shape), grid.step_scores, rtol=0, atol=1e-12)


@given(problems())
@settings(max_examples=20)
def test_gradients_are_finite_and_those_of_the_plain_form(problem):
    alignment, V, region_mask, T, word_mask = problem
    gradients = []
    for score in (lambda *p: plain(*p).sum(), lambda *p: factorised(*p).scores.sum()):
        alignment.zero_grad()
        regions, words = V.clone().requires_grad_(), T.clone().requires_grad_()
        # Rows of length 1 are part of the factorised form's contract.
        score(
            alignment, l2_normalise(regions), region_mask, l2_normalise(words) * word_mask[:, :, None], word_mask
        ).backward()
        found = [regions.grad, words.grad, *(p.grad for p in alignment.parameters() if p.grad is not None)]
        assert all(bool(torch.isfinite(gradient).all()) for gradient in found)
        gradients.append(found)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@given(problems(), st.integers(1, 4))
@settings(max_examples=20)
def test_padding_changes_nothing(problem, extra):
    alignment, V, region_mask, T, word_mask = problem
    with torch.no_grad():
        expected = factorised(*problem).step_scores
        more_V = torch.cat([V, l2_normalise(torch.randn(len(V), extra, V.shape[2], dtype=V.dtype))], dim=1)
        more_T = torch.cat([T, torch.zeros(len(T), extra, T.shape[2], dtype=T.dtype)], dim=1)
        masks = [
            torch.cat([mask, torch.zeros(len(mask), extra, dtype=torch.bool)], dim=1)
            for mask in (region_mask, word_mask)
        ]
        found = factorised(alignment, more_V, masks[0], more_T, masks[1]).step_scores
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("last", STEPS)
def test_last_step_cuts_the_sum(last):
    torch.manual_seed(0)
    alignment = Alignment(embed_dim=8).double()
    V, T = (l2_normalise(torch.randn(2, size, 8, dtype=torch.float64)) for size in (5, 4))
    masks = torch.ones(2, 5, dtype=torch.bool), torch.ones(2, 4, dtype=torch.bool)
    with torch.no_grad():
        whole = factorised(alignment, V, masks[0], T, masks[1])
        cut = factorised(alignment, V, masks[0], T, masks[1], last_step=last)
    count = STEPS.index(last) + 1
    torch.testing.assert_close(cut.step_scores, whole.step_scores[..., :count])
    torch.testing.assert_close(cut.scores, whole.step_scores[..., :count].sum(-1))
