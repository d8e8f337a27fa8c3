"""A gallery on one device, scored by the Triton kernels. It stays there if it fits; otherwise it is streamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shan_engine.backends.interface import Images
from shan_engine.backends.torch_cuda.pair_scores import CaptionTerms, ImageTerms, Pools, score_pairs
from shan_engine.backends.torch_cuda.ranking import merge_best, read_best
from shan_engine.backends.torch_cuda.upload import Upload
from shan_engine.base.errors import BackendError, BundleError
from shan_engine.kernel.constants import ShanConstants

BLOCK_BYTES = 4 * 2**30  # regions and gate terms of the images that are scored together
NO_MEMORY = "the GPU has too little free memory for a single image: end other programs that use it, or use --device cpu"
SHARE_OF_FREE = 0.9  # of a device's free memory; the rest is for scores, captions and gaps left by the allocator

# Scores and places of a batch of captions, C x k.
Best = tuple[NDArray[np.float32], NDArray[np.int64]]
Captions = Mapping[str, NDArray[Any]]


class DeviceGallery:
    """Images on `device`, scored in `dtype` with float32 sums.

    `dtype` None means float32 for float32 images, and float16 for float16 and int8 ones. `budget` is the device memory
    to use, in bytes; None means the free memory. `level` says how much stays on the device: `terms` (regions and gate
    terms), `regions` (gate terms are computed again in each pass) or `streamed` (nothing).
    Raises BundleError if `constants` lack the gates' weights. Scoring raises BackendError if memory runs out.
    """

    def __init__(
        self,
        images: Images,
        constants: ShanConstants,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
        budget: int | None = None,
    ) -> None:
        self.images, self.constants, self.device = images, constants, device
        self.dtype = dtype or (torch.float32 if images.dtype == np.float32 else torch.float16)
        self._pools, self._gates = _weights(constants, images.dim, device, self.dtype)
        free = _free_bytes(device) if budget is None else budget
        regions = images.regions * images.dim * torch.empty(0, dtype=self.dtype).element_size() + images.regions
        with_terms = regions * (3 if self._gates else 1)
        size = max(1, min(BLOCK_BYTES, free // 8) // with_terms)
        self._upload = Upload(images, device, self.dtype, min(size, max(1, len(images))))
        # Other memory needed: two blocks in transfer, a block's gate terms, and int8 numbers as float32 and in `dtype`.
        left = free - self._upload.most * (with_terms + regions + (3 * regions if images.dtype == np.int8 else 0))
        self._resident: list[tuple[int, ImageTerms]] = []
        self.level = "streamed"
        if len(images) * regions <= left:
            self.level = "terms" if len(images) * with_terms <= left else "regions"
            self._settle()

    def __len__(self) -> int:
        return len(self.images)

    def _settle(self) -> None:
        """Copy all images to the device, or none if its memory proves too small."""
        try:
            for start, terms in self._upload.blocks(0):
                hubness = None if terms.hubness is None else terms.hubness.clone()
                kept = ImageTerms(terms.regions.clone(), terms.mask.clone(), hubness=hubness)
                self._resident.append((start, self._completed(kept) if self.level == "terms" else kept))
        except torch.OutOfMemoryError:
            self._resident, self.level = [], "streamed"
            self._free()

    def _completed(self, terms: ImageTerms) -> ImageTerms:
        """`terms` with gate terms added, if the model's steps need them."""
        if self._gates is None or terms.own is not None:
            return terms
        own, bias, attended = self._gates
        rows = terms.regions.view(-1, terms.regions.shape[-1])
        shape = terms.regions.shape
        return replace(terms, own=torch.addmm(bias, rows, own.T).view(shape), attended=(rows @ attended.T).view(shape))

    def _scored(self, batches: Sequence[CaptionTerms]) -> Iterator[tuple[int, list[Tensor]]]:
        """For each block of images in order, its place and its scores C x B with each batch of captions."""
        for start, terms in self._resident:
            yield from self._scored_in_parts(start, terms, batches)
        start = 0 if self.level == "streamed" else len(self)
        while start < len(self):
            try:
                for place, terms in self._upload.blocks(start):
                    scores = self._score(terms, batches)
                    start = place + len(terms.regions)
                    yield place, scores
                    del terms, scores
            except torch.OutOfMemoryError as error:
                if self._upload.most == 1:
                    raise BackendError(NO_MEMORY) from error
                self._upload.most = -(-self._upload.most // 2)
                self._free()

    def _scored_in_parts(
        self, start: int, terms: ImageTerms, batches: Sequence[CaptionTerms]
    ) -> Iterator[tuple[int, list[Tensor]]]:
        """As `_scored` for one block, which is halved until it fits into memory."""
        count, scores = len(terms.regions), None
        try:
            scores = self._score(terms, batches)
        except torch.OutOfMemoryError as error:
            if count == 1:
                raise BackendError(NO_MEMORY) from error
        if scores is not None:
            yield start, scores
            return
        self._free()
        for rows in (slice(0, count // 2), slice(count // 2, count)):
            kept: dict[str, Any] = {name: None if held is None else held[rows] for name, held in vars(terms).items()}
            yield from self._scored_in_parts(start + rows.start, ImageTerms(**kept), batches)

    def _score(self, terms: ImageTerms, batches: Sequence[CaptionTerms]) -> list[Tensor]:
        terms, scores = self._completed(terms), []
        for captions in batches:
            out = torch.empty((len(captions.words), len(terms.regions)), dtype=torch.float32, device=self.device)
            score_pairs(terms, captions, self._pools, self.constants, out)
            scores.append(out if terms.hubness is None else out - terms.hubness)
        return scores

    def scores(self, batches: Sequence[Captions]) -> Iterator[tuple[int, slice, NDArray[np.float32]]]:
        """Scores of all images, in blocks.

        For each block and each batch of captions, yields the batch's number, the block's places, and scores B x C.
        """
        for start, found in self._scored([self._captions(batch) for batch in batches]):
            for number, scores in enumerate(found):
                columns = slice(start, start + scores.shape[1])
                yield number, columns, np.ascontiguousarray(scores.T.cpu().numpy())

    def top_k(self, batches: Sequence[Captions], k: int) -> list[Best]:
        """The k best images for each batch of captions, best first; all images if there are fewer than k.

        Of two equal scores, the lower place comes first. A NaN score comes before all others.
        """
        best: list[Tensor | None] = [None] * len(batches)
        for start, found in self._scored([self._captions(batch) for batch in batches]):
            best = [merge_best(keys, scores, start, k) for keys, scores in zip(best, found, strict=True)]
        read = [read_best(keys) for keys in best if keys is not None]
        return [(scores.cpu().numpy(), places.cpu().numpy()) for scores, places in read]

    def _captions(self, captions: Captions) -> CaptionTerms:
        names = ["caption_words", "caption_queries", "caption_gate_term", "caption_attended_gate_term"]
        words, queries, own, attended = (
            torch.from_numpy(captions[name]).to(self.device, self.dtype).contiguous() if name in captions else None
            for name in names
        )
        if words is None or queries is None:
            raise ValueError(f"captions need the arrays caption_words and caption_queries, not {', '.join(captions)}")
        mask = torch.from_numpy(captions["word_mask"].view(np.uint8)).to(self.device)
        return CaptionTerms(words, queries, mask.contiguous(), own, attended)

    def _free(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.empty_cache()


def _free_bytes(device: torch.device) -> int:
    if device.type != "cuda":  # Triton's interpreter
        return BLOCK_BYTES
    return int(SHARE_OF_FREE * torch.cuda.mem_get_info(device)[0])


def _weights(
    constants: ShanConstants, dim: int, device: torch.device, dtype: torch.dtype
) -> tuple[Pools, tuple[Tensor, Tensor, Tensor] | None]:
    """The pooling vectors and, if the model has more than one step, the gates' weights."""
    if constants.steps == 1:
        unused = torch.zeros(dim, device=device)
        return Pools(unused, unused), None
    arrays = [constants.image_pool, constants.text_pool]
    gates = [constants.image_gate, constants.image_gate_bias, constants.image_attended_gate]
    held = [torch.from_numpy(array).to(device) for array in (*arrays, *gates) if array is not None]
    if len(held) < 5:
        raise BundleError("the bundle's kernel.npz lacks the gates' weights: export its checkpoint again to use a GPU")
    own, bias, attended = (weight.to(dtype).contiguous() for weight in held[2:])
    return Pools(held[0].contiguous(), held[1].contiguous()), (own, bias, attended)
