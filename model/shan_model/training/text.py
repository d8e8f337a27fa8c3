"""The text side of a training run: the tokenizer, a fresh model, and the checkpoint's model."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from shan_engine.base.errors import InputError
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.function_words import is_function_word
from shan_engine.text.tokenizer import Tokenized, Tokenizer, pad
from torch import Tensor

from shan_model.bert.folder import PretrainedBert
from shan_model.bert.pieces import piece_kinds
from shan_model.bert.word_encoder import WordTransformer
from shan_model.classes.evidence import class_evidence, sizes
from shan_model.classes.table import ClassTable
from shan_model.clip.pretrained import PretrainedText
from shan_model.clip.shan import ClipShan
from shan_model.registry import find_registration, new_model
from shan_model.retrieval import RetrievalModel
from shan_model.sentence.encoder import END, START
from shan_model.sentence.folder import load_sentence_model
from shan_model.sentence.piece_table import PackedTable
from shan_model.sentence.shan import SentenceShan, sentence_encoder
from shan_model.training.data import RegionSource, choose_words, class_shares
from shan_model.training.schedule import TrainConfig


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
        self.known = np.asarray(self.words.vectors.any(axis=1))

    def unknown(self, read: Tokenized) -> Collection[str]:
        """Words without a vector."""
        return {word.text for word in read.words if not self.known[read.tokens[word.tokens[0]]]}

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


class TransformerPieces(TrainText):
    """A pretrained text transformer with its pieces, frozen or not (`TrainConfig.tuned_layers`)."""

    name = "text encoder"

    def __init__(self, folder: Path) -> None:
        self.pretrained = PretrainedBert.load(folder)
        self.tokenizer = self.pretrained.tokenizer

    def digest(self) -> str:
        """Of the tokenizer and the weights."""
        return _digest(self.tokenizer, self.pretrained.state)

    def new_model(self, config: TrainConfig, feature_dim: int) -> RetrievalModel:
        """A model with the transformer in place of a GRU."""
        model = new_model(
            config.model,
            config.options,
            feature_dim=feature_dim,
            vocab_size=len(self.tokenizer),
            embed_dim=config.embed_dim,
            transformer=self.pretrained.config,
        )
        encoder = model.text_encoder
        assert isinstance(encoder, WordTransformer)
        encoder.bert.load_state_dict(self.pretrained.state)
        encoder.piece_kinds = self.pretrained.kinds
        model.frozen = tuple(f"text_encoder.{name}" for name in encoder.freeze(config.tuned_layers))
        return model

    def trained(self, model: RetrievalModel, state: Mapping[str, Tensor]) -> RetrievalModel:
        """With matrices rounded to float16: a bundle stores them in half the bytes."""
        return model.trained_copy(_halved({**model.state_dict(), **state}), torch.empty(0))


class ClipPieces(TrainText):
    """The frozen text encoder of a vision-language model, beside whose regions the features must be."""

    name = "vision-language model"

    def __init__(self, pretrained: PretrainedText, source: RegionSource) -> None:
        self.pretrained, self.tokenizer = pretrained, pretrained.tokenizer
        held = source.schema.feature_extractor
        if not held.startswith(f"{pretrained.source}-") or source.schema.feature_dim != pretrained.embed_dim:
            raise InputError(
                f"the store has features of '{held}' ({source.schema.feature_dim} numbers), not of the model "
                f"'{pretrained.source}' ({pretrained.embed_dim}): extract the photos with a bundle that `export "
                "--from` makes of it"
            )

    def digest(self) -> str:
        """Of the tokenizer and the weights."""
        return _digest(self.tokenizer, self.pretrained.state)

    def new_model(self, config: TrainConfig, feature_dim: int) -> RetrievalModel:
        """A model in the joint space of the pretrained one."""
        held = self.pretrained
        model = new_model(
            config.model,
            {"source": held.source, **config.options},
            feature_dim=feature_dim,
            vocab_size=len(self.tokenizer),
            embed_dim=held.embed_dim,
            text=held.config,
        )
        assert isinstance(model, ClipShan)
        model.text_encoder.clip.load_state_dict(held.state)
        model.text_encoder.piece_kinds = piece_kinds(held.tokenizer)
        return model

    def trained(self, model: RetrievalModel, state: Mapping[str, Tensor]) -> RetrievalModel:
        """With matrices rounded to float16: a bundle stores them in half the bytes."""
        return model.trained_copy(_halved({**model.state_dict(), **state}), torch.empty(0))


class SentencePieces(TrainText):
    """A frozen sentence model with its pieces."""

    name = "sentence model"

    def __init__(self, folder: Path, training: CaptionSplit, source: RegionSource | None = None) -> None:
        self.sentence_model, tokenizer = load_sentence_model(folder)
        self.tokenizer, self.pieces = tokenizer, tokenizer.pieces
        self.captions, self.images, self.source = training.captions, training.images, source

    def digest(self) -> str:
        """Of the tokenizer and the weights."""
        return _digest(self.tokenizer, self.sentence_model.state_dict())

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
        return model.trained_copy(_halved(state), torch.empty(0))


def _digest(tokenizer: Tokenizer, state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over a tokenizer and tensors in their order."""
    digest = hashlib.sha256(tokenizer.content())
    for tensor in state.values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, matrices of numbers rounded to float16."""
    return {
        name: tensor.half().float() if tensor.ndim == 2 and tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def function_pieces(pieces: Sequence[str]) -> Tensor:
    """Which pieces are markers, punctuation or whole words that name nothing."""
    flags = [piece.startswith("▁") and is_function_word(piece[1:]) for piece in pieces]
    flags = [flag or not any(map(str.isalnum, piece)) for flag, piece in zip(flags, pieces, strict=True)]
    found = torch.tensor(flags)
    found[[START, END]] = True
    return found


def prepare_text(
    start: Path | PretrainedText, training: CaptionSplit, dev: CaptionSplit, config: TrainConfig, source: RegionSource
) -> TrainText:
    """From a vision-language model, a file of word vectors, or the folder of a text encoder or of a sentence model.

    Raises InputError if they cannot be read, or if the model does not start from such.
    """
    takes = find_registration(config.model).model.text_sources
    if isinstance(start, PretrainedText):
        return ClipPieces(start, source)
    if ClipPieces.name in takes:
        raise InputError(f"the model {config.model} starts from a vision-language model: give its folder with --from")
    if SentencePieces.name in takes:
        return SentencePieces(start, training, source)
    if not start.is_dir():
        return WordVectors(start, training, dev, config)
    if TransformerPieces.name not in takes:
        raise InputError(f"the model {config.model} does not start from a text encoder: give word vectors, or another")
    return TransformerPieces(start)
