"""Make training examples of ImageNet's classes without their photos, for words that occur in no caption.

The frozen backbone tells 1,000 classes apart; Flickr8k's captions name few of them. Its classifier's weights tell
what features a region of each class would have. For classes of equal covariance Σ of features, whose best classifier
has the weights W = Σ⁻¹ μ (linear discriminant analysis; Hastie et al., Elements of Statistical Learning, 4.3), the
class's mean lies along Σ W. So an example is a training photo with one block of its regions moved along Σ W of a
class, until the classifier sees the class there. The block's mean class vectors (ConSE) are recomputed, and the class's
names are the captions. No other photos or captions are used.

    python -m shan_export.class_examples --store f8k --store f8k.mirrored --captions captions.tsv \
      --names timm/data/_info --word-vectors glove.gz --output captions-and-classes.tsv
    shan-engine train --store f8k --view f8k.mirrored --view f8k.classes --view f8k.mirrored.classes \
      --captions captions-and-classes.tsv ...

The first command makes `f8k.classes` and `f8k.mirrored.classes`, whose examples show the same classes over other
photos, and writes the captions together with those of the examples. Class names as in `region_statistics.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.base.files import replacing
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.text.captions import COLUMNS, CaptionTable
from shan_model.training.data import read_word_vectors

from shan_export.efficientnet import GRID, GridExtractor, RegionStatistics, load_backbone
from shan_export.region_statistics import class_names

CAPTIONS = 3  # a class
SAMPLE = 2000  # photos that the covariance is estimated from
BLOCK = (2, 6)  # rows and columns of cells that show the class: from, to
LOGITS_ABOVE = (0.0, 6.0)  # how far its logit is moved above that of all other classes together: from, to
LAST_MAP = (0.0, 6.0)  # smallest and largest value, as after ReLU6
SHRINKAGE = 0.3  # shrinkage of the covariance towards equal variances: it is estimated from few photos
STEPS = 12  # bisection steps


def known_names(synonyms: str, words: Container[str]) -> list[str]:
    """The names of a class, such as "ice bear, polar bear", that have only known words."""
    names = [name.strip().lower() for name in synonyms.split(",")]
    return [name for name in names if all(word in words for word in re.findall("[a-z]+", name))]


class Classes:
    """Directions of the last map's features in which the classifier sees its classes."""

    def __init__(self, regions: NDArray[np.float32]) -> None:
        """Estimate the directions from regions R x F of training photos."""
        self.extractor = GridExtractor(load_backbone(), RegionStatistics.load()).eval()
        weight: NDArray[np.float32] = self.extractor.backbone._fc.weight.numpy()
        self.late = weight.shape[1]
        covariance = np.cov(regions[:, : self.late], rowvar=False).astype(np.float32)
        differences = weight - weight.mean(0)
        directions = (1 - SHRINKAGE) * differences @ covariance + SHRINKAGE * covariance.diagonal().mean() * differences
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)

    @torch.no_grad()
    def show(self, regions: NDArray[np.float32], number: int, above: float) -> NDArray[np.float32]:
        """Move regions R x F just far enough that the class's mean logit over them is `above` the others'."""
        late, direction = torch.from_numpy(regions[:, : self.late]), torch.from_numpy(self.directions[number])
        near, far = 0.0, 4.0 * float(late.norm(dim=1).mean())
        for _ in range(STEPS):
            middle = (near + far) / 2
            logits = self.extractor.logits((late + middle * direction).clamp(*LAST_MAP))
            others = logits.index_fill(1, torch.tensor([number]), -torch.inf).logsumexp(1)
            near, far = (middle, far) if (logits[:, number] - others).mean() < above else (near, middle)
        moved = (late + far * direction).clamp(*LAST_MAP)
        words = self.extractor.standardised(self.extractor.mean_class(self.extractor.logits(moved)))
        rest = torch.from_numpy(regions[:, self.late + words.shape[1] :])
        shown: NDArray[np.float32] = torch.cat([moved, words, rest], dim=1).numpy()
        return shown


def examples(
    classes: Classes, store: FeatureStore, photos: list[str], numbers: list[int], random: np.random.Generator
) -> Iterator[RegionRecord]:
    """An example of each class, each made from one of the store's photos."""
    for number in numbers:
        features = store.read([photos[random.integers(len(photos))]])[0].features.astype(np.float32)
        height, width = random.integers(*BLOCK, size=2, endpoint=True)
        top, left = random.integers(GRID - height, endpoint=True), random.integers(GRID - width, endpoint=True)
        cells = np.arange(GRID * GRID).reshape(GRID, GRID)[top : top + height, left : left + width].ravel()
        features[cells] = classes.show(features[cells], number, random.uniform(*LOGITS_ABOVE))
        yield RegionRecord(example_id(number), features)


def example_id(number: int) -> str:
    """The id of a class's example."""
    return f"imagenet-class-{number}"


def main() -> None:
    """Make the stores, then the captions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--store", type=Path, action="append", required=True, help="of the default extractor; repeatable"
    )
    parser.add_argument("--captions", type=Path, required=True)
    parser.add_argument("--names", type=Path, required=True, help="timm's folder data/_info")
    parser.add_argument("--word-vectors", type=Path, required=True, help="in GloVe's text format")
    parser.add_argument("--output", type=Path, required=True, help="the captions with the classes'")
    options = parser.parse_args()
    table = CaptionTable.read(options.captions)
    photos = list(table.split("train").images)
    words, _ = read_word_vectors(options.word_vectors)
    known = [known_names(synonyms, words) for synonyms in class_names(options.names)]
    numbers = [number for number, names in enumerate(known) if names]
    classes = None
    for seed, path in enumerate(options.store):
        random = np.random.default_rng(seed)
        with FeatureStore.open(path) as store:
            if classes is None:
                sample = random.choice(photos, min(SAMPLE, len(photos)), replace=False).tolist()
                classes = Classes(np.concatenate([record.features for record in store.read(sample)]))
            with FeatureStore.create(path.with_name(f"{path.name}.classes"), store.schema) as made:
                made.write(list(examples(classes, store, photos, numbers, random)))
                print(f"{made.path}: examples of {len(made)} classes")
    rows = [
        ("train", example_id(number), known[number][place % len(known[number])])
        for number in numbers
        for place in range(CAPTIONS)
    ]
    with replacing(options.output) as path:
        path.write_text("".join("\t".join(row) + "\n" for row in (COLUMNS, *table.rows, *rows)), "utf-8")


if __name__ == "__main__":
    main()
