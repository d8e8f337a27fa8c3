"""What VSE∞, ESA and CHAN have in common: captions are read by a BiGRU or by BERT."""

from __future__ import annotations

from shan_model.published.bert import rename_linear_and_bert
from shan_model.published.recurrent import GRU
from shan_model.published.states import TEXT, States


def rename_text(states: States) -> None:
    """Take the tensors of the text encoder that the checkpoint has."""
    if states.has(TEXT, "bert."):
        rename_linear_and_bert(states)
    else:
        states.rename(TEXT, GRU)
