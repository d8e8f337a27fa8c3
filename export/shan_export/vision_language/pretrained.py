"""A Hugging Face model with its tokenizer and its image preprocessing, read from a folder and from nowhere else."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from shan_engine.base.errors import InputError, first_line
from shan_engine.photos.extractor import Recipe
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from torch import Tensor, nn

from shan_export.vision_language.folder import Folder
from shan_export.vision_language.open_clip import load_open_clip
from shan_export.vision_language.preprocessing import recipe_of, scale_of
from shan_export.vision_language.towers import (
    ClipImageTower,
    ClipTextTower,
    ImageTower,
    SiglipImageTower,
    SiglipTextTower,
    TextTower,
)

UNUSED = ("position_ids",)
"""How tensors end that older files hold and newer models compute."""


@dataclass(frozen=True)
class Pretrained:
    """A model in evaluation mode, its tokenizer and its image processor, all of the library transformers."""

    folder: Folder
    model: Any
    tokenizer: Any
    processor: Any

    @classmethod
    def load(cls, folder: Folder) -> Pretrained:
        """Read a folder. Raises InputError for weights or files that do not fit the configuration."""
        transformers = import_transformers()
        path = folder.path
        # SigLIP's own class needs sentencepiece; its tokenizer.json says the same.
        kind = transformers.AutoTokenizer if folder.kind == "clip" else transformers.PreTrainedTokenizerFast
        try:
            tokenizer = kind.from_pretrained(path, local_files_only=True)
        except Exception as error:  # the library raises many types
            raise InputError(f"the tokenizer in {path} cannot be read ({first_line(error)}): copy it again") from error
        if folder.kind == "open_clip":
            model, processor = load_open_clip(path, transformers)
            return cls(folder, model, tokenizer, processor)
        if folder.kind == "siglip":
            lower_case(tokenizer.backend_tokenizer)
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True, backend="pil")
        except Exception as error:
            raise InputError(
                f"the image preprocessing in {path} cannot be read ({first_line(error)}): copy it again"
            ) from error
        return cls(folder, load_model(path), tokenizer, processor)

    @property
    def engine_tokenizer(self) -> HuggingFaceTokenizer:
        """The same tokenizer as the engine reads it."""
        tokenizer = HuggingFaceTokenizer(self.tokenizer.backend_tokenizer.to_str())
        size = self.model.config.text_config.vocab_size
        if len(tokenizer) > size:
            raise InputError(
                f"the tokenizer of {self.folder.path} has {len(tokenizer)} tokens, the model {size}: copy the same "
                "model's tokenizer into it"
            )
        return tokenizer

    @property
    def max_tokens(self) -> int:
        """The longest text that the model takes, markers included."""
        return int(self.model.config.text_config.max_position_embeddings)

    @property
    def pads_texts(self) -> bool:
        """Whether texts are padded to the longest that the model takes, and the padding is seen."""
        return self.folder.kind == "siglip"

    def towers(self, regions: int | None) -> tuple[ImageTower, TextTower]:
        """The two encoders for export; `regions` a side, or None for a region for each patch."""
        vision, model = self.model.config.vision_config, self.model
        patches = int(vision.image_size) // int(vision.patch_size)
        size = patches if regions is None else min(regions, patches)
        before, after = self.engine_tokenizer.markers
        markers = len(before), len(after)
        if self.folder.kind == "siglip":
            padding = self.tokenizer.pad_token_id
            if padding is None:
                raise InputError(
                    f"the tokenizer in {self.folder.path} names no padding token: copy tokenizer_config.json too"
                )
            return SiglipImageTower(model, self.scale, patches, size), SiglipTextTower(model, markers, padding)
        return ClipImageTower(model, self.scale, patches, size), ClipTextTower(model, markers)

    @property
    def name(self) -> str:
        """The folder's name and a digest of what sees photos: the names of extractors made of it begin so."""
        seeing, _ = self.towers(1)
        return f"{self.folder.path.resolve().name}-{weights_digest(seeing)[:8]}"

    def recipe(self, name: str) -> Recipe:
        """The image preprocessing as an extractor's recipe; pixels stay raw, for the graph scales them itself."""
        side = int(self.model.config.vision_config.image_size)
        return recipe_of(self.processor.to_dict(), name, self.folder.path, side)

    @property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Factor and offset, 3 each, that make the model's input of pixels from 0 to 255."""
        return scale_of(self.processor.to_dict())


def lower_case(tokenizer: Any) -> None:
    """Let a tokenizer read small letters alone, as SigLIP and SigLIP 2 are trained; SigLIP 2's file does not say so."""
    from tokenizers import normalizers

    held = tokenizer.normalizer
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([held] if held else [])])


def import_transformers() -> Any:
    """The library, told that it is offline and should be silent."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers: Any = import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def load_model(path: Path) -> Any:
    """The model of a folder in float32. Raises InputError where tensors are missing or of another shape."""
    transformers = import_transformers()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            path,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # the library raises many types
        raise InputError(f"the model in {path} cannot be read ({first_line(error)}): copy it again") from error
    if mismatched := sorted(report["mismatched_keys"]):
        name, held, wanted = mismatched[0]
        raise InputError(
            f"the weights in {path} are of another model than config.json: {name} has shape {list(held)}, not "
            f"{list(wanted)}"
        )
    if missing := sorted(name for name in report["missing_keys"] if not name.endswith(UNUSED)):
        raise InputError(
            f"the weights in {path} are of another model than config.json: they have no {missing[0]} ({len(missing)} "
            "tensors are missing)"
        )
    return model.eval().requires_grad_(False)


def weights_digest(module: nn.Module) -> str:
    """Hex SHA-256 over a module's tensors with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
