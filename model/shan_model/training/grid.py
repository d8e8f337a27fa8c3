"""Scores of all images with all captions by the factorised form, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.kernel.constants import ShanConstants
from shan_engine.kernel.shan import load_kernel
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.tokenizer import Tokenizer, pad
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from shan_model.norms import used_rows
from shan_model.retrieval import RetrievalModel, Terms
from shan_model.training.data import RegionSource


def score_in_chunks(
    model: RetrievalModel,
    image: Terms,
    caption: Terms,
    *,
    last_step: str | None = None,
    images: int,
    captions: int = 32,
    recompute: bool = False,
) -> Tensor:
    """Scores B x C, a few images and captions of similar length at a time: less padding, and all stays in cache.

    With `recompute`, the backward pass recomputes each part's intermediate results instead of keeping them.
    """

    def scores(image: Terms, caption: Terms) -> Tensor:
        return model.score_grid(image, caption, last_step=last_step).scores

    part_scores = partial(checkpoint, scores, use_reentrant=False, preserve_rng_state=False) if recompute else scores
    if "word_mask" not in caption:  # a vector a side: one product
        return scores(image, caption)
    lengths = used_rows(caption["word_mask"])
    order = lengths.argsort()
    columns = []
    for part in torch.split(order, captions):
        shorter = select_captions(caption, part, int(lengths[part].max()))
        rows = [
            part_scores({name: term[first : first + images] for name, term in image.items()}, shorter)
            for first in range(0, len(next(iter(image.values()))), images)
        ]
        columns.append(torch.cat(rows))
    return torch.cat(columns, dim=1)[:, order.argsort()]


def select_captions(caption: Terms, rows: Tensor, words: int) -> Terms:
    """Some captions' terms, cut to their first `words` words."""
    vectors = {name: term[rows] for name, term in caption.items() if _is_vector(name)}
    selected = {name: term[rows, :words] for name, term in caption.items() if name not in vectors} | vectors
    return {name: term[..., :words] if name.endswith("_gram") else term for name, term in selected.items()}


def _is_vector(name: str) -> bool:
    """Whether a term has one row for a caption, not one for each word."""
    return name.endswith("_vector") or name == "class_weights"


def score_first_step(model: RetrievalModel, image: Terms, caption: Terms) -> Tensor:
    """Scores B x C by the model's first step, in compiled code if there is any."""
    scores = model.compiled_first_step(image, caption)
    if scores is None:
        scores = score_in_chunks(model, image, caption, last_step=model.steps[0], images=32)
    return scores


class GridScorer:
    """A model's full scores without gradients: by the engine's kernel for SHAN on a CPU, otherwise factorised."""

    def __init__(self, model: RetrievalModel) -> None:
        weight = next(model.parameters())
        self._model, self._on_cpu = model, weight.device.type == "cpu"
        constants = shan_constants(model.kernel_constants()) if self._on_cpu and weight.dtype == torch.float32 else None
        self._kernel = load_kernel(constants) if constants else None

    @torch.no_grad()
    def scores(self, image: Terms, caption: Terms) -> Tensor:
        """Scores B x C of every image with every caption."""
        if self._kernel:
            sides = ({name: term.numpy(force=True) for name, term in side.items()} for side in (image, caption))
            return torch.from_numpy(self._kernel.score(*sides))
        images, captions = (2, 32) if self._on_cpu else (64, 128)  # of a call: for a CPU's cache, or for a GPU
        return score_in_chunks(self._model, image, caption, images=images, captions=captions)


@torch.no_grad()
def score_split(
    model: RetrievalModel, source: RegionSource, tokenizer: Tokenizer, split: CaptionSplit, device: torch.device
) -> NDArray[np.float32]:
    """Scores images x captions of a split."""
    scorer = GridScorer(model)
    tokens = [tokenizer.encode(caption, model.most_tokens).tokens for caption in split.captions]
    order = np.argsort([len(t) for t in tokens], kind="stable")
    scores = np.empty((len(split.images), len(tokens)), np.float32)
    captions = []
    for start in range(0, len(order), 128):
        part = order[start : start + 128]
        padded, lengths = (torch.from_numpy(array).to(device) for array in pad([tokens[i] for i in part]))
        captions.append((part, model.encode_captions(padded, lengths)))
    for first in range(0, len(split.images), 64):
        features, mask = (
            torch.from_numpy(array).to(device) for array in source.regions(split.images[first : first + 64])
        )
        image = model.encode_images(features, mask)
        for part, caption in captions:
            scores[first : first + 64, part] = with_global_term(model, image, caption, scorer.scores).cpu().numpy()
    return scores


def with_global_term(
    model: RetrievalModel, image: Terms, caption: Terms, scores: Callable[[Terms, Terms], Tensor]
) -> Tensor:
    """Scores B x C of both sides by `scores`, and the model's global term if it has one."""
    term, steps = model.global_term(image, caption), scores(image, caption)
    return steps if term is None else steps + term.weighted


def shan_constants(tensors: Mapping[str, Tensor]) -> ShanConstants | None:
    """A model's `kernel_constants` as the engine takes them; None of a model that its kernel cannot score."""
    constants: dict[str, Any] = {
        name: tensor.detach().numpy() if tensor.ndim else tensor.item() for name, tensor in tensors.items()
    }
    return ShanConstants(**constants) if constants else None
