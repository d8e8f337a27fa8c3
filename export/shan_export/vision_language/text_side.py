"""The text encoder of a vision-language model on disk, as `train --from` takes it."""

from __future__ import annotations

from pathlib import Path

import torch
from shan_engine.base.errors import InputError
from shan_model.clip.config import ACTIVATIONS, ClipTextConfig
from shan_model.clip.pretrained import PretrainedText
from torch import Tensor

from shan_export.vision_language.folder import Folder
from shan_export.vision_language.pretrained import Pretrained

OF_LAYER = {
    "self_attn.out_proj": "attention.output",
    "layer_norm1": "attention_norm",
    "layer_norm2": "output_norm",
    "mlp.fc1": "hidden",
    "mlp.fc2": "output",
}


def pretrained_text(folder: Path) -> PretrainedText:
    """Read it. Raises InputError where the folder does not hold such a model."""
    pretrained = Pretrained.load(Folder.open(folder))
    held, tokenizer = pretrained.model.config.text_config, pretrained.engine_tokenizer
    if held.hidden_act not in ACTIVATIONS:
        raise InputError(
            f"the text encoder in {folder} has the activation '{held.hidden_act}': it must be one of "
            f"{', '.join(ACTIVATIONS)}"
        )
    padding = pretrained.tokenizer.pad_token_id if pretrained.pads_texts else -1
    if padding is None:
        raise InputError(f"the tokenizer in {folder} names no padding token: copy tokenizer_config.json too")
    before, after = tokenizer.markers
    config = ClipTextConfig(
        dim=held.hidden_size,
        layers=held.num_hidden_layers,
        heads=held.num_attention_heads,
        hidden=held.intermediate_size,
        positions=held.max_position_embeddings,
        activation=held.hidden_act,
        epsilon=held.layer_norm_eps,
        padding=padding,
        before=len(before),
        after=len(after),
        bias=pretrained.pads_texts,
    )
    state = _renamed(pretrained, config.layers)
    # Some models have rows for more tokens than there are; nothing reads them.
    state["pieces.weight"] = state["pieces.weight"][: len(tokenizer)].clone()
    return PretrainedText(pretrained.name, config, state, len(state["projection.weight"]), tokenizer)


def _renamed(pretrained: Pretrained, layers: int) -> dict[str, Tensor]:
    """The tensors as `ClipText` names them."""
    held = pretrained.model.state_dict()
    projection = "text_model.head" if pretrained.pads_texts else "text_projection"
    found = {
        "pieces.weight": held["text_model.embeddings.token_embedding.weight"],
        "places.weight": held["text_model.embeddings.position_embedding.weight"],
        "projection.weight": held[f"{projection}.weight"],
    }
    if pretrained.pads_texts:
        found["projection.bias"] = held[f"{projection}.bias"]
    for kind in ("weight", "bias"):
        found[f"norm.{kind}"] = held[f"text_model.final_layer_norm.{kind}"]
        for number in range(layers):
            layer, own = f"text_model.encoder.layers.{number}.", f"layers.{number}."
            parts = [held[f"{layer}self_attn.{part}_proj.{kind}"] for part in "qkv"]
            found[f"{own}attention.query_key_value.{kind}"] = torch.cat(parts)
            found |= {f"{own}{new}.{kind}": held[f"{layer}{old}.{kind}"] for old, new in OF_LAYER.items()}
    return found
