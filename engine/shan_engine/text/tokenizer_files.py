"""The tokenizer in a folder, by its file's name. A new kind of tokenizer is a module here and an entry below."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_engine.text.tokenizer import Tokenizer
from shan_engine.text.vocabulary import Vocabulary

TOKENIZERS: dict[str, type[Tokenizer]] = {kind.file_name: kind for kind in (Vocabulary, HuggingFaceTokenizer)}


def tokenizer_file(names: Collection[str]) -> str | None:
    """The tokenizer's file among the names of a folder's files, None where there is none."""
    return next((name for name in TOKENIZERS if name in names), None)


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file that `tokenizer_file` names. Raises InputError where it is missing or damaged."""
    return TOKENIZERS[path.name].load(path)
