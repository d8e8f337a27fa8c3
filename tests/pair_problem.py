"""Random images and captions as a pair scorer takes them, with the scores of the plain module."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from shan_engine.kernel.constants import ShanConstants
from shan_model.norms import l2_normalise
from shan_model.shan.alignment import Alignment
from shan_model.shan.factorised import caption_terms, image_terms

STEPS = ("l2l", "g2l", "g2g")


@dataclass
class Problem:
    """Images and captions as the kernel takes them, and their plain step scores."""

    constants: ShanConstants
    images: dict[str, np.ndarray]
    captions: dict[str, np.ndarray]
    expected: np.ndarray


def problem(
    images=2, regions=5, captions=3, words=4, dim=8, *, steps=3, direction="full", temperature=9.0, kept=1.0, seed=0
) -> Problem:
    torch.manual_seed(seed)
    alignment = Alignment(embed_dim=dim, temperature=temperature, direction=direction, steps=STEPS[:steps])
    masks = []
    for count, size in ((images, regions), (captions, words)):
        mask = torch.rand(count, size) < kept
        if count:
            mask[torch.arange(count), torch.randint(size, (count,))] = True
        masks.append(mask)
    V = l2_normalise(torch.randn(images, regions, dim))
    T = l2_normalise(torch.randn(captions, words, dim)) * masks[1][:, :, None]
    with torch.no_grad():
        image, caption = image_terms(alignment, V, masks[0]), caption_terms(alignment, T, masks[1])
        expected = torch.zeros(images, captions, steps)
        if captions:
            for i in range(images):
                pairs = V[i].expand(captions, -1, -1), masks[0][i].expand(captions, -1)
                expected[i] = alignment(*pairs, T, masks[1])
    pools = [pool.weight.detach().numpy()[0].copy() for pool in (alignment.image_pool, alignment.text_pool)]
    constants = ShanConstants(*pools, temperature, alignment.region_weight, alignment.word_weight, steps)
    gates = {
        "image_gate": alignment.image_gate.weight[:, :dim],
        "image_gate_bias": alignment.image_gate.bias,
        "image_attended_gate": alignment.text_gate.weight[:, dim:],
    }
    constants = replace(constants, **{name: weight.detach().numpy() for name, weight in gates.items()})
    arrays = [{name: term.contiguous().numpy() for name, term in terms.items()} for terms in (image, caption)]
    return Problem(constants, *arrays, expected.numpy())
