"""TERN's checkpoints (mesnico/TERN): one state dict, over features that end in their boxes."""

from __future__ import annotations

from shan_model.pooled.tern import TernBert, TernBertConfig
from shan_model.published.bert import bert_sizes, rename_bert
from shan_model.published.states import States

ALL = 0  # the place of its one state dict
ROOT = "img_txt_enc."
BERT = f"{ROOT}txt_enc.bert_model."
REGIONS, SHARED = f"{ROOT}img_enc.transformer_encoder.layers.", f"{ROOT}transformer_encoder_1.layers."
LINEAR = {
    f"{ROOT}img_enc.pos_encoding_image.map.0.": "image_encoder.hidden.",
    f"{ROOT}img_enc.pos_encoding_image.map.2.": "image_encoder.output.",
    f"{ROOT}img_proj.": "region_projection.",
    f"{ROOT}cap_proj.": "text_encoder.linear.",
}
LAYER = {
    "self_attn.in_proj_": "attention.query_key_value.",
    "self_attn.out_proj.": "attention.output.",
    "linear1.": "hidden.",
    "linear2.": "output.",
    "norm1.": "attention_norm.",
    "norm2.": "output_norm.",
}


def fits(states: States) -> bool:
    """Whether the tensors are those of TERN."""
    return states.has(ALL, f"{ROOT}img_enc.pos_encoding_image.")


def read(states: States) -> TernBert:
    """TERN whose last layers are shared by both sides."""
    region_dim, feature_dim = states[ALL, f"{ROOT}img_enc.pos_encoding_image.map.0.weight"].shape
    config = TernBertConfig(
        **bert_sizes(states, ALL, BERT),
        feature_dim=feature_dim,
        region_dim=region_dim,
        embed_dim=len(states[ALL, f"{ROOT}img_proj.weight"]),
        region_layers=_count(states, REGIONS),
        shared_layers=_count(states, SHARED),
        hidden=len(states[ALL, f"{SHARED}0.linear1.weight"]),
    )
    states.leave(ALL, f"{ROOT}txt_enc.word_embeddings.", "is BERT's embedding again")
    for unused in ("txt_enc.map.", "img_enc.fc."):
        states.leave(ALL, ROOT + unused, "makes a vector that the score does not read")
    rename_bert(states, ALL, BERT)
    states.rename(ALL, LINEAR)
    for layers, own in ((REGIONS, "region_layers"), (SHARED, "shared_layers")):
        for number in range(_count(states, layers)):
            rules = {f"{layers}{number}.{old}": f"{own}.{number}.{new}" for old, new in LAYER.items()}
            states.rename(ALL, rules)
    return states.fill(TernBert(config))


def _count(states: States, layers: str) -> int:
    number = 0
    while states.has(ALL, f"{layers}{number}."):
        number += 1
    return number
