"""The text side of a vision-language model, as training starts from it."""

from __future__ import annotations

from dataclasses import dataclass

from shan_engine.text.hugging_face import HuggingFaceTokenizer
from torch import Tensor

from shan_model.clip.config import ClipTextConfig


@dataclass(frozen=True)
class PretrainedText:
    """Sizes, tensors as `ClipText` names them, size D of the joint space, and the tokenizer.

    `source` names the model's folder and weights: so begin the names of the feature extractors made of it.
    """

    source: str
    config: ClipTextConfig
    state: dict[str, Tensor]
    embed_dim: int
    tokenizer: HuggingFaceTokenizer
