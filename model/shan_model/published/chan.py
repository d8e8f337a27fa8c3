"""CHAN's checkpoints (ppanzx/CHAN)."""

from __future__ import annotations

from typing import Any

from shan_model.cross.chan import Chan, ChanConfig
from shan_model.cross.chan_bert import ChanBert, ChanBertConfig
from shan_model.published.bert import linear_and_bert_sizes
from shan_model.published.recurrent import gru_sizes
from shan_model.published.states import IMAGE, TEXT, States
from shan_model.published.text import rename_text

POOLINGS = {"LSEPooling": "lse", "MeanPooling": "mean"}
REGIONS = {
    "fc.": "image_encoder.",
    "feedforward.ln.": "region_layer.norm.",
    "feedforward.attn.in_proj_": "region_layer.attention.query_key_value.",
    "feedforward.attn.out_proj.": "region_layer.attention.output.",
}


def fits(states: States) -> bool:
    """Whether the settings are those of CHAN."""
    return states.has(IMAGE, "fc.") and "coding_type" in states.settings


def settings(states: States) -> dict[str, Any]:
    """Those of the score. Raises InputError for codings and poolings that are not built."""
    states.demand_setting("coding_type", "VHACoding")
    states.demand_setting("pooling_type", *POOLINGS)
    states.demand_setting("precomp_enc_type", "basic", "selfattention")
    return {
        "pooling": POOLINGS[states.setting("pooling_type")],
        "pooling_temperature": float(states.setting("belta", 0.1)),
        "self_attention": states.has(IMAGE, "feedforward."),
    }


def read(states: States) -> Chan | ChanBert:
    """CHAN with a BiGRU or BERT."""
    bert, own = states.has(TEXT, "bert."), settings(states)
    model = (
        ChanBert(ChanBertConfig(**linear_and_bert_sizes(states), **own))
        if bert
        else Chan(ChanConfig(**gru_sizes(states), **own))
    )
    states.rename(IMAGE, REGIONS)
    if not bert:
        states.leave(TEXT, "fc.", "is not applied by the authors' code")
    rename_text(states)
    return states.fill(model)
