"""Evaluation of splits: protocols, ensembles, and SCAN's files."""

from __future__ import annotations

import numpy as np
import pytest
from gallery_scores import by_id
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.evaluation.evaluate import Normalisation, evaluate_split, folds
from shan_engine.evaluation.recall import recall
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.scoring.scorer import Scorer
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.importers import import_features
from shan_engine.text.captions import CaptionSplit, CaptionTable
from tiny import CAPTIONS, EXTRACTOR, WORDS


def write_table(folder, images):
    rows = [("test", image, f"{CAPTIONS[m % 5]} {WORDS[m % 20]}") for m, image in enumerate(images * 2)]
    (folder / "c.tsv").write_text("split\timage\tcaption\n" + "".join("\t".join(row) + "\n" for row in rows))
    return CaptionTable.read(folder / "c.tsv")


@pytest.fixture
def members(scorer, gallery_path, store_path, make_checkpoint, exported, tmp_path):
    """Two bundles of unlike models, each with its gallery of the same photos."""
    exported(make_checkpoint(direction="i2t").folder, tmp_path / "b", feature_extractor_name=EXTRACTOR)
    other = Scorer(Bundle.open(tmp_path / "b"), "cpu", threads=1)
    with FeatureStore.open(store_path) as store:
        index_store(store, other, tmp_path / "g")
    return [(scorer, Gallery.open(gallery_path)), (other, Gallery.open(tmp_path / "g", other.bundle))]


def test_an_ensemble_averages_scores(members, tmp_path):
    table = write_table(tmp_path, [f"photo{number}" for number in (9, 2, 30, 7, 11)])
    split = table.split("test")
    scores = []
    for member, gallery in members:
        matrix = np.zeros((5, 10), np.float32)
        found = by_id(member, gallery, tmp_path, split.captions)
        for row, image in enumerate(split.images):
            matrix[row] = found[image]
        scores.append(matrix)
    done = []
    outcome = evaluate_split(members, table, "test", on_pairs=done.append)
    assert outcome.recall == recall(sum(scores), split.caption_images)
    assert outcome.recall != recall(scores[0], split.caption_images)
    assert outcome.pairs == done[-1] == 100
    assert done == sorted(done)


def test_a_querybank_takes_hubness_from_averaged_scores(members, tmp_path):
    """Against the formula in float64 over the scores of `score`, of an ensemble, by a part of a split."""
    write_table(tmp_path, [f"photo{number}" for number in (9, 2, 30, 7, 11)])
    train = "".join(f"train\tphoto{number}\ta {WORDS[number]}\n" for number in (1, 3, 4, 5, 6, 8, 10))
    with (tmp_path / "c.tsv").open("a") as file:
        file.write(train)
    table = CaptionTable.read(tmp_path / "c.tsv")
    split, normalisation = table.split("test"), Normalisation("train", 4, 7)
    bank, images = normalisation.of(table, "test")
    assert images == ("photo1", "photo3", "photo5", "photo8")  # evenly spread

    def averaged(images, captions):
        found = [by_id(member, gallery, tmp_path, captions) for member, gallery in members]
        return np.mean([[one[image] for image in images] for one in found], axis=0, dtype=np.float64)

    scores = averaged(split.images, split.captions)
    expected = (
        scores
        - np.log(np.exp(7 * averaged(split.images, bank.captions)).mean(axis=1, keepdims=True)) / 7
        - np.log(np.exp(7 * averaged(images, split.captions)).mean(axis=0)) / 7
    )
    done = []
    outcome = evaluate_split(
        members, table, "test", normalisation=normalisation, on_start=done.append, on_pairs=done.append
    )
    assert outcome.recall == recall(expected.astype(np.float32), split.caption_images)
    assert outcome.recall != recall(scores.astype(np.float32), split.caption_images)
    assert outcome.pairs == done[0] == done[-1] == 2 * (5 * 10 + 5 * 4 + 4 * 10)
    figures = outcome.as_dict()
    assert (figures["querybank_captions"], figures["querybank_images"], figures["inverse_temperature"]) == (4, 4, 7)


