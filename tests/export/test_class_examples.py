"""Examples of classes show what the classifier takes for them; the rest of a region stays."""

import numpy as np
import pytest
import torch
from shan_engine.locate import demo_bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from shan_engine.text.captions import CaptionTable
from shan_export import class_examples
from shan_export.class_examples import LAST_MAP, Classes, example_id, known_names
from shan_export.efficientnet import GAIN, NAME, SIZE
from shan_export.region_statistics import CLASS_NUMBERS

PHOTOS = demo_bundle().parent / "photos"
PANDA, ZEBRA = 388, 340
END = 1280 + CLASS_NUMBERS  # of the last map's numbers and the mean class vector


@pytest.fixture(scope="module")
def seen(extractor):
    """Features of 24 photos, the first of a panda, 24 x 36 x F."""
    names = ["panda.jpg", *sorted(path.name for path in PHOTOS.glob("*.jpg") if "panda" not in path.name)[:23]]
    with torch.no_grad():
        pixels = [torch.from_numpy(read_scaled(PHOTOS / name, SIZE, SIZE).pixels.copy())[None] for name in names]
        return np.concatenate([extractor(photo)[0].numpy() for photo in pixels])


@pytest.fixture(scope="module")
def classes(seen):
    return Classes(seen.reshape(-1, seen.shape[-1]))


def test_moved_regions_are_seen_as_the_class(classes, extractor, seen):
    regions = seen[5, :9]
    before = regions.copy()
    moved = classes.show(regions, ZEBRA, -1.0)  # the covariance of few photos leads no further
    np.testing.assert_array_equal(regions, before)
    logits = classes.extractor.logits(torch.from_numpy(moved[:, :1280])).detach().numpy()
    others = np.logaddexp.reduce(np.delete(logits, ZEBRA, 1), 1)
    assert (logits[:, ZEBRA] - others).mean() == pytest.approx(-1.0, abs=0.3)
    assert LAST_MAP[0] <= moved[:, :1280].min() <= moved[:, :1280].max() <= LAST_MAP[1]
    np.testing.assert_array_equal(moved[:, END:], regions[:, END:])
    vectors = torch.softmax(torch.from_numpy(logits), -1) @ extractor.class_vectors
    expected = (vectors - extractor.mean[:CLASS_NUMBERS]) / extractor.std[:CLASS_NUMBERS] * GAIN
    np.testing.assert_allclose(moved[:, 1280:END], expected, atol=1e-3)


def test_a_real_panda_lies_along_the_direction_of_pandas(classes, seen):
    late = seen[1:, :, :1280].mean((0, 1))
    along = (seen[0, :, :1280].mean(0) - late) @ classes.directions.T
    assert along.argsort()[::-1].tolist().index(PANDA) < 20


def test_names_of_unknown_words_are_left_out():
    words = {"ice", "bear", "polar"}
    assert known_names("ice bear, polar bear, Ursus Maritimus, Thalarctos maritimus", words) == [
        "ice bear",
        "polar bear",
    ]


def test_stores_and_captions_for_training(seen, tmp_path, monkeypatch):
    store, mirrored, output = tmp_path / "f8k", tmp_path / "f8k.mirrored", tmp_path / "both.tsv"
    ids = [f"{number}.jpg" for number in range(len(seen))]
    for path in (store, mirrored):
        with FeatureStore.create(path, StoreSchema(NAME, seen.shape[-1])) as made:
            made.write([RegionRecord(id, features) for id, features in zip(ids, seen, strict=True)])
    captions = tmp_path / "captions.tsv"
    captions.write_text("split\timage\tcaption\n" + "".join(f"train\t{id}\ta photo\n" for id in ids))
    synsets = [f"n{number}" for number in range(1000)]
    names = {PANDA: "giant panda, panda", ZEBRA: "zebra"}
    (tmp_path / "imagenet_synsets.txt").write_text("\n".join(synsets))
    lemmas = "\n".join(f"{synset}\t{names.get(number, 'Latin')}" for number, synset in enumerate(synsets))
    (tmp_path / "imagenet_synset_to_lemma.txt").write_text(lemmas)
    (tmp_path / "vectors.txt").write_text("giant 1 0\npanda 0 1\nzebra 1 1\n")
    arguments = ["--captions", captions, "--names", tmp_path, "--word-vectors", tmp_path / "vectors.txt"]
    arguments += ["--store", store, "--store", mirrored, "--output", output]
    monkeypatch.setattr("sys.argv", ["class_examples", *map(str, arguments)])
    class_examples.main()

    split = CaptionTable.read(output).split("train")
    assert split.images == (*ids, example_id(ZEBRA), example_id(PANDA))
    assert split.captions[len(ids) :] == ("zebra", "zebra", "zebra", "giant panda", "panda", "giant panda")
    examples = []
    for path in (store, mirrored):
        with FeatureStore.open(tmp_path / f"{path.name}.classes") as made:
            assert set(made.ids()) == {example_id(ZEBRA), example_id(PANDA)}
            assert made.schema.feature_extractor == NAME
            examples.append(made.regions([example_id(PANDA)])[0][0])
        with FeatureStore.open(path) as held:
            assert len(held) == len(ids)
    assert np.abs(examples[0] - examples[1]).max() > 0.1
