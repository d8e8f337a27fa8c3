"""Rebuild `efficientnet_regions.npz`: word vectors of ImageNet's classes, and channel statistics.

A class's vector is the weighted mean of its names' words. A name's last word counts double; later names count less.
The statistics come from Flickr8k's 6,000 training photos. Class names: `imagenet_synsets.txt` and
`imagenet_synset_to_lemma.txt` of the package `timm` (folder `timm/data/_info`, Apache-2.0). Word vectors: the whole
GloVe 6B 100-d (PDDL).

    python -m shan_export.region_statistics --photos FOLDER --names timm/data/_info --word-vectors glove.6B.100d.txt
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.base.files import replacing
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.find import find_photos
from shan_model.data import read_word_vectors

from shan_export.efficientnet import SIZE, STATISTICS, GridExtractor, RegionStatistics, load_backbone

LEAST_DEVIATION = 1e-4
PHOTOS_A_CALL = 16


def class_names(folder: Path) -> list[str]:
    """The names of ImageNet's classes, such as "tiger shark, Galeocerdo cuvieri", from timm's folder."""
    lemmas = dict(line.split("\t") for line in (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    return [lemmas[synset] for synset in (folder / "imagenet_synsets.txt").read_text().split()]


def class_vectors(names: list[str], rows: Mapping[str, int], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors, classes x size, of names such as "tiger shark, Galeocerdo cuvieri"; 0 where no word is known."""
    table = np.zeros((len(names), vectors.shape[1]), np.float32)
    for number, synonyms in enumerate(names):
        for place, name in enumerate(synonyms.lower().split(",")):
            words = re.findall("[a-z]+", name)
            weights = np.ones(len(words))
            weights[-1:] = 2
            for word, weight in zip(words, weights, strict=True):
                if word in rows:
                    table[number] += vectors[rows[word]] * weight / (1 + place)
    table /= np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-6)
    return table


def channel_statistics(photos: Path, vectors: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the standardised channels over all regions of a folder's photos."""
    unknown = torch.zeros(0)
    extractor = GridExtractor(load_backbone(), RegionStatistics(vectors, unknown, unknown)).eval()
    paths = [photo.path for photo in find_photos(photos).photos]
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for start in range(0, len(paths), PHOTOS_A_CALL):
        pixels = np.stack([read_scaled(path, SIZE, SIZE).pixels for path in paths[start : start + PHOTOS_A_CALL]])
        with torch.no_grad():
            found = extractor.parts(torch.from_numpy(pixels))[1].flatten(0, 1).double().numpy()
        count, total, squares = count + len(found), total + found.sum(0), squares + (found**2).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)) + LEAST_DEVIATION
    return mean.astype(np.float32), deviation.astype(np.float32)


def main() -> None:
    """Rewrite the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the training photos")
    parser.add_argument("--names", type=Path, required=True, help="timm's folder data/_info")
    parser.add_argument("--word-vectors", type=Path, required=True, help="in GloVe's text format")
    parser.add_argument("--output", type=Path, default=STATISTICS)
    options = parser.parse_args()
    held = class_vectors(class_names(options.names), *read_word_vectors(options.word_vectors)).astype(np.float16)
    mean, std = channel_statistics(options.photos, torch.from_numpy(held).float())
    with replacing(options.output) as path, path.open("wb") as file:
        np.savez_compressed(file, class_vectors=held, mean=mean, std=std)


if __name__ == "__main__":
    main()
