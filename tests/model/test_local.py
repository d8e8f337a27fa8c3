"""The compiled first step of training against the plain module, scores and gradients."""

from __future__ import annotations

import pytest
import torch
from shan_engine.kernel.library import variants
from shan_model.config import ShanConfig
from shan_model.norms import l2_normalise
from shan_model.shan import local
from shan_model.shan.network import Shan
from shan_model.training.grid import score_first_step

B, C, K, D = 5, 7, 6, 24


def model_of(direction):
    torch.manual_seed(1)
    config = ShanConfig(
        feature_dim=8,
        vocab_size=9,
        embed_dim=D,
        word_vector_dim=4,
        embedding_dim=4,
        direction=direction,
        steps=("l2l",),
    )
    return Shan(config)


def sides(most_words):
    """Regions, their mask, words and their mask, of any lengths."""
    torch.manual_seed(2)
    V, T = (l2_normalise(torch.randn(*shape)) for shape in ((B, K, D), (C, most_words, D)))
    region_mask = torch.arange(K) < torch.tensor([6, 1, 4, 6, 2])[:, None]
    lengths = torch.tensor([1, 3, 16, 17, 2, 9, 40]).clamp_max(most_words)
    word_mask = torch.arange(most_words) < lengths[:, None]
    return V, region_mask, T * word_mask[:, :, None], word_mask


def plain(model, V, region_mask, T, word_mask):
    """Step scores B x C x steps by the plain module."""
    rows, columns = (x.flatten() for x in torch.meshgrid(torch.arange(B), torch.arange(C), indexing="ij"))
    return model.alignment(V[rows], region_mask[rows], T[columns], word_mask[columns]).reshape(B, C, -1)


def with_gradients(model, score, V, T):
    V, T = V.clone().requires_grad_(), T.clone().requires_grad_()
    scores = score(l2_normalise(V), l2_normalise(T))
    wanted = [V, T, model.alignment.image_proj.weight, model.alignment.text_proj.weight]
    weights = torch.linspace(-1, 2, scores.numel()).reshape(scores.shape)
    return [scores.detach(), *torch.autograd.grad((scores * weights).sum(), wanted)]


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("direction", ["full", "i2t", "t2i"])
@pytest.mark.parametrize("most_words", [3, 16, 40])
def test_scores_and_gradients_are_those_of_the_plain_module(monkeypatch, variant, direction, most_words):
    monkeypatch.setenv("SHAN_KERNEL", variant)
    local.library.cache_clear()
    model = model_of(direction)
    V, region_mask, T, word_mask = sides(most_words)

    def compiled(V, T):
        image, caption = model.image_terms(V, region_mask), model.caption_terms(T, word_mask)
        scores = model.compiled_first_step(image, caption)
        assert scores is not None
        return scores

    found = with_gradients(model, compiled, V, T)
    expected = with_gradients(model, lambda V, T: plain(model, V, region_mask, T, word_mask)[..., 0], V, T)
    local.library.cache_clear()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)


def test_what_the_kernel_does_not_take_goes_through_pytorch():
    model = model_of("full").double()
    V, region_mask, T, word_mask = sides(16)
    image, caption = model.image_terms(V.double(), region_mask), model.caption_terms(T.double(), word_mask)
    assert model.compiled_first_step(image, caption) is None
    expected = plain(model, V.double(), region_mask, T.double(), word_mask)[..., 0]
    torch.testing.assert_close(score_first_step(model, image, caption), expected)
