from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from shan_engine.base.errors import InputError, ShanError
from shan_engine.evaluation.recall import recall
from shan_model import registry
from shan_model.checkpoint import load_checkpoint
from shan_model.config import GruConfig
from shan_model.pooled.global_models import Vse
from shan_model.registry import new_model
from shan_model.training import augment
from shan_model.training import loop as training
from shan_model.training.grid import score_split
from shan_model.training.loop import train
from shan_model.training.loss import RankingLoss
from shan_model.training.schedule import schedule
from synthetic import F, Photos, settings
from torch import nn


def test_the_schedule_warms_up_then_falls_to_one_percent():
    values = [schedule(step, 100, 10) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == values[10] == 1
    assert values[100] == pytest.approx(0.01)
    assert values[10:] == sorted(values[10:], reverse=True)


def test_a_share_of_each_images_real_regions_is_dropped():
    torch.manual_seed(0)
    features = torch.arange(24.0).reshape(3, 8, 1) + 1
    mask = torch.tensor([[True] * 8, [True] * 2 + [False] * 6, [False] * 7 + [True]])
    kept, kept_mask = augment.drop_regions(features, mask, 0.5)
    assert kept.shape == (3, 4, 1)
    assert kept_mask.sum(1).tolist() == [4, 1, 1]
    for row in range(3):
        values = kept[row, kept_mask[row], 0].tolist()
        assert len(set(values)) == len(values)
        assert set(values) <= set(features[row, mask[row], 0].tolist())


def test_training_learns(files, tmp_path):
    table, vectors = files
    rsum = train(
        Photos(), table, vectors, tmp_path / "model",
        settings(epochs=25, patience=25, batch_size=9, embed_dim=24, learning_rate=5e-3, average=0.9),
    )  # fmt: skip
    assert rsum > 400  # chance is about 170
    model, vocabulary = load_checkpoint(tmp_path / "model")
    assert model.config.feature_dim == F
    assert "beach" in vocabulary.word2idx
    assert len((tmp_path / "model" / "metrics.jsonl").read_text().splitlines()) == 25


def test_words_that_no_caption_has_are_kept_with_their_vector_alone(files, tmp_path):
    table, vectors = files
    more = tmp_path / "more.txt"
    more.write_text("windmill 1 2 3 4 5 6\n" + vectors.read_text() + "river-boat .5 0 0 0 0 1\n")
    messages = []
    train(Photos(), table, more, tmp_path / "m", settings(epochs=1), on_progress=lambda s: messages.append(s.message))
    model, vocabulary = load_checkpoint(tmp_path / "m")
    rows = [vocabulary.word2idx[word] for word in ("windmill", "river-boat")]
    met = vocabulary.word2idx["dog"]
    encoder = model.text_encoder
    assert encoder.word_vectors.weight[rows].tolist() == [[1, 2, 3, 4, 5, 6], [0.5, 0, 0, 0, 0, 1]]
    assert not encoder.embedding.weight[rows].any()
    assert encoder.embedding.weight[met].any()
    assert min(rows) >= len(torch.load(tmp_path / "m" / "last.pt")["model"]["text_encoder.embedding.weight"]) > met
    split = table.split("dev")
    scores = score_split(model, Photos(), vocabulary, split, torch.device("cpu"))
    assert f"rSum {recall(scores, split.caption_images).rsum:.1f} (best" in messages[-1]


def test_each_epochs_message_has_the_recalls_of_its_metrics(files, tmp_path):
    messages = []
    train(
        Photos(), *files, tmp_path / "m", settings(),
        on_progress=lambda state: messages.append(state.message) if state.message else None,
    )  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    best = 0
    for message, line in zip(messages, lines, strict=True):
        text, image = (
            "/".join(f"{line[f'{way}_retrieval_r{cut}']:.1f}" for cut in (1, 5, 10)) for way in ("text", "image")
        )
        best = max(best, line["rsum"])
        assert message == (
            f"epoch {line['epoch']}: loss {line['loss']:.4f}, dev text R@1/5/10 {text}, image {image}, "
            f"rSum {line['rsum']:.1f} (best {best:.1f})"
        )


def test_training_learns_in_bfloat16(files, tmp_path):
    rsum = train(
        Photos(), *files, tmp_path / "m",
        settings(epochs=12, patience=12, batch_size=9, embed_dim=24, learning_rate=5e-3, average=0.9,
                 precision="bfloat16"),
    )  # fmt: skip
    assert rsum > 300  # chance is about 170
    line = json.loads((tmp_path / "m" / "metrics.jsonl").read_text().splitlines()[0])
    assert line["precision"] == "bfloat16"


def test_bfloat16_changes_the_loss_a_little_and_keeps_it_float32():
    torch.manual_seed(0)
    model = new_model("shan", {}, feature_dim=F, vocab_size=9, embed_dim=24, word_vector_dim=6, embedding_dim=4)
    batch = augment.Batch(
        torch.randn(7, 5, F),
        torch.ones(7, 5, dtype=torch.bool),
        torch.randint(3, 9, (7, 4)),
        torch.full((7,), 4),
        torch.eye(7, dtype=torch.bool),
    )
    dropout = dict.fromkeys(
        ("region_dropout", "feature_dropout", "embedding_dropout", "word_dropout", "row_dropout"), 0.0
    )
    loss = RankingLoss("triplet", candidates=0, margin=0.2, temperature=0.1)
    found = [
        augment.augmented_loss(model, loss, batch, settings(precision=precision, **dropout), hardest=False)
        for precision in ("float32", "bfloat16")
    ]
    assert [value.dtype for value in found] == [torch.float32] * 2
    assert found[0].item() != found[1].item()
    assert found[0].item() == pytest.approx(found[1].item(), rel=0.03)


def test_training_ends_when_no_epoch_is_better(files, tmp_path):
    train(Photos(), *files, tmp_path / "m", settings(epochs=9, patience=2, learning_rate=1e-12, average=0.0))
    epochs = (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()
    assert len(epochs) == 3  # nothing is learnt: the first is the best, and two are no better
    plot = (tmp_path / "m" / "metrics.svg").read_text()
    assert "<!-- training loss -->" in plot
    assert "<!-- dev recall, % -->" in plot


def test_a_loss_that_is_not_finite_stops_training(files, tmp_path):
    class Broken(Photos):
        def regions(self, ids):
            features, mask = super().regions(ids)
            return np.full_like(features, np.nan), mask

    with pytest.raises(ShanError, match="step 0: lower --learning-rate"):
        train(Broken(), *files, tmp_path / "m", settings())


def test_too_few_images_for_a_batch(files, tmp_path):
    with pytest.raises(InputError, match="fewer than 100 images"):
        train(Photos(), *files, tmp_path / "m", settings(batch_size=100))


@dataclass(frozen=True, kw_only=True)
class OwnConfig(GruConfig):
    model: ClassVar[str] = "own"


class Own(Vse):
    """A user's model, with the layers that differ between training and evaluation."""

    Config = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.dropout, self.norm = nn.Dropout(0.8), nn.BatchNorm1d(config.embed_dim)

    def image_vector(self, regions, region_mask):
        return super().image_vector(self.dropout(self.norm(regions.mT).mT), region_mask)


def test_a_model_of_ones_own_is_measured_as_it_will_be_exported(files, tmp_path, monkeypatch):
    monkeypatch.setitem(registry.MODELS, "own", registry.Registration(Own, "shan_export.gru:GruTextEncoderGraph"))
    best = train(Photos(), *files, tmp_path / "m", settings(epochs=3, model="own", patience=3))
    model, vocabulary = load_checkpoint(tmp_path / "m")
    assert int(model.norm.num_batches_tracked) > 0
    dev = files[0].split("dev")
    with torch.no_grad():
        scores = score_split(model, Photos(), vocabulary, dev, torch.device("cpu"))
    assert recall(scores, dev.caption_images).rsum == best


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_want_of_memory_is_said(files, tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(training, "augmented_loss", fail)
    with pytest.raises(ShanError, match="not enough memory for batches of 6 images: lower --batch-size"):
        train(Photos(), *files, tmp_path / "m", settings(batch_size=6))
    error.args = ("another trouble",)
    if not isinstance(error, MemoryError):
        with pytest.raises(RuntimeError, match="another trouble"):
            train(Photos(), *files, tmp_path / "m", settings(batch_size=6))


def test_a_checkpoint_without_its_state_is_not_overwritten(files, tmp_path):
    train(Photos(), *files, tmp_path / "m", settings(epochs=1))
    (tmp_path / "m" / "last.pt").unlink()
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match="m holds a checkpoint, but no state to go on from: name another --output"):
        train(Photos(), *files, tmp_path / "m", settings(epochs=1, seed=1))
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    train(Photos(), *files, tmp_path / "m", settings(epochs=1, seed=1), resume=False)
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != before
