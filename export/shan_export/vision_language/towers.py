"""The two encoders of a vision-language model as plain modules, with its tensors.

The image encoder gives row 0 for the whole image, as the model's authors compare it, and a row for each region. Both
are in the joint space, and not yet of length 1. CLIP projects a patch's token as it projects the class token. SigLIP
pools all patches by attention: a region is what its pooling gives of that region's mean patch alone.
"""

from __future__ import annotations

from typing import Any

import torch
from shan_model.encoders import TextEncoder
from shan_model.norms import l2_normalise
from torch import Tensor, nn

GRID = 6
"""Regions a side, where patches are pooled."""


class ImageTower(nn.Module):
    """Photos B x S x S x 3 (uint8 RGB) to features B x (1 + R) x D and relative boxes B x (1 + R) x 4."""

    def __init__(self, scale: tuple[Tensor, Tensor], patches: int, regions: int) -> None:
        """`patches` a side, of which `regions` a side become rows."""
        super().__init__()
        self.pooling: Tensor
        self.boxes: Tensor
        self.factor: Tensor
        self.offset: Tensor
        self.register_buffer("factor", scale[0][:, None, None])
        self.register_buffer("offset", scale[1][:, None, None])
        pooling, boxes = pooled_patches(patches, regions)
        self.register_buffer("pooling", pooling)
        self.register_buffer("boxes", torch.cat([torch.tensor([[0.0, 0.0, 1.0, 1.0]]), boxes]))
        self.pools = regions < patches

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The features and their boxes."""
        whole, patches = self.encode(pixels.permute(0, 3, 1, 2).float() * self.factor + self.offset)
        regions = self.project(self.pooling @ patches if self.pools else patches)
        features = torch.cat([whole[:, None], regions], dim=1)
        return features, self.boxes[None].expand(features.shape[0], -1, -1)

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images B x 3 x S x S to what stands for the whole, B x D, and patches B x P x H."""
        raise NotImplementedError

    def project(self, patches: Tensor) -> Tensor:
        """Patches, or means of some, B x R x H into the joint space, B x R x D."""
        raise NotImplementedError


class ClipImageTower(ImageTower):
    """CLIP's."""

    def __init__(self, model: Any, scale: tuple[Tensor, Tensor], patches: int, regions: int) -> None:
        super().__init__(scale, patches, regions)
        self.vision, self.projection = model.vision_model, model.visual_projection

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageTower.encode`."""
        vision = self.vision
        states = vision.pre_layrnorm(vision.embeddings(images))
        states = vision.post_layernorm(vision.encoder(inputs_embeds=states).last_hidden_state)
        return self.projection(states[:, 0]), states[:, 1:]

    def project(self, patches: Tensor) -> Tensor:
        """See `ImageTower.project`."""
        projected: Tensor = self.projection(patches)
        return projected


class SiglipImageTower(ImageTower):
    """SigLIP's."""

    def __init__(self, model: Any, scale: tuple[Tensor, Tensor], patches: int, regions: int) -> None:
        super().__init__(scale, patches, regions)
        self.vision = model.vision_model

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageTower.encode`."""
        vision = self.vision
        states = vision.encoder(inputs_embeds=vision.embeddings(images)).last_hidden_state
        states = vision.post_layernorm(states)
        return vision.head(states), states

    def project(self, patches: Tensor) -> Tensor:
        """Attention over a single row gives the row's value."""
        head = self.vision.head
        attention, dim = head.attention, patches.shape[-1]
        values = nn.functional.linear(patches, attention.in_proj_weight[2 * dim :], attention.in_proj_bias[2 * dim :])
        pooled = attention.out_proj(values)
        projected: Tensor = pooled + head.mlp(head.layernorm(pooled))
        return projected


class TextTower(TextEncoder):
    """Tokens C x n to rows of length 1, C x (n + 1) x D: of each token, and last of the whole text.

    The mask C x (n + 1) keeps the tokens between the markers.
    """

    def __init__(self, text: Any, markers: tuple[int, int]) -> None:
        """`markers` are how many stand before and after each text."""
        super().__init__()
        self.text, (self.before, self.after) = text, markers

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        rows, whole = self.encode(tokens, lengths)
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        mask = (places >= self.before) & (places < lengths[:, None] - self.after)
        words = l2_normalise(rows) * mask[..., None]
        none = torch.zeros_like(lengths[:, None], dtype=torch.bool)
        return torch.cat([words, l2_normalise(whole)[:, None]], dim=1), torch.cat([mask, none], dim=1)

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Rows C x n x D and what stands for the whole text, C x D."""
        raise NotImplementedError

    def run(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The encoder's states C x n x H; `mask` n x n is added to the attention's logits."""
        embeddings = self.text.embeddings
        states = embeddings.token_embedding(tokens) + embeddings.position_embedding.weight[: tokens.shape[1]]
        states = self.text.encoder(inputs_embeds=states, attention_mask=mask).last_hidden_state
        normalised: Tensor = self.text.final_layer_norm(states)
        return normalised


class ClipTextTower(TextTower):
    """CLIP's: each token sees those before it, and the last marker stands for the whole."""

    def __init__(self, model: Any, markers: tuple[int, int]) -> None:
        super().__init__(model.text_model, markers)
        self.projection = model.text_projection

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `TextTower.encode`."""
        later = torch.ones(tokens.shape[1], tokens.shape[1], device=tokens.device).triu(1)
        rows = self.projection(self.run(tokens, (later * torch.finfo(torch.float32).min)[None, None]))
        last = (lengths - 1)[:, None, None].expand(-1, 1, rows.shape[-1])
        return rows, rows.gather(1, last)[:, 0]


class SiglipTextTower(TextTower):
    """SigLIP's: all texts are padded to the same length, padding is seen, and the last place stands for the whole."""

    def __init__(self, model: Any, markers: tuple[int, int], padding: int) -> None:
        super().__init__(model.text_model, markers)
        self.padding, self.length = padding, int(model.config.text_config.max_position_embeddings)

    def encode(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See `TextTower.encode`."""
        more = tokens.new_zeros(tokens.shape[0], self.length)
        padded = torch.cat([tokens, more], dim=1)[:, : self.length]
        used = torch.arange(self.length, device=tokens.device)[None] < lengths[:, None]
        rows = self.text.head(self.run(torch.where(used, padded, self.padding), None))
        return rows.index_select(1, torch.arange(tokens.shape[1], device=tokens.device)), rows[:, -1]


def pooled_patches(patches: int, regions: int) -> tuple[Tensor, Tensor]:
    """Weights R² x P² that average P x P patches into R x R regions, and the regions' relative boxes R² x 4.

    A region has all patches that it touches, as in adaptive pooling: neighbours share some where P / R is no whole
    number.
    """
    starts = [place * patches // regions for place in range(regions)]
    stops = [-(-(place + 1) * patches // regions) for place in range(regions)]
    weights, boxes = torch.zeros(regions, regions, patches, patches), torch.zeros(regions, regions, 4)
    for row in range(regions):
        for column in range(regions):
            own = slice(starts[row], stops[row]), slice(starts[column], stops[column])
            weights[row, column][own] = 1
            boxes[row, column] = torch.tensor([starts[column], starts[row], stops[column], stops[row]]) / patches
    weights = weights.reshape(regions**2, patches**2)
    return weights / weights.sum(1, keepdim=True), boxes.reshape(regions**2, 4)
