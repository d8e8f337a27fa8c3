"""Measure how a lower precision changes scores and recall, before its plans are written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from shan_engine.backends.graph_scorer import GraphPairScorer
from shan_engine.backends.interface import Complete, Graph, PairScorer
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import BundleError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.plans import PrecisionCheck
from shan_engine.evaluation.evaluate import all_scores
from shan_engine.evaluation.recall import CUTS, recall
from shan_engine.gallery.reader import Gallery
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.captions import CaptionSplit

from shan_export.cases import cases
from shan_export.tensorrt.plan_graphs import SCORER, Feeds, simulate_rounding

# The most percentage points that any recall may lose.
ALLOWED_LOSS = {"fp32": 0.0, "fp16": 0.2, "bf16": 0.2, "int8": 0.5}
CALIBRATION_IMAGES, CALIBRATION_CALLS = 32, 4
Graphs = Mapping[str, ModelProto]


class GivenGraphs:
    """A back end over given graphs. Its pair scorer needs only the image arrays that a gallery stores."""

    def __init__(self, graphs: Graphs, folder: Path) -> None:
        self._folder = folder
        for name, graph in graphs.items():
            onnx.save(simulate_rounding(graph), str(folder / f"{name}.onnx"))

    def load(self, name: str) -> Graph:
        """Graph `name`, loaded in ONNX Runtime."""
        return OnnxRuntimeGraph(self._folder / name, "cpu")

    def pair_scorer(self, graph: Callable[[str], Graph], complete: Complete) -> PairScorer:
        """The pair scorer, from its graph."""
        return GraphPairScorer("given", lambda: graph("pair_scorer.onnx"), lambda images: images, device="cpu")


def check_precision(
    bundle: Bundle,
    exact: Graphs,
    lower: Graphs,
    captioned: tuple[Gallery, CaptionSplit] | None,
    on_pairs: Callable[[int, int], None] = lambda done, total: None,
) -> PrecisionCheck:
    """Differences of `lower` from `exact`, both run on the CPU; recall where a captioned gallery is given."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        scorers = [
            Scorer(bundle, runtime=GivenGraphs(graphs, Path(folder)))
            for graphs, folder in ((exact, first), (lower, second))
        ]
        difference = _largest_difference(bundle, *scorers)
        if captioned is None:
            return PrecisionCheck(difference)
        gallery, split = captioned
        size = len(split.images) * len(split.captions)
        found = []
        for start, scorer in zip((0, size), scorers, strict=True):
            scores = all_scores(
                scorer,
                gallery,
                split.images,
                split.captions,
                lambda done, start=start: on_pairs(start + done, 2 * size),  # type: ignore[misc]
            )
            found.append(recall(scores.T, split.caption_images))
    before, after = (outcome.as_dict() for outcome in found)
    recalls = tuple(f"_r{cut}" for cut in CUTS)
    change = {name: round(after[name] - before[name], 3) for name in before if name.endswith(recalls)}
    return PrecisionCheck(difference, len(split.images), len(split.captions), change)


def _largest_difference(bundle: Bundle, exact: Scorer, lower: Scorer) -> float:
    manifest = bundle.manifest
    worst = 0.0
    for features, mask, tokens, lengths in cases(
        manifest.feature_dim, len(bundle.tokenizer), max_words=manifest.max_words, markers=bundle.tokenizer.markers
    ):
        scores = [_scores(scorer, features, mask, tokens, lengths) for scorer in (exact, lower)]
        difference = float(np.abs(scores[0] - scores[1]).max())
        if not np.isfinite(difference):
            raise BundleError("a score is NaN or infinite in this precision: use fp32, or bf16 instead of fp16")
        worst = max(worst, difference)
    return worst


def _scores(scorer: Scorer, features: Any, mask: Any, tokens: Any, lengths: Any) -> NDArray[np.float32]:
    images = scorer.encoders.encode_images(features, mask)
    return scorer.score_pairs(
        images, scorer.encoders.graph("text_encoder.onnx").run({"tokens": tokens, "lengths": lengths})
    )


def calibration(bundle: Bundle, exact: Graphs, gallery: Gallery, split: CaptionSplit) -> Iterator[Feeds]:
    """Inputs of a few pair-scorer calls from a captioned gallery: images with their captions."""
    images = split.images[: CALIBRATION_IMAGES * CALIBRATION_CALLS]
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(bundle, runtime=GivenGraphs(exact, Path(folder)))
        names = [value.name for value in exact[SCORER].graph.input]
        for start in range(0, len(images), CALIBRATION_IMAGES):
            part = split.images_between(start, min(start + CALIBRATION_IMAGES, len(images)))
            held = gallery.restricted_to(part.images)
            captions = scorer.encoders.encode_captions(
                [scorer.encoders.tokens(caption) for caption in part.captions[:CALIBRATION_IMAGES]]
            )
            for block in held.blocks:
                for _, stored in block.batches(CALIBRATION_IMAGES):
                    yield {name: array for name, array in {**stored, **captions}.items() if name in names}


def refuse_loss(precision: str, check: PrecisionCheck) -> None:
    """Raise BundleError if a recall loses more than `ALLOWED_LOSS` allows."""
    allowed = ALLOWED_LOSS[precision]
    for name, change in (check.recall_change or {}).items():
        if change < -allowed - 1e-9:
            raise BundleError(
                f"in {precision} {name} loses {-change:.2f} points of recall over {check.images} images, more than "
                f"{allowed:g}: choose a higher precision, or --allow-loss"
            )
