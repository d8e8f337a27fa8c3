"""What training reads: captions, word vectors and region features."""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from shan_engine.base.errors import InputError
from shan_engine.text.captions import CaptionSplit
from shan_engine.text.vocabulary import Vocabulary, tokenise

if TYPE_CHECKING:  # the GPU check runs on machines without the store's packages
    from shan_engine.store.records import SeenClasses
    from shan_engine.store.schema import StoreSchema

READ_TOGETHER = 256  # images whose features are decoded together
_FIX = "give a file in GloVe's text format, plain or .gz"


class RegionSource(Protocol):
    """Region features by image id, such as a feature store."""

    @property
    def schema(self) -> StoreSchema:
        """The extractor of the features, and their size F."""
        ...

    def __contains__(self, id: str) -> bool:
        """Whether it has the features of an image."""
        ...

    def regions(self, ids: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Features B x K x F and mask B x K."""
        ...

    def seen(self, ids: Sequence[str]) -> Sequence[SeenClasses | None]:
        """The classes that each image was seen as, None where that is unknown."""
        ...


class AnyOf:
    """Several sources as one: an image counts as present if at least one source has it."""

    def __init__(self, sources: Sequence[RegionSource]) -> None:
        self._sources = sources

    def __contains__(self, id: str) -> bool:
        """Whether one of them has the features of an image."""
        return any(id in source for source in self._sources)

    def holders(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Whether a source has an image, images x sources."""
        return np.array([[id in source for source in self._sources] for id in ids], np.bool_)


def refuse_missing(source: RegionSource | AnyOf, *splits: CaptionSplit) -> None:
    """Raise InputError if `source` lacks images of the splits; the message names one and counts them."""
    images = dict.fromkeys(image for split in splits for image in split.images)
    missing = [image for image in images if image not in source]
    if missing:
        raise InputError(
            f"the feature store has no image '{missing[0]}' ({len(missing)} of the captions' {len(images)} images are "
            "missing): extract or import them, or remove their captions"
        )


def refuse_other_features(source: RegionSource, views: Sequence[RegionSource]) -> None:
    """Raise InputError if a view's features have another size or another extractor than the source's."""
    wanted = source.schema
    for view in views:
        held = view.schema
        if held.feature_dim != wanted.feature_dim:
            raise InputError(
                f"a view has features of size {held.feature_dim}, not {wanted.feature_dim}: extract it again"
            )
        name, own = held.feature_extractor, wanted.feature_extractor
        if name != own and not name.startswith(f"{own}-"):  # -crop1, -mirrored may follow
            raise InputError(
                f"a view has features of '{held.feature_extractor}', not of '{wanted.feature_extractor}': extract it "
                "with the extractor of --store"
            )


def class_shares(source: RegionSource, ids: Sequence[str], classes: int) -> NDArray[np.float32] | None:
    """The mean probability of each class over these images, L; None if it is unknown what they were seen as."""
    shares, count = np.zeros(classes, np.float64), 0
    held = [id for id in ids if id in source]  # views may hold others
    for first in range(0, len(held), READ_TOGETHER):
        for seen in source.seen(held[first : first + READ_TOGETHER]):
            if seen is not None:
                np.add.at(shares, seen.classes, seen.probabilities.astype(np.float64))
                count += 1
    return (shares / count).astype(np.float32) if count else None


def read_word_vectors(path: Path) -> tuple[dict[str, int], NDArray[np.float32]]:
    """Row of every word, and the vectors words x size, from GloVe's text format, plain or .gz.

    The first line sets how many numbers a word has. Everything before them is the word, spaces included. Raises
    InputError, naming the line, if a line is damaged.
    """
    rows: dict[str, int] = {}
    vectors: list[NDArray[np.float32]] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, *values = line.rstrip().rsplit(" ", len(vectors[0]) if vectors else -1)
                if number == 1 and len(values) < 2:
                    raise InputError(f"{path}, line 1 has no vector: if it is a line of counts, remove it")
                if (vectors and len(values) != len(vectors[0])) or _ends_in_number(word):
                    raise InputError(f"{path}, line {number} does not have as many numbers as the first: remove it")
                try:
                    with np.errstate(over="ignore"):  # becomes infinite, which is refused below
                        vector = np.array(values, np.float32)
                except ValueError as error:
                    raise InputError(
                        f"{path}, line {number} has a value that is not a number ({error}): remove it"
                    ) from error
                if not np.isfinite(vector).all():
                    raise InputError(f"{path}, line {number}: a number is NaN or infinite: remove it")
                if word not in rows:
                    rows[word] = len(vectors)
                    vectors.append(vector)
    except FileNotFoundError as error:
        raise InputError(f"there are no word vectors {path}: {_FIX}") from error
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the word vectors {path} cannot be read ({reason}): {_FIX}") from error
    if not vectors:
        raise InputError(f"the word vectors {path} are empty: {_FIX}")
    return rows, np.stack(vectors)


def _ends_in_number(word: str) -> bool:
    """Whether a word with spaces ends in a number: then its line has too many numbers."""
    _, blank, last = word.rpartition(" ")
    try:
        return bool(blank) and math.isfinite(float(last))
    except ValueError:
        return False


class Words(NamedTuple):
    """A checkpoint's words and their vectors (words x size, 0 if unknown); the first `met` words occur in captions."""

    vocabulary: Vocabulary
    vectors: NDArray[np.float32]
    met: int


def choose_words(
    training: Sequence[str], dev: Sequence[str], word_vectors: Path, *, min_count: int, open_vocabulary: bool
) -> Words:
    """The words that occur in the training captions at least `min_count` times.

    With `open_vocabulary`, the other words of all captions that have a vector follow, then every other word that has
    one. Raises InputError if the word vectors cannot be read.
    """
    rows, vectors = read_word_vectors(word_vectors)
    counts = Counter(word for caption in training for word in tokenise(caption))
    often = [word for word, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if count >= min_count]
    found = [*counts, *(word for caption in dev for word in tokenise(caption))]
    met = Vocabulary.build([*often, *(word for word in found if open_vocabulary and word in rows)])
    vocabulary = Vocabulary.build([*met.words, *(rows if open_vocabulary else ())])
    return Words(vocabulary, vector_table(vocabulary, rows, vectors), len(met))


def vector_table(vocabulary: Vocabulary, rows: dict[str, int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector of every vocabulary word, vocabulary x size, 0 if it has none.

    Values are rounded to float16, so that a bundle can store them in half the bytes.
    """
    table = np.zeros((len(vocabulary), vectors.shape[1]), np.float32)
    for number, word in enumerate(vocabulary.words):
        if word in rows:
            table[number] = vectors[rows[word]]
    return table.astype(np.float16).astype(np.float32)
