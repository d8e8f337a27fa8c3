"""A model from a folder into a bundle: extractor, encoders, pair scorer, tokenizer, and their parity."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from shan_engine.base.errors import BundleError
from shan_engine.base.files import fresh_folder, sha256
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.photos.extractor import Recipe
from shan_model.vision_language import VisionLanguage, VisionLanguageConfig
from torch import nn

from shan_export.bundle_writer import fingerprint, refuse_output, write_graphs
from shan_export.onnx_file import export_graph
from shan_export.parity import TOLERANCE, largest_difference
from shan_export.small_weights import pack_weights, round_weights
from shan_export.vision_language import reference
from shan_export.vision_language.folder import Folder
from shan_export.vision_language.pretrained import Pretrained
from shan_export.vision_language.towers import GRID
from shan_export.wrappers import ImageEncoderGraph, TextEncoderGraph


def export_from(
    folder: Path,
    output: Path,
    *,
    scorer: str = "clip",
    all_regions: bool = False,
    late_weight: float = 0.1,
    weights: str = "float32",
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> Manifest:
    """Export the vision-language model in `folder` to the bundle `output`, and prove it against the model itself.

    `scorer` is `clip` or `late`, in which a word's part weighs `late_weight`. With `all_regions` each patch is a
    region, otherwise they are pooled to 6 x 6. `weights` in float16 or int8 are rounded first, and graphs compute in
    float32 all the same. Raises InputError where the folder does not hold such a model,
    BundleError where cosines differ from the model's own by more than 1e-5; then nothing changes.
    """
    refuse_output(output, overwrite)
    opened = Folder.open(folder)
    on_stage(f"reading {folder}")
    pretrained = Pretrained.load(opened)
    grid = "patches" if all_regions else f"grid{GRID}"
    name = "-".join([pretrained.name, grid, *([weights] if weights != "float32" else [])])
    if weights != "float32":
        change = round_model(pretrained, large_to_8_bits=weights == "int8")
        on_stage(f"weights as {weights}, which changes cosines by up to {change:.1e}")
    tokenizer = pretrained.engine_tokenizer
    image_tower, text_tower = pretrained.towers(None if all_regions else GRID)
    with torch.no_grad():
        dim = text_tower(torch.full((1, 3), 1), torch.tensor([3]))[0].shape[-1]
    config = VisionLanguageConfig(
        feature_dim=dim,
        embed_dim=dim,
        vocab_size=len(tokenizer),
        source=name,
        scorer=scorer,
        late_weight=late_weight,
        steps=("late",) if scorer == "late" else (),
    )
    model = VisionLanguage(config, text_tower).eval()
    output = output.resolve()  # A link stays, and what it names is replaced.
    with fresh_folder(output, overwrite=overwrite) as fresh:
        on_stage("feature extractor")
        write_extractor(image_tower, pretrained.recipe(name), fresh / "feature_extractor.onnx")
        if weights != "float32":
            pack_weights(fresh / "feature_extractor.onnx")
        write_graphs(model, fresh, on_stage, encoders=(ImageEncoderGraph(model), TextEncoderGraph(model)))
        tokenizer.save(fresh / tokenizer.file_name)
        on_stage("comparing with PyTorch")
        graphs = largest_difference(model, fresh, max_words=pretrained.max_tokens, markers=tokenizer.markers)
        on_stage("comparing photos and texts with the model itself")
        difference = reference.compare(pretrained, image_tower, tokenizer, fresh)
        refuse_difference("graphs differ from PyTorch", max(graphs, difference.regions), TOLERANCE)
        refuse_difference("cosines differ from the model's own", difference.cosines, reference.TOLERANCE)
        manifest = Manifest(
            fingerprint=fingerprint(model, tokenizer),
            model=config.to_dict(),
            feature_dim=dim,
            feature_extractor=name,
            max_words=pretrained.max_tokens,
            parity=max(graphs, difference.regions, difference.cosines),
            parts=model.parts(),
            files={file.name: sha256(file) for file in sorted(fresh.iterdir())},
        )
        manifest.save(fresh)
        Bundle.open(fresh)
    return manifest


def write_extractor(tower: nn.Module, recipe: Recipe, path: Path) -> None:
    """Write the ONNX file of an image tower, and its recipe beside it."""
    export_graph(
        tower,
        inputs={"pixels": torch.zeros(2, recipe.height, recipe.width, 3, dtype=torch.uint8)},
        outputs=["features", "boxes"],
        dynamic={"pixels": {0: "batch"}},
        path=path,
    )
    wanted = {key: value for key, value in asdict(recipe).items() if value != getattr(Recipe, key, None)}
    path.with_suffix(".json").write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")


def round_model(pretrained: Pretrained, *, large_to_8_bits: bool) -> float:
    """Round a model's weights in place, and tell by how much that changes a cosine at most."""
    photos = reference.demo_photos()
    before = reference.own_cosines(pretrained, photos)
    round_weights(pretrained.model, large_to_8_bits=large_to_8_bits)
    return float(np.abs(reference.own_cosines(pretrained, photos) - before).max())


def refuse_difference(what: str, difference: float, tolerance: float) -> None:
    """Raise BundleError for a difference above the tolerance, or that is no number."""
    if not difference <= tolerance:
        raise BundleError(f"the exported {what} by {difference:.2g}, more than {tolerance:g}: no bundle was written")
