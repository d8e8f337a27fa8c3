"""SHAN's three alignment steps for pairs of an image and a caption, as the paper defines them (docs/scoring.md).

This is the reference. `factorised.py` computes the same numbers at a fraction of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shan_model.norms import cosine, masked_mean, masked_softmax


class Alignment(nn.Module):
    """Step scores of P aligned pairs; `direction` and `steps` as in `ShanConfig`."""

    def __init__(
        self,
        *,
        embed_dim: int,
        temperature: float = 9.0,
        direction: str = "full",
        steps: tuple[str, ...] = ("l2l", "g2l", "g2g"),
    ) -> None:
        super().__init__()
        self.temperature, self.steps = temperature, steps
        self.region_weight = 0.0 if direction == "t2i" else 1.0  # a
        self.word_weight = 0.0 if direction == "i2t" else 1.0  # b
        self.image_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.text_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.image_gate = nn.Linear(2 * embed_dim, embed_dim)
        self.text_gate = nn.Linear(2 * embed_dim, embed_dim)
        self.image_pool = nn.Linear(embed_dim, 1, bias=False)
        self.text_pool = nn.Linear(embed_dim, 1, bias=False)

    def forward(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> Tensor:
        """Regions V (P x K x D), words T (P x n x D) and their masks to step scores, P x len(steps)."""
        t_star, v_star = self.attend(regions, region_mask, words, word_mask)
        a, b = self.region_weight, self.word_weight

        # Step 1, local to local: every region with its attended words, every word with its attended regions.
        local_regions = masked_mean(cosine(regions, t_star), region_mask)
        local_words = masked_mean(cosine(words, v_star), word_mask)
        scores = [a * local_regions + b * local_words]

        if "g2l" in self.steps:  # Step 2, global to local
            v_c = self.pool(regions, t_star, region_mask, self.image_gate, self.image_pool)
            t_c = self.pool(words, v_star, word_mask, self.text_gate, self.text_pool)
            t_c_star = self.attend_globally(v_c, words, word_mask)
            v_c_star = self.attend_globally(t_c, regions, region_mask)
            scores.append(a * cosine(v_c, t_c_star) + b * cosine(t_c, v_c_star))

            if "g2g" in self.steps:  # Step 3, global to global
                scores.append(cosine(v_c + t_c_star, t_c + v_c_star))
        return torch.stack(scores, dim=-1)

    def attend(self, regions: Tensor, region_mask: Tensor, words: Tensor, word_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attended words t*_i for every region (P x K x D) and attended regions v*_j for every word (P x n x D)."""
        affinity = self.temperature * (self.image_proj(regions) @ self.text_proj(words).transpose(1, 2))
        alpha = masked_softmax(affinity, word_mask[:, None, :], dim=2)
        beta = masked_softmax(affinity, region_mask[:, :, None], dim=1)
        return alpha @ words, beta.transpose(1, 2) @ regions

    @staticmethod
    def pool(local: Tensor, attended: Tensor, mask: Tensor, gate: nn.Linear, pool: nn.Linear) -> Tensor:
        """Fuse P x K x D with what it attends to through a gate, then attention pooling to P x D."""
        g = torch.sigmoid(gate(torch.cat([local, attended], dim=-1)))
        fused = g * local + (1 - g) * attended
        weights = masked_softmax(pool(fused).squeeze(-1), mask, dim=-1)
        return (weights[:, None, :] @ fused).squeeze(1)

    def attend_globally(self, context: Tensor, local: Tensor, mask: Tensor) -> Tensor:
        """What a global vector (P x D) attends to among local ones (P x K x D), P x D."""
        weights = masked_softmax(self.temperature * cosine(context[:, None, :], local), mask, dim=-1)
        return (weights[:, None, :] @ local).squeeze(1)

    def kernel_constants(self) -> dict[str, Tensor]:
        """What the engine's kernel needs, by the names of `shan_engine.kernel.ShanConstants`."""
        dim = self.image_gate.out_features
        gates = {
            "image_gate": self.image_gate.weight[:, :dim],
            "image_gate_bias": self.image_gate.bias,
            "image_attended_gate": self.text_gate.weight[:, dim:],
        }
        return {
            **(gates if len(self.steps) > 1 else {}),
            "image_pool": self.image_pool.weight[0],
            "text_pool": self.text_pool.weight[0],
            "temperature": torch.tensor(self.temperature),
            "region_weight": torch.tensor(float(self.region_weight)),
            "word_weight": torch.tensor(float(self.word_weight)),
            "steps": torch.tensor(len(self.steps)),
        }
