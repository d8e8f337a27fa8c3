"""Scores of models such as CLIP, whose two encoders are trained elsewhere: a cosine, and late interaction.

Regions V are B x K x D. Row 0 stands for the whole image (CLIP's class token), the others for its parts. Words T are
C x (n + 1) x D: a row for each token, and last one for the whole caption.

- `clip`: the cosine of the whole image and the whole caption, as these models are trained (Radford et al., ICML 2021).
- `late`: beside that cosine, MaxSim (Yao et al., FILIP, ICLR 2022): each word's greatest cosine with a part of the
  image, averaged over the words. It tells which part a word means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from shan_model.config import ModelConfig, is_number
from shan_model.encoders import TextEncoder
from shan_model.norms import l2_normalise
from shan_model.retrieval import GridScores, RetrievalModel, Terms

SCORERS = ("clip", "late")
LEAST_COSINE = -1.0
"""Of a word with what is no part of an image: the whole image, and padding."""


@dataclass(frozen=True, kw_only=True)
class VisionLanguageConfig(ModelConfig):
    """Which score, and what a word's mean MaxSim weighs beside the cosine of the whole image.

    `feature_dim` is `embed_dim`: features are in the joint space already. `source` says what the encoders are.
    """

    model: ClassVar[str] = "vision-language"
    source: str
    scorer: str = "clip"
    late_weight: float = 0.1
    steps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_one_of("scorer", SCORERS)
        self.demand(["late_weight"], lambda value: is_number(value, int, float) and value >= 0, "a number, at least 0")


class VisionLanguage(RetrievalModel):
    """Two encoders into one space. Features B x K x D come from the image encoder, the text encoder is given."""

    Config = VisionLanguageConfig

    def __init__(self, config: VisionLanguageConfig, text_encoder: TextEncoder) -> None:
        super().__init__(config)
        self.scorer, self.late_weight = config.scorer, config.late_weight
        self.text_encoder = text_encoder

    def build_image_encoder(self) -> nn.Module:
        """Features to rows of length 1."""
        return Normalise()

    def build_text_encoder(self) -> TextEncoder:
        """None yet: it is given."""
        return NoTextEncoder()

    def parts(self) -> dict[str, dict[str, float]]:
        """The cosine of whole image and caption is a part beside MaxSim, and `clip`'s whole score."""
        return {"global": {"weight": 1.0}} if self.scorer == "late" else {}

    def image_terms(self, regions: Tensor, region_mask: Tensor) -> Terms:
        """All regions for `late`, the whole image for `clip`."""
        if self.scorer == "late":
            return {"image_regions": regions, "region_mask": region_mask}
        return {"image_vector": regions[:, 0]}

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """The words for `late`, the whole caption for `clip`."""
        if self.scorer == "late":
            return {"caption_words": words[:, :-1], "word_mask": word_mask[:, :-1]}
        return {"query_vector": words[:, -1]}

    def image_vectors(self, features: Tensor, region_mask: Tensor) -> Terms:
        """The whole image, for the part `global` beside `late`."""
        return {"image_vector": l2_normalise(features[:, 0])} if self.scorer == "late" else {}

    def caption_vectors(self, tokens: Tensor, lengths: Tensor, words: Tensor, word_mask: Tensor) -> Terms:
        """The whole caption, for the same."""
        return {"query_vector": words[:, -1]} if self.scorer == "late" else {}

    def score_grid(self, image: Terms, caption: Terms, *, last_step: str | None = None) -> GridScores:
        """Score every image with every caption."""
        if self.scorer == "clip":
            scores = image["image_vector"] @ caption["query_vector"].T
            return GridScores(scores, scores[..., None], None)
        V, T = image["image_regions"], caption["caption_words"]
        (B, K, _), (C, n, _) = V.shape, T.shape
        cosines = (V.flatten(0, 1) @ T.flatten(0, 1).T).reshape(B, K, C, n)
        cosines = torch.where(parts_of(image["region_mask"])[:, :, None, None], cosines, LEAST_COSINE)
        scores = self.late_weight * mean_of_words(cosines.amax(1), caption["word_mask"])
        return GridScores(scores, scores[..., None], cosines.permute(0, 2, 3, 1))

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """The same of P aligned pairs, P x 1."""
        if self.scorer == "clip":
            return (regions[:, 0] * words[:, -1]).sum(-1, keepdim=True)
        cosines = (words[:, :-1] @ regions.transpose(1, 2)).masked_fill(~parts_of(region_mask)[:, None], LEAST_COSINE)
        return self.late_weight * mean_of_words(cosines.amax(-1), word_mask[:, :-1])[:, None]


def parts_of(region_mask: Tensor) -> Tensor:
    """The mask B x K without row 0, which stands for the whole image."""
    return region_mask & (torch.arange(region_mask.shape[1], device=region_mask.device) > 0)


def mean_of_words(values: Tensor, word_mask: Tensor) -> Tensor:
    """The mean of values ... x n over the words that a mask keeps; 0 where it keeps none."""
    return (values * word_mask).sum(-1) / word_mask.sum(-1).clamp_min(1)


class Normalise(nn.Module):
    """Rows scaled to length 1."""

    def forward(self, features: Tensor) -> Tensor:
        """Features B x K x D to regions B x K x D."""
        return l2_normalise(features)


class NoTextEncoder(TextEncoder):
    """Stands where the text encoder is not given yet."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """There is nothing to run."""
        raise NotImplementedError("give the model its text encoder")
