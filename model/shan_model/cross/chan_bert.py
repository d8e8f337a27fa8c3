"""CHAN whose captions are read by BERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from shan_model.bert.text_encoder import BertModel, BertTextConfig
from shan_model.cross.chan import ChanScores, ChanSettings


@dataclass(frozen=True, kw_only=True)
class ChanBertConfig(ChanSettings, BertTextConfig):
    """CHAN with BERT."""

    model: ClassVar[str] = "chan-bert"


class ChanBert(ChanScores, BertModel):
    """CHAN with BERT."""

    Config = ChanBertConfig
    summary = "CHAN with BERT"
    config: ChanBertConfig
