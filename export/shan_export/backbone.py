"""A feature extractor from an image model on your disk: DINOv2, DINOv3, plain vision transformers, any ONNX graph.

    python -m shan_export.backbone ~/models/dinov2-base --output extractors
    python -m shan_export.backbone vit.onnx --size 224 --skip 1 --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225 \\
        --output extractors
    python -m shan_export.backbone detector.onnx --size 800x600 --features box_features --boxes boxes --most 36 \\
        --output extractors
    shan-engine extract PHOTOS --store S --extractor extractors/dinov2-base-….onnx

The folder is one of Hugging Face's, with `config.json`, `model.safetensors` and `preprocessor_config.json`. Its patches
become regions: 6 x 6, for which neighbouring patches are averaged, or one each with `--regions all`. Tokens of the
whole image are left out. A timm trunk or a detector comes as an ONNX graph (`onnx_backbone.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shan_engine.base.errors import InputError
from shan_engine.base.optional import require
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor, Recipe
from torch import Tensor, nn

from shan_export.onnx_backbone import Outputs, adapt_graph
from shan_export.parity import TOLERANCE
from shan_export.vision_language.bundle import refuse_difference, write_extractor
from shan_export.vision_language.folder import PREPROCESSING, WEIGHTS, demand_file, model_type, read_json
from shan_export.vision_language.preprocessing import recipe_of, scale_of
from shan_export.vision_language.pretrained import load_model, weights_digest
from shan_export.vision_language.reference import demo_photos, unit
from shan_export.vision_language.towers import GRID, pooled_patches

KINDS = ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit", "clip_vision_model", "siglip_vision_model")


class PatchExtractor(nn.Module):
    """Photos B x S x S x 3 (uint8 RGB) to regions B x R x H and relative boxes B x R x 4."""

    def __init__(self, model: Any, scale: tuple[Tensor, Tensor], side: int, regions: int | None) -> None:
        """`side` is S; `regions` a side, or None for a region for each patch."""
        super().__init__()
        self.model = model
        self.patches = side // int(model.config.patch_size)
        pooling, boxes = pooled_patches(self.patches, min(regions or self.patches, self.patches))
        self.pooling: Tensor
        self.boxes: Tensor
        self.factor: Tensor
        self.offset: Tensor
        for name, tensor in (("pooling", pooling), ("boxes", boxes)):
            self.register_buffer(name, tensor)
        for name, values in zip(("factor", "offset"), scale, strict=True):
            self.register_buffer(name, values[:, None, None])
        fix_positions(model, side)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The regions and their boxes; patches are the model's last tokens."""
        states = self.model(pixels.permute(0, 3, 1, 2).float() * self.factor + self.offset).last_hidden_state
        features = self.pooling @ states[:, states.shape[1] - self.patches**2 :]
        return features, self.boxes[None].expand(features.shape[0], -1, -1)


