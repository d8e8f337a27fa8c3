"""How much each class that a photo may show speaks for a text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shan_model.classes.table import ClassTable

LEVELS = 127
NO_NODE = 0.8  # the cosine with its name that a text needs to mean a node as likely as none
SMOOTHING = 1e-3  # added to shares of nodes: one that training photos never show is no proof of itself


class ClassEvidence(nn.Module):
    """Weights of L classes for a text, by its sentence vector's cosine with the names of classes and their kinds.

    A node is a class or a kind of classes, such as monkeys. P(node | text) is a softmax of the cosine with the node's
    nearest name over a temperature. A class has the weight Σ P(node | text) / P(node) over its nodes; P(node) is the
    share of photos that show one of the node's classes. A long sentence is near to no name: P(none), that of one more
    cosine `NO_NODE` in the softmax, tells how little that evidence is worth. So weights count to the power of
    1 - P(none) / 2.
    """

    lemma_vectors: Tensor
    lemma_scale: Tensor
    node_lemmas: Tensor
    leaf_nodes: Tensor
    log_prior: Tensor
    temperature: Tensor

    def __init__(self, *, lemmas: int, nodes: int, names: int, classes: int, depth: int, size: int) -> None:
        super().__init__()
        self.register_buffer("lemma_vectors", torch.zeros(lemmas, size, dtype=torch.int8))
        self.register_buffer("lemma_scale", torch.zeros(lemmas))
        # Names of a node, the first one again where it has fewer than others.
        self.register_buffer("node_lemmas", torch.zeros(nodes, names, dtype=torch.int32))
        # Nodes of a class, `nodes` where it has fewer than others.
        self.register_buffer("leaf_nodes", torch.zeros(classes, depth, dtype=torch.int32))
        self.register_buffer("log_prior", torch.zeros(nodes))
        self.register_buffer("temperature", torch.tensor(0.05))

    def forward(self, sentences: Tensor) -> Tensor:
        """Sentence vectors C x size, of length 1, to the weights of classes, C x L."""
        vectors = self.lemma_vectors.to(sentences.dtype) * self.lemma_scale[:, None]
        cosines = sentences @ vectors.T
        nearest = cosines.index_select(1, self.node_lemmas.flatten().long()).view(-1, *self.node_lemmas.shape).amax(2)
        logits = nearest / self.temperature
        padded = nn.functional.pad((torch.log_softmax(logits, dim=1) - self.log_prior).exp(), (0, 1))
        weights = padded.index_select(1, self.leaf_nodes.flatten().long()).view(-1, *self.leaf_nodes.shape).sum(2)
        none = torch.sigmoid(NO_NODE / self.temperature - logits.logsumexp(dim=1, keepdim=True))
        return weights.pow(1 - none / 2)

    @torch.no_grad()
    def set_prior(self, shares: NDArray[np.float32]) -> None:
        """Take the mean probability of each class over typical photos, L."""
        padded = torch.cat([self.log_prior, self.log_prior.new_zeros(1)])
        sums = torch.zeros_like(padded).index_add(
            0, self.leaf_nodes.flatten(), torch.from_numpy(shares).float().repeat_interleave(self.leaf_nodes.shape[1])
        )
        self.log_prior.copy_((sums[:-1] + SMOOTHING).log())


def sizes(table: ClassTable) -> dict[str, int]:
    """The sizes of a table's class evidence, by their names in a model's configuration."""
    names = [node.names for node in table.nodes]
    return {
        "classes": len(table.leaves),
        "nodes": len(table.nodes),
        "names": max(map(len, names)),
        "lemmas": sum(map(len, names)),
        "depth": int(table.members().sum(0).max()),
    }


def class_evidence(table: ClassTable, encode: Callable[[list[str]], Tensor]) -> ClassEvidence:
    """The evidence of a table's classes, all equally likely; `encode` gives texts their sentence vectors.

    Plurals are left out: their vectors are near their singulars', and they would take as much space again.
    """
    texts, numbers = table.texts(plurals=False)
    vectors = encode(texts)
    found = sizes(table)
    evidence = ClassEvidence(**found, size=vectors.shape[1])
    largest = vectors.abs().amax(1, keepdim=True).clamp_min(1e-6)
    rounded = (vectors / largest * LEVELS).round()
    evidence.lemma_vectors.copy_(rounded)
    evidence.lemma_scale.copy_(1 / rounded.norm(dim=1).clamp_min(1))
    for node in range(found["nodes"]):
        own = torch.from_numpy(np.flatnonzero(numbers == node))
        evidence.node_lemmas[node] = own[0]
        evidence.node_lemmas[node, : len(own)] = own
    evidence.leaf_nodes.fill_(found["nodes"])
    for leaf, covered in enumerate(table.members().T):
        above = torch.from_numpy(np.flatnonzero(covered))
        evidence.leaf_nodes[leaf, : len(above)] = above
    evidence.set_prior(np.full(found["classes"], 1 / found["classes"], np.float32))
    return evidence.eval()
