"""The torch back end beside the plain module in float64 on CPU: differences, and rankings in half precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from data import PoolImages, Shape, captions_of, constants_of, model_of
from shan_engine.backends.torch_cuda.device_gallery import DeviceGallery

EXACT = 1e-4
RECALL = 0.9  # of the ten best in float64, those among the ten best in half precision
SHAPES = [
    Shape(),
    Shape(steps=2, direction="i2t", kept=0.6),
    Shape(steps=1, direction="t2i"),
    Shape(K=10, n=5, D=64, kept=0.7),
    Shape(K=50, n=20, D=256, kept=0.7),
    Shape(K=36, n=12, D=300, kept=0.8),
    Shape(K=36, n=12, D=1024),
    Shape(K=100, n=40, D=512, steps=3, kept=0.8),
    Shape(K=36, n=20, D=1024, steps=1),
]
SMALL = [Shape(K=10, n=5, D=24, kept=0.7), Shape(K=5, n=3, D=40, steps=1), Shape(K=17, n=4, D=300)]


def check(device: torch.device) -> list[dict[str, Any]]:
    """One row a shape and precision; `passed` says whether it is as close as it must be."""
    cuda = device.type == "cuda"
    # The interpreter's products of bfloat16 read its bits as integers.
    types = (torch.float32, torch.float16, torch.bfloat16) if cuda else (torch.float32, torch.float16)
    images, captions = (100, 8) if cuda else (4, 1)
    found = [row for shape in (SHAPES if cuda else SMALL) for row in _rows(shape, types, device, images, captions)]
    return [*found, _levels(device)]


def _rows(
    shape: Shape, types: Sequence[torch.dtype], device: torch.device, count: int, queries: int
) -> Iterator[dict[str, Any]]:
    model = model_of(shape)
    images, constants = PoolImages(shape, count, dtype="float32"), constants_of(model)
    captions = captions_of(model, shape, queries)
    exact = _plain_scores(model, images, captions)
    k = min(10, count)
    best = exact.T.topk(k, dim=1).indices
    for dtype in types:
        held = DeviceGallery(images, constants, device, dtype=dtype)
        ((_, places),) = held.top_k([captions], k)
        found = torch.cat([torch.from_numpy(scores) for _, _, scores in held.scores([captions])])
        recall = sum(len({*best[row].tolist()} & {*places[row].tolist()}) for row in range(queries)) / (k * queries)
        difference = float((found - exact).abs().max())
        passed = difference <= EXACT if dtype == torch.float32 else recall >= RECALL
        yield {
            "shape": str(shape),
            "precision": str(dtype).removeprefix("torch."),
            "difference": difference,
            "recall_at_10": recall,
            "passed": bool(passed and found.isfinite().all()),
        }


def _levels(device: torch.device) -> dict[str, Any]:
    """A gallery that is resident, one whose gate terms are not, and one that streams: they find the same."""
    shape = Shape(D=256, kept=0.8) if device.type == "cuda" else Shape(K=6, n=4, D=16)
    count = 20_000 if device.type == "cuda" else 9
    model = model_of(shape)
    images, captions, constants = (
        PoolImages(shape, count, pool=count),
        captions_of(model, shape, 2),
        constants_of(model),
    )
    whole = 3 * shape.K * (2 * shape.D + 1) * count
    held = [DeviceGallery(images, constants, device, budget=int(share * whole)) for share in (2, 0.7, 0.3)]
    (scores, places), *others = [one.top_k([captions], 10)[0] for one in held]
    difference = max(float(abs(other - scores).max()) for other, _ in others)
    same = sum(len({*places[row]} & {*other[row]}) for _, other in others for row in range(2)) / (4 * places.shape[1])
    levels = [one.level for one in held]
    return {
        "shape": f"levels {', '.join(levels)}",
        "precision": "float16",
        "difference": difference,
        "recall_at_10": same,
        # Products of blocks of other sizes may be rounded otherwise.
        "passed": difference < 1e-3 and same >= RECALL and levels == ["terms", "regions", "streamed"],
    }


def _plain_scores(model: Any, images: PoolImages, captions: Any) -> torch.Tensor:
    exact = model.double()
    regions, mask = torch.from_numpy(images.pool).double(), torch.from_numpy(images.mask)
    words, word_mask = torch.from_numpy(captions["caption_words"]).double(), torch.from_numpy(captions["word_mask"])
    count = len(regions)
    return torch.stack(
        [
            exact(regions, mask, words[c].expand(count, -1, -1), word_mask[c].expand(count, -1)).sum(-1).float()
            for c in range(len(words))
        ],
        dim=1,
    )
