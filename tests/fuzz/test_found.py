"""Kinds of fault that `make fuzz` found, a few inputs each."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tokenizers
from resigned import sign_fields
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import LONGEST, BackendError, BundleError, GalleryError, InputError, ShanError
from shan_engine.base.files import sha256
from shan_engine.base.metadata import Metadata
from shan_engine.base.packing import read_npy
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.bundle.plans import Limits, PlanSet, PrecisionCheck
from shan_engine.collections.settings import Collection
from shan_engine.gallery.captions import CaptionGallery
from shan_engine.gallery.storage import file_checksum
from shan_engine.gallery.written import WrittenFile
from shan_engine.indexing.captions import index_captions
from shan_engine.photos.extractor import read_recipe
from shan_engine.photos.ignore import IgnoreRules
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.captions import search_captions
from shan_engine.search.photo_query import QueryPhoto
from shan_engine.search.query import Phrase
from shan_engine.store.importers.source import as_float32
from shan_engine.text.query_files import read_queries
from shan_engine.text.tokenizer_files import load_tokenizer
from tiny import FEATURES


def test_a_message_is_one_line_whatever_it_quotes() -> None:
    assert str(ShanError("it is damaged (*** in database main ***\nPage 6\u2028): fix it")) == (
        "it is damaged (*** in database main *** Page 6 ): fix it"
    )


@pytest.mark.parametrize("sizes", [b"(4294967296, 4294967296, 4), }", b"(9223372036854775808, 3, 4), }"])
def test_sizes_beyond_integers_are_refused_in_silence(tmp_path: Path, sizes: bytes) -> None:
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4), np.float32))
    data = (tmp_path / "a.npy").read_bytes().replace(b"(2, 3, 4), }".ljust(len(sizes)), sizes)
    (tmp_path / "b.npy").write_bytes(data)
    for mapped in (True, False):
        with warnings.catch_warnings(record=True) as printed:
            warnings.simplefilter("always")
            with pytest.raises(ValueError, match=r"."):
                read_npy(tmp_path / "b.npy", mapped=mapped)
        assert not printed


def test_texts_of_a_table_that_are_no_unicode(tmp_path: Path) -> None:
    texts = pyarrow.StringArray.from_buffers(1, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0"), pyarrow.py_buffer(b"\xff"))
    pyarrow.parquet.write_table(pyarrow.table({"caption": texts}), tmp_path / "q.parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        list(read_queries(tmp_path / "q.parquet"))


def test_a_pattern_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / ".shanignore").write_text("[z-a]\n")
    with pytest.raises(InputError, match="has an invalid pattern"):
        IgnoreRules.of([]).below("", tmp_path / ".shanignore")


def test_the_home_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('folders = ["~nobody-here/a"]\nstore = "s"\ngallery = "g"\n')
    with pytest.raises(InputError, match="names a user who does not exist here: write the whole path"):
        Collection.read(tmp_path / "c.toml", "photos")


def test_scales_beyond_all_pixels(tmp_path: Path) -> None:
    (tmp_path / "e.onnx").touch()
    recipe = {"name": "e", "width": 8, "height": 8, "mean": [1e39, 0, 0]}
    (tmp_path / "e.json").write_text(json.dumps(recipe))
    with pytest.raises(InputError, match="3 numbers each for mean and std"):
        read_recipe(tmp_path / "e.onnx")


def test_a_changed_byte_of_written_words_is_told(tmp_path: Path, scorer: object) -> None:
    from written_photos import written_gallery

    gallery = written_gallery(tmp_path, scorer, photos=24)  # type: ignore[arg-type]
    path = next(gallery.path.glob("written-*"))
    assert WrittenFile(gallery.path, gallery.manifest.written).count("budget") == 2
    path.write_bytes(path.read_bytes().replace(b"wbudget", b"wbvdget"))
    with pytest.raises(GalleryError, match=r"the index of written words .* is missing or damaged"):
        WrittenFile(gallery.path, gallery.manifest.written).count("budget")


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        (
            {
                "type": "WordPiece",
                "vocab": {"a": 0},
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 9,
            },
            "Missing .UNK. token",
        ),
        (
            {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "continuing_subword_prefix": "##"},
            ".",
        ),
    ],
)
def test_a_tokenizer_that_fails_on_some_text_is_refused_when_it_is_read(tmp_path: Path, model, fault) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "added_tokens": []}))
    with pytest.raises(InputError, match=rf"is damaged \(.*{fault}"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_many_asterisks_mean_one(tmp_path: Path) -> None:
    rules = IgnoreRules.of(["*************.tif", "a/****", r"b\***"])
    long = "a" * 200
    assert [rules.leave_out(name) for name in (f"{long}.tif", f"{long}.png", "a/b", r"b*x", "bx")] == [
        True, False, True, True, False,
    ]  # fmt: skip


def test_long_inputs_are_quoted_in_part() -> None:
    with pytest.raises(InputError) as caught:
        Phrase.parse(f"{'dog ' * 900}:{'9' * 900}")
    assert len(str(caught.value)) < 300


def test_a_message_has_a_bound_and_still_says_what_to_do() -> None:
    message = str(ShanError(f"its steps are {['x'] * 9000}: train it again"))
    assert len(message) <= LONGEST
    assert message.startswith("its steps are ['x', 'x'")
    assert message.endswith("'x']: train it again")


def test_a_block_of_captions_without_a_list(tmp_path: Path, scorer: Any) -> None:
    (tmp_path / "c.txt").write_text("a dog\na cat sleeps\n")
    index_captions(tmp_path / "c.txt", scorer, tmp_path / "g")
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    for block in manifest["blocks"]:
        del block["files"]["captions.jsonl"]
    sign_fields(tmp_path / "g" / "manifest.json", **manifest)
    with pytest.raises(GalleryError, match=r"has no captions\.jsonl"):
        CaptionGallery.open(tmp_path / "g", scorer.bundle)


def test_a_signed_caption_that_has_more_words_than_its_arrays(tmp_path: Path, scorer: Any) -> None:
    (tmp_path / "c.txt").write_text("a dog\n")
    index_captions(tmp_path / "c.txt", scorer, tmp_path / "g")
    manifest = json.loads((tmp_path / "g" / "manifest.json").read_text())
    (block,) = manifest["blocks"]
    listed = tmp_path / "g" / "blocks" / block["name"] / "captions.jsonl"
    listed.write_text(listed.read_text().replace("a dog", "a dog runs over the grass with a red hat"))
    block["files"]["captions.jsonl"] = file_checksum(listed)
    sign_fields(tmp_path / "g" / "manifest.json", **manifest)
    features = np.random.default_rng(1).random((1, 3, FEATURES), np.float32)
    photo = QueryPhoto(
        Path("a.jpg"),
        scorer.encoders.encode_images(features, np.ones((1, 3), np.bool_)),
        np.zeros((3, 4), np.float32),
    )
    gallery = CaptionGallery.open(tmp_path / "g", scorer.bundle)
    assert len(search_captions(scorer, gallery, photo, explain=False)) == 1
    with pytest.raises(
        GalleryError, match=r"the caption '1' in .* is longer than the one encoded: make the gallery again"
    ):
        search_captions(scorer, gallery, photo)


def test_names_of_columns_and_arrays_that_are_no_text(tmp_path: Path, bundle_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"id": ["a"], "colour": ["red"]}), tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes((tmp_path / "m.parquet").read_bytes().replace(b"colour", b"col\xff\xffr"))
    with pytest.raises(InputError, match="damaged or not a Parquet file"):
        Metadata.read(tmp_path / "m.parquet")
    graph = (bundle_path / "image_encoder.onnx").read_bytes().replace(b"features", b"featur\xff\xff")
    (tmp_path / "a.onnx").write_bytes(graph)
    with pytest.raises(BackendError, match="ONNX Runtime cannot load"):
        OnnxRuntimeGraph(tmp_path / "a.onnx", "cpu")


@pytest.mark.parametrize(
    ("graph", "source", "told"),
    [
        ("image_terms.onnx", "text_encoder.onnx", "has an input 'lengths' that nothing gives: export it again"),
        ("image_encoder.onnx", "text_encoder.onnx", "has no output image_regions: export the bundle again"),
        ("text_encoder.onnx", "image_encoder.onnx", "has no output word_mask: export the bundle again"),
        ("image_terms.onnx", None, "has no image_terms.onnx for its steps: export it again"),
    ],
)
def test_a_signed_bundle_with_another_graph(
    tmp_path: Path, bundle_path: Path, graph: str, source: str | None, told: str
) -> None:
    held = shutil.copytree(bundle_path, tmp_path / "b")
    files = Manifest.load(held).files
    if source:
        shutil.copyfile(held / source, held / graph)
        files[graph] = sha256(held / graph)
    else:
        del files[graph]
    sign_fields(held / "manifest.json", files=files)
    encoders = (scorer := Scorer(Bundle.open(held), "cpu", threads=1)).encoders

    def scores() -> Any:
        images = encoders.encode_images(np.ones((1, 2, FEATURES), np.float32), np.ones((1, 2), np.bool_))
        captions = encoders.encode_captions([encoders.tokens("a dog")])
        return scorer.score_pairs(scorer.pairs.prepare(images), captions)

    with pytest.raises(ShanError, match=told):
        scores()


def test_a_signed_manifest_that_names_no_file(tmp_path: Path, bundle_path: Path) -> None:
    for name in ("../a.plan", "a" * 300, ""):
        plans = PlanSet("tensorrt_rtx", "1", "fp32", ("sm90",), Limits(), PrecisionCheck(0.0), {}, {name: "ab" * 32})
        plans.save(tmp_path)
        with pytest.raises(BackendError, match=r"the file name .* is not a plain one"):
            PlanSet.load(tmp_path)
    held = shutil.copytree(bundle_path, tmp_path / "b")
    sign_fields(held / "manifest.json", files={**Manifest.load(held).files, "a" * 300: "ab" * 32})
    with pytest.raises(BundleError, match=r"the file name .* is not a plain one"):
        Bundle.open(held)


def test_a_signalling_nan_is_refused_in_silence() -> None:
    signalling = np.full((1, 8), 0x7FF0000000000001, np.uint64).view(np.float64)
    assert np.isnan(as_float32(signalling)).all()


def test_a_word_that_cannot_be_written(tmp_path: Path, bundle_path: Path) -> None:
    held = json.loads((bundle_path / "vocab.json").read_text("utf-8"))
    numbers = {**held["word2idx"], "\ud800": len(held["word2idx"])}
    (tmp_path / "vocab.json").write_text(json.dumps({**held, "word2idx": numbers}), "utf-8")
    with pytest.raises(InputError, match="surrogates not allowed"):
        load_tokenizer(tmp_path / "vocab.json")


def test_a_merge_to_no_token_is_refused_without_a_panic(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2, "[UNK]": 3}, [("a", "b")]))
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    assert load_tokenizer(path).encode("ab").tokens == (2,)
    other = tmp_path / "other" / "tokenizer.json"
    other.parent.mkdir()
    other.write_text('["merges"]')
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "model": {**held["model"], "merges": [["a", "[UNK]"]]}}))
    with pytest.raises(InputError, match="is damaged"):
        load_tokenizer(other)
    with pytest.raises(InputError, match=r"its merge of 'a' and '\[UNK\]' is no token"):
        load_tokenizer(path)
    assert capfd.readouterr().err == ""
