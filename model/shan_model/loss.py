"""Bidirectional triplet loss with the hardest negatives, on pairs alone (SHAN.md; VSE++)."""

from __future__ import annotations

import torch
from torch import Tensor

from .factorised import Terms, score_grid
from .scoring import grid_in_chunks
from .shan import Shan

CANDIDATES = 2


def mined_loss(model: Shan, image: Terms, caption: Terms, margin: float, *, hardest: bool) -> Tensor:
    """Triplet losses over B images with their B captions, without ever holding B x B x K x D numbers.

    Step 1, several times cheaper than the rest, scores all B x B pairs and has a loss of its own: with it alone
    the later steps start from a ranking that means something, and their loss needs the pairs that it finds
    hardest only. With `hardest` each row's and column's hardest negative counts (VSE++). Without, all count:
    hardest negatives alone leave a fresh model on the plateau where own and negative scores are equal.
    """
    first = grid_in_chunks(model, image, caption, last_step="l2l", images=32)
    loss = grid_hinge(first, margin, hardest=hardest)
    if len(model.config.steps) == 1:
        return loss
    images, captions = hardest_pairs(first.detach(), CANDIDATES)
    pair_image = {name: term[images][:, None] for name, term in image.items()}
    pair_caption = {name: term[captions][:, None] for name, term in caption.items()}
    pairs = score_grid(model.alignment, pair_image, pair_caption).scores[:, 0, 0]
    return loss + pair_hinge(pairs, len(first), margin, hardest=hardest)


def grid_hinge(scores: Tensor, margin: float, *, hardest: bool) -> Tensor:
    """Mean over the batch of max(0, margin - own + negative), both ways, from scores B x B (own pairs diagonal).

    With `hardest` only the worst negative of each row and column counts, else the sum over all.
    """
    own = scores.diagonal()
    negatives = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    by_image = (margin - own[:, None] + scores).clamp_min(0) * negatives
    by_caption = (margin - own[None, :] + scores).clamp_min(0) * negatives
    if hardest:
        return (by_image.amax(1).sum() + by_caption.amax(0).sum()) / len(scores)
    return (by_image.sum() + by_caption.sum()) / len(scores)


def hardest_pairs(scores: Tensor, negatives: int) -> tuple[Tensor, Tensor]:
    """Image and caption numbers of the pairs that the loss needs, from scores B x B (own pairs diagonal).

    First the B own pairs, then for every image its `negatives` hardest captions, then for every caption
    its hardest images.
    """
    count = len(scores)
    own = torch.arange(count, device=scores.device)
    masked = scores.masked_fill(torch.eye(count, dtype=torch.bool, device=scores.device), -torch.inf)
    captions = masked.topk(negatives, dim=1).indices.flatten()
    images = masked.topk(negatives, dim=0).indices.T.flatten()
    repeated = own.repeat_interleave(negatives)
    return torch.cat([own, repeated, images]), torch.cat([own, captions, repeated])


def pair_hinge(pairs: Tensor, count: int, margin: float, *, hardest: bool) -> Tensor:
    """Mean over the batch of max(0, margin - own + negative), both ways; `pairs` as `hardest_pairs` orders them.

    With `hardest` only the worst of each row's and column's negatives counts, else their mean.
    """
    own, negatives = pairs[:count], pairs[count:].reshape(2, count, -1)
    hinge = (margin - own[None, :, None] + negatives).clamp_min(0)
    return (hinge.amax(-1) if hardest else hinge.mean(-1)).sum() / count
