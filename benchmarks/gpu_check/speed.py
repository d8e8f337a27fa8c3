"""How fast the torch back end is: against the bounds, over tiles and batches, and beside PyTorch's own ways."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from data import Arrays, PoolImages, Shape, captions_of, constants_of, model_of, rows
from machine import median_seconds
from shan_engine.backends.torch_cuda.device_gallery import DeviceGallery
from shan_engine.backends.torch_cuda.pair_scores import Tiles, choose_tiles, score_pairs
from shan_engine.base.errors import BackendError
from shan_model.shan.factorised import caption_terms, image_terms, score_grid

COCO_IMAGES, COCO_CAPTIONS = 5_000, 25_000
COCO_WORDS = {10: 0.2, 12: 0.4, 14: 0.25, 17: 0.15}  # with both markers; share of captions, about as COCO's
BATCH = 32  # captions scored together, as shan_engine.scoring does
LARGE = [(100_000, Shape()), (1_000_000, Shape()), (100_000, Shape(D=1024))]
STREAMED_BYTES = 2**30  # of device memory, for a gallery of 1.8 GB and its gate terms of 3.7
GOAL_MS = {(1_000_000, 256, 1): 30.0, (100_000, 1024, 1): 30.0}


def galleries(device: torch.device, bounds: dict[str, float], left: Callable[[], float]) -> list[dict[str, Any]]:
    """Searches for the ten best with one and with 64 queries, from captions in memory to k rows in memory."""
    if device.type != "cuda":
        return list(_searches(device, bounds, 12, Shape(K=6, n=4, D=16), (1, 2), None))
    found: list[dict[str, Any]] = []
    for images, shape, budget in [*((*large, None) for large in LARGE), (100_000, Shape(), STREAMED_BYTES)]:
        if left() < 60:
            found.append({"images": images, "D": shape.D, "skipped": "no time was left"})
        else:
            found += _searches(device, bounds, images, shape, (1, 64), budget)
            torch.cuda.empty_cache()
    return found


def _searches(
    device: torch.device,
    bounds: dict[str, float],
    images: int,
    shape: Shape,
    queries: Sequence[int],
    budget: int | None,
) -> Iterator[dict[str, Any]]:
    model = model_of(shape)
    began = time.perf_counter()
    held = DeviceGallery(PoolImages(shape, images), constants_of(model), device, budget=budget)
    upload = time.perf_counter() - began
    for count in queries:
        batches = [captions_of(model, shape, min(BATCH, count), seed) for seed in range(max(1, count // BATCH))]
        seconds = median_seconds(partial(held.top_k, batches, 10), 7 if device.type == "cuda" else 1)
        # Regions and two gate terms are read, if only once for all queries; five products are made a pair.
        moved = 3 * images * shape.K * shape.D * 2 / bounds["copy_bytes_per_s"]
        products = 10 * shape.K * shape.n * shape.D * images * count / bounds["matrix_operations_per_s"]
        yield {
            "images": images,
            "D": shape.D,
            "queries": count,
            "level": held.level,
            "ms": 1e3 * seconds,
            "pairs_per_s": images * count / seconds,
            "share_of_memory_bound": moved / seconds,
            "share_of_matrix_bound": products / seconds,
            "goal_ms": GOAL_MS.get((images, shape.D, count)),
            "upload_s": upload,
        }


def sweep(device: torch.device, left: Callable[[], float]) -> list[dict[str, Any]]:
    """Pairs a second over tiles, warps and stages, and over images and captions of a launch with the chosen ones."""
    cuda, found = device.type == "cuda", []
    for shape in (Shape(), Shape(D=1024)) if cuda else (Shape(K=6, n=4, D=16),):
        images, queries = (16_384 if shape.D < 1024 else 4_096, 32) if cuda else (2, 1)
        model = model_of(shape)
        held = DeviceGallery(PoolImages(shape, images, pool=1024), constants_of(model), device)
        ((_, terms),) = held._resident
        captions = held._captions(captions_of(model, shape, queries))
        chosen = choose_tiles(shape.K, shape.n, shape.D, held.dtype, shape.steps)
        wanted = [(chosen, images, queries)]
        if cuda:
            rows_kernel = chosen.kernel == "rows"
            sizes: list[dict[str, Any]] = (
                [{"tile": n} for n in (16, 32)] if rows_kernel else [{"dims": n} for n in (32, 64)]
            )
            for size in sizes:
                for warps in (4, 8):
                    for stages in (1, 2, 3):
                        tiles = replace(chosen, warps=warps, stages=stages, **size)
                        wanted += [(tiles, images, one) for one in (1, queries)]
            wanted += [(chosen, count, one) for count in (images // 16, images // 4) for one in (1, 8, queries)]
        for tiles, count, one in wanted:
            if left() < 20 and cuda:
                break
            found.append({"D": shape.D, **_tried(held, terms, captions, tiles, count, one)})
        del held, terms
    return found


def _tried(held: DeviceGallery, terms: Any, captions: Any, tiles: Tiles, count: int, queries: int) -> dict[str, Any]:
    row = {**vars(tiles), "images": count, "captions": queries}
    fewer = replace(terms, **{name: value[:count] for name, value in vars(terms).items() if value is not None})
    asked = replace(captions, **{name: value[:queries] for name, value in vars(captions).items()})
    out = torch.empty((queries, count), device=held.device)
    try:
        work = partial(score_pairs, fewer, asked, held._pools, held.constants, out, tiles)
        seconds = median_seconds(work, 5 if out.is_cuda else 1)
    except BackendError as error:
        return {**row, "refused": str(error)}
    return {**row, "pairs_per_s": count * queries / seconds}


def coco(device: torch.device, seconds: float) -> dict[str, Any]:
    """5,000 images with 25,000 captions, D = 1024, scores to the host: a part in so many seconds, the whole from it."""
    cuda = device.type == "cuda"
    shape = Shape(D=1024) if cuda else Shape(K=6, n=4, D=16)
    images = COCO_IMAGES if cuda else 3
    model = model_of(shape)
    held = DeviceGallery(PoolImages(shape, images), constants_of(model), device)
    lengths = [n for n, share in COCO_WORDS.items() for _ in range(round(20 * share))] if cuda else [4]
    batches: list[Arrays] = [captions_of(model, replace(shape, n=n), BATCH if cuda else 1, n) for n in lengths]
    for n in {len(batch["word_mask"][0]): batch for batch in batches}.values():
        held.top_k([n], 1)  # compiled before the clock starts
    done, began = 0, time.perf_counter()
    while done == 0 or (time.perf_counter() - began < seconds and done < COCO_CAPTIONS and cuda):
        for _ in held.scores(batches):
            pass
        done += sum(len(batch["word_mask"]) for batch in batches)
    taken = time.perf_counter() - began
    return {
        "images": images,
        "captions_measured": done,
        "seconds_measured": taken,
        "whole_seconds": taken * COCO_CAPTIONS / done if cuda else None,
        "extrapolated": done < COCO_CAPTIONS,
    }


def against_pytorch(device: torch.device) -> list[dict[str, Any]]:
    """Pairs a second of the kernels, of `torch.compile` of the factorised module and of the plain one, in turn.

    All in bfloat16 (float32 in the interpreter), each with the batch that suits it, gate terms given to the first two.
    """
    cuda, found = device.type == "cuda", []
    dtype = torch.bfloat16 if cuda else torch.float32
    for shape in (Shape(), Shape(D=1024)) if cuda else (Shape(K=6, n=4, D=16),):
        images, queries, plain = (1024, 32, 256) if cuda else (3, 2, 2)
        model = model_of(shape)
        held = DeviceGallery(PoolImages(shape, images, dtype="float32"), constants_of(model), device, dtype=dtype)
        ((_, terms),) = held._resident
        arrays = captions_of(model, shape, queries)
        captions = held._captions(arrays)
        out = torch.empty((queries, images), device=device)
        model = model.to(device, dtype)
        regions, mask = (values.to(device) for values in rows(images, shape.K, shape, 2))
        words, word_mask = (values.to(device) for values in rows(queries, shape.n, shape, 1))
        regions, words = regions.to(dtype), words.to(dtype)
        image, caption = image_terms(model, regions, mask), caption_terms(model, words, word_mask)
        grid = torch.compile(score_grid) if cuda else score_grid
        few = {name: value[: images // 4] for name, value in image.items()} if cuda else image
        spread = [value[:1].expand(plain, *value.shape[1:]) for value in (words, word_mask)]
        ways: dict[str, tuple[int, Callable[[], object]]] = {
            "kernel": (
                images * queries,
                partial(score_pairs, terms, captions, held._pools, held.constants, out),
            ),
            "compiled factorised": (len(few["region_mask"]) * queries, partial(grid, model, few, caption)),
            "plain": (plain, partial(model, regions[:plain], mask[:plain], *spread)),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(5 if cuda else 1):
            for name, (pairs, work) in ways.items():
                rates[name].append(pairs / median_seconds(work, 3 if cuda else 1))
        speeds = {name: statistics.median(values) for name, values in rates.items()}
        found.append(
            {
                "D": shape.D,
                "pairs_per_s": speeds,
                "times_compiled": speeds["kernel"] / speeds["compiled factorised"],
                "times_plain": speeds["kernel"] / speeds["plain"],
                "compiled": cuda,
            }
        )
    return found
