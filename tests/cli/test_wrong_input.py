"""Whatever is wrong in asking, the installed command says so in one sentence, exits 1 and keeps what is stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import installed
import numpy as np
import onnxruntime
import pytest
from in_process import refusal, shan
from resigned import sign_again, sign_fields
from shan_engine.gallery.reader import Gallery


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


class TestQueries:
    @pytest.mark.parametrize("query", ["", "   ", "\t\n"])
    def test_empty(self, place, query):
        assert "empty" in place.search(query)

    @pytest.mark.parametrize("query", [".", "?!"])
    def test_without_a_word(self, place, query):
        assert place.search(query) == f"the query '{query}' has no word: describe what to look for"

    def test_none(self):
        """As a process of its own: what it prints and how it ends are the same."""
        assert installed.refusal("search") == refusal("search")
        assert "nothing to search for" in refusal("search")

    def test_too_long(self, place):
        found = shan("search", "dog " * 400, "--gallery", place.gallery, "--model", place.bundle, "--json")
        assert found.returncode == 0
        assert "its last 274 words are left out, the model takes no more" in found.stderr

    def test_too_long_and_without_a_known_word_among_those_that_are_taken(self, place):
        sentence = place.search("xqzj " * 126 + "dog")
        assert sentence == f"the model knows no word of '{('xqzj ' * 20)}…': describe it in other words"

    def test_file_missing_empty_or_of_another_encoding(self, place):
        file = place.here / "queries.txt"
        common = ("search", "--gallery", place.gallery, "--model", place.bundle, "--queries", file)
        assert f"cannot read {file}" in refusal(*common)
        file.write_text("\n")
        assert "has no captions" in refusal(*common)
        file.write_text("a dog\n\na cat\n")
        assert f"{file}, line 2 is empty" in refusal(*common)
        file.write_bytes("un café".encode("latin-1"))
        assert "not UTF-8" in refusal(*common)

    def test_a_report_is_not_written_over_its_queries(self, place):
        file = place.here / "queries.txt"
        file.write_text("a dog\n")
        common = ("search", "--gallery", place.gallery, "--model", place.bundle, "--queries", file)
        assert "choose another output" in refusal(*common, "--html", file)
        assert file.read_text() == "a dog\n"

    @pytest.mark.parametrize("name", ["x" * 300, f"{'y' * 300}/z.txt"])
    def test_names_that_the_system_refuses(self, place, name):
        common = ("--gallery", place.gallery, "--model", place.bundle)
        for command in (
            ("search", "--image", place.here / name, *common),
            ("import", place.here / name, "--store", place.here / "s"),
            ("extract", place.here / name, "--store", place.here / "s"),
            ("score", "--queries", "-", "--output", place.here / f"{name}.npy", *common),
            ("evaluate", "--captions", place.here / name, *common),
        ):
            assert "File name too long" in installed.refusal(*command)

    def test_top_k_of_zero_is_a_usage_error(self, place):
        assert shan("search", "a dog", "--gallery", place.gallery, "--top-k", 0).returncode == 2


class TestGalleries:
    def test_missing(self, place):
        shutil.rmtree(place.gallery)
        assert f"there is no gallery at {place.gallery}" in place.search("a dog")

    def test_of_another_bundle(self, place):
        shutil.rmtree(place.gallery / "bundles")  # as galleries were before they kept their bundle
        sentence = refusal("search", "a dog", "--gallery", place.gallery)
        assert f"the gallery {place.gallery} was made by bundle" in sentence
        assert "shan-engine index" in sentence
        sign_fields(place.gallery / "manifest.json", fingerprint="0" * 64)
        sentence = refusal("index", place.store, "--model", place.bundle, "--output", place.gallery)
        assert "was made by bundle 000000000000" in sentence
        assert len(Gallery.open(place.gallery)) == 41

    def test_damaged(self, place):
        (place.gallery / "manifest.json").write_text("{")
        assert f"{place.gallery}/manifest.json is damaged" in place.search("a dog")

    def test_truncated_block(self, place):
        array = next(place.gallery.glob("blocks/*/image_regions.npy"))
        with array.open("r+b") as file:
            file.truncate(500)
        assert f"{array} is missing or truncated" in place.search("a dog")

    def test_nan_in_one_row(self, place):
        file = next(place.gallery.glob("blocks/*/image_regions.npy"))
        array = np.load(file)
        array[17] = np.nan
        np.save(file, array)
        assert "image 'photo17' of" in (said := place.search("a dog", "--json"))
        assert "a byte of it has changed" in said
        sign_again(place.gallery)
        assert "image 'photo17' of the gallery" in place.search("a dog", "--json")
        shutil.rmtree(place.gallery)  # the fix that the message names
        index = ("index", place.store, "--model", place.bundle, "--output", place.gallery)
        assert shan(*index).returncode == 0
        search = ("search", "a dog", "--gallery", place.gallery, "--model", place.bundle)
        assert shan(*search).returncode == 0

    def test_newer_schema(self, place):
        edit_json(place.gallery / "manifest.json", version=99)
        assert "schema 99" in place.search("a dog")

    def test_without_the_images_of_the_captions(self, place):
        captions = place.here / "captions.tsv"
        captions.write_text("split\timage\tcaption\ntest\tphoto1\ta dog\ntest\tnowhere\ta cat\n")
        common = ("evaluate", "--gallery", place.gallery, "--model", place.bundle, "--captions", captions)
        assert "no image 'nowhere'" in refusal(*common)
        assert "'val'" in refusal(*common, "--split", "val")
        captions.write_text("image,caption\nphoto1,a dog\n")
        assert str(captions) in refusal(*common)
        captions.unlink()
        assert str(captions) in refusal(*common)


class TestBundles:
    def test_missing(self, place):
        shutil.rmtree(place.bundle)
        assert str(place.bundle) in place.search("a dog")

    @pytest.mark.parametrize("name", ["image_encoder.onnx", "text_encoder.onnx", "pair_scorer.onnx", "vocab.json"])
    def test_one_changed_byte(self, place, name):
        data = bytearray((place.bundle / name).read_bytes())
        data[len(data) // 2] ^= 1
        (place.bundle / name).write_bytes(data)
        assert f"{name}" in place.search("a dog")
        assert "new" not in {path.name for path in place.here.iterdir()}

    def test_newer_schema(self, place):
        edit_json(place.bundle / "manifest.json", version=99)
        assert "schema 99" in place.search("a dog")

    def test_no_cuda_here(self, place):
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this machine may have CUDA")
        sentence = refusal("search", "a dog", "--gallery", place.gallery, "--model", place.bundle, "--device", "cuda")
        assert "pip install '.[gpu]' in the project's folder, or use --device cpu" in sentence

    def test_without_an_extractor(self, place, photos):
        sentence = refusal("extract", photos, "--store", place.here / "s", "--model", place.bundle)
        assert "has no feature extractor: name one with --extractor" in sentence


class TestScores:
    def test_suffix(self, place):
        queries = place.here / "q.txt"
        queries.write_text("a dog\n")
        common = ("score", "--gallery", place.gallery, "--model", place.bundle, "--queries", queries)
        assert "name it .npy" in refusal(*common, "--output", place.here / "scores.csv")
        assert "cannot write" in refusal(*common, "--output", queries / "scores.npy")
        assert "holds every score" in refusal(*common, "--output", place.here / "scores.npy", "--top-k", 3)

    def test_one_bad_caption_is_named(self, place):
        queries = place.here / "q.txt"
        queries.write_text("a dog\n" + "dog " * 400 + "\n")
        common = ("score", "--gallery", place.gallery, "--model", place.bundle, "--queries", queries)
        assert "q.txt, line 2: the caption" in refusal(*common, "--output", place.here / "scores.npy")
        assert not list(place.here.glob("scores.npy*"))


class TestWords:
    def test_unknown_words_only(self, place):
        for query in ("qqqq zzzz", "qqqq !", "qqqq, zzzz."):  # the vocabulary has punctuation
            assert f"the model knows no word of '{query}'" in place.search(query)

    def test_what_is_read_otherwise_is_said(self, place):
        done = shan("search", "a dogs qqqq", "--gallery", place.gallery, "--model", place.bundle, "--json")
        assert done.returncode == 0, done.stderr
        assert "a dogs qqqq: 'dogs' is read as 'dog', 'qqqq' is unknown to the model" in done.stderr
        answer = json.loads(done.stdout)[0]
        assert answer["replaced_words"] == {"dogs": "dog"}
        assert answer["unknown_words"] == ["qqqq"]
        assert [word["word"] for word in answer["hits"][0]["words"]] == ["dog", "qqqq"]
