"""The table of back ends: what the command line offers is what there is."""

from __future__ import annotations

from importlib import import_module
from typing import get_args

import numpy as np
import pytest
from shan_engine.backends.interface import Request
from shan_engine.backends.table import RUNTIMES, open_runtime
from shan_engine.base.choices import Backend
from shan_engine.base.errors import BackendError
from shan_engine.bundle.contents import Bundle
from shan_engine.scoring.scorer import Scorer


def test_every_choice_is_a_back_end_with_the_same_modules():
    assert ["auto", *RUNTIMES] == list(get_args(Backend))
    for place in RUNTIMES.values():
        package, _, name = place.rpartition(".scorer.")
        assert hasattr(import_module(f"{package}.scorer"), name)
        assert import_module(f"{package}.available").__doc__


def test_a_precision_is_tensorrts_alone(bundle_path):
    request = Request(Bundle.open(bundle_path), None, precision="fp16")
    with pytest.raises(BackendError, match="only TensorRT's plans have a precision"):
        open_runtime(request)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime-tensorrt"])
def test_tensorrt_is_not_for_the_cpu(bundle_path, backend):
    with pytest.raises(
        BackendError, match=f"TensorRT runs only on NVIDIA GPUs: leave out --device cpu or --backend {backend}"
    ):
        Scorer(Bundle.open(bundle_path), "cpu", backend=backend)


def test_another_back_end_is_one_class_and_one_line(bundle_path, gallery_path, monkeypatch):
    """A runtime that is none of ours scores through the same loop."""
    from shan_engine.gallery.reader import Gallery
    from shan_engine.search.answer import search

    monkeypatch.setitem(RUNTIMES, "mine", f"{__name__}.Mine")
    monkeypatch.setitem(__import__("sys").modules, __name__, type("Module", (), {"Mine": Mine}))
    scorer = Scorer(Bundle.open(bundle_path), "cpu", backend="mine")  # type: ignore[arg-type]
    (hits,) = search(scorer, Gallery.open(gallery_path), ["a dog"], top_k=41, explain=False)
    assert scorer.pairs.name == "mine"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.score for hit in hits} <= set(range(1, 10))


class Mine:
    """Scores an image by how many regions it has."""

    name, device, concurrent = "mine", "cpu", True

    def __init__(self, request):
        from shan_engine.backends.onnx_runtime.scorer import OnnxRuntime

        self.load = OnnxRuntime(request).load

    def pair_scorer(self, graph, complete):
        return self

    def prepare(self, stored):
        return dict(stored)

    def scores(self, calls, outputs=("scores",)):
        for key, images, captions in calls:
            counts = images["region_mask"].sum(axis=1, dtype=np.float32)
            yield key, {"scores": np.repeat(counts[:, None], len(captions["word_mask"]), axis=1)}

    def images_per_call(self, shapes, captions, words):
        return 7

    def hold(self, images):
        return None
