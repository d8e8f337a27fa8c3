"""SHAN over a frozen sentence model's word vectors, with a global term and class evidence beside its steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout as dropped
from torch.nn.utils.rnn import pad_sequence

from shan_model.choices import WordVectors
from shan_model.classes.evidence import ClassEvidence
from shan_model.classes.table import ClassTable
from shan_model.config import SentenceShanConfig
from shan_model.encoders import TextDropout
from shan_model.norms import l2_normalise, masked_mean
from shan_model.recurrent import RecurrentTextEncoder
from shan_model.retrieval import GlobalTerm, Terms
from shan_model.sentence.encoder import END, START, SentenceModel, edges
from shan_model.shan.network import AlignedModel

CLASSES_WEIGHT, CLASSES_FLOOR = 0.1, 0.1
SENTENCE_DROPOUT = 0.2
Key = tuple[int, ...]


class SentenceTextEncoder(RecurrentTextEncoder):
    """The GRU over the words' vectors, which are centred and scaled. All that is frozen is computed once for a text."""

    word_mean: Tensor
    word_scale: Tensor
    function_pieces: Tensor

    def __init__(self, config: SentenceShanConfig) -> None:
        super().__init__()
        self.kind: WordVectors = config.words  # type: ignore[assignment]
        self.naming_only = config.rows == "naming"
        self.sentence_model = SentenceModel(
            pieces=config.vocab_size, refined=config.refined, size=config.word_vector_dim, channels=config.channels,
            hidden=config.hidden,
        )  # fmt: skip
        self.register_buffer("word_mean", torch.zeros(config.word_vector_dim))
        self.register_buffer("word_scale", torch.ones(()))
        self.register_buffer("function_pieces", torch.zeros(config.vocab_size, dtype=torch.bool))
        self.gru = nn.GRU(config.word_vector_dim, config.embed_dim, batch_first=True, bidirectional=True)
        self._remembered: dict[Key, Tensor] = {}

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens C x n (int64) and lengths C to words T, C x n x D, and their mask C x n."""
        return self.kept(tokens, lengths, *self.encode(self.embed(tokens, lengths), lengths))

    def forward_with_dropout(self, tokens: Tensor, lengths: Tensor, dropout: TextDropout) -> tuple[Tensor, Tensor]:
        """The same, with single values of the word vectors left out."""
        embedded = dropped(self.embed(tokens, lengths), dropout.values)
        return self.kept(tokens, lengths, *self.encode(embedded, lengths))

    def kept(self, tokens: Tensor, lengths: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """T and its mask without markers and function words, if the model leaves them out; the GRU has read them.

        A text of nothing else keeps all its rows.
        """
        if not self.naming_only:
            return words, mask
        first, last = edges(self.sentence_model.word_numbers(tokens, lengths))
        naming = mask & ~(self.function_pieces[tokens] & first & last)
        none = naming.long().amax(1, keepdim=True) == 0
        naming = naming | (mask & none)
        return words * naming[:, :, None], naming

    @torch.no_grad()
    def embed(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The GRU's input: word vectors C x n x size, centred and scaled."""
        if self.training and self.kind == "alone":
            vectors = self._known_words(tokens, lengths)
        else:
            vectors = self.sentence_model.word_vectors(tokens, lengths, self.kind)
        return self.centred(vectors)

    def centred(self, vectors: Tensor) -> Tensor:
        """Word vectors as the GRU takes them."""
        return (vectors - self.word_mean) * self.word_scale

    @torch.no_grad()
    def sentence(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Vectors of length 1 of whole texts, C x size."""
        if not self.training:
            return self.sentence_model.sentence(tokens, lengths)
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        return torch.stack(self._known([tuple(row[:length]) for row, length in rows]))

    @torch.no_grad()
    def centre_words(self, tokens: Tensor, lengths: Tensor, length: float = 5.5) -> None:
        """Centre and scale by the words of these texts, each once: the mean is 0, the mean length `length`."""
        self.word_mean.zero_()
        self.word_scale.fill_(1)
        keys = {key for row in self._words(tokens, lengths) for key in row}
        vectors = torch.stack(self._known(sorted(keys)))
        self.word_mean.copy_(vectors.mean(0))
        self.word_scale.copy_(length / (vectors - self.word_mean).norm(dim=1).mean())

    def _known_words(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """What `word_vectors` gives, C x n x size, of words each looked up alone."""
        rows = self._words(tokens, lengths)
        found = iter(self._known([key for row in rows for key in row]))
        padded = pad_sequence([torch.stack([next(found) for _ in row]) for row in rows], batch_first=True)
        return nn.functional.pad(padded, (0, 0, 0, tokens.shape[1] - padded.shape[1]))

    def _words(self, tokens: Tensor, lengths: Tensor) -> list[list[Key]]:
        """For each piece of each text its word between markers."""
        numbers = self.sentence_model.word_numbers(tokens, lengths).tolist()
        rows = []
        for row, words, length in zip(tokens.tolist(), numbers, lengths.tolist(), strict=True):
            members: dict[int, list[int]] = {}
            for piece, word in zip(row[:length], words[:length], strict=True):
                members.setdefault(word, []).append(piece)
            keys = {word: (START, *pieces, END) for word, pieces in members.items()}
            rows.append([keys[word] for word in words[:length]])
        return rows

    def _known(self, keys: list[Key]) -> list[Tensor]:
        """Sentence vectors of rows of pieces, each computed the first time that it is asked for."""
        known, device = self._remembered, self.word_mean.device
        new = sorted({key for key in keys if key not in known}, key=len)
        for first in range(0, len(new), 256):
            part = new[first : first + 256]
            rows = pad_sequence([torch.tensor(key, device=device) for key in part], batch_first=True)
            lengths = torch.tensor([len(key) for key in part], device=device)
            known.update(zip(part, self.sentence_model.sentence(rows, lengths), strict=True))
        return [known[key] for key in keys]


class SentenceShan(AlignedModel):
    """SHAN's steps, a global term and, with `classes`, class evidence."""

    Config = SentenceShanConfig
    summary = "SHAN over the words of a sentence model that knows 16 languages"
    config: SentenceShanConfig
    text_encoder: SentenceTextEncoder
    text_sources = ("sentence model",)
    frozen = ("text_encoder.sentence_model.", "text_encoder.word_", "text_encoder.function_", "class_evidence.")

    def __init__(self, config: SentenceShanConfig) -> None:
        super().__init__(config)
        D = config.embed_dim
        self.image_global = nn.Linear(config.feature_dim, D)
        self.sentence_global = nn.Linear(config.word_vector_dim, D)
        self.words_global = nn.Linear(D, D, bias=False)
        self.global_weight = nn.Parameter(torch.tensor(0.5))
        self.class_evidence = (
            ClassEvidence(
                lemmas=config.lemmas, nodes=config.nodes, names=config.names, classes=config.classes,
                depth=config.depth, size=config.word_vector_dim,
            )
            if config.classes
            else None
        )  # fmt: skip

    def build_text_encoder(self) -> SentenceTextEncoder:
        """The GRU over the sentence model's words."""
        return SentenceTextEncoder(self.config)

    def image_vectors(self, features: Tensor, region_mask: Tensor) -> Terms:
        """The global term's side of an image."""
        return {"image_vector": self.image_vector(features, region_mask)}

    def caption_vectors(self, tokens: Tensor, lengths: Tensor, words: Tensor, word_mask: Tensor) -> Terms:
        """The global term's side of a caption, and the weights of classes."""
        return self.sentence_vectors(self.text_encoder.sentence(tokens, lengths), words, word_mask)

    def sentence_vectors(self, sentence: Tensor, words: Tensor, word_mask: Tensor) -> Terms:
        """The same from a caption's sentence vector, C x size."""
        vectors = {"query_vector": self.query_vector(sentence, words, word_mask)}
        if self.class_evidence is not None and not self.training:
            vectors["class_weights"] = self.class_evidence(sentence)
        return vectors

    def image_vector(self, features: Tensor, region_mask: Tensor) -> Tensor:
        """l2(W_g mean_i f_i), B x D, from features B x K x F."""
        mean = masked_mean(features.transpose(1, 2), region_mask[:, None, :])
        return l2_normalise(self.image_global(mean))

    def query_vector(self, sentence: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """l2(W_s s + W_t mean_j t_j), C x D, from sentence vectors C x size and words C x n x D."""
        if self.training:
            sentence = dropped(sentence, SENTENCE_DROPOUT)
        mean = masked_mean(words.transpose(1, 2), word_mask[:, None, :])
        return l2_normalise(self.sentence_global(4 * sentence) + self.words_global(mean))

    def global_term(self, image: Terms, caption: Terms) -> GlobalTerm:
        """Of `image_vector` and `query_vector`."""
        cosines = image["image_vector"] @ caption["query_vector"].T
        return GlobalTerm(cosines, self.global_weight * cosines)

    @property
    def class_names(self) -> list[str]:
        """Of the table that its class evidence was made of."""
        return ClassTable.load().class_names if self.class_evidence is not None else []

    def parts(self) -> dict[str, dict[str, float]]:
        """The weights of the global term and of class evidence."""
        parts = {"global": {"weight": self.global_weight.item()}}
        if self.class_evidence is not None:
            parts["classes"] = {"weight": CLASSES_WEIGHT, "floor": CLASSES_FLOOR}
        return parts


def sentence_encoder(model: SentenceModel, encode: Callable[[str], tuple[int, ...]]) -> Callable[[list[str]], Tensor]:
    """What gives texts their sentence vectors; `encode` gives a text its pieces."""

    @torch.no_grad()
    def vectors(texts: list[str]) -> Tensor:
        rows = [torch.tensor(encode(text)) for text in texts]
        found = []
        for first in range(0, len(rows), 256):
            part = rows[first : first + 256]
            lengths = torch.tensor([len(row) for row in part])
            found.append(model.sentence(pad_sequence(part, batch_first=True), lengths))
        return torch.cat(found)

    return vectors
