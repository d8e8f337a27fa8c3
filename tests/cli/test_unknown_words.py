"""Commands tell of captions whose words the model mostly does not know, and how many they are."""

from __future__ import annotations

import json

import pytest
from in_process import output_of, refusal, shan

TOLD = "most words of 2 of 3 captions (66.7 %) are unknown to the model, such as those of 'собака бежит dog'"


@pytest.fixture
def common(gallery_path, bundle_path):
    return ("--gallery", gallery_path, "--model", bundle_path)


def test_score_and_evaluate_tell_the_share(common, tmp_path):
    captions = ["a dog runs", "собака бежит dog", "a Hund läuft über Gras"]
    (tmp_path / "q.txt").write_text("\n".join(captions) + "\n", "utf-8")
    done = shan("score", *common, "--queries", tmp_path / "q.txt", "--output", tmp_path / "o.parquet", "-k", 1)
    assert done.returncode == 0, done.stderr
    assert TOLD in done.stderr
    rows = [f"test\tphoto{number}\t{caption}" for number, caption in enumerate(captions)]
    (tmp_path / "c.tsv").write_text("\n".join(["split\timage\tcaption", *rows]) + "\n", "utf-8")
    done = shan("evaluate", *common, "--captions", tmp_path / "c.tsv", "--json")
    assert TOLD in done.stderr
    assert json.loads(done.stdout)["captions_mostly_unknown"] == 2


def test_search_names_each_unknown_word(common):
    done = shan("search", "собака dog", *common)
    assert "собака dog: 'собака' is unknown to the model" in done.stderr
    assert "the model knows no word of 'собака'" in refusal("search", "собака", *common)
    assert "unknown" not in shan("search", "a dog", *common).stderr


def test_known_words_are_not_told(common, tmp_path):
    (tmp_path / "q.txt").write_text("a dog runs\n")
    output = ("--output", tmp_path / "o.parquet", "-k", 1)
    assert "unknown" not in shan("score", *common, "--queries", tmp_path / "q.txt", *output).stderr
    output_of("search", "a dog", *common)
