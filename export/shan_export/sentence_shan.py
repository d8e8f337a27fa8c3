"""The text encoder of `shan_model.sentence.shan` as a graph."""

from __future__ import annotations

from shan_model.sentence.shan import SentenceShan
from torch import Tensor, nn

from shan_export.gru import GruRows


class SentenceTextEncoderGraph(nn.Module):
    """tokens C x n, lengths C -> caption terms, `query_vector` and `class_weights`, if the model has them."""

    def __init__(self, model: SentenceShan) -> None:
        super().__init__()
        self.model, self.rows = model, GruRows(model.text_encoder.gru)

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Word vectors by the sentence model, the GRU over them, then what a score needs of a caption."""
        text = self.model.text_encoder
        vectors, sentence = text.sentence_model.words_and_sentence(tokens, lengths, text.kind)
        words, mask = text.kept(tokens, lengths, *self.rows(text.centred(vectors), lengths))
        return {**self.model.caption_terms(words, mask), **self.model.sentence_vectors(sentence, words, mask)}
