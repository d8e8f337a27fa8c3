"""The options of a querybank, through the installed command."""

from __future__ import annotations

import json

import pytest
from in_process import output_of, refusal
from tiny import CAPTIONS, WORDS, make_store


@pytest.fixture
def place(tmp_path):
    """A folder with a store of 20 photos, captions of half of them as train, of half as test, and a querybank."""
    make_store(tmp_path / "store", range(20)).close()
    rows = [f"{'train' if image < 10 else 'test'}\tphoto{image}\t{CAPTIONS[image % 5]}" for image in range(20)]
    (tmp_path / "captions.tsv").write_text("\n".join(["split\timage\tcaption", *rows]) + "\n")
    (tmp_path / "bank.txt").write_text("".join(f"a {word}\n" for word in WORDS))
    return tmp_path


def test_a_gallery_is_indexed_and_searched_normalised(place, bundle_path):
    bank = ("--querybank", place / "bank.txt", "--querybank-size", 12, "--inverse-temperature", 5)
    output_of("index", place / "store", "--output", place / "g", "--model", bundle_path, *bank)
    common = ("--gallery", place / "g", "--model", bundle_path)
    assert json.loads(output_of("gallery", "info", place / "g", "--json"))["normalised_by_captions"] == 12
    (asked,) = json.loads(output_of("search", "a dog", *common, "--json", "--html", place / "report.html"))
    for hit in asked["hits"]:
        assert hit["hubness"]
        assert hit["score"] == pytest.approx(sum(hit["step_scores"]) - hit["hubness"], abs=1e-4)
    assert f"less hubness {asked['hits'][0]['hubness']:.4f}" in (place / "report.html").read_text()
    assert "normalised by 12 captions, β = 5" in output_of("evaluate", *common, "--captions", place / "captions.tsv")


def test_an_evaluation_is_normalised_by_another_split(place, bundle_path):
    output_of("index", place / "store", "--output", place / "g", "--model", bundle_path)
    common = ("evaluate", "--gallery", place / "g", "--model", bundle_path, "--captions", place / "captions.tsv")
    figures = json.loads(output_of(*common, "--querybank", "train", "--querybank-size", 7, "--json"))
    assert (figures["querybank_captions"], figures["querybank_images"]) == (7, 7)
    assert figures["inverse_temperature"] == 20
    assert "normalised by 10 captions and 10 images, β = 20" in output_of(*common, "--querybank", "train")
    assert "'val'" in refusal(*common, "--querybank", "val")
    assert "has images of 'test', such as photo10" in refusal(*common, "--querybank", "test")
    assert "choose one from 0.001" in refusal(*common, "--querybank", "train", "--inverse-temperature", 0)
    assert "name one with --querybank" in refusal(*common, "--inverse-temperature", 5)


def test_querybanks_that_cannot_be_read(place, bundle_path):
    common = ("index", place / "store", "--output", place / "g", "--model", bundle_path)
    assert "captions.tsv is not a querybank" in refusal(*common, "--querybank", place / "captions.tsv")
    assert "nowhere.txt" in refusal(*common, "--querybank", place / "nowhere.txt")
    assert "--querybank-size needs a querybank" in refusal(*common, "--querybank-size", 5)
    (place / "empty.txt").write_text("")
    assert "empty.txt" in refusal(*common, "--querybank", place / "empty.txt")
    (place / "other.txt").write_text("xyzzy\nplugh qwxzy\n")
    assert "knows no word of the querybank" in refusal(*common, "--querybank", place / "other.txt")
    assert not (place / "g").exists()
