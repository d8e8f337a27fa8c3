"""VSE∞'s checkpoints (woodfrog/vse_infty, region features)."""

from __future__ import annotations

from shan_model.pooled.bert import VseInfinityBert, VseInfinityBertConfig
from shan_model.pooled.vse_infinity import VseInfinity, VseInfinityConfig
from shan_model.published.bert import linear_and_bert_sizes
from shan_model.published.pooled import fill_pooled
from shan_model.published.recurrent import gru_sizes
from shan_model.published.states import IMAGE, TEXT, States


def fits(states: States) -> bool:
    """Whether the tensors are those of VSE∞."""
    return states.has(IMAGE, "gpool.") or states.has(IMAGE, "image_encoder.gpool.")


def read(states: States) -> VseInfinity | VseInfinityBert:
    """VSE∞ with a BiGRU or BERT. Raises InputError for grid models, which read pixels with a ResNet of their own."""
    states.demand_setting("precomp_enc_type", "basic")
    bert = states.has(TEXT, "bert.")
    model = (
        VseInfinityBert(VseInfinityBertConfig(**linear_and_bert_sizes(states)))
        if bert
        else VseInfinity(VseInfinityConfig(**gru_sizes(states)))
    )
    return fill_pooled(states, model, {"gpool.": "image_pool."}, {"gpool.": "text_pool."})
