"""The graphs of a sentence-shan against its modules, and what its bundle says of the further parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sentences import save_tiny_sentence_model, tiny_table
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.bundle.contents import Bundle
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.tokenizer import pad
from shan_export.bundle_writer import export_bundle
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.sentence import shan as sentence_shan
from shan_model.training import text as train_text
from synthetic import settings


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(train_text, "ClassTable", tiny_table)
    monkeypatch.setattr(sentence_shan, "ClassTable", tiny_table)
    captions = ("a dog on the grass", "man runs")
    split = CaptionSplit(("x",), captions, np.zeros(2, np.int64))
    text = train_text.SentencePieces(save_tiny_sentence_model(tmp_path / "sentence"), split)
    model = text.new_model(settings(model="sentence-shan"), 10)
    (tmp_path / "checkpoint").mkdir()
    save_checkpoint(model, text.tokenizer, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_graphs_give_what_the_modules_give(checkpoint, tmp_path):
    manifest = export_bundle(checkpoint, tmp_path / "bundle", max_words=32)
    assert manifest.parity < 1e-5
    assert manifest.parts == {"global": {"weight": 0.5}, "classes": {"weight": 0.1, "floor": 0.1}}
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.classes == ("dog", "cat", "hat")
    assert json.loads((tmp_path / "bundle" / "classes.json").read_text()) == ["dog", "cat", "hat"]
    model, tokenizer = load_checkpoint(checkpoint)
    tokens, lengths = pad(
        [tokenizer.encode(text).tokens for text in ("the red cat with a hat .", "dog", "a cat on grass")]
    )
    found = OnnxRuntimeGraph(bundle.path / "text_encoder.onnx", "cpu").run({"tokens": tokens, "lengths": lengths})
    with torch.no_grad():
        wanted = model.encode_captions(torch.from_numpy(tokens), torch.from_numpy(lengths))
    assert found["query_vector"].shape == (3, 16)
    assert found["class_weights"].shape == (3, 3)
    for name in ("caption_words", "query_vector", "class_weights"):
        np.testing.assert_allclose(found[name], wanted[name], atol=1e-5, rtol=1e-4)
    features = np.random.default_rng(0).random((2, 5, 10), np.float32)
    mask = np.array([[True] * 5, [True] * 2 + [False] * 3])
    stored = OnnxRuntimeGraph(bundle.path / "image_encoder.onnx", "cpu").run(
        {"features": features, "region_mask": mask}
    )
    assert stored.keys() == {"image_regions", "image_vector"}
    np.testing.assert_allclose(np.linalg.norm(stored["image_vector"], axis=1), 1, atol=1e-5)
