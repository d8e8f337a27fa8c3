"""A model's configuration: the `config.json` of a checkpoint (docs/files.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

from shan_engine.base.errors import InputError

from shan_model.choices import DIRECTIONS, WORD_VECTORS

STEPS = ("l2l", "g2l", "g2g")


class Settings:
    """Checks for a dataclass of settings; `owner` says in messages whose settings they are."""

    owner: ClassVar[str]

    def demand(self, names: Sequence[str], fits: Callable[[Any], bool], wanted: str) -> None:
        """Raise InputError if the value of one of these does not fit; `wanted` says what would."""
        for name in names:
            value = getattr(self, name)
            if not fits(value):
                raise InputError(f"{self.owner} {name} is {value!r}: it must be {wanted}")

    def demand_counts(self, *names: str) -> None:
        """Raise InputError if one of these is not a whole number above 0."""
        self.demand(names, lambda value: is_number(value, int) and value > 0, "a whole number above 0")

    def demand_positive(self, *names: str) -> None:
        """Raise InputError if one of these is not a number above 0."""
        self.demand(names, lambda value: is_number(value, int, float) and 0 < value < math.inf, "a number above 0")

    def demand_one_of(self, name: str, choices: tuple[object, ...]) -> None:
        """Raise InputError if `name` is not one of `choices`."""
        self.demand([name], lambda value: value in choices, f"one of {', '.join(map(str, choices))}")


def is_number(value: object, *types: type) -> bool:
    """Whether it is a number of one of these types; True and False are not."""
    return isinstance(value, types) and not isinstance(value, bool)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """Sizes that every model has: of a region's feature, of the tokenizer, of the space that both sides share.

    Raises InputError, naming the key, for a value that is not allowed.
    """

    owner: ClassVar[str] = "the model's"
    model: ClassVar[str]
    later: ClassVar[frozenset[str]] = frozenset()
    """Keys that older checkpoints lack. At its default, such a key is not written: fingerprints stay as they were."""
    feature_dim: int
    vocab_size: int
    embed_dim: int = 256

    def __post_init__(self) -> None:
        self.demand_counts("feature_dim", "vocab_size", "embed_dim")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From config.json's content; raises InputError for a missing or unknown key."""
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        values.pop("model", None)
        for name in sorted(known - set(values) - cls.later):
            raise InputError(f"the configuration has no {name}")
        for name in sorted(set(values) - known):
            raise InputError(f"the configuration has an unknown key {name}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """config.json's content."""
        usual = {field.name: field.default for field in fields(self) if field.name in self.later}
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in usual or value != usual[name]
        }
        return {"model": self.model, **values}


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(Settings):
    """Sizes of a BERT that reads captions: state, layers, heads, hidden layer inside a layer, places of a text.

    `epsilon` is that of its layer norms. Raises InputError, naming the key, for a value that is not allowed.
    """

    owner: ClassVar[str] = "the text encoder's"
    dim: int
    layers: int
    heads: int
    hidden: int
    positions: int
    epsilon: float = 1e-12

    def __post_init__(self) -> None:
        self.demand_counts("dim", "layers", "heads", "hidden", "positions")
        self.demand_positive("epsilon")
        if self.dim % self.heads:
            raise InputError(f"the text encoder's heads are {self.heads}: they must divide its dim {self.dim}")


@dataclass(frozen=True, kw_only=True)
class GruConfig(ModelConfig):
    """Sizes of a model whose text encoder is a GRU over word vectors and learnt embeddings.

    Models from elsewhere may have learnt embeddings alone (`word_vector_dim` 0), or a GRU of one direction. With
    `transformer`, the text encoder is a BERT instead, and config.json has nothing of a GRU.
    """

    later: ClassVar[frozenset[str]] = frozenset({"bidirectional", "transformer"})
    of_gru: ClassVar[dict[str, Any]] = {"word_vector_dim": 100, "embedding_dim": 64, "bidirectional": True}
    word_vector_dim: int = 100
    embedding_dim: int = 64
    bidirectional: bool = True
    transformer: TransformerConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_counts("embedding_dim")
        self.demand(["word_vector_dim"], lambda value: is_number(value, int) and value >= 0, "a whole number")
        self.demand_one_of("bidirectional", (True, False))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """See `ModelConfig.from_dict`."""
        sizes = data.get("transformer")
        if sizes is not None:
            data = {**cls.of_gru, **data, "transformer": TransformerConfig(**sizes)}
        return super().from_dict(data)

    def to_dict(self) -> dict[str, Any]:
        """See `ModelConfig.to_dict`."""
        held = super().to_dict()
        unused = self.of_gru if self.transformer else {}
        return {name: value for name, value in held.items() if name not in unused}


@dataclass(frozen=True, kw_only=True)
class AlignedConfig(ModelConfig):
    """SHAN's score: temperature of the attention, direction, and steps."""

    temperature: float = 9.0
    direction: str = "full"
    steps: tuple[str, ...] = STEPS

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_positive("temperature")
        self.demand_one_of("direction", DIRECTIONS)
        if not self.steps or tuple(self.steps) != STEPS[: len(self.steps)]:
            raise InputError(
                f"the model's steps are {list(self.steps)}: they must begin {list(STEPS)} and may end early"
            )


@dataclass(frozen=True, kw_only=True)
class ShanConfig(AlignedConfig, GruConfig):
    """SHAN."""

    model: ClassVar[str] = "shan"


@dataclass(frozen=True, kw_only=True)
class SentenceShanConfig(AlignedConfig):
    """SHAN over a sentence model's word vectors, with a global term and class evidence.

    `words` is the kind of word vectors (`SentenceModel.word_vectors`). `rows` says which words count in a score: `all`,
    or only those `naming` something, without markers and function words. The sentence model has `vocab_size` pieces, of
    which `refined` have four bits a value, and vectors of `word_vector_dim` numbers. Class evidence has `classes`, 0
    for none, `nodes` with at most `names` names, `lemmas` names in all, and at most `depth` nodes above a class.
    """

    model: ClassVar[str] = "sentence-shan"
    steps: tuple[str, ...] = ("l2l",)
    words: str = "alone"
    rows: str = "naming"
    refined: int
    word_vector_dim: int = 512
    channels: int = 256
    hidden: int = 320
    classes: int = 0
    nodes: int = 0
    names: int = 0
    lemmas: int = 0
    depth: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.demand_one_of("words", WORD_VECTORS)
        self.demand_one_of("rows", ("all", "naming"))
        self.demand_counts("refined", "word_vector_dim", "channels", "hidden")
        sizes = ("classes", "nodes", "names", "lemmas", "depth")
        self.demand(sizes, lambda value: is_number(value, int) and value >= 0, "a whole number, at least 0")
