"""Photos that change, and which answers a search over them may give.

A volatile photo has a version: a picture of its own for each of PICTURES - 1 versions in turn, then none. The scores of
all pictures are measured once, undisturbed. What a search may answer lies, for each photo, between a version that
somebody has seen before the search began and the one that was last written to disk when it ended.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from in_process import output_of
from numpy.typing import NDArray
from PIL import Image

CORE, VOLATILE, PICTURES = 12, 36, 6
QUERIES = ("a dog runs over the grass", "two children play in the water", "man rides bike")
NEAR = 1e-5
Versions = NDArray[np.int64]


class World:
    """The photos in `folder / "photos"` and what is known of them, in memory that forks share."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self.bundle = folder, bundle
        self.photos, self.data = folder / "photos", folder / "data"
        self.store, self.gallery = self.data / "many.store", self.data / "many.gallery"
        self.names = [f"core{number}.png" for number in range(CORE)]
        self.names += [f"photo{number}.png" for number in range(VOLATILE)]
        size = len(self.names)
        shared = np.frombuffer(mmap.mmap(-1, 8 * 3 * size), np.int64).reshape(3, size)
        self.written, self.in_store, self.in_gallery = shared
        self.scores: list[dict[str, list[float]]] = []
        self.regions: dict[str, list[NDArray[np.float32]]] = {}

    def picture(self, number: int, version: int) -> Path:
        return self.folder / "pictures" / f"{number}-{version % PICTURES}.png"

    def paint(self) -> None:
        """All pictures, and the photos at version 0."""
        random = np.random.default_rng(5)
        for folder in ("pictures", "photos", "data"):
            (self.folder / folder).mkdir(parents=True)
        for number, name in enumerate(self.names):
            for version in range(1 if number < CORE else PICTURES - 1):
                left, right = (tuple(random.integers(0, 256, 3).tolist()) for _ in range(2))
                image = Image.new("RGB", (16, 8), left)
                image.paste(right, (8, 0, 16, 8))
                image.save(self.picture(number, version))
            os.link(self.picture(number, 0), self.photos / name)

    def measured(self) -> tuple[list[dict[str, list[float]]], dict[str, list[NDArray[np.float32]]]]:
        """By photo, of each version: its scores by query, its regions. Takes ONNX Runtime: call it in a fork."""
        from shan_engine.store.feature_store import FeatureStore

        store, gallery = self.folder / "all.store", self.folder / "all.gallery"
        self.made("all", self.folder / "pictures", store, gallery)
        found = json.loads(
            output_of("search", *QUERIES, "--gallery", gallery, "--top-k", 10_000, "--no-explain", "--json")
        )
        by_picture = [{hit["id"]: hit["score"] for hit in answer["hits"]} for answer in found]
        scores = [
            {
                name: [held[self.picture(number, version).name] for version in self._versions(number)]
                for number, name in enumerate(self.names)
            }
            for held in by_picture
        ]
        with FeatureStore.open(store) as opened:
            regions = {
                name: [
                    opened.read([self.picture(number, version).name])[0].features for version in self._versions(number)
                ]
                for number, name in enumerate(self.names)
            }
        return scores, regions

    def made(self, name: str, photos: Path, store: Path, gallery: Path) -> None:
        """A collection of all photos in a folder, up to date."""
        output_of("init", photos, "--name", name, "--model", self.bundle, "--store", store, "--gallery", gallery)
        output_of("update", name, "--device", "cpu")

    def _versions(self, number: int) -> range:
        return range(1 if number < CORE else PICTURES - 1)

    def change(self, number: int) -> None:
        """Give a volatile photo its next version: another picture in its place, or none."""
        version = int(self.written[number]) + 1
        self.written[number] = version
        place = self.photos / self.names[number]
        if version % PICTURES == PICTURES - 1:
            place.unlink()
        else:
            beside = self.folder / "beside.png"
            beside.write_bytes(self.picture(number, version).read_bytes())
            beside.replace(place)

    def check_scores(self, query: int, found: Mapping[str, float], floor: Versions, seen: Versions) -> None:
        """Whether an answer is one that the photos had since `floor`; notes what it shows in `seen`."""
        held = self.scores[query]
        versions = {
            name: [version for version, known in enumerate(held[name]) if abs(known - score) < NEAR]
            for name, score in found.items()
            if name in held
        }
        self._check(f"the query '{QUERIES[query]}'", found, versions, floor, seen)

    def check_regions(self, found: Mapping[str, NDArray[np.float32]], floor: Versions, seen: Versions) -> None:
        """The same of the regions in a store."""
        versions = {
            name: [
                version
                for version, known in enumerate(self.regions[name])
                if known.shape == regions.shape and np.array_equal(known, regions)
            ]
            for name, regions in found.items()
            if name in self.regions
        }
        self._check("the store", found, versions, floor, seen)

    def _check(
        self, what: str, found: Mapping[str, object], versions: Mapping[str, list[int]], floor: Versions, seen: Versions
    ) -> None:
        newest = self.written.copy()
        strange = found.keys() - set(self.names)
        assert not strange, f"{what} knows {strange}"
        least = floor.copy()
        for number, name in enumerate(self.names):
            shown = versions[name] if name in found else [PICTURES - 1]
            assert shown, f"{what}: {name} is as no version of it is: {found[name]}"
            if number < CORE:
                assert name in found, f"{what}: {name} is lost"
                continue
            may = [one for one in range(floor[number], newest[number] + 1) if one % PICTURES in shown]
            assert may, (
                f"{what}: {name} is as in versions {shown}, which it was not in {floor[number]} to {newest[number]}"
            )
            least[number] = may[0]
        np.maximum(seen, least, out=seen)
