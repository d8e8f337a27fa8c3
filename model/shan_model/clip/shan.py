"""SHAN over frozen tokens of a vision-language model, beside that model's own cosine.

Features are what the model's image encoder gives (`shan_export.vision_language.towers`): row 0 for the whole image, the
others for its regions, all in the joint space. The cosine of whole image and whole text is the global term, so the
alignment steps re-rank what it finds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.functional import gelu

from shan_model.bert.pieces import pooled_words, some_row, word_starts
from shan_model.clip.config import ClipShanConfig
from shan_model.clip.text import ClipText
from shan_model.encoders import TextDropout, TextEncoder
from shan_model.norms import l2_normalise
from shan_model.read_once import ReadOnce, padded_rows
from shan_model.retrieval import GlobalTerm, Terms
from shan_model.shan.network import AlignedModel

GLOBAL_WEIGHT = 10.0
"""At the start: with the loss's scale of 10, the scale of 100 at which these models are trained."""


class Adapter(nn.Module):
    """l2(x + W2 GELU(W1 x + b1)) of rows x of length 1; W2 starts from 0, so that rows stay as they are at first."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden) if hidden else None
        self.output = nn.Linear(hidden, dim, bias=False) if hidden else None
        if self.output is not None:
            nn.init.zeros_(self.output.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows ... x D of any length to rows of length 1."""
        unit = l2_normalise(rows)
        if self.hidden is None or self.output is None:
            return unit
        return l2_normalise(unit + self.output(gelu(self.hidden(unit))))


class ClipWords(TextEncoder):
    """Rows of length 1, C x (n + 1) x D: of each word in the place of its first token, and last of the whole text.

    The mask C x (n + 1) keeps the words between the markers. All but the adapter is frozen.
    """

    piece_kinds: Tensor

    def __init__(self, config: ClipShanConfig) -> None:
        super().__init__()
        self.before, self.after = config.text.before, config.text.after
        self.clip = ClipText(config.text, vocab_size=config.vocab_size, embed_dim=config.embed_dim)
        self.clip.requires_grad_(False)
        self.register_buffer("piece_kinds", torch.zeros(config.vocab_size, 3, dtype=torch.bool))
        self.adapter = Adapter(config.embed_dim, config.adapter)
        self._read_once = ReadOnce()

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        states = self.states(tokens, lengths)
        return self.adapted(states[:, :-1], states[:, -1], tokens, lengths)

    def forward_with_dropout(self, tokens: Tensor, lengths: Tensor, dropout: TextDropout) -> tuple[Tensor, Tensor]:
        """The same, with single values of the words left out."""
        if tokens.device.type != "cpu":
            states = self.states(tokens, lengths)
            words, whole = states[:, :-1], states[:, -1]
        else:
            known = self._read_once(self.states, tokens, lengths)
            words, whole = (
                padded_rows([one[:-1] for one in known], tokens.shape[1]),
                torch.stack([x[-1] for x in known]),
            )
        return self.adapted(dropped(words, dropout.values), whole, tokens, lengths)

    @torch.no_grad()
    def states(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Each word's mean row, and last what stands for the whole text: C x (n + 1) x D, not scaled."""
        rows, whole = self.clip(tokens, lengths)
        return torch.cat([pooled_words(rows, *word_starts(self.piece_kinds, tokens, lengths)), whole[:, None]], dim=1)

    def adapted(self, words: Tensor, whole: Tensor, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, from words C x n x D and whole texts C x D."""
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        starts, _ = word_starts(self.piece_kinds, tokens, lengths)
        mask = some_row(starts & (places >= self.before) & (places < lengths[:, None] - self.after))
        rows = self.adapter(words) * mask[..., None]
        none = torch.zeros_like(mask[:, :1])
        return torch.cat([rows, l2_normalise(whole)[:, None]], dim=1), torch.cat([mask, none], dim=1)


class ClipShan(AlignedModel):
    """SHAN's steps over words and regions, plus a learnt weight times the model's own cosine."""

    Config = ClipShanConfig
    summary = "SHAN over the frozen tokens of a CLIP or SigLIP, beside its own cosine"
    config: ClipShanConfig
    text_encoder: ClipWords
    text_sources = ("vision-language model",)
    first_region_is_whole = True
    frozen = ("text_encoder.clip.", "text_encoder.piece_kinds")

    def __init__(self, config: ClipShanConfig) -> None:
        super().__init__(config)
        self.global_weight = nn.Parameter(torch.tensor(GLOBAL_WEIGHT))

    def build_image_encoder(self) -> nn.Module:
        """The adapter of regions."""
        return Adapter(self.config.embed_dim, self.config.adapter)

    def build_text_encoder(self) -> ClipWords:
        """The model's text encoder with its adapter."""
        return ClipWords(self.config)

    @property
    def most_tokens(self) -> int:
        """The places of a text."""
        return self.config.text.positions

    def caption_terms(self, words: Tensor, word_mask: Tensor) -> Terms:
        """Of the words, without the whole text."""
        return super().caption_terms(words[:, :-1].contiguous(), word_mask[:, :-1].contiguous())  # the kernel needs it

    def image_vectors(self, features: Tensor, region_mask: Tensor) -> Terms:
        """The whole image, as the model's authors compare it."""
        return {"image_vector": l2_normalise(features[:, 0])}

    def caption_vectors(self, tokens: Tensor, lengths: Tensor, words: Tensor, word_mask: Tensor) -> Terms:
        """The whole text."""
        return {"query_vector": words[:, -1]}

    def global_term(self, image: Terms, caption: Terms) -> GlobalTerm:
        """The model's own cosine."""
        cosines = image["image_vector"] @ caption["query_vector"].T
        return GlobalTerm(cosines, self.global_weight * cosines)

    def parts(self) -> dict[str, dict[str, float]]:
        """The weight of that cosine."""
        return {"global": {"weight": self.global_weight.item()}}

    def pair_scores(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """See `alignment.Alignment`; without the whole text."""
        return super().pair_scores(regions, region_mask, words[:, :-1], word_mask[:, :-1])
