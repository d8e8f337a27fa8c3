"""A checkpoint of open_clip as the same model in the library transformers: only the names of tensors differ.

The folder holds `open_clip_config.json` and the weights, as open_clip publishes them. Models whose image encoder is the
plain vision transformer and whose text encoder is the plain transformer are read; others are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shan_engine.base.errors import InputError, first_line
from shan_model.torch_files import load_plain
from torch import Tensor

from shan_export.vision_language.folder import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, read_json

VISION = frozenset({"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"})
TEXT = frozenset({"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "hf_tokenizer_name"})
DEFAULTS = {
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16, "head_width": 64, "mlp_ratio": 4.0},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 512,
        "heads": 8,
        "layers": 12,
        "mlp_ratio": 4.0,
    },
}
"""What open_clip takes where a configuration is silent."""
RESAMPLINGS = {"bicubic": 3, "bilinear": 2}
NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "logit_scale": "logit_scale",
}
TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
NORMS = {"visual.ln_pre": "vision_model.pre_layrnorm", "visual.ln_post": "vision_model.post_layernorm"}
NORMS |= {"ln_final": "text_model.final_layer_norm"}
SIDES = {"visual.transformer.resblocks.": "vision_model", "transformer.resblocks.": "text_model"}
OF_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
UNUSED = frozenset({"attn_mask", "input_resolution", "context_length", "vocab_size"})


def load_open_clip(path: Path, transformers: Any) -> tuple[Any, Any]:
    """The model in evaluation mode and its image processor.

    Raises InputError for a model of another kind, and for weights that do not fit the configuration.
    """
    settings = read_json(path / OPEN_CLIP_CONFIG)
    config, preprocessing = settings.get("model_cfg", {}), settings.get("preprocess_cfg", {})
    model = transformers.CLIPModel._from_config(_config(path, config, transformers), attn_implementation="eager")
    state = renamed(path, read_weights(path))
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items() if not name.endswith("position_ids")}
    for name, shape in wanted.items():
        if name not in state or state[name].shape != shape:
            held = list(state[name].shape) if name in state else "none"
            raise InputError(
                f"the weights in {path} are of another model than {OPEN_CLIP_CONFIG}: {name} should have shape "
                f"{list(shape)}, not {held}"
            )
    model.load_state_dict({name: state[name].float() for name in wanted}, strict=False)
    side = int(model.config.vision_config.image_size)
    interpolation = preprocessing.get("interpolation", "bicubic")
    if interpolation not in RESAMPLINGS:
        raise InputError(
            f"{path / OPEN_CLIP_CONFIG} names the interpolation '{interpolation}': it must be one of "
            f"{', '.join(RESAMPLINGS)}"
        )
    squashed = preprocessing.get("resize_mode", "shortest") == "squash"
    processor = transformers.CLIPImageProcessorPil(
        size={"height": side, "width": side} if squashed else {"shortest_edge": side},
        crop_size={"height": side, "width": side},
        do_center_crop=not squashed,
        resample=RESAMPLINGS[interpolation],
        **{f"image_{name}": preprocessing[name] for name in ("mean", "std") if name in preprocessing},
    )
    return model.eval().requires_grad_(False), processor


def _config(path: Path, config: Mapping[str, Any], transformers: Any) -> Any:
    vision, text = ({**defaults, **config.get(name, {})} for name, defaults in DEFAULTS.items())
    other = [f"vision_cfg.{name}" for name in vision.keys() - VISION]
    other += [f"text_cfg.{name}" for name in text.keys() - TEXT]
    other += config.keys() - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    if other or isinstance(vision.get("layers"), list):
        raise InputError(
            f"{path / OPEN_CLIP_CONFIG} describes another kind of model ({', '.join(sorted(other)) or 'a ResNet'}): "
            "--from takes open_clip's plain vision transformers; look for the model in Hugging Face's format"
        )
    activation = {"hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu"}
    if not isinstance(config.get("embed_dim"), int):
        raise InputError(f"{path / OPEN_CLIP_CONFIG} has no embed_dim under model_cfg: copy the file again")
    return transformers.CLIPConfig(
        projection_dim=config["embed_dim"],
        vision_config={
            **_layers(vision, vision["width"] // vision["head_width"]),
            **activation,
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
        text_config={
            **_layers(text, text["heads"]),
            **activation,
            "max_position_embeddings": text["context_length"],
            "vocab_size": text["vocab_size"],
            "eos_token_id": text["vocab_size"] - 1,
        },
    )


def _layers(side: Mapping[str, Any], heads: int) -> dict[str, Any]:
    return {
        "hidden_size": side["width"],
        "intermediate_size": int(side["width"] * side["mlp_ratio"]),
        "num_hidden_layers": side["layers"],
        "num_attention_heads": heads,
    }


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint; nothing in a file is run. Raises InputError where it cannot be read so."""
    file = next(path / name for name in OPEN_CLIP_WEIGHTS if (path / name).is_file())
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            held: Any = load_file(file)
        else:
            held = load_plain(file)
        held = held.get("state_dict", held)
        return {name.removeprefix("module."): tensor for name, tensor in held.items()}
    except Exception as error:  # both raise many types, and what they read may be no tensors by name
        raise InputError(f"{file} cannot be read as plain tensors ({first_line(error)}): copy it again") from error


def renamed(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that transformers gives them. Raises InputError for one that no plain model has."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".")
        side = next((prefix for prefix in SIDES if name.startswith(prefix)), None)
        if name in NAMES:
            found[NAMES[name]] = tensor
        elif name in TRANSPOSED:
            found[TRANSPOSED[name]] = tensor.T
        elif stem in NORMS:
            found[f"{NORMS[stem]}.{kind}"] = tensor
        elif side:
            number, _, part = stem.removeprefix(side).partition(".")
            layer = f"{SIDES[side]}.encoder.layers.{number}"
            if part in OF_LAYER:
                found[f"{layer}.{OF_LAYER[part]}.{kind}"] = tensor
            elif name.endswith(("attn.in_proj_weight", "attn.in_proj_bias")):
                kind = name.rpartition("_")[2]
                for own, values in zip("qkv", tensor.chunk(3), strict=True):
                    found[f"{layer}.self_attn.{own}_proj.{kind}"] = values
            else:
                raise _unknown(path, name)
        elif name not in UNUSED:
            raise _unknown(path, name)
    return found


def _unknown(path: Path, name: str) -> InputError:
    return InputError(
        f"the weights in {path} have a tensor {name}, which open_clip's plain vision transformers lack: --from takes "
        "those alone; look for the model in Hugging Face's format"
    )
