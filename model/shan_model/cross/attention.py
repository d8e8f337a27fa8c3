"""Attention between words and regions as the public code of SCAN has it, for grids and for pairs alike.

Regions ... x K x D and words ... x n x D broadcast over their leading axes: B x 1 and 1 x C give a grid, P and P pairs.
"""

from __future__ import annotations

from torch import Tensor

from shan_model.norms import leaky_unit, masked_softmax
from shan_model.retrieval import Terms

SLOPE = 0.1


def rows_of_grid(image: Terms, caption: Terms, regions: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """V (B x 1 x K x D), its mask, T (1 x C x n x D) and its mask from terms, for scores B x C."""
    return (
        image[regions][:, None],
        image["region_mask"][:, None],
        caption["caption_words"][None],
        caption["word_mask"][None],
    )


def cosines(regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
    """V_k . T_j, ... x K x n, 0 where one of them is padding."""
    return products(regions, words) * region_mask[..., :, None] * word_mask[..., None, :]


def products(regions: Tensor, words: Tensor) -> Tensor:
    """V_k . T_j, ... x K x n. Those of a grid are one large product: a product for each pair is much slower."""
    if regions.dim() == 3:
        return regions @ words.transpose(-1, -2)
    (images, _, K, _), (_, captions, n, _) = regions.shape, words.shape
    found = regions.flatten(0, 2) @ words.flatten(0, 2).T
    return found.reshape(images, K, captions, n).transpose(1, 2)


def attended(weights: Tensor, regions: Tensor) -> Tensor:
    """The sum of what each word looks at, ... x n x D, from weights ... x n x K. A grid has a product an image."""
    if regions.dim() == 3:
        return weights @ regions
    seen = weights.flatten(1, 2) @ regions[:, 0]
    return seen.reshape(*weights.shape[:3], seen.shape[-1])


def word_weights(found: Tensor, region_mask: Tensor, *, smooth: float) -> Tensor:
    """How much each word looks at each region, ... x n x K, from cosines ... x K x n."""
    bent = leaky_unit(found, slope=SLOPE, dim=-1)
    return masked_softmax(smooth * bent.transpose(-1, -2), region_mask[..., None, :], dim=-1)


def region_weights(found: Tensor, word_mask: Tensor, *, smooth: float) -> Tensor:
    """How much each region looks at each word, ... x K x n, from cosines ... x K x n."""
    return masked_softmax(smooth * leaky_unit(found, slope=SLOPE, dim=-2), word_mask[..., None, :], dim=-1)
