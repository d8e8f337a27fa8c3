"""The settings of a training run, and the batches and learning rates that follow from them alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from shan_engine.captions import CaptionSplit


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train; `average` is the decay of the averaged weights.

    Dropout is given as probabilities: of whole regions, of single values of a region's feature, of a word's
    whole learnt embedding, and of single values of an embedded word.

    Every negative counts in the first `warmup_epochs`, after them the hardest alone. The defaults never get there:
    on Flickr8k, hardest negatives alone sat on the plateau where own and negative scores are equal (measured: the
    loss is then the number of hinges x 2 x `margin`). The setting stays for larger sets.

    `dev_images` is how many images of split `dev` choose the best epoch.
    """

    epochs: int = 5
    batch_size: int = 128
    learning_rate: float = 8e-4
    warmup_steps: int = 200
    warmup_epochs: int = 5
    margin: float = 0.2
    embed_dim: int = 256
    embedding_dim: int = 64
    temperature: float = 9.0
    direction: str = "full"
    steps: tuple[str, ...] = ("l2l", "g2l", "g2g")
    region_dropout: float = 0.33
    feature_dropout: float = 0.2
    embedding_dropout: float = 0.5
    word_dropout: float = 0.1
    average: float = 0.998
    gradient_clip: float = 2.0
    dev_images: int = 200
    min_count: int = 4
    open_vocabulary: bool = True
    seed: int = 0
    device: str = "auto"


def epoch_batches(training: CaptionSplit, config: TrainConfig, epoch: int) -> list[list[int]]:
    """Caption numbers of every batch of an epoch, a function of the seed and the epoch alone.

    All images of a batch differ, so captions of one image are never each other's negatives.
    """
    random = np.random.default_rng((config.seed, epoch))
    order = random.permutation(len(training.captions))
    by_image: dict[int, list[int]] = {}
    for caption in order:
        by_image.setdefault(int(training.caption_images[caption]), []).append(int(caption))
    batches = []
    for turn in range(max(len(captions) for captions in by_image.values())):
        row = [captions[turn] for captions in by_image.values() if len(captions) > turn]
        random.shuffle(row)
        batches += [row[i : i + config.batch_size] for i in range(0, len(row), config.batch_size)]
    return [batch for batch in batches if len(batch) == config.batch_size]


def schedule(step: int, total: int, warmup: int) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup))) / 2
