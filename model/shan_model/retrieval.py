"""What every model is: two encoders into one space, and a score made of each side's terms.

A model is one module with its configuration, and a registration (`registry.py`). It builds its own encoders. It defines
its score twice: `pair_scores` is a direct reference implementation, pair by pair; `score_grid` computes it from terms,
as training and the exported graphs do. Export checks that both are equal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from shan_model.config import ModelConfig
from shan_model.encoders import ImageEncoder, TextEncoder

Terms = dict[str, Tensor]


class GridScores(NamedTuple):
    """`scores` B x C, their parts `step_scores` B x C x steps, tokens' weights over regions B x C x n x K or None."""

    scores: Tensor
    step_scores: Tensor
    word_attention: Tensor | None


class GlobalTerm(NamedTuple):
    """Cosines B x C of a vector of each image and of each caption, and what they add to a score."""

    cosines: Tensor
    weighted: Tensor


class RetrievalModel(nn.Module, ABC):
    """Base of the models; `steps` names the steps of its score.

    A score may have further parts, which the engine adds: `parts` names them, and they need `image_vectors` and
    `caption_vectors`.
    """

    Config: ClassVar[type[ModelConfig]]
    summary: ClassVar[str] = ""
    """What the score is, in a line, as `shan-engine models` prints it."""
    explains: ClassVar[bool] = True
    """Whether the score tells which regions a word means, with the default settings."""
    adds_words: ClassVar[bool] = False
    """Whether `trained_copy` can add words that no caption has, by their vectors alone."""
    text_sources: ClassVar[tuple[str, ...]] = ("word vectors",)
    """What its text side may start from in training (`training/text.py`); nothing, if it can only be imported."""
    keeps_regions: ClassVar[bool] = False
    """Whether the score depends on a region's place, or on how many there are. Training then leaves none out."""
    first_region_is_whole: ClassVar[bool] = False
    """Whether row 0 of the features stands for the whole image; then training never drops it."""
    frozen: tuple[str, ...] = ()
    """How the names of tensors begin that training leaves as they are. Its states do not hold them."""
    steps: tuple[str, ...] = ("score",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = self.build_image_encoder()
        self.text_encoder = self.build_text_encoder()

    def build_image_encoder(self) -> nn.Module:
        """A module from features B x K x F to regions V, B x K x D, whose rows have length 1: here a linear layer."""
        return ImageEncoder(feature_dim=self.config.feature_dim, embed_dim=self.config.embed_dim)

    @abstractmethod
    def build_text_encoder(self) -> TextEncoder:
        """The encoder of captions: a GRU, a transformer or another."""

    def trained_state(self) -> dict[str, Tensor]:
        """The tensors that training changes, by name."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(self.frozen)}

    def trained_copy(self, state: Mapping[str, Tensor], vectors: Tensor) -> Self:
        """A copy on the CPU with trained weights `state`. A model that `adds_words` takes the words of `vectors`."""
        return self._copy(self.config, {**self.state_dict(), **state})

    def _copy(self, config: ModelConfig, state: Mapping[str, Tensor]) -> Self:
        with torch.device("meta"):
            made = type(self)(config)
        made.load_state_dict({name: tensor.cpu() for name, tensor in state.items()}, assign=True)
        return made

    @property
    def most_tokens(self) -> int | None:
        """The longest text that the model can read, in tokens; None where any can be."""
        return None

    @abstractmethod
    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """What a score needs of an image, from V (B x K x D, rows of length 1) and its mask (B x K).

        A term is B x K x anything, B x K x K if its name ends in `_gram`, B x D if it ends in `_vector`. If V is among
        them, as `image_regions`, a gallery stores V alone; the other terms are computed from it again.
        """

    @abstractmethod
    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """What a score needs of a caption, from T (C x n x D, rows of length 1) and its mask (C x n).

        A term is C x n x anything, or C x n x n if its name ends in `_gram`. If the mask is among them, as `word_mask`,
        training scores captions of similar length together. Otherwise a term is a vector, C x D.
        """

    def image_vectors(self, features: Tensor, region_mask: Tensor) -> Terms:
        """Vectors of an image for further parts of a score, from its features (B x K x F); here none.

        `image_vector`, B x D of length 1, is for the global term.
        """
        return {}

    def caption_vectors(self, tokens: Tensor, lengths: Tensor, words: Tensor, word_mask: Tensor) -> Terms:
        """The same of a caption: `query_vector` C x D, and, except in training, `class_weights` C x L. Here none."""
        return {}

    def encode_images(self, features: Tensor, region_mask: Tensor) -> Terms:
        """Terms and vectors of images: features B x K x F, mask B x K."""
        terms = self.image_terms(self.image_encoder(features), region_mask)
        return {**terms, **self.image_vectors(features, region_mask)}

    def encode_captions(self, tokens: Tensor, lengths: Tensor) -> Terms:
        """Terms and vectors of captions: tokens C x n, lengths C."""
        words, mask = self.text_encoder(tokens, lengths)
        return {**self.caption_terms(words, mask), **self.caption_vectors(tokens, lengths, words, mask)}

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that `class_weights` are of; here none."""
        return []

    def parts(self) -> dict[str, dict[str, float]]:
        """Settings of the score's further parts by name, as a bundle's manifest lists them."""
        return {}

    @abstractmethod
    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Every image with every caption, by all steps or by those up to `last_step`.

        For a model of several steps, the loss also scores aligned pairs: P grids with B = C = 1. Then the terms of both
        sides have a leading axis P, and the scores are P x 1 x 1.
        """

    def compiled_first_step(self, image: Terms, caption: Terms) -> Tensor | None:
        """Scores B x C by the first step in compiled code, with gradients; None if there is no such code for them."""
        return None

    def global_term(self, image: Terms, caption: Terms) -> GlobalTerm | None:
        """The part of the score that compares one vector a side; None if the model has none."""
        return None

    def kernel_constants(self) -> dict[str, Tensor]:
        """What the engine's kernel needs to score SHAN's terms; empty if the kernel cannot score this model."""
        return {}

    @abstractmethod
    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """The reference: V, T and their masks of P aligned pairs to step scores, P x steps."""

    def forward(self, features: Tensor, region_mask: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Scores of P aligned pairs: features P x K x F, mask P x K, tokens P x n, lengths P to P."""
        regions = self.image_encoder(features)
        words, word_mask = self.text_encoder(tokens, lengths)
        return self.pair_scores(regions, region_mask, words, word_mask).sum(-1)
