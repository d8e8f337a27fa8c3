"""A sentence model with a few pieces and random weights, packed, for tests that need no real one."""

from __future__ import annotations

from pathlib import Path

import torch
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_export.sentence_tokenizer import SentencePieces, tokenizer_definition
from shan_model.classes.table import ClassTable, Node
from shan_model.sentence.encoder import SentenceModel
from shan_model.sentence.folder import save_sentence_model
from shan_model.sentence.package import starts_word
from synthetic import NOUNS, PLACES

SIZES = {"refined": 8, "size": 16, "channels": 8, "hidden": 12}
WORDS = ("a", "on", "the", "with", "man", "red", "runs", "grass", *NOUNS, *PLACES)
PIECES = ["<unk>", "<s>", "</s>", "x1", "x2", "x3", "▁", ".", "s", *(f"▁{word}" for word in dict.fromkeys(WORDS))]


def tiny_sentence_model(seed: int = 0) -> SentenceModel:
    """A model of `PIECES` whose vectors differ."""
    torch.manual_seed(seed)
    model = SentenceModel(pieces=len(PIECES), **SIZES)
    for name, tensor in model.state_dict().items():
        if tensor.dtype in (torch.int8, torch.uint8):
            tensor.copy_(torch.randint(-100 if tensor.dtype == torch.int8 else 0, 100, tensor.shape))
        elif name.endswith("scale"):
            tensor.fill_(0.01 if tensor.ndim == 1 and tensor.dtype == torch.float32 else 1)
        elif name.endswith("book"):
            tensor.normal_()
    model.table.book[1, 0] = 0
    model.starts_word.copy_(torch.from_numpy(starts_word(PIECES)))
    return model.eval()


def tiny_tokenizer() -> HuggingFaceTokenizer:
    """The tokenizer of `PIECES`."""
    scores = [-float(number) / 8 for number in range(len(PIECES))]
    return HuggingFaceTokenizer(tokenizer_definition(SentencePieces(list(PIECES), scores, b"")))


def save_tiny_sentence_model(folder: Path, seed: int = 0) -> Path:
    """Its folder, as training takes it."""
    folder.mkdir()
    save_sentence_model(tiny_sentence_model(seed), tiny_tokenizer(), folder)
    return folder


class tiny_table:  # noqa: N801 stands for ClassTable
    """Three classes, two of which are animals."""

    @staticmethod
    def load() -> ClassTable:
        """The table."""
        return ClassTable(
            (
                Node("1", ["dog", "hound"], ["dogs"], [0]),
                Node("2", ["cat"], [], [1]),
                Node("3", ["hat"], ["hats"], [2]),
                Node("4", ["animal", "beast"], [], [0, 1]),
            )
        )
