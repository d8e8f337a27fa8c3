"""A bundle against the model itself: photos and texts through both, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.manifest import GRAPHS
from shan_engine.locate import demo_folder
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.text.tokenizer import Tokenizer, pad

from shan_export.vision_language.pretrained import Pretrained
from shan_export.vision_language.towers import ImageTower

TOLERANCE = 1e-5
PHOTOS = ("alpaca.jpg", "bee.jpg", "cat.jpg", "bison.jpg")
TEXTS = (
    "a photo of an alpaca",
    "bee",
    "A cat, asleep on the sofa!",
    "two brown bison graze on a wide meadow below the mountains",
    "naïve café – 3 dogs & 12 cats",
)


@dataclass(frozen=True)
class Difference:
    """Greatest absolute differences: of cosines with the model's own, and of regions with the plain module's."""

    cosines: float
    regions: float


def compare(
    pretrained: Pretrained, tower: ImageTower, tokenizer: Tokenizer, folder: Path, photos: Sequence[Path] | None = None
) -> Difference:
    """Compare the extractor and the encoders in `folder` with the model, on photos of the demo by default.

    Raises BundleError where the engine's tokenizer gives other tokens than the model's own.
    """
    photos = photos or demo_photos()
    extractor = FeatureExtractor(folder / "feature_extractor.onnx", "cpu")
    recipe = extractor.recipe
    scaled = [read_scaled(photo, recipe.width, recipe.height, fit=recipe.fit) for photo in photos]
    pixels = np.stack([one.pixels for one in scaled])
    features = np.stack([one.features for one in extractor(pixels)])
    with torch.no_grad():
        expected = tower(torch.from_numpy(pixels))[0].numpy()
    regions = float(np.abs(unit(features) - unit(expected)).max())
    image_encoder, text_encoder = (OnnxRuntimeGraph(folder / name, "cpu") for name in GRAPHS[:2])
    images = image_encoder.run({"features": features, "region_mask": np.ones(features.shape[:2], np.bool_)})
    token_lists = [list(tokenizer.encode(text, pretrained.max_tokens).tokens) for text in TEXTS]
    refuse_other_tokens(pretrained, token_lists)
    tokens, lengths = pad(token_lists)
    captions = text_encoder.run({"tokens": tokens, "lengths": lengths})
    found = images["image_vector"] @ captions["query_vector"].T
    return Difference(float(np.abs(found - own_cosines(pretrained, photos)).max()), regions)


def refuse_other_tokens(pretrained: Pretrained, token_lists: Sequence[Sequence[int]]) -> None:
    """Raise BundleError for the first text of TEXTS whose tokens are not the model's own."""
    for text, tokens in zip(TEXTS, token_lists, strict=True):
        own = pretrained.tokenizer(text)["input_ids"]
        if list(own) != list(tokens):
            raise BundleError(f"the engine reads '{text}' as the tokens {list(tokens)}, the model as {list(own)}")


def own_cosines(pretrained: Pretrained, photos: Sequence[Path]) -> NDArray[np.float32]:
    """Cosines of photos with TEXTS, by the model's own processor, tokenizer and forward pass: photos x texts."""
    model = pretrained.model
    images = [ImageOps.exif_transpose(Image.open(photo)).convert("RGB") for photo in photos]
    settings = (
        {"padding": "max_length", "max_length": pretrained.max_tokens} if pretrained.pads_texts else {"padding": True}
    )
    texts = pretrained.tokenizer(list(TEXTS), return_tensors="pt", truncation=True, **settings)
    with torch.no_grad():
        vision = model.get_image_features(**pretrained.processor(images=images, return_tensors="pt")).pooler_output
        if pretrained.pads_texts:  # these models see their padding
            text = model.get_text_features(input_ids=texts["input_ids"]).pooler_output
        else:
            text = model.get_text_features(**texts).pooler_output
    return unit(vision.numpy()) @ unit(text.numpy()).T


def demo_photos() -> list[Path]:
    """A few photos of the bundled demo. Raises InputError where this installation has none."""
    folder = demo_folder()
    found = [folder / "photos" / name for name in PHOTOS] if folder else []
    if not found or not all(photo.is_file() for photo in found):
        raise InputError("this installation lacks the demo's photos, which export compares: install it again")
    return found


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)  # type: ignore[no-any-return]
