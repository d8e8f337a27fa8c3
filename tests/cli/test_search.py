"""Filters, weighted phrases and photos, as they are typed; and what is wrong in them, in one sentence each."""

from __future__ import annotations

import json
import shutil

import pytest
from in_process import output_of, refusal, shan
from resigned import sign_fields
from shan_engine.base.facts import FACTS
from shan_engine.base.files import sha256
from shan_engine.text.function_words import is_function_word
from tiny import CAPTIONS


@pytest.fixture(scope="module")
def asked(album, seeing_bundle, tmp_path_factory):
    """Arguments with which the described gallery of `album` is searched, and its folder."""
    folder = tmp_path_factory.mktemp("asked")
    rows = [f"{number:02}.png,{2000 + number},{'CC0' if number % 2 else ''}\n" for number in range(20)]
    (folder / "photos.csv").write_text("image,year,licence\n" + "".join(rows) + "later.png,2030,CC0\n")
    store, gallery = folder / "store", folder / "gallery"
    done = shan(
        "extract", album / "photos", "--store", store, "--model", seeing_bundle,
        "--metadata", folder / "photos.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = f"{store}: metadata of 20 of 24 images (year, licence); 1 rows are of images that it does not have"
    assert said in done.stderr
    done = shan("index", store, "--output", gallery, "--model", seeing_bundle)
    assert "metadata: year, licence" in done.stderr
    (folder / "captions.txt").write_text("\n".join(CAPTIONS))
    output_of(
        "index-captions", folder / "captions.txt", "--output", folder / "captions", "--model", seeing_bundle,
    )  # fmt: skip
    return folder, ("--gallery", gallery, "--model", seeing_bundle)


def search(asked, *arguments):
    return json.loads(output_of("search", *arguments, *asked[1], "--json"))


def test_a_filter_and_its_columns(asked):
    (found,) = search(asked, "a dog", "--where", "year >= 2015 and licence = 'CC0'", "-k", 50)
    assert sorted(hit["id"] for hit in found["hits"]) == ["15.png", "17.png", "19.png"]
    assert found["matching"] == 3
    for hit in found["hits"]:
        own = {"year": 2000 + int(hit["id"][:2]), "licence": "CC0"}
        assert {name: value for name, value in hit["metadata"].items() if name not in FACTS} == own
        assert hit["metadata"]["width"] > 0
        assert hit["metadata"]["taken"] is None
    done = shan("search", "a dog", "--where", "year IS NULL", "--columns", "year, licence", *asked[1])
    assert "4 of 24 images match" in done.stderr
    done = shan("search", "a dog", "--where", "year = 2007", "--columns", "year,licence,id", "-v", *asked[1])
    assert "all 1 images scored" in done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "07.png" in line]
    assert row.split()[2:] == ["07.png", "2007", "CC0", "07.png"]
    (none,) = search(asked, "a dog", "--where", "year > 3000")
    assert (none["hits"], none["matching"]) == ([], 0)
    output_of("search", "a dog", "--where", "year > 3000", "--html", asked[0] / "report.html", *asked[1])


def test_photos_near_a_place(asked, tmp_path, seeing_bundle):
    store, gallery = (shutil.copytree(asked[0] / name, tmp_path / name) for name in ("store", "gallery"))
    table = "id,latitude,longitude\n03.png,-33.865,151.21\n04.png,-33.9,151.2\n05.png,48.85,2.35\n"
    (tmp_path / "places.csv").write_text(table)
    output_of("store", "metadata", store, tmp_path / "places.csv")
    output_of("index", store, "--output", gallery, "--model", seeing_bundle)
    common = ("--near", "-33.86,151.21,10km", "--gallery", gallery, "--model", seeing_bundle, "--json")
    (found,) = json.loads(output_of("search", "a dog", *common))
    assert sorted(hit["id"] for hit in found["hits"]) == ["03.png", "04.png"]
    (found,) = json.loads(output_of("search", "a dog", "--where", "id <> '03.png'", *common))
    assert [hit["id"] for hit in found["hits"]] == ["04.png"]


def test_metadata_are_set_again_without_encoding(asked, tmp_path, seeing_bundle):
    store, gallery = (shutil.copytree(asked[0] / name, tmp_path / name) for name in ("store", "gallery"))
    (tmp_path / "more.csv").write_text("file,town\n03.png,Zürich\n")
    done = shan("store", "metadata", store, tmp_path / "more.csv", "--id-column", "file")
    assert f"{store}: metadata of 1 of 24 images (town)" in done.stderr
    assert json.loads(output_of("store", "info", store, "--json"))["metadata"] == ["town"]
    indexed = json.loads(output_of("index", store, "--output", gallery, "--model", seeing_bundle, "--json"))
    assert (indexed["added"], indexed["unchanged"], indexed["columns"]) == (0, 24, ["town"])
    common = ("--gallery", gallery, "--model", seeing_bundle, "--json")
    (found,) = json.loads(output_of("search", "a dog", "--where", "town = 'Zürich'", *common))
    assert [hit["id"] for hit in found["hits"]] == ["03.png"]


