"""ESA's checkpoints (KevinLight831/ESA, region features)."""

from __future__ import annotations

from shan_model.pooled.bert import EsaBert, EsaBertConfig
from shan_model.pooled.esa import Esa, EsaConfig
from shan_model.published.bert import linear_and_bert_sizes
from shan_model.published.pooled import fill_pooled
from shan_model.published.recurrent import gru_sizes
from shan_model.published.states import IMAGE, TEXT, States


def fits(states: States) -> bool:
    """Whether the tensors are those of ESA."""
    return states.has(IMAGE, "linear1.") and states.has(IMAGE, "mlp.")


def read(states: States) -> Esa | EsaBert:
    """ESA with a BiGRU or BERT."""
    states.demand_setting("precomp_enc_type", "basic")
    bert = states.has(TEXT, "bert.")
    model = EsaBert(EsaBertConfig(**linear_and_bert_sizes(states))) if bert else Esa(EsaConfig(**gru_sizes(states)))
    return fill_pooled(states, model, {"linear1.": "image_pool.attention."}, {"linear1.": "text_pool.attention."})