def fix_positions(model: Any, side: int) -> None:
    """Let a model use the position embeddings of images of one size, which it would interpolate for each of them."""
    embeddings: Any = getattr(model, "embeddings", None)
    if not hasattr(embeddings, "interpolate_pos_encoding") or not hasattr(embeddings, "position_embeddings"):
        return
    tokens = torch.zeros(1, (side // int(model.config.patch_size)) ** 2 + 1, model.config.hidden_size)
    embeddings.position_embeddings = nn.Parameter(
        embeddings.interpolate_pos_encoding(tokens, side, side).detach().clone(), requires_grad=False
    )
    embeddings.interpolate_pos_encoding = lambda *_: embeddings.position_embeddings


def export_backbone(folder: Path, output: Path, *, all_regions: bool = False) -> Path:
    """Write graph and recipe of the model in `folder` into the folder `output`; returns the graph's path.

    Raises InputError where the folder holds another kind of model, BundleError where the graph differs from it.
    """
    kind = model_type(folder)
    if kind not in KINDS:
        raise InputError(f"{folder} holds a model of type '{kind}', not one of {', '.join(KINDS)}")
    demand_file(folder, *((name,) for name in WEIGHTS), what="weights")
    demand_file(folder, PREPROCESSING[:1], what="settings of its image preprocessing")
    settings = read_json(folder / PREPROCESSING[0])
    model = load_model(folder)
    digest = weights_digest(model)
    grid = "patches" if all_regions else f"grid{GRID}"
    recipe = recipe_of(settings, f"{folder.resolve().name}-{digest[:8]}-{grid}", folder)
    if recipe.width % int(model.config.patch_size):
        raise InputError(
            f"{folder} prepares images of {recipe.width} pixels, which are no whole number of patches of "
            f"{model.config.patch_size}: change crop_size or size in its preprocessor_config.json"
        )
    extractor = PatchExtractor(model, scale_of(settings), recipe.width, None if all_regions else GRID).eval()
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{recipe.name}.onnx"
    write_extractor(extractor, recipe, path)
    pixels = [read_scaled(photo, recipe.width, recipe.height, fit=recipe.fit).pixels for photo in demo_photos()]
    found = np.stack([regions.features for regions in FeatureExtractor(path, "cpu")(np.stack(pixels))])
    with torch.no_grad():
        expected = extractor(torch.from_numpy(np.stack(pixels)))[0].numpy()
    refuse_difference("graph differs from PyTorch", float(np.abs(unit(found) - unit(expected)).max()), TOLERANCE)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the extractor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a model, or an ONNX graph with one input, the image")
    parser.add_argument("--output", type=Path, required=True, help="folder for the graph and its recipe")
    parser.add_argument("--regions", choices=("grid", "all"), default="grid", help="6 x 6 regions, or every patch")
    graph = parser.add_argument_group("of an ONNX graph")
    graph.add_argument("--size", help="pixels of the image: 224, or width x height as 800x600")
    graph.add_argument("--shortest-edge", type=int, default=0, help="scale photos so, then cut --size from the middle")
    graph.add_argument("--resampling", default="bicubic", help="how photos are scaled (bicubic)")
    graph.add_argument("--mean", type=float, nargs=3, default=(0.0, 0.0, 0.0), help="of pixels from 0 to 1")
    graph.add_argument("--std", type=float, nargs=3, default=(1.0, 1.0, 1.0), help="of pixels from 0 to 1")
    graph.add_argument("--features", help="output with tokens, a feature map or a detector's rows (the first)")
    graph.add_argument("--boxes", help="output with a detector's boxes, in pixels or relative")
    graph.add_argument("--skip", type=int, default=0, help="first tokens that stand for no patch, such as [CLS]")
    graph.add_argument("--most", type=int, default=0, help="a detector's first rows that count (all)")
    given = parser.parse_args(arguments)
    if given.model.suffix == ".onnx":
        print(_of_graph(given))
        return
    require("clip", "transformers")
    print(export_backbone(given.model, given.output, all_regions=given.regions == "all"))


def _of_graph(given: argparse.Namespace) -> Path:
    """The extractor that the options make of an ONNX graph."""
    sides = [int(side) for side in (given.size or "").split("x") if side.isdecimal()]
    if not given.model.is_file() or len(sides) not in (1, 2):
        fix = "give --size, the pixels that it takes" if given.model.is_file() else "name the graph's file"
        raise InputError(f"{given.model} cannot be made an extractor: {fix}")
    recipe = Recipe(
        given.model.stem,
        sides[0],
        sides[-1],
        mean=tuple(given.mean),
        std=tuple(given.std),
        shortest_edge=given.shortest_edge,
        resampling=given.resampling,
    )
    outputs = Outputs(
        features=given.features,
        boxes=given.boxes,
        skip=given.skip,
        most=given.most,
        all_regions=given.regions == "all",
    )
    return adapt_graph(given.model, given.output, recipe, outputs)


if __name__ == "__main__":
    main()
