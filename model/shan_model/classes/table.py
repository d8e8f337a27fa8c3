"""The table of classes that a photo may be seen as: ImageNet's 1,000, and everything that they are kinds of.

A proboscis monkey is a monkey, a primate and an animal. Each of these is a node. A node has names and covers some
classes: its probability is the sum of theirs. `imagenet_classes.json` beside this file holds the nodes; the first
1,000 are the classes, in the order of a classifier's outputs. `shan_export.wordnet_classes` makes the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TABLE = Path(__file__).with_name("imagenet_classes.json")


@dataclass(frozen=True)
class Node:
    """A class or a kind of classes. `classes` are the numbers of the classes that it covers."""

    id: str
    names: list[str]
    plurals: list[str]
    classes: list[int]


@dataclass(frozen=True)
class ClassTable:
    """L classes and N nodes over them, of which the first L are the classes."""

    nodes: tuple[Node, ...]

    @classmethod
    def load(cls, path: Path = TABLE) -> ClassTable:
        """Read the table of ImageNet's classes, or that of another file of the same form."""
        return cls(tuple(Node(**node) for node in json.loads(path.read_text("utf-8"))))

    @property
    def leaves(self) -> tuple[Node, ...]:
        """The classes, in the order of a classifier's outputs."""
        return tuple(node for number, node in enumerate(self.nodes) if node.classes == [number])

    @property
    def class_names(self) -> list[str]:
        """A name to show for each class, L."""
        return [node.names[0] for node in self.leaves]

    def texts(self, *, plurals: bool = True) -> tuple[list[str], NDArray[np.int64]]:
        """All names M, perhaps with their plurals, and the number of each one's node, M."""
        pairs = [
            (text, number)
            for number, node in enumerate(self.nodes)
            for text in (*node.names, *(node.plurals if plurals else ()))
        ]
        return [text for text, _ in pairs], np.array([number for _, number in pairs])

    def members(self) -> NDArray[np.bool_]:
        """Which classes a node covers, N x L."""
        table = np.zeros((len(self.nodes), len(self.leaves)), bool)
        for number, node in enumerate(self.nodes):
            table[number, node.classes] = True
        return table
