from __future__ import annotations

import gzip

import numpy as np
import pytest
from shan_engine.base.errors import InputError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.text.captions import CaptionSplit
from shan_model.training.augment import mix_views
from shan_model.training.data import AnyOf, choose_words, read_word_vectors, refuse_missing
from shan_model.training.loop import train
from shan_model.training.schedule import epoch_batches
from synthetic import NOUNS, Photos, settings


def test_images_without_features_are_named_before_training(files, tmp_path):
    table, vectors = files

    class Fewer(Photos):
        def __contains__(self, id):
            return id not in {"x-cat-grass-0", "x-hat-beach-0", "x-dog-street-1"}

        def regions(self, ids):
            raise AssertionError("a batch was read")

    with pytest.raises(InputError) as caught:
        train(Fewer(), table, vectors, tmp_path / "m", settings())
    assert "has no image 'x-cat-grass-0'" in str(caught.value)
    assert "3 of the captions' 36 images are missing" in str(caught.value)
    assert not (tmp_path / "m").exists()
    with pytest.raises(InputError, match="2 of the captions' 19 images"):  # dev images left out are not read
        train(Fewer(), table, vectors, tmp_path / "m", settings(dev_images=1))


def test_images_are_looked_up_in_a_real_store(store_path, tmp_path):
    with FeatureStore.open(store_path) as store:
        known, unknown = store.ids()[:2], ["nowhere", ""]
        split = CaptionSplit(tuple(known), ("a", "b"), np.arange(2))
        refuse_missing(store, split)
        with pytest.raises(InputError, match=r"no image 'nowhere' \(2 of the captions' 4 images"):
            refuse_missing(store, split, CaptionSplit((*unknown, known[0]), ("a", "b", "c"), np.arange(3)))


def test_views_may_hold_some_images_alone(files, tmp_path):
    table, vectors = files
    read = []

    class Some(Photos):
        def __init__(self, name, nouns):
            self.name, self.nouns = name, nouns

        def __contains__(self, id):
            return id.split("-")[1] in self.nouns

        def regions(self, ids):
            assert all(id in self for id in ids)
            read.extend((self.name, id) for id in ids)
            return super().regions(ids)

    sources = [Some("first", NOUNS[:5]), Some("second", NOUNS[3:])]
    split = table.split("train")
    holders = AnyOf(sources).holders(split.images)
    for seed in range(20):
        features, mask = mix_views(sources, split.images, holders, np.random.default_rng(seed))
        wanted, there = Photos().regions(split.images)
        np.testing.assert_array_equal(features, wanted)
        np.testing.assert_array_equal(mask, there)
    first, second = ({id.split("-")[1] for name, id in read if name == which} for which in ("first", "second"))
    assert first == set(NOUNS[:5])
    assert second == set(NOUNS[3:])
    with pytest.raises(InputError, match="has no image 'x-hat-"):  # the first one alone is asked for dev's images
        train(sources[0], table, vectors, tmp_path / "m", settings(), views=sources[1:])
    with pytest.raises(InputError, match="has no image 'x-dog-"):
        train(sources[1], table, vectors, tmp_path / "m", settings(), views=[Some("none", ())])


def test_a_batch_has_no_image_twice_and_depends_on_seed_and_epoch_alone(files):
    split, config = files[0].split("train"), settings()
    batches = epoch_batches(split, config, 1)
    assert len(batches) == 6
    for batch in batches:
        assert len({int(split.caption_images[caption]) for caption in batch}) == len(batch) == 6
    used = [caption for batch in batches for caption in batch]
    assert sorted(used) == list(range(len(split.captions)))
    assert epoch_batches(split, config, 1) == batches
    assert epoch_batches(split, config, 2) != batches
    assert epoch_batches(split, settings(seed=1), 1) != batches


@pytest.mark.parametrize("other", ["another", "synthetic2"])
def test_a_view_of_another_extractor_is_refused(files, tmp_path, other):
    fix = rf"features of '{other}', not of 'synthetic': extract it with the extractor of --store"
    with pytest.raises(InputError, match=fix):
        train(Photos(), *files, tmp_path / "m", settings(epochs=1), views=[Photos("synthetic-crop1"), Photos(other)])


def test_word_vectors(tmp_path):
    text = "dog 1 2 3\ncat 4 5 6\ndog 7 8 9\n"
    (tmp_path / "v.txt").write_text(text)
    with gzip.open(tmp_path / "v.gz", "wt") as file:
        file.write(text)
    for name in ("v.txt", "v.gz"):
        rows, vectors = read_word_vectors(tmp_path / name)
        assert rows == {"dog": 0, "cat": 1}
        np.testing.assert_array_equal(vectors, [[1, 2, 3], [4, 5, 6]])
    (tmp_path / "blank.txt").write_text("dog 1 2 3\n. . . 4 5 6\n")  # as in glove.840B
    assert read_word_vectors(tmp_path / "blank.txt")[0] == {"dog": 0, ". . .": 1}


def test_words_of_captions_come_before_those_that_only_have_a_vector(tmp_path):
    path = tmp_path / "v.txt"
    path.write_text("cat 4 5\nowl 7 8\ndog 1 2\n")
    words = choose_words(["a dog", "a bird"], ["an owl"], path, min_count=2, open_vocabulary=True)
    assert words.vocabulary.words[4:] == ("a", "dog", "owl", "cat")
    assert words.met == 4 + 3
    np.testing.assert_array_equal(words.vectors[4:], [[0, 0], [1, 2], [7, 8], [4, 5]])
    closed = choose_words(["a dog", "a bird"], ["an owl"], path, min_count=2, open_vocabulary=False)
    assert closed.vocabulary.words[4:] == ("a",)
    assert closed.met == len(closed.vocabulary)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("dog 1 2\ncat 1\n", "line 2 does not have as many numbers as the first: remove it"),
        ("dog 1 2\ncat 1 x\n", "line 2 has a value that is not a number"),
        ("dog 1 2\ncat 1 2 3\n", "line 2 does not have as many numbers"),
        ("400000 2\ndog 1 2\n", "line 1 has no vector: if it is a line of counts, remove it"),
        ("dog nan 1\n", "line 1"),
        ("", "empty"),
    ],
)
def test_wrong_word_vectors_are_refused(tmp_path, text, part):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(InputError, match=part):
        read_word_vectors(tmp_path / "v.txt")
    with pytest.raises(InputError, match="gone"):
        read_word_vectors(tmp_path / "gone.txt")
    (tmp_path / "v.gz").write_text(text)
    with pytest.raises(InputError, match=r"v\.gz"):
        read_word_vectors(tmp_path / "v.gz")


def test_word_vectors_that_cannot_be_read_are_refused_with_the_fix(tmp_path):
    fix = "give a file in GloVe's text format, plain or .gz"
    with pytest.raises(InputError) as caught:
        read_word_vectors(tmp_path / "gone.txt")
    assert str(caught.value) == f"there are no word vectors {tmp_path / 'gone.txt'}: {fix}"
    with pytest.raises(InputError, match=rf"cannot be read \(Is a directory\): {fix}"):
        read_word_vectors(tmp_path)
    packed = bytearray(gzip.compress(b"".join(b"w%d %d %d\n" % (n, n * 7919, n * 104729) for n in range(9999))))
    packed[10:20] = b"\xff" * 10  # no deflate block begins so
    (tmp_path / "v.gz").write_bytes(packed)
    with pytest.raises(InputError, match=rf"v\.gz cannot be read \(.+\): {fix}"):
        read_word_vectors(tmp_path / "v.gz")
