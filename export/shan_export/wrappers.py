"""A model as the graphs of a bundle; the model itself stays untouched."""

from __future__ import annotations

import pkgutil

from shan_engine.base.errors import InputError
from shan_model.registry import find_registration
from shan_model.retrieval import RetrievalModel
from torch import Tensor, nn

REGIONS = "image_regions"


class ImageEncoderGraph(nn.Module):
    """features B x K x F, region_mask B x K -> what a gallery stores.

    That is V if the model's terms have it, otherwise all terms; and the vectors of the score's further parts.
    """

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
        """Encode the features; a padding region's row is 0."""
        terms = self.model.image_terms(self.model.image_encoder(features), region_mask)
        if REGIONS in terms:
            stored = {REGIONS: terms[REGIONS] * region_mask[..., None]}
        else:
            stored = {name: term for name, term in terms.items() if name != "region_mask"}
        return {**stored, **self.model.image_vectors(features, region_mask)}


class ImageTermsGraph(nn.Module):
    """image_regions B x K x D, region_mask B x K -> the model's other image terms."""

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_regions: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
        """The terms that a score needs of an image, from what the gallery stores."""
        terms = self.model.image_terms(image_regions, region_mask)
        return {name: term for name, term in terms.items() if name not in (REGIONS, "region_mask")}


class TextEncoderGraph(nn.Module):
    """tokens C x n, lengths C -> the model's caption terms, by the text encoder as it is."""

    def __init__(self, model: RetrievalModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Encode the tokens, then compute what a score needs of a caption."""
        return self.model.encode_captions(tokens, lengths)


def wrap_image_encoder(model: RetrievalModel) -> nn.Module:
    """The model's image encoder in the wrapper that its registration names. Raises InputError if that is not there."""
    return _wrapped(model, find_registration(model.config.model).image_graph)


def wrap_text_encoder(model: RetrievalModel) -> nn.Module:
    """The same of the text encoder."""
    return _wrapped(model, find_registration(model.config.model).text_graph)


def _wrapped(model: RetrievalModel, name: str) -> nn.Module:
    try:
        wrapper = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"the export wrapper {name} of the model {model.config.model} cannot be loaded ({error}): fix the model's "
            "registration"
        ) from error
    module: nn.Module = wrapper(model)
    return module


class PairScorerGraph(nn.Module):
    """Image terms of B images, caption terms of C captions -> scores, step scores and, if there is, attention."""

    def __init__(self, model: RetrievalModel, image: list[str], caption: list[str]) -> None:
        super().__init__()
        self.model, self.image, self.caption = model, image, caption

    def forward(self, *terms: Tensor) -> tuple[Tensor, ...]:
        """The factorised score of every image with every caption."""
        split = len(self.image)
        image = dict(zip(self.image, terms[:split], strict=True))
        caption = dict(zip(self.caption, terms[split:], strict=True))
        return tuple(part for part in self.model.score_grid(image, caption) if part is not None)
