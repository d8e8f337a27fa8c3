"""What the published kinds with a GRU over learnt embeddings have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError
from shan_engine.text.vocabulary import Vocabulary

from shan_model.published.states import IMAGE, TEXT, States

LINEAR = {"fc.": "image_encoder.fc."}
"""A linear layer over an image's features."""
GRU = {"embed.": "text_encoder.embedding.", "rnn.": "text_encoder.gru."}
MASK = "<mask>"
_FIX = "give the vocabulary that the checkpoint was trained with, as --vocab"


def gru_sizes(states: States, *, gru: str = "rnn") -> dict[str, Any]:
    """Sizes for `GruConfig`. Raises InputError where the image encoder or the GRU is of another kind."""
    states.demand_setting("num_layers", 1)
    states.demand_setting("no_imgnorm", False)
    states.demand_setting("no_txtnorm", False)
    embed_dim, feature_dim = states[IMAGE, "fc.weight"].shape
    vocab_size, embedding_dim = states[TEXT, "embed.weight"].shape
    return {
        "feature_dim": feature_dim,
        "embed_dim": embed_dim,
        "vocab_size": vocab_size,
        "embedding_dim": embedding_dim,
        "word_vector_dim": 0,
        "bidirectional": states.has(TEXT, f"{gru}.weight_ih_l0_reverse"),
    }


def read_vocabulary(path: Path, size: int) -> Vocabulary:
    """The vocabulary of a checkpoint with `size` words. Some code adds `<mask>`, which the file lacks.

    Raises InputError for a missing or damaged file, or for one of another size.
    """
    try:
        vocabulary = Vocabulary.load(path)
    except InputError as error:
        raise InputError(f"{str(error).rpartition(': ')[0]}: {_FIX}") from error
    if len(vocabulary) == size - 1 and MASK not in vocabulary.word2idx:
        vocabulary = Vocabulary.build([*vocabulary.words, MASK])
    if len(vocabulary) != size:
        raise InputError(f"{path} has {len(vocabulary):,} words, the checkpoint {size:,}: {_FIX}")
    return vocabulary