def test_phrases_and_a_photo_are_added_up(asked, album):
    def scores(*arguments):
        (found,) = search(asked, *arguments, "-k", 50)
        return {hit["id"]: hit["score"] for hit in found["hits"]}

    photo = album / "photos" / "05.png"
    dog, grass, hat, like = scores("a dog"), scores("grass"), scores("red hat"), scores("--image", photo)
    assert max(like, key=like.__getitem__) == "05.png"
    both = scores(
        "a dog", "--with", "grass:0.5", "--without", "red hat", "--image", photo, "--image-weight", 0.3
    )  # fmt: skip
    for id, score in both.items():
        assert score == pytest.approx(dog[id] + 0.5 * grass[id] - 0.4 * hat[id] + 0.3 * like[id], abs=1e-4)
    two = search(asked, "a dog", "man", "--without", "red hat:1")
    assert [found["query"] for found in two] == ["a dog, without red hat (1)", "man, without red hat (1)"]


def test_without_explanations_scores_are_the_same(asked):
    (explained,), (plain,) = search(asked, "a dog"), search(asked, "a dog", "--no-explain")
    assert [(hit["id"], hit["score"]) for hit in plain["hits"]] == [
        (hit["id"], hit["score"]) for hit in explained["hits"]
    ]
    assert all(hit["words"] for hit in explained["hits"])
    assert not any(hit["words"] for hit in plain["hits"])
    assert "regions" not in output_of("search", "a dog", "--no-explain", *asked[1])


def test_captions_that_fit_a_photo(asked, album, seeing_bundle):
    common = ("--image", album / "photos" / "05.png", "--gallery", asked[0] / "captions", "--model", seeing_bundle)
    answer = json.loads(output_of("search", *common, "-k", 3, "--json"))
    assert answer["captions"] == len(CAPTIONS)
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    for hit in answer["hits"]:
        assert hit["caption"] == CAPTIONS[int(hit["id"]) - 1]
        naming = [word for word in hit["caption"].split() if not is_function_word(word)]
        assert [word["word"] for word in hit["words"]] == naming
    table = output_of("search", *common, "-k", 1)
    assert answer["hits"][0]["caption"] in " ".join(table.split())


