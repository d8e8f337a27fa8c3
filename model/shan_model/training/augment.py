"""Random changes to a training batch, so that a model does not memorise a small set of photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import dropout

from shan_model.encoders import TextDropout
from shan_model.retrieval import RetrievalModel, Terms
from shan_model.training.data import RegionSource
from shan_model.training.loss import RankingLoss
from shan_model.training.schedule import TrainConfig


@dataclass(frozen=True)
class Batch:
    """Images B x K x F and one caption each, as tensors on the device; `matches` B x B, own pairs diagonal."""

    features: Tensor
    region_mask: Tensor
    tokens: Tensor
    lengths: Tensor
    matches: Tensor


def mix_views(
    views: Sequence[RegionSource], ids: Sequence[str], holders: NDArray[np.bool_], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features B x K x F and mask B x K of images, each from a randomly chosen view, such as its mirror image.

    `holders` B x V tells which views have an image; each image needs at least one.
    """
    chosen = (holders * (1 - random.random(holders.shape))).argmax(1)
    parts = [(np.flatnonzero(chosen == number).tolist(), view) for number, view in enumerate(views)]
    read = [(rows, *view.regions([ids[row] for row in rows])) for rows, view in parts if len(rows)]
    most = max(mask.shape[1] for _, _, mask in read)
    features = np.zeros((len(ids), most, read[0][1].shape[2]), np.float32)
    masks = np.zeros((len(ids), most), np.bool_)
    for rows, held, mask in read:
        features[rows, : held.shape[1]], masks[rows, : mask.shape[1]] = held, mask
    return features, masks


def augmented_loss(
    model: RetrievalModel, loss: RankingLoss, batch: Batch, config: TrainConfig, *, hardest: bool
) -> Tensor:
    """The loss of a batch after all random changes; the encoders run in `config.precision`."""
    image, caption = augmented_terms(model, batch, config)
    value: Tensor = loss(model, image, caption, matches=batch.matches, hardest=hardest)
    return value


def augmented_terms(model: RetrievalModel, batch: Batch, config: TrainConfig) -> tuple[Terms, Terms]:
    """Terms and vectors of a batch's images and captions, with dropout of regions, features, words and rows."""
    with torch.autocast(batch.features.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
        features, mask = batch.features, batch.region_mask
        if not model.keeps_regions:
            features, mask = drop_regions(features, mask, config.region_dropout, first=model.first_region_is_whole)
        features = drop_values(features, config.feature_dropout)
        regions = model.image_encoder(features)
        rates = TextDropout(embedding=config.embedding_dropout, values=config.word_dropout)
        words, word_mask = model.text_encoder.forward_with_dropout(batch.tokens, batch.lengths, rates)
        vectors = (
            model.image_vectors(features, mask),
            model.caption_vectors(batch.tokens, batch.lengths, words, word_mask),
        )
    # Scores in float32: between 2 and 4, bfloat16 has steps of 1/64, too coarse to rank by.
    image = model.image_terms(dropout(regions, config.row_dropout).float(), mask)
    caption = model.caption_terms(dropout(words, config.row_dropout).float(), word_mask)
    image_vectors, caption_vectors = ({name: x.float() for name, x in side.items()} for side in vectors)
    return {**image, **image_vectors}, {**caption, **caption_vectors}


def drop_regions(features: Tensor, mask: Tensor, probability: float, *, first: bool = False) -> tuple[Tensor, Tensor]:
    """A random choice of every image's real regions, the rest cut off: B x K' x F and mask B x K'.

    With `first`, row 0 stays where it is.
    """
    kept = (mask.sum(1) * (1 - probability)).round().long().clamp_min(1)
    places = torch.rand(mask.shape, device=mask.device) + ~mask
    if first:
        places[:, 0] = -1
    chosen = places.argsort(dim=1)[:, : int(kept.max())]
    among = torch.arange(chosen.shape[1], device=mask.device) < kept[:, None]
    return features.gather(1, chosen[:, :, None].expand(-1, -1, features.shape[2])), mask.gather(1, chosen) & among


def drop_values(x: Tensor, probability: float) -> Tensor:
    """Dropout with one random byte for each value: a few times as fast as torch's. Rounds `probability` to 256ths."""
    if not probability:
        return x
    words = torch.empty((x.numel() + 7) // 8, dtype=torch.int64, device=x.device).random_(-(2**63), None)
    keep = words.view(torch.uint8)[: x.numel()].view(x.shape) >= round(256 * probability)
    return x * keep / (1 - probability)
