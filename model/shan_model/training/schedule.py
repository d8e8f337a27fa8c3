"""The settings of a training run, and its batches and learning rates, which depend on them only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from shan_engine.text.captions import CaptionSplit

from shan_model.choices import LOSSES, WHOLE
from shan_model.config import Settings, is_number


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """How to train; `average` is the decay of the averaged weights.

    `model` is a registered name. `options` are the model's own settings, such as SHAN's direction and steps.

    Dropout probabilities: of whole regions, of single values of a region's feature, of a word's whole learnt embedding,
    of single values of an embedded word, and of single values of encoded rows.

    `loss` is `contrastive`, starting at the temperature `loss_temperature`, or `triplet` with `margin`. In a triplet
    loss all negatives count in the first `warmup_epochs`, then the hardest only. `candidates` is how many mined
    negatives each image and caption has in the loss of the full score. 0 puts all pairs of the batch in one loss of the
    full score. `warmup_steps` are training steps.

    Of a pretrained text encoder, training changes the last `tuned_layers` layers, or `all`, at `text_learning_rate`.

    `phrases` is the share of captions that a training step replaces by a short phrase of theirs (phrases.py).

    `dev_images` images of split `dev` choose the best epoch. Training ends after `patience` epochs without improvement.
    `precision` of the encoders is float32 or bfloat16 (autocast), `auto` bfloat16 on a GPU and on a CPU
    that has instructions for it; scores and loss are float32.
    """

    owner: ClassVar[str] = "training's"
    model: str = "shan"
    options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 12
    patience: int = 3
    batch_size: int = 128
    learning_rate: float = 8e-4
    tuned_layers: int | str = 0
    text_learning_rate: float = 5e-5
    warmup_steps: int = 200
    loss: str = "contrastive"
    loss_temperature: float = 0.1
    candidates: int = 2
    margin: float = 0.2
    warmup_epochs: int = 6
    embed_dim: int = 256
    embedding_dim: int = 64
    region_dropout: float = 0.5
    feature_dropout: float = 0.3
    embedding_dropout: float = 0.5
    word_dropout: float = 0.2
    row_dropout: float = 0.1
    average: float = 0.998
    gradient_clip: float = 2.0
    precision: str = "auto"
    dev_images: int = 200
    min_count: int = 4
    phrases: float = 0.0
    open_vocabulary: bool = True
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Raise InputError, naming the setting, for a value that is not allowed."""
        shares = (
            "region_dropout",
            "feature_dropout",
            "embedding_dropout",
            "word_dropout",
            "row_dropout",
            "average",
            "phrases",
        )
        self.demand(shares, lambda value: is_number(value, int, float) and 0 <= value < 1, "a number from 0 to below 1")
        self.demand_positive("learning_rate", "text_learning_rate", "margin", "loss_temperature", "gradient_clip")
        self.demand_counts("epochs", "patience", "batch_size", "embed_dim", "embedding_dim", "dev_images", "min_count")
        whole = ("warmup_steps", "warmup_epochs", "candidates", "seed")
        self.demand(whole, lambda value: is_number(value, int) and value >= 0, "a whole number, at least 0")
        self.demand(["open_vocabulary"], lambda value: isinstance(value, bool), "true or false")
        self.demand_one_of("loss", LOSSES)
        self.demand(
            ["tuned_layers"],
            lambda value: value == WHOLE or (is_number(value, int) and value >= 0),
            f"a whole number, at least 0, or {WHOLE}",
        )


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
