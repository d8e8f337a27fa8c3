"""SHAN's score with every linear layer moved out of the pair (docs/scoring.md): exact and far cheaper.

`image_terms` and `caption_terms` hold all that one side needs; `score_grid` only mixes them. Tensors may
have one more leading axis P: then pair p is image p with caption p, each with B = C = 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from shan_model.norms import cosine, l2_normalise, masked_mean, masked_softmax, safe_sqrt
from shan_model.retrieval import GridScores, Terms
from shan_model.shan.alignment import Alignment


def image_terms(alignment: Alignment, regions: Tensor, region_mask: Tensor) -> Terms:
    """What a score needs of an image, from V (B x K x D) and its mask (B x K, bool)."""
    terms = {
        "image_regions": regions,
        "region_mask": region_mask,
        "image_gram": regions @ regions.transpose(-1, -2),
    }
    if "g2l" in alignment.steps:
        own, _ = alignment.image_gate.weight.chunk(2, dim=1)
        _, attended = alignment.text_gate.weight.chunk(2, dim=1)
        terms["image_gate_term"] = regions @ own.T + alignment.image_gate.bias
        terms["image_attended_gate_term"] = regions @ attended.T
    return terms


def caption_terms(alignment: Alignment, words: Tensor, word_mask: Tensor) -> Terms:
    """What a score needs of a caption, from T (C x n x D) and its mask (C x n, bool).

    `caption_queries` is U = λ T W_t^T W_v, so that V U^T is λA.
    """
    queries = (words @ alignment.text_proj.weight.T) @ alignment.image_proj.weight
    terms = {
        "caption_words": words,
        "word_mask": word_mask,
        "caption_queries": alignment.temperature * queries,
        "caption_gram": words @ words.transpose(-1, -2),
    }
    if "g2l" in alignment.steps:
        own, _ = alignment.text_gate.weight.chunk(2, dim=1)
        _, attended = alignment.image_gate.weight.chunk(2, dim=1)
        terms["caption_gate_term"] = words @ own.T + alignment.text_gate.bias
        terms["caption_attended_gate_term"] = words @ attended.T
    return terms


def score_grid(alignment: Alignment, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
    """Every image with every caption, by all of the model's steps or those up to `last_step`."""
    names = alignment.steps if last_step is None else alignment.steps[: alignment.steps.index(last_step) + 1]
    a, b = alignment.region_weight, alignment.word_weight
    V, T = image["image_regions"], caption["caption_words"]
    B, K, n, C = V.shape[-3], V.shape[-2], T.shape[-2], T.shape[-3]
    by_region = image["region_mask"][..., :, :, None, None]  # B x K x 1 x 1
    by_word = caption["word_mask"][..., None, None, :, :]  # 1 x 1 x C x n

    # One product for all pairs; every pair's K x n numbers stay where it puts them, B x K x C x n.
    rows = V.flatten(-3, -2)  # BK x D
    affinity = _split_both(rows @ caption["caption_queries"].flatten(-3, -2).transpose(-1, -2), B, C)
    similarity = _split_both(rows @ T.flatten(-3, -2).transpose(-1, -2), B, C)
    alpha = masked_softmax(affinity, by_word, dim=-1)
    beta = masked_softmax(affinity, by_region, dim=-3)

    # Step 1: cosines from Gram matrices, so that neither t* nor v* exists.
    alpha_by_caption = alpha.flatten(-4, -3).transpose(-3, -2)  # C x BK x n
    spread = (alpha_by_caption @ caption["caption_gram"]).transpose(-3, -2).reshape(alpha.shape)
    region_cosines = (alpha * similarity).sum(-1) / safe_sqrt((alpha * spread).sum(-1))  # B x K x C
    beta_by_image = beta.flatten(-2, -1)  # B x K x Cn
    spread = (image["image_gram"] @ beta_by_image).reshape(beta.shape)
    word_cosines = (beta * similarity).sum(-3) / safe_sqrt((beta * spread).sum(-3))  # B x C x n
    local_regions = masked_mean(region_cosines.transpose(-1, -2), image["region_mask"][..., :, None, :])
    local_words = masked_mean(word_cosines, caption["word_mask"][..., None, :, :])
    steps = [a * local_regions + b * local_words]

    if "g2l" in names:  # Steps 2 and 3 on pooled vectors, B x C x D
        words_by_image = beta_by_image.transpose(-1, -2)  # B x Cn x K
        v_c = _pool(
            V[..., None, :, :, :],
            _split_rows(alpha_by_caption @ T, B, K),
            image["image_gate_term"][..., None, :, :, :],
            _split_rows(alpha_by_caption @ caption["caption_attended_gate_term"], B, K),
            alignment.image_pool.weight,
            image["region_mask"][..., None, :, :],
        ).transpose(-3, -2)
        t_c = _pool(
            T[..., None, :, :, :],
            _split_rows(words_by_image @ V, C, n),
            caption["caption_gate_term"][..., None, :, :, :],
            _split_rows(words_by_image @ image["image_attended_gate_term"], C, n),
            alignment.text_pool.weight,
            caption["word_mask"][..., None, :, :],
        )
        t_c_star = _attend_globally(v_c.transpose(-3, -2), T, caption["word_mask"], alignment.temperature).transpose(
            -3, -2
        )
        v_c_star = _attend_globally(t_c, V, image["region_mask"], alignment.temperature)
        steps.append(a * cosine(v_c, t_c_star) + b * cosine(t_c, v_c_star))
        if "g2g" in names:
            steps.append(cosine(v_c + t_c_star, t_c + v_c_star))

    step_scores = torch.stack(steps, dim=-1)
    return GridScores(step_scores.sum(-1), step_scores, beta.movedim(-3, -1))


def _split_both(products: Tensor, B: int, C: int) -> Tensor:
    """BK x Cn to B x K x C x n."""
    rows, columns = products.shape[-2:]
    return products.reshape(*products.shape[:-2], B, rows // B, C, columns // C)


def _split_rows(rows: Tensor, first: int, second: int) -> Tensor:
    """... x (first second) x D to ... x first x second x D."""
    return rows.reshape(*rows.shape[:-2], first, second, rows.shape[-1])


def _pool(local: Tensor, attended: Tensor, own: Tensor, mixed: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Gate, fuse and pool: X x Y x L x D to X x Y x D; `local` and `own` are 1 x Y x L x D."""
    fused = attended + torch.sigmoid(own + mixed) * (local - attended)
    weights = masked_softmax((fused @ weight.T).squeeze(-1), mask, dim=-1)
    return (weights[..., None, :] @ fused).squeeze(-2)


def _attend_globally(context: Tensor, local: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """What context (X x Y x D) attends to among local (X x L x D), X x Y x D; rows of local have length 1."""
    cosines = l2_normalise(context) @ local.transpose(-1, -2)
    return masked_softmax(temperature * cosines, mask[..., None, :], dim=-1) @ local