def test_what_cannot_be_normalised_is_refused_before_anything_is_scored(scorer, gallery_path, store_path, tmp_path):
    rows = [f"{split}\tphoto{image}\ta dog" for split, image in (("test", 1), ("train", 2), ("all", 1), ("other", 99))]
    (tmp_path / "c.tsv").write_text("split\timage\tcaption\n" + "\n".join(rows) + f"\nlong\tphoto3\t{'dog ' * 500}\n")
    table, plain = CaptionTable.read(tmp_path / "c.tsv"), Gallery.open(gallery_path)
    with FeatureStore.open(store_path) as store:
        index_store(store, scorer, tmp_path / "g", querybank=Querybank.of(CAPTIONS))
    normalised = Gallery.open(tmp_path / "g")
    started = []

    def refused(galleries, bank):
        members = [(scorer, gallery) for gallery in galleries]
        with pytest.raises(InputError) as caught:
            evaluate_split(members, table, "test", normalisation=bank and Normalisation(bank), on_start=started.append)
        return str(caught.value)

    assert "the split 'all' has images of 'test', such as photo1" in refused([plain], "all")
    assert "the split 'test' has images of 'test'" in refused([plain], "test")
    assert "has no image 'photo99'" in refused([plain], "other")
    assert "has 500 words" in refused([plain], "long")
    assert "is already normalised by a querybank: leave --querybank out" in refused([normalised], "train")
    assert "are not normalised by the same querybank" in refused([plain, normalised], None)
    assert not started
    figures = evaluate_split([(scorer, normalised)], table, "test").as_dict()
    assert (figures["querybank_captions"], figures["querybank_images"]) == (len(CAPTIONS), 0)


def test_folds_rank_among_themselves(scorer, gallery_path, tmp_path):
    table = write_table(tmp_path, [f"photo{number}" for number in range(41)])
    outcome = evaluate_split([(scorer, Gallery.open(gallery_path))], table, "test", protocol="folds")
    assert (outcome.images, outcome.captions, outcome.pairs) == (40, 80, 5 * 8 * 16)
    assert outcome.recall.text_ranks[1] <= 15
    assert outcome.recall.image_ranks[1] <= 8


def test_protocols_take_the_images_they_name():
    split = CaptionSplit(tuple(map(str, range(5200))), tuple("c" * 5200), np.arange(5200))
    sizes = {name: [len(part.images) for part in folds(split, name)] for name in ("all", "1k", "5k", "folds")}
    assert sizes == {"all": [5200], "1k": [1000] * 5, "5k": [5000], "folds": [1040] * 5}
    assert folds(split, "1k")[2].images[:2] == ("2000", "2001")
    assert folds(split, "1k")[2].caption_images[:2].tolist() == [0, 1]
    for protocol, images, needed in (("1k", 999, 1000), ("5k", 4999, 5000), ("folds", 4, 5)):
        with pytest.raises(InputError, match=f"has {images} images, the protocol {protocol} needs {needed}"):
            folds(split.images_between(0, images), protocol)


def test_scans_files_are_imported_and_evaluated(scorer, tmp_path):
    """dev repeats every image five times, as SCAN's files do; test does not."""
    random = np.random.default_rng(0)
    folder = tmp_path / "f30k_precomp"
    folder.mkdir()
    dev, test = (np.abs(random.normal(size=(count, 4, 24))).astype(np.float32) for count in (6, 3))
    np.save(folder / "dev_ims.npy", dev.repeat(5, axis=0))
    np.save(folder / "test_ims.npy", test)
    for split, count in (("dev", 6), ("test", 3)):
        lines = [f"{CAPTIONS[row % 5]} {WORDS[row % 20]}" for row in range(5 * count)]
        (folder / f"{split}_caps.txt").write_text("\n".join(lines) + "\n")
    assert import_features(folder, tmp_path / "s", extractor=EXTRACTOR) == 9
    with FeatureStore.open(tmp_path / "s") as store:
        assert store.ids() == [*(f"dev-{row}" for row in range(6)), *(f"test-{row}" for row in range(3))]
        np.testing.assert_array_equal(store.read(["dev-4"])[0].features, dev[4])
        np.testing.assert_array_equal(store.read(["test-2"])[0].features, test[2])
        index_store(store, scorer, tmp_path / "g")
    table = CaptionTable.read(folder)
    assert table.split("dev").images == tuple(f"dev-{row}" for row in range(6))
    assert table.split("test").caption_images.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    outcome = evaluate_split([(scorer, Gallery.open(tmp_path / "g"))], table, "dev")
    assert (outcome.images, outcome.captions) == (6, 30)


def test_scans_files_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match=r"has no caption file such as test_caps\.txt"):
        CaptionTable.read(tmp_path)
    captions = tmp_path / "dev_caps.txt"
    captions.write_text("a dog\n" * 7)
    with pytest.raises(InputError, match=r"dev_caps\.txt has 7 lines: expected 5 captions for each image"):
        CaptionTable.read(tmp_path)
    captions.write_text("a dog\n" * 3 + "\n" + "a dog\n")
    with pytest.raises(InputError, match=r"dev_caps\.txt, line 4 is empty"):
        CaptionTable.read(tmp_path)
    np.save(tmp_path / "dev_ims.npy", np.ones((3, 2, 8), np.float32))
    np.save(tmp_path / "test_ims.npy", np.ones((3, 2, 9), np.float32))
    with pytest.raises(InputError, match=r"test_ims\.npy has features of size 9, the other files of 8"):
        import_features(tmp_path, tmp_path / "s")
    assert not (tmp_path / "s").exists()
