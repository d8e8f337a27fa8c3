"""Photos and captions that a tiny model learns in seconds, for the tests of training."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import numpy as np
import torch
from shan_engine.store.records import RegionRecord, pad_regions
from shan_engine.store.schema import StoreSchema
from shan_engine.text.captions import CaptionTable
from shan_model.training.schedule import TrainConfig

NOUNS = ("dog", "cat", "bike", "river", "child", "hat")
PLACES = ("grass", "street", "beach")
F = 10


class Photos:
    """Synthetic photos: the id's noun and place, each as some regions' direction, with noise."""

    def __init__(self, extractor="synthetic", feature_dim=F):
        self.schema = StoreSchema(extractor, feature_dim)

    def __contains__(self, id):
        return id.startswith("x-")

    def regions(self, ids):
        records = []
        for id in ids:
            _, noun, place, copy = id.split("-")
            random = np.random.default_rng((NOUNS.index(noun), PLACES.index(place), int(copy)))
            features = random.normal(size=(3 + int(copy), F)) * 0.2
            features[0, NOUNS.index(noun)] += 2
            features[1, 6 + PLACES.index(place)] += 2
            records.append(RegionRecord(id, features.astype(np.float32)))
        return pad_regions(records)

    def seen(self, ids):
        return [None] * len(ids)


@contextmanager
def one_thread():
    """Tiny tensors: several threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def captioned(folder):
    """A table of captions and a file of word vectors."""
    lines = ["split\timage\tcaption"]
    for noun in NOUNS:
        for place in PLACES:
            for copy in range(2):
                split = "dev" if copy else "train"
                image = f"x-{noun}-{place}-{copy}"
                lines += [
                    f"{split}\t{image}\ta {noun} on the {place}",
                    f"{split}\t{image}\tthe {place} with a {noun} .",
                ]
    (folder / "captions.tsv").write_text("\n".join(lines) + "\n")
    random = np.random.default_rng(0)
    words = ["a", "on", "the", "with", ".", *NOUNS, *PLACES]
    (folder / "vectors.txt").write_text(
        "".join(word + " " + " ".join(f"{x:.3f}" for x in random.normal(size=6)) + "\n" for word in words)
    )
    return CaptionTable.read(folder / "captions.tsv"), folder / "vectors.txt"


def curve(folder):
    """Loss and dev rSum of every epoch so far."""
    metrics = folder / "metrics.jsonl"
    lines = map(json.loads, metrics.read_text().splitlines()) if metrics.exists() else []
    return [(line["loss"], line["rsum"]) for line in lines]


def epochs(folder):
    """The number of every epoch so far, as listed."""
    return [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    """The state that a training saved last."""
    return torch.load(folder / "last.pt", weights_only=True)


def fill(file, *, room):
    """Fill a small disk up, but for some KiB."""
    free = shutil.disk_usage(file.parent).free
    file.write_bytes(bytes(free - room * 1024))


def settings(**changes):
    values = {
        "epochs": 2, "batch_size": 6, "embed_dim": 16, "embedding_dim": 4, "warmup_steps": 2, "device": "cpu",
        "min_count": 1, "warmup_epochs": 1,
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})
