from __future__ import annotations

import json
import logging
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from extractors import backbone, detector
from oracle import shan_score
from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.scoring.scorer import Scorer
from shan_export import bundle_writer
from shan_export.bundle_writer import export_bundle
from shan_export.cases import cases
from shan_model.checkpoint import load_checkpoint, save_checkpoint

VARIANTS = [
    {"direction": "full"},
    {"direction": "i2t", "embed_dim": 19, "feature_dim": 27},
    {"direction": "t2i", "embed_dim": 34, "feature_dim": 13, "temperature": 4.5},
    {"direction": "full", "steps": ["l2l", "g2l"], "embed_dim": 21, "feature_dim": 33},
    {"direction": "full", "steps": ["l2l"], "embed_dim": 23, "feature_dim": 11},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v['direction']}-{len(v.get('steps', 'abc'))}-steps")
def test_exported_scores_are_the_papers(make_checkpoint, tmp_path, variant):
    checkpoint = make_checkpoint(seed=5, **variant)
    stages = []
    manifest = export_bundle(checkpoint.folder, tmp_path / "bundle", on_stage=stages.append)
    assert len(stages) == 5
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


def test_a_graph_with_a_wrong_weight_is_never_a_bundle(checkpoint, tmp_path, monkeypatch):
    write = bundle_writer.write_graphs

    def wrong(model, folder, on_stage):
        other, _ = load_checkpoint(checkpoint.folder)
        with torch.no_grad():
            other.alignment.text_gate.bias[3] += 0.5
        write(other, folder, on_stage)

    monkeypatch.setattr(bundle_writer, "write_graphs", wrong)
    with pytest.raises(BundleError, match="differ from PyTorch by"):
        export_bundle(checkpoint.folder, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("marker", ["<start>", "<end>"])
def test_a_graph_with_a_wrong_marker_is_never_a_bundle(checkpoint, tmp_path, monkeypatch, marker):
    write = bundle_writer.write_graphs

    def wrong(model, folder, on_stage):
        other, vocabulary = load_checkpoint(checkpoint.folder)
        other.text_encoder.word_vectors.weight[vocabulary.words.index(marker)] += 0.5
        write(other, folder, on_stage)

    monkeypatch.setattr(bundle_writer, "write_graphs", wrong)
    with pytest.raises(BundleError, match="differ from PyTorch by"):
        export_bundle(checkpoint.folder, tmp_path / "bundle")


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


def test_an_extractor_goes_into_the_bundle_with_its_recipes_name(make_checkpoint, tmp_path):
    model = detector(tmp_path)
    manifest = export_bundle(
        make_checkpoint(feature_dim=3, steps=["l2l"]).folder, tmp_path / "bundle", feature_extractor=model
    )
    assert manifest.feature_extractor == "halves"
    held = Bundle.open(tmp_path / "bundle").feature_extractor
    assert held is not None
    assert held.read_bytes() == model.read_bytes()


def test_an_export_says_its_stages_and_nothing_else(checkpoint, tmp_path, capfd, caplog):
    export_bundle(checkpoint.folder, tmp_path / "bundle")
    assert capfd.readouterr() == ("", "")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_scores_that_are_not_finite_are_never_a_bundle(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_writer, "write_graphs", lambda model, folder, on_stage: None)
    monkeypatch.setattr(bundle_writer, "largest_difference", lambda *args, **options: math.nan)
    with pytest.raises(BundleError, match="nan"):
        export_bundle(checkpoint.folder, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_kept(checkpoint, bundle_copy, tmp_path):
    before = (bundle_copy / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="--overwrite"):
        export_bundle(checkpoint.folder, bundle_copy)
    assert (bundle_copy / "manifest.json").read_bytes() == before
    other = tmp_path / "photos"
    other.mkdir()
    (other / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(BundleError, match="not a bundle"):
        export_bundle(checkpoint.folder, other, overwrite=True)
    assert (other / "holiday.jpg").read_bytes() == b"precious"


def test_an_overwritten_bundle_is_replaced_whole(make_checkpoint, bundle_copy):
    before = Bundle.open(bundle_copy).manifest
    (bundle_copy / "old.txt").write_text("left over")
    manifest = export_bundle(make_checkpoint(seed=9, steps=["l2l"]).folder, bundle_copy, overwrite=True)
    assert Bundle.open(bundle_copy).manifest == manifest
    assert manifest.fingerprint != before.fingerprint
    assert not (bundle_copy / "old.txt").exists()
    assert sorted(p.name for p in bundle_copy.parent.iterdir()) == ["bundle"]


def test_only_a_bundle_is_overwritten(checkpoint, bundle_copy, gallery_copy, tmp_path):
    def content(folder):
        return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    damaged = tmp_path / "damaged"
    shutil.copytree(bundle_copy, damaged)
    (damaged / "manifest.json").write_bytes((damaged / "manifest.json").read_bytes()[:-30])
    for folder in (gallery_copy, damaged):
        before = content(folder)
        with pytest.raises(BundleError, match="not a bundle that can be read, so it is not overwritten: choose"):
            export_bundle(checkpoint.folder, folder, overwrite=True)
        assert content(folder) == before
    file = tmp_path / "file"
    file.write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(BundleError, match="file is a file, not a folder: choose another place"):
            export_bundle(checkpoint.folder, file, overwrite=overwrite)
    assert file.read_text() == "precious"
    with pytest.raises(InputError, match=f"cannot write {file / 'bundle'}"):
        export_bundle(checkpoint.folder, file / "bundle")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", [1, 2])
def test_where_the_exchange_fails_the_old_bundle_is_back(checkpoint, bundle_copy, monkeypatch, failing, error):
    before, rename, calls = Bundle.open(bundle_copy).manifest, Path.rename, []

    def fail(path, target):
        if bundle_copy in (path, target):
            calls.append(path)
            if len(calls) == failing:
                raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        export_bundle(checkpoint.folder, bundle_copy, overwrite=True)
    monkeypatch.undo()
    assert len(calls) == (1 if failing == 1 else 3)
    assert Bundle.open(bundle_copy).manifest == before
    assert [path.name for path in bundle_copy.parent.iterdir()] == ["bundle"]


def test_a_link_to_a_bundle_stays_a_link(make_checkpoint, bundle_copy, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(bundle_copy)
    manifest = export_bundle(make_checkpoint(seed=9, steps=["l2l"]).folder, link, overwrite=True)
    assert link.is_symlink()
    assert Bundle.open(bundle_copy).manifest == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link"]


@pytest.mark.parametrize("size", ["8k", "64k"])
def test_a_full_disk_keeps_the_folder_as_it_was(small_disk, checkpoint, size):
    disk = small_disk(size)
    with pytest.raises(InputError, match=f"the disk is full while writing {disk / 'bundle'}: free some space"):
        export_bundle(checkpoint.folder, disk / "bundle")
    assert list(disk.iterdir()) == []


def test_a_bad_checkpoint_writes_nothing(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        export_bundle(tmp_path / "nothing", tmp_path / "new" / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_the_fingerprint_is_of_weights_words_and_configuration(checkpoint, bundle_path):
    model, vocabulary = load_checkpoint(checkpoint.folder)
    held = bundle_writer.fingerprint(model, vocabulary)
    assert held == Bundle.open(bundle_path).manifest.fingerprint
    with torch.no_grad():
        model.image_encoder.fc.bias[0] += 1e-3
    assert bundle_writer.fingerprint(model, vocabulary) != held


def test_words_never_seen_share_one_row_of_the_learnt_embedding(make_checkpoint, tmp_path):
    """Of 24 words, all have a learnt part, then only some: the graph keeps theirs and a row of zeros."""
    model, vocabulary = load_checkpoint(make_checkpoint(seed=4).folder)
    sizes = []
    for number, unseen in enumerate(([], [0, 5, 6, *range(12, 24)])):
        with torch.no_grad():
            model.text_encoder.embedding.weight[unseen] = 0
        save_checkpoint(model, vocabulary, tmp_path / f"{number}")
        manifest = export_bundle(tmp_path / f"{number}", tmp_path / f"{number}.bundle")
        assert manifest.parity < 1e-5  # its captions are drawn from all words
        graph = onnx.load(tmp_path / f"{number}.bundle" / "text_encoder.onnx").graph
        sizes.append({tuple(one.dims) for one in graph.initializer})
    assert (25, 5) in sizes[0]
    assert (10, 5) in sizes[1]
    assert (25, 5) not in sizes[1]


def test_word_vectors_are_halved_only_where_nothing_is_lost(make_checkpoint, tmp_path):
    model, vocabulary = load_checkpoint(make_checkpoint(seed=4).folder)
    types = {}
    for name, vectors in (("exact", torch.randn(24, 7).half().float()), ("inexact", torch.randn(24, 7))):
        model.text_encoder.word_vectors.weight.copy_(vectors)
        save_checkpoint(model, vocabulary, tmp_path / name)
        assert export_bundle(tmp_path / name, tmp_path / f"{name}.bundle").parity < 1e-5
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
