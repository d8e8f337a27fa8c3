"""The text side of a training run: the tokenizer, a fresh model, and the checkpoint's model."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.function_words import is_function_word
from shan_engine.text.tokenizer import Tokenized, Tokenizer, pad
from torch import Tensor

from shan_model.class_evidence import class_evidence, sizes
from shan_model.class_table import ClassTable
from shan_model.data import RegionSource, choose_words, class_shares
from shan_model.piece_table import PackedTable
from shan_model.registry import find_registration, new_model
from shan_model.retrieval import RetrievalModel
from shan_model.schedule import TrainConfig
from shan_model.sentence_folder import load_sentence_model
from shan_model.sentence_model import END, START
from shan_model.sentence_shan import SentenceShan, sentence_encoder


class TrainText(ABC):
    """What a model's text side starts from."""

    name: str
    """What messages call it."""
    tokenizer: Tokenizer

    def unknown(self, read: Tokenized) -> Collection[str]:
        """Words of a caption of which training knows nothing but the captions."""
        return read.unknown

    @abstractmethod
    def digest(self) -> str:
        """A digest of all that training reads of it."""

    @abstractmethod
    def new_model(self, config: TrainConfig, feature_dim: int) -> RetrievalModel:
        """A fresh model."""

    @abstractmethod
    def trained(self, model: RetrievalModel, state: Mapping[str, Tensor]) -> RetrievalModel:
        """The model with the trained weights `state`, as a checkpoint has it."""


class WordVectors(TrainText):
    """A vocabulary of whole words with vectors in GloVe's text format."""

    name = "word vectors"

    def __init__(self, path: Path, training: CaptionSplit, dev: CaptionSplit, config: TrainConfig) -> None:
        adds_words = find_registration(config.model).model.adds_words
        self.words = choose_words(
            training.captions, dev.captions, path, min_count=config.min_count,
            open_vocabulary=config.open_vocabulary and adds_words,
        )  # fmt: skip
        self.tokenizer = self.words.vocabulary

    def unknown(self, read: Tokenized) -> Collection[str]:
        """Words without a vector."""
        known = np.asarray(self.words.vectors.any(axis=1))
        return {word.text for word in read.words if not known[read.tokens[word.tokens[0]]]}

    def digest(self) -> str:
        """Of the words and their vectors."""
        digest = hashlib.sha256(json.dumps(self.words.vocabulary.words).encode())
        digest.update(self.words.vectors.tobytes())
        return digest.hexdigest()

    def new_model(self, config: TrainConfig, feature_dim: int) -> RetrievalModel:
        """A model of the words that occur in captions: the others' embeddings would cost time and learn nothing."""
        words = self.words
        model = new_model(
            config.model,
            config.options,
            feature_dim=feature_dim,
            vocab_size=words.met,
            embed_dim=config.embed_dim,
            word_vector_dim=words.vectors.shape[1],
            embedding_dim=config.embedding_dim,
        )
        model.text_encoder.load_word_vectors(torch.from_numpy(words.vectors[: words.met]))
        return model

    def trained(self, model: RetrievalModel, state: Mapping[str, Tensor]) -> RetrievalModel:
        """With the words that occur in no caption."""
        return model.trained_copy(state, torch.from_numpy(self.words.vectors))


class SentencePieces(TrainText):
    """A frozen sentence model with its pieces."""

    name = "sentence model"

    def __init__(self, folder: Path, training: CaptionSplit, source: RegionSource | None = None) -> None:
        self.sentence_model, tokenizer = load_sentence_model(folder)
        self.tokenizer, self.pieces = tokenizer, tokenizer.pieces
        self.captions, self.images, self.source = training.captions, training.images, source

    def digest(self) -> str:
        """Of the tokenizer and the weights."""
        digest = hashlib.sha256(self.tokenizer.content())
        for tensor in self.sentence_model.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def new_model(self, config: TrainConfig, feature_dim: int) -> RetrievalModel:
        """A model with the sentence model, its words centred over the training captions, and ImageNet's classes.

        How frequent classes are comes from what the training images are seen as, if their store tells that.
        """
        table, held = ClassTable.load(), self.sentence_model
        assert isinstance(held.table, PackedTable)
        model = new_model(
            config.model,
            config.options,
            feature_dim=feature_dim,
            vocab_size=len(self.tokenizer),
            embed_dim=config.embed_dim,
            word_vector_dim=len(held.pooling_bias),
            refined=len(held.table.refinements) - 1,
            channels=held.channels,
            hidden=held.hidden.weight.shape[1],
            **sizes(table),
        )
        assert isinstance(model, SentenceShan)
        model.text_encoder.sentence_model = held
        model.text_encoder.function_pieces = function_pieces(self.pieces)
        tokens, lengths = pad([self.tokenizer.encode(caption).tokens for caption in self.captions])
        model.text_encoder.centre_words(torch.from_numpy(tokens), torch.from_numpy(lengths))
        encode = sentence_encoder(held, lambda text: self.tokenizer.encode(text).tokens)
        model.class_evidence = class_evidence(table, encode)
        if self.source is not None:
            shares = class_shares(self.source, self.images, len(table.leaves))
            if shares is not None:
                model.class_evidence.set_prior(shares)
        return model

    def trained(self, model: RetrievalModel, state: Mapping[str, Tensor]) -> RetrievalModel:
        """With the sentence model as it was, matrices rounded to float16: a bundle stores them in half the bytes."""
        halved = {name: tensor.half().float() if tensor.ndim == 2 else tensor for name, tensor in state.items()}
        return model.trained_copy(halved, torch.empty(0))


def function_pieces(pieces: Sequence[str]) -> Tensor:
    """Which pieces are markers, punctuation or whole words that name nothing."""
    flags = [piece.startswith("▁") and is_function_word(piece[1:]) for piece in pieces]
    flags = [flag or not any(map(str.isalnum, piece)) for flag, piece in zip(flags, pieces, strict=True)]
    found = torch.tensor(flags)
    found[[START, END]] = True
    return found


def prepare_text(
    path: Path, training: CaptionSplit, dev: CaptionSplit, config: TrainConfig, source: RegionSource
) -> TrainText:
    """From word vectors, or from the folder of a sentence model if the model takes one.

    Raises InputError if they cannot be read.
    """
    if find_registration(config.model).model.takes_sentence_model:
        return SentencePieces(path, training, source)
    return WordVectors(path, training, dev, config)
