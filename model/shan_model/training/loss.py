"""Ranking losses over a batch of images with a caption each, on pairs alone.

There are two kinds. `contrastive` (InfoNCE, Oord et al. 2018, in CLIP's form): softmax over the scores of a row or
column times a learnt scale. `triplet` (SHAN; VSE++): hinges with the hardest negatives, or with all of them in the
first epochs. A fresh model trained with the hardest alone stays on the plateau where all scores are equal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from shan_model.retrieval import RetrievalModel, Terms
from shan_model.training.grid import GridScorer, score_first_step, score_in_chunks

MAX_LOG_SCALE = math.log(100.0)
GLOBAL_SHARE = 0.3


class RankingLoss(nn.Module):
    """The loss of B images with their B captions, in less memory than B x B x K x D numbers.

    The model's first step, several times cheaper than the rest, scores all B x B pairs and has a loss of its own:
    with it alone the later steps start from a ranking that means something. Their loss needs only some pairs,
    `candidates` for each image and each caption: in a triplet loss those that the first step finds hardest, in a
    contrastive one some drawn with the probabilities that it gives them (of captions of like photos, the hardest are
    often right, and nothing but them is learnt by heart). Weighted so that they stand for all, they gain nothing
    (docs/experiments.md).

    With `candidates` 0 there is one loss alone, of the full score over all B x B pairs: the triplet loss is then
    SHAN's own. Of its hardest negatives only they and the own pairs have a gradient, so that all other scores are made
    without one; while all negatives count, and in a contrastive loss, it costs B x B full scores, each twice.

    A model's global term counts in the first step's loss, and has a loss of its own of weight `GLOBAL_SHARE`: a large
    gallery's first pass may rank by it alone.
    """

    def __init__(self, kind: str, *, candidates: int, margin: float, temperature: float) -> None:
        super().__init__()
        self.contrastive, self.candidates, self.margin = kind == "contrastive", candidates, margin
        # Of the first step, of the sum of all steps, which spans about twice as much, and of the global term.
        scales = torch.tensor([1 / temperature, 0.5 / temperature, 2 / temperature]).log()
        self.log_scales = nn.Parameter(scales, requires_grad=self.contrastive)

    def forward(
        self,
        model: RetrievalModel,
        image: Terms,
        caption: Terms,
        *,
        matches: Tensor | None = None,
        hardest: bool = False,
    ) -> Tensor:
        """The loss from both sides' terms; with `hardest` only the worst negatives count in a triplet loss.

        `matches` B x B tells which images a caption fits besides its own. By default it fits no other.
        """
        scales = self.log_scales.clamp_max(MAX_LOG_SCALE).exp()
        if matches is None:
            one = next(iter(image.values()))
            matches = torch.eye(len(one), dtype=torch.bool, device=one.device)
        if len(model.steps) > 1 and not self.candidates:
            if hardest and not self.contrastive:
                ranking = GridScorer(model).scores(image, caption)
                return self.of_pairs(model, image, caption, mine_pairs(ranking, 1, matches), scales[1], hardest)
            scores = score_in_chunks(model, image, caption, images=32, recompute=True)
            return self.of_grid(scores, scales[1], matches, hardest)
        first = score_first_step(model, image, caption)
        term = model.global_term(image, caption)
        loss = self.of_grid(first if term is None else first + term.weighted, scales[0], matches, hardest)
        if term is not None:
            loss = loss + GLOBAL_SHARE * self.of_grid(term.cosines, scales[2], matches, hardest)
        if len(model.steps) == 1:
            return loss
        ranking = (first * scales[0] + gumbel(first)).detach() if self.contrastive else first.detach()
        pairs = mine_pairs(ranking, self.candidates, matches)
        return loss + self.of_pairs(model, image, caption, pairs, scales[1], hardest)

    def of_grid(self, scores: Tensor, scale: Tensor, matches: Tensor, hardest: bool) -> Tensor:
        """The loss of scores B x B (own pairs diagonal) and the pairs that match."""
        if self.contrastive:
            return grid_contrastive(scores * scale, matches)
        return grid_hinge(scores, self.margin, matches, hardest)

    def of_pairs(
        self,
        model: RetrievalModel,
        image: Terms,
        caption: Terms,
        pairs: tuple[Tensor, Tensor],
        scale: Tensor,
        hardest: bool,
    ) -> Tensor:
        """The loss of the full score over `pairs` of image and caption numbers, as `mine_pairs` orders them."""
        images, captions = pairs
        # Not term[images]: of rows taken twice, its gradient is summed in an order that changes from run to run.
        pair_image = {name: term.index_select(0, images)[:, None] for name, term in image.items()}
        pair_caption = {name: term.index_select(0, captions)[:, None] for name, term in caption.items()}
        scores = model.score_grid(pair_image, pair_caption).scores[:, 0, 0]
        count = len(next(iter(image.values())))
        if self.contrastive:
            return pair_contrastive(scores * scale, count)
        return pair_hinge(scores, count, self.margin, hardest)


def gumbel(like: Tensor) -> Tensor:
    """Gumbel noise of the same shape. The k largest of logits plus noise are k draws from their softmax, none twice."""
    return -torch.empty_like(like).exponential_().log()


def grid_contrastive(logits: Tensor, matches: Tensor) -> Tensor:
    """Cross-entropy of finding a matching caption and a matching image, their mean, from logits B x B.

    `matches` B x B holds the pairs that match, own pairs among them; all of a row or column count alike.
    """
    wanted = matches.to(logits)
    losses = [-(wanted / wanted.sum(dim, keepdim=True) * logits.log_softmax(dim)).sum(dim).mean() for dim in (0, 1)]
    return sum(losses, torch.zeros_like(losses[0])) / 2


def grid_hinge(scores: Tensor, margin: float, matches: Tensor, hardest: bool) -> Tensor:
    """Mean over the batch of max(0, margin - own + negative), both ways, from scores B x B (own pairs diagonal).

    Pairs that match, B x B, are no negatives. With `hardest` only the worst negative of each row and column counts,
    else the sum over all.
    """
    own = scores.diagonal()
    by_image = (margin - own[:, None] + scores).clamp_min(0) * ~matches
    by_caption = (margin - own[None, :] + scores).clamp_min(0) * ~matches
    if hardest:
        return (by_image.amax(1).sum() + by_caption.amax(0).sum()) / len(scores)
    return (by_image.sum() + by_caption.sum()) / len(scores)


def mine_pairs(ranking: Tensor, negatives: int, matches: Tensor) -> tuple[Tensor, Tensor]:
    """Image and caption numbers of the pairs that the loss needs, from a ranking B x B (own pairs diagonal).

    First the B own pairs, then for every image the `negatives` other captions that rank highest, then for every
    caption such images. Pairs that match, B x B, come last.
    """
    count = len(ranking)
    negatives = min(negatives, count - 1)
    own = torch.arange(count, device=ranking.device)
    apart = ranking.masked_fill(matches, -torch.inf)
    captions = apart.topk(negatives, dim=1).indices.flatten()
    images = apart.T.topk(negatives, dim=1).indices.flatten()
    repeated = own.repeat_interleave(negatives)
    return torch.cat([own, repeated, images]), torch.cat([own, captions, repeated])


def pair_contrastive(logits: Tensor, count: int) -> Tensor:
    """Cross-entropy of finding the own pair among itself and the mined ones, mean over both ways.

    `logits` as `mine_pairs` orders the pairs of `count` images.
    """
    own, negatives = logits[:count], logits[count:].reshape(2, count, -1)
    choices = torch.cat([own[None, :, None].expand(2, -1, -1), negatives], dim=-1)
    return -choices.log_softmax(-1)[..., 0].mean()


def pair_hinge(pairs: Tensor, count: int, margin: float, hardest: bool) -> Tensor:
    """Mean over the batch of max(0, margin - own + negative), both ways; `pairs` as `mine_pairs` orders them.

    With `hardest` only the worst of each row's and column's negatives counts, else their mean.
    """
    own, negatives = pairs[:count], pairs[count:].reshape(2, count, -1)
    hinge = (margin - own[None, :, None] + negatives).clamp_min(0)
    return (hinge.amax(-1) if hardest else hinge.mean(-1)).sum() / count
