"""What of a model learns in training, and at which rate."""

from __future__ import annotations

from torch import Tensor, nn

from shan_model.retrieval import RetrievalModel
from shan_model.training.loss import RankingLoss
from shan_model.training.schedule import TrainConfig

PRETRAINED = "text_encoder.bert."


def parameter_groups(
    model: RetrievalModel, loss: RankingLoss, config: TrainConfig
) -> tuple[list[float], list[list[nn.Parameter]]]:
    """Learning rates and the parameters that learn at them; a pretrained text encoder has its own."""
    own: list[nn.Parameter] = []
    encoder: list[nn.Parameter] = []
    for name, parameter in (*model.named_parameters(), *loss.named_parameters()):
        if parameter.requires_grad:
            (encoder if name.startswith(PRETRAINED) else own).append(parameter)
    if not encoder:
        return [config.learning_rate], [own]
    return [config.learning_rate, config.text_learning_rate], [own, encoder]


def frozen_state(model: RetrievalModel) -> dict[str, Tensor]:
    """The tensors that training leaves as they are."""
    trained = model.trained_state()
    return {name: tensor for name, tensor in model.state_dict().items() if name not in trained}