class TestRefusals:
    def test_filters(self, asked):
        for where, said in (
            ("yeer >= 2020", "no such column: yeer"),
            ("year >=", "syntax error"),
            ("1; DELETE FROM photos", "syntax error"),
        ):
            sentence = refusal("search", "a dog", "--where", where, *asked[1])
            assert said in sentence
            assert "has the columns id, path, year, licence" in sentence
        assert "a filter is empty" in refusal("search", "a dog", "--where", "", *asked[1])
        assert "'Paris' is not a place and a distance" in refusal("search", "a dog", "--near", "Paris", *asked[1])
        assert "no column 'venue'" in refusal("search", "a dog", "--columns", "year,venue", *asked[1])

    def test_a_wrong_filter_is_said_before_any_model_is_loaded(self, asked, seeing_bundle, tmp_path):
        """The graphs of this bundle are no graphs, which would be said first."""
        bundle = shutil.copytree(seeing_bundle, tmp_path / "bundle")
        fields = json.loads((bundle / "manifest.json").read_text())
        for graph in bundle.glob("*.onnx"):
            graph.write_bytes(b"no graph")
            fields["files"][graph.name] = sha256(graph)
        sign_fields(bundle / "manifest.json", files=fields["files"])
        common = ("--gallery", asked[0] / "gallery", "--model", bundle)
        for more in (("a dog",), ("--image", "nowhere.jpg")):
            assert "no such column: yeer" in refusal("search", *more, "--where", "yeer > 1", *common)
        assert "cannot load" in refusal("search", "a dog", "--where", "year > 1", *common)

    def test_phrases(self, asked):
        assert "has the weight 'lots'" in refusal("search", "a dog", "--without", "snow:lots", *asked[1])
        assert "has the weight '0'" in refusal("search", "a dog", "--with", "grass:0", *asked[1])
        assert "with or without is empty" in refusal("search", "a dog", "--without", "", *asked[1])
        assert "nothing to search for" in refusal("search", "--without", "snow", *asked[1])
        assert "the model knows no word of 'qqqq'" in refusal("search", "a dog", "--without", "qqqq", *asked[1])

    def test_photos(self, asked, place, tmp_path):
        assert "there is no photo" in refusal("search", "--image", tmp_path / "x.jpg", *asked[1])
        (tmp_path / "x.jpg").write_text("no photo")
        assert "x.jpg cannot be decoded" in refusal("search", "--image", tmp_path / "x.jpg", *asked[1])
        sentence = refusal(
            "search", "--image", tmp_path / "x.jpg", "--gallery", place.gallery, "--model", place.bundle
        )  # fmt: skip
        assert "has no feature extractor to read" in sentence
        assert "--extractor" in sentence
        sentence = refusal("search", "a dog", "--image", tmp_path / "x.jpg", "--image-weight", "-1", *asked[1])
        assert "the photo's weight is -1" in sentence

    def test_galleries_of_the_wrong_kind(self, asked, album, seeing_bundle):
        folder, _ = asked
        captions = ("--gallery", folder / "captions", "--model", seeing_bundle)
        photo = album / "photos" / "05.png"
        for arguments in (("a dog",), ("a dog", "--image", photo)):
            assert "is a gallery of captions, not of photos" in refusal("search", *arguments, *captions)
        for option in (("--backend", "tensorrt"), ("--recall-target", 0.9), ("--precision", "fp16")):
            sentence = refusal("search", "--image", photo, *option, *captions)
            assert "is for galleries of photos: leave it out in a search for captions" in sentence
        sentence = refusal("search", "--image", photo, "--where", "year > 1", *captions)
        assert "--where is for galleries of photos" in sentence
        sentence = refusal(
            "index-captions", folder / "captions.txt", "--output", folder / "gallery", "--model", seeing_bundle
        )  # fmt: skip
        assert "is a gallery of photos, not of captions" in sentence
        sentence = refusal("index", folder / "store", "--output", folder / "captions", "--model", seeing_bundle)
        assert "is a gallery of captions, not of photos" in sentence

    def test_gallery_and_bundle_in_each_others_place(self, asked, seeing_bundle):
        gallery = asked[0] / "gallery"
        assert f"{seeing_bundle} is a bundle, not a gallery" in refusal("search", "a dog", "--gallery", seeing_bundle)
        sentence = refusal("search", "a dog", "--gallery", gallery, "--model", gallery)
        assert f"{gallery} is a gallery, not a bundle" in sentence

    def test_metadata(self, asked, album, seeing_bundle, tmp_path):
        table, store = tmp_path / "photos.csv", asked[0] / "store"
        extract = ("extract", album / "photos", "--store", tmp_path / "new", "--model", seeing_bundle)
        table.write_text("image,year\n00.png,1\n00.png,2\n")
        for command in (("store", "metadata", store, table), (*extract, "--metadata", table)):
            assert "has the image '00.png' twice" in refusal(*command)
        table.write_text("name,year\n00.png,1\n")
        assert "has no column id or image or path" in refusal(*extract, "--metadata", table)
        assert not (tmp_path / "new").exists()
        sentence = refusal("store", "metadata", store, table, "--id-column", "file")
        assert "has no column 'file'" in sentence
        table.write_text("image,year\nelsewhere.png,1\n")
        sentence = refusal("store", "metadata", store, table)
        assert "has none of the 1 images that the metadata name, such as 'elsewhere.png'" in sentence
        assert "name one with --metadata" in refusal(*extract, "--metadata-id-column", "file")

    def test_captions(self, asked, seeing_bundle, tmp_path):
        common = ("--output", tmp_path / "g", "--model", seeing_bundle)
        (tmp_path / "c.txt").write_text("a dog\n\na cat\n")
        assert "c.txt, line 2 is empty" in refusal("index-captions", tmp_path / "c.txt", *common)
        (tmp_path / "c.tsv").write_text("image,caption\n")
        assert "expected the tab-separated header" in refusal("index-captions", tmp_path / "c.tsv", *common)
        assert "there is no caption file" in refusal("index-captions", tmp_path / "nowhere", *common)
        assert not (tmp_path / "g").exists()


def test_fine_regions_are_found_in_the_photos(asked, tmp_path):
    (plain,), (fine,) = (search(asked, "a dog", "-k", 2, *more) for more in ((), ("--fine-regions",)))
    for before, after in zip(plain["hits"], fine["hits"], strict=True):
        ((word,), (coarse,)) = after.pop("words"), before.pop("words")
        assert (word.pop("evidence"), word["word"]) == ("cosine", "dog")
        assert word.keys() == coarse.keys()
        assert word["box"][2] - word["box"][0] < coarse["box"][2] - coarse["box"][0]
        assert after == before
    refused = refusal("search", "a dog", "--fine-regions", "--no-explain", *asked[1])
    assert "--no-explain leaves explanations out" in refused
