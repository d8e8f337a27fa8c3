"""The choices of a training run, as the command line offers them: one `Literal` each.

Nothing is imported here but `typing`, so that the command line starts fast.
"""

from __future__ import annotations

from typing import Literal, get_args

Direction = Literal["full", "i2t", "t2i"]
"""Which side attends to which: regions to words (i2t), words to regions (t2i), or both."""

Loss = Literal["contrastive", "triplet"]
"""Ranking losses: InfoNCE, or hinges with a margin."""

Pooling = Literal["lse", "mean"]
"""How SCAN makes one score of its cosines."""

WordVectors = Literal["alone", "masked", "context"]
"""What a word of a sentence model sees: itself between markers, its own pieces, or the whole text."""

PublishedKind = Literal["scan", "vse_infty", "sgraf", "chan", "esa", "tern"]
"""Kinds of checkpoints that other authors published."""

TrainPrecision = Literal["auto", "float32", "bfloat16"]
"""What the encoders compute in; `auto` is bfloat16 where the machine has instructions for it."""

DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
LOSSES: tuple[Loss, ...] = get_args(Loss)
WORD_VECTORS: tuple[WordVectors, ...] = get_args(WordVectors)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
WHOLE = "all"
"""Layers of a text encoder that training changes: all, and its embeddings."""
