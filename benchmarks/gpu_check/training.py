"""Training steps in float32 and with encoders in bfloat16: their loss beside float32 on CPU, and pairs a second."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from shan_model.config import ShanConfig
from shan_model.shan.network import Shan
from shan_model.training.augment import Batch, augmented_loss
from shan_model.training.loss import RankingLoss
from shan_model.training.schedule import TrainConfig

CLOSE = {"float32": 1e-3, "bfloat16": 0.03}
CERTAIN: dict[str, Any] = {
    "region_dropout": 0.0, "feature_dropout": 0.0, "embedding_dropout": 0.0, "word_dropout": 0.0, "row_dropout": 0.0,
}  # fmt: skip


def check(device: torch.device) -> list[dict[str, Any]]:
    """One row a size and precision: the loss of a small batch, all pairs by the full score, and the speed."""
    cuda = device.type == "cuda"
    found = []
    for D in (256, 1024) if cuda else (16,):
        expected = _loss(torch.device("cpu"), D, "float32")
        for precision, close in CLOSE.items():
            difference = abs(_loss(device, D, precision) - expected)
            found.append(
                {
                    "shape": f"training, D={D}",
                    "D": D,
                    "precision": precision,
                    "difference": difference,
                    "passed": difference <= close,
                    "pairs_per_s": _speed(device, D, precision),
                }
            )
    return found


def _loss(device: torch.device, D: int, precision: str) -> float:
    """Without chance and with `candidates` 0 it is a function of the batch alone."""
    config = TrainConfig(embed_dim=D, candidates=0, precision=precision, **CERTAIN)
    model, loss, batch = _problem(device, config, count=8, feature_dim=64)
    return float(augmented_loss(model, loss, batch, config, hardest=False).detach())


def _speed(device: torch.device, D: int, precision: str) -> float:
    cuda = device.type == "cuda"
    config = TrainConfig(embed_dim=D, precision=precision, batch_size=128 if cuda else 4)
    model, loss, batch = _problem(device, config, count=config.batch_size, feature_dim=2048 if cuda else 8)
    optimiser = torch.optim.Adam([p for p in (*model.parameters(), *loss.parameters()) if p.requires_grad])
    seconds = []
    for _ in range(13 if cuda else 2):
        began = time.perf_counter()
        optimiser.zero_grad()
        value = augmented_loss(model, loss, batch, config, hardest=False)
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if not torch.isfinite(value):  # waits for the GPU, as training does
            raise ArithmeticError(f"the loss is {float(value)}")
        seconds.append(time.perf_counter() - began)
    return config.batch_size**2 / statistics.median(seconds[3 if cuda else 1 :])


def _problem(
    device: torch.device, config: TrainConfig, count: int, feature_dim: int
) -> tuple[Shan, RankingLoss, Batch]:
    K, n, words = 36, 14, 500
    torch.manual_seed(0)
    model = Shan(ShanConfig(feature_dim=feature_dim, vocab_size=words, embed_dim=config.embed_dim))
    loss = RankingLoss(
        config.loss, candidates=config.candidates, margin=config.margin, temperature=config.loss_temperature
    )
    batch = Batch(
        torch.randn(count, K, feature_dim),
        torch.ones(count, K, dtype=torch.bool),
        torch.randint(4, words, (count, n)),
        torch.randint(5, n + 1, (count,)),
        torch.eye(count, dtype=torch.bool),
    )
    return model.to(device), loss.to(device), Batch(*(value.to(device) for value in vars(batch).values()))
