from __future__ import annotations

import json
import logging
import math
import shutil

import numpy as np
import onnx
import pytest
import torch
from extractors import backbone, detector
from in_process import output_of
from oracle import shan_score
from shan_engine.backends.onnx_runtime.graph import OnnxRuntimeGraph
from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.scoring.scorer import Scorer
from shan_engine.text.vocabulary import Vocabulary
from shan_export import bundle_writer, onnx_file
from shan_export.bundle_writer import export_bundle
from shan_export.cases import cases
from shan_export.onnx_file import copy_whole
from shan_export.small_weights import pack_weights
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.registry import new_model
from tiny import FEATURES, WORDS

VARIANTS = [
    {"direction": "full"},
    pytest.param({"direction": "i2t", "embed_dim": 19, "feature_dim": 27}, marks=pytest.mark.slow),
    {"direction": "t2i", "embed_dim": 34, "feature_dim": 13, "temperature": 4.5},
    pytest.param(
        {"direction": "full", "steps": ["l2l", "g2l"], "embed_dim": 21, "feature_dim": 33}, marks=pytest.mark.slow
    ),
    {"direction": "full", "steps": ["l2l"], "embed_dim": 23, "feature_dim": 11},
]


def global_model(feature_dim=FEATURES):
    """A model without alignment steps, which is exported soonest, and its vocabulary of 24 words; always the same."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.build(WORDS)
    sizes = {"feature_dim": feature_dim, "embed_dim": 32, "word_vector_dim": 7, "embedding_dim": 5}
    model = new_model("vse", {}, vocab_size=len(vocabulary), **sizes)
    torch.nn.init.normal_(model.text_encoder.word_vectors.weight)
    return model.eval(), vocabulary


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v['direction']}-{len(v.get('steps', 'abc'))}-steps")
def test_exported_scores_are_the_papers(make_checkpoint, exported, tmp_path, variant):
    checkpoint = make_checkpoint(seed=5, **variant)
    manifest = exported(checkpoint.folder, tmp_path / "bundle")
    assert 0 < manifest.parity < 1e-4
    assert manifest.model == checkpoint.config
    assert manifest.feature_dim == checkpoint.config["feature_dim"]
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["parity"] == manifest.parity
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest == manifest
    scorer = Scorer(bundle, "cpu", threads=1)
    random = np.random.default_rng(2)
    regions, size = [7, 1, 36], checkpoint.config["vocab_size"]
    captions = [[1, 9, 2], [1, *random.integers(3, size, 15).tolist(), 2], [5]]
    photos = [random.normal(size=(count, manifest.feature_dim)).astype(np.float32) for count in regions]
    features = np.zeros((3, 36, manifest.feature_dim), np.float32)
    mask = np.arange(36) < np.array(regions)[:, None]
    features[mask] = np.concatenate(photos)
    found = scorer.explain(
        scorer.encoders.encode_images(features, mask),
        scorer.encoders.encode_captions(captions),
    )
    expected = np.array(
        [
            [shan_score(checkpoint.tensors, checkpoint.config, photo, caption) for caption in captions]
            for photo in photos
        ]
    )
    np.testing.assert_allclose(found["step_scores"], expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found["scores"], expected.sum(-1), rtol=0, atol=1e-4)
    assert found["word_attention"].shape == (3, 3, 17, 36)


@pytest.mark.parametrize("wrong", ["a gate", "<start>", "<end>"])
def test_graphs_with_other_weights_are_never_a_bundle(checkpoint, bundle_path, graphs_of, tmp_path, wrong):
    model, vocabulary = load_checkpoint(checkpoint.folder)
    with torch.no_grad():
        if wrong == "a gate":
            model.alignment.text_gate.bias[3] += 0.5
        else:
            model.text_encoder.word_vectors.weight[vocabulary.words.index(wrong)] += 0.5
    save_checkpoint(model, vocabulary, tmp_path / "checkpoint")
    graphs_of(bundle_path)
    with pytest.raises(BundleError, match="differ from PyTorch by"):
        export_bundle(tmp_path / "checkpoint", tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_parity_is_of_one_to_a_hundred_regions():
    assert {features.shape[1] for features, *_ in cases(9, 30, max_words=20)} == {1, 36, 100}


def test_an_extractor_of_another_size_is_refused(checkpoint, tmp_path):
    """Three numbers a region, for a checkpoint that takes 24."""
    for extractor in (detector(tmp_path), backbone(tmp_path)):
        with pytest.raises(InputError) as caught:
            export_bundle(checkpoint.folder, tmp_path / "new" / "bundle", feature_extractor=extractor)
        assert str(caught.value) == (
            f"{extractor} gives features of size 3, the checkpoint {checkpoint.folder} takes 24: "
            "give the extractor that it was trained on"
        )
    assert not (tmp_path / "new").exists()


def test_an_extractor_goes_into_the_bundle_with_its_recipes_name(tmp_path):
    extractor = detector(tmp_path)
    save_checkpoint(*global_model(feature_dim=3), tmp_path / "checkpoint")
    output_of("export", tmp_path / "checkpoint", "--output", tmp_path / "bundle", "--feature-extractor", extractor)
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.manifest.feature_extractor == "halves"
    assert bundle.feature_extractor is not None
    assert bundle.feature_extractor.read_bytes() == extractor.read_bytes()


def test_an_extractor_with_weights_in_a_file_of_their_own_is_copied_whole(tmp_path):
    extractor = detector(tmp_path)
    photo = np.arange(8 * 16 * 3, dtype=np.uint8).reshape(1, 8, 16, 3)
    ((wanted, *_),) = FeatureExtractor(extractor, "cpu")(photo, ["a"])
    onnx.save(onnx.load(extractor), extractor, save_as_external_data=True, location="w.data", size_threshold=0)
    assert (tmp_path / "w.data").stat().st_size > 0
    (tmp_path / "bundle").mkdir()
    copy_whole(extractor, tmp_path / "bundle" / "copy.onnx")
    shutil.copyfile(extractor.with_suffix(".json"), tmp_path / "bundle" / "copy.json")
    ((found, *_),) = FeatureExtractor(tmp_path / "bundle" / "copy.onnx", "cpu")(photo, ["a"])
    np.testing.assert_array_equal(found, wanted)


def test_weights_too_large_for_a_file_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "LARGEST", 10_000)
    torch.manual_seed(0)
    layer, rows = torch.nn.Linear(64, 64), torch.randn(3, 64)
    onnx_file.export_graph(
        layer, inputs={"x": rows}, outputs=["y"], dynamic={"x": {0: "rows"}}, path=tmp_path / "layer.onnx"
    )
    (tmp_path / "bundle").mkdir()
    copy_whole(tmp_path / "layer.onnx", tmp_path / "bundle" / "copy.onnx")
    pack_weights(tmp_path / "layer.onnx")
    for path in (tmp_path / "layer.onnx", tmp_path / "bundle" / "copy.onnx"):
        assert path.stat().st_size < 5000
        assert path.with_name(f"{path.name}.data").stat().st_size >= 4 * 64 * 64
        found = OnnxRuntimeGraph(path, "cpu").run({"x": rows.numpy()})["y"]
        np.testing.assert_allclose(found, layer(rows).detach().numpy(), atol=1e-5)


def test_an_export_says_its_stages_and_nothing_else(make_checkpoint, tmp_path, capfd, caplog):
    checkpoint, stages = make_checkpoint(seed=3, steps=["l2l"]), []
    export_bundle(checkpoint.folder, tmp_path / "bundle", on_stage=stages.append)
    assert len(stages) == 5
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_scores_that_are_not_finite_are_never_a_bundle(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_writer, "write_graphs", lambda model, folder, on_stage: None)
    monkeypatch.setattr(bundle_writer, "largest_difference", lambda *args, **options: math.nan)
    with pytest.raises(BundleError, match="nan"):
        export_bundle(checkpoint.folder, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_is_of_weights_words_and_configuration(checkpoint, bundle_path):
    model, vocabulary = load_checkpoint(checkpoint.folder)
    held = bundle_writer.fingerprint(model, vocabulary)
    assert held == Bundle.open(bundle_path).manifest.fingerprint
    with torch.no_grad():
        model.image_encoder.fc.bias[0] += 1e-3
    assert bundle_writer.fingerprint(model, vocabulary) != held


def test_words_never_seen_share_one_row_of_the_learnt_embedding(exported, tmp_path):
    """Of 24 words, all have a learnt part, then only some: the graph keeps theirs and a row of zeros."""
    model, vocabulary = global_model()
    sizes = []
    for number, unseen in enumerate(([], [0, 5, 6, *range(12, 24)])):
        with torch.no_grad():
            model.text_encoder.embedding.weight[unseen] = 0
        save_checkpoint(model, vocabulary, tmp_path / f"{number}")
        manifest = exported(tmp_path / f"{number}", tmp_path / f"{number}.bundle")
        assert manifest.parity < 1e-5  # its captions are drawn from all words
        graph = onnx.load(tmp_path / f"{number}.bundle" / "text_encoder.onnx").graph
        sizes.append({tuple(one.dims) for one in graph.initializer})
    assert (25, 5) in sizes[0]
    assert (10, 5) in sizes[1]
    assert (25, 5) not in sizes[1]


def test_word_vectors_are_halved_only_where_nothing_is_lost(exported, tmp_path):
    model, vocabulary = global_model()
    types = {}
    for name, vectors in (("exact", torch.randn(24, 7).half().float()), ("inexact", torch.randn(24, 7))):
        model.text_encoder.word_vectors.weight.copy_(vectors)
        save_checkpoint(model, vocabulary, tmp_path / name)
        assert exported(tmp_path / name, tmp_path / f"{name}.bundle").parity < 1e-5
        graph = onnx.load(tmp_path / f"{name}.bundle" / "text_encoder.onnx").graph
        types[name] = {one.data_type for one in graph.initializer if tuple(one.dims) == (24, 7)}
    assert types == {"exact": {onnx.TensorProto.FLOAT16}, "inexact": {onnx.TensorProto.FLOAT}}


def test_equal_sizes_have_one_name(bundle_path):
    graph = onnx.load(str(bundle_path / "pair_scorer.onnx")).graph
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input
    }
    assert shapes["image_regions"] == ["images", "regions", 32]
    assert shapes["image_gram"] == ["images", "regions", "regions"]
    assert shapes["caption_queries"] == ["captions", "words", 32]
    assert shapes["word_mask"] == ["captions", "words"]


@pytest.mark.parametrize("size", [pytest.param("8k", marks=pytest.mark.slow), "24k"])
def test_a_full_disk_keeps_the_folder_as_it_was(small_disk, tmp_path, size):
    save_checkpoint(*global_model(), tmp_path / "checkpoint")
    disk = small_disk(size)
    with pytest.raises(InputError, match=f"the disk is full while writing {disk / 'bundle'}: free some space"):
        export_bundle(tmp_path / "checkpoint", disk / "bundle")
    assert list(disk.iterdir()) == []
