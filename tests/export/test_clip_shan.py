"""SHAN over the frozen tokens of a vision-language model on disk: from training to answers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
import vision_language
from bundle_cache import BundleCache
from in_process import output_of, refusal
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.locate import demo_bundle
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.text.tokenizer import pad
from shan_export.bundle_writer import export_bundle
from shan_export.vision_language.folder import Folder
from shan_export.vision_language.pretrained import Pretrained
from shan_export.vision_language.text_side import pretrained_text
from shan_model.checkpoint import load_checkpoint
from shan_model.clip.text import ClipText
from shan_model.training.augment import drop_regions

PHOTOS = demo_bundle().parent / "photos"
NAMES = ("alpaca.jpg", "bee.jpg", "cat.jpg", "bison.jpg", "dog.jpg", "panda.jpg", "hedgehog.jpg")
TEXTS = ("a photo of an alpaca", "two brown bison graze on a wide meadow", "A CAT, asleep!")


def folder_of(kind, folder):
    if kind == "clip":
        return vision_language.clip_folder(folder)
    tokenizer = getattr(vision_language, f"{kind}_tokenizer")()
    return vision_language.siglip_folder(folder, tokenizer)


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
def test_the_text_encoder_gives_what_the_models_own_gives(kind, tmp_path):
    folder = folder_of(kind, tmp_path / kind)
    held = pretrained_text(folder)
    own = ClipText(held.config, vocab_size=len(held.tokenizer), embed_dim=held.embed_dim)
    own.load_state_dict(held.state)
    _, tower = Pretrained.load(Folder.open(folder)).towers(6)
    tokens, lengths = map(torch.from_numpy, pad([held.tokenizer.encode(text).tokens for text in TEXTS]))
    with torch.no_grad():
        rows, whole = own(tokens, lengths)
        wanted_rows, wanted_whole = tower.encode(tokens, lengths)
    real = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    torch.testing.assert_close(rows[real], wanted_rows[real], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole, wanted_whole, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def trained(pytestconfig, tmp_path_factory):
    """A CLIP, a store of a few photos that its bundle made, and a checkpoint and bundle trained over it."""
    folder = tmp_path_factory.mktemp("clip-shan")
    model = vision_language.clip_folder(folder / "tiny-clip")
    vision_language.bundle_of(model, folder / "clip", pytestconfig.cache.mkdir("bundles"))
    (folder / "photos").mkdir()
    for name in NAMES:
        (folder / "photos" / name).symlink_to(PHOTOS / name)
    output_of("extract", folder / "photos", "--store", folder / "store", "--model", folder / "clip")
    lines = [f"{split}\t{name}\ta photo of {name[:-4]}" for split in ("train", "dev") for name in NAMES]
    (folder / "captions.tsv").write_text("split\timage\tcaption\n" + "\n".join(lines) + "\n")
    output_of(
        "train", "--from", model, "--store", folder / "store", "--captions", folder / "captions.tsv",
        "--output", folder / "checkpoint", "--epochs", 15, "--patience", 15, "--batch-size", 7, "--learning-rate", 0.01,
        "--set", "warmup_steps=2", "--set", "average=0.5", "--set", "adapter=16", "--set", "feature_dropout=0",
        "--set", "region_dropout=0.2", "--device", "cpu",
    )  # fmt: skip
    extractor = folder / "clip" / "feature_extractor.onnx"
    output_of("export", folder / "checkpoint", "--output", folder / "bundle", "--feature-extractor", extractor)
    output_of("index", folder / "store", "--model", folder / "bundle", "--output", folder / "gallery")
    return folder


def test_a_model_over_clip_learns_and_explains(trained):
    manifest = Bundle.open(trained / "bundle").manifest
    assert manifest.parity < 1e-4
    assert manifest.model["model"] == "clip-shan"
    assert manifest.max_words == 77
    (answer,) = json.loads(output_of("search", "a photo of bison", "--gallery", trained / "gallery", "--json"))
    assert answer["score_parts"] == ["l2l", "g2l", "g2g", "global"]
    assert len(answer["hits"]) == len(NAMES)
    assert [word["word"] for word in answer["hits"][0]["words"]] == ["photo", "bison"]
    metrics = [json.loads(line) for line in (trained / "checkpoint" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["loss"] < 0.85 * metrics[0]["loss"]


def test_the_global_part_is_the_models_own_cosine(trained):
    scorer = Scorer(Bundle.open(trained / "bundle"), "cpu", threads=1)
    gallery = Gallery.open(trained / "gallery", scorer.bundle)
    clip = Scorer(Bundle.open(trained / "clip"), "cpu", threads=1)
    output_of("index", trained / "store", "--model", trained / "clip", "--output", trained / "own")
    (found,) = search(scorer, gallery, ["two brown bison"], top_k=7)
    (own,) = search(clip, Gallery.open(trained / "own", clip.bundle), ["two brown bison"], top_k=7)
    weight = scorer.bundle.manifest.parts["global"]["weight"]
    cosines = {hit.image.id: hit.score for hit in own.hits}
    for hit in found.hits:
        assert hit.step_scores[-1] / weight == pytest.approx(cosines[hit.image.id], abs=2e-3)  # weights in float16


@pytest.mark.slow
def test_without_adapters_both_encoders_are_clips_own(trained, tmp_path):
    output_of(
        "train", "--from", trained / "tiny-clip", "--store", trained / "store", "--captions", trained / "captions.tsv",
        "--output", tmp_path / "checkpoint", "--epochs", 1, "--batch-size", 7, "--set", "adapter=0",
    )  # fmt: skip
    model, tokenizer = load_checkpoint(tmp_path / "checkpoint")
    held = pretrained_text(trained / "tiny-clip")
    for name, tensor in held.state.items():
        rounded = tensor.half().float() if tensor.ndim == 2 else tensor
        assert torch.equal(model.state_dict()[f"text_encoder.clip.{name}"], rounded)
    features = torch.randn(2, 5, held.embed_dim)
    torch.testing.assert_close(model.image_encoder(features), torch.nn.functional.normalize(features, dim=-1))
    assert tokenizer.encode("a photo").tokens == held.tokenizer.encode("a photo").tokens


@pytest.mark.slow
def test_a_siglip_is_exported_as_it_was_trained(pytestconfig, tmp_path):
    from shan_model.checkpoint import save_checkpoint
    from shan_model.registry import new_model

    held = pretrained_text(folder_of("siglip", tmp_path / "siglip"))
    torch.manual_seed(0)
    model = new_model(
        "clip-shan", {"source": "siglip", "adapter": 8, "steps": ("l2l",)}, feature_dim=32, embed_dim=32,
        vocab_size=len(held.tokenizer), text=held.config,
    )  # fmt: skip
    model.text_encoder.clip.load_state_dict(held.state)
    torch.nn.init.normal_(model.text_encoder.adapter.output.weight)
    save_checkpoint(model, held.tokenizer, tmp_path / "checkpoint")
    cache = BundleCache(pytestconfig.cache.mkdir("bundles"), export_bundle)
    assert cache(tmp_path / "checkpoint", tmp_path / "bundle").parity < 1e-4


def test_wrong_input_is_named(trained, tmp_path):
    common = ["--captions", trained / "captions.tsv", "--output", tmp_path / "checkpoint", "--store"]
    demo = tmp_path / "demo.store"
    output_of("extract", trained / "photos", "--store", demo)
    told = refusal("train", *common, demo, "--from", trained / "tiny-clip")
    assert re.search(r"not of the model 'tiny-clip-\w{8}' \(24\): extract the photos with a bundle that `export", told)
    other = vision_language.clip_folder(tmp_path / "other" / "tiny-clip", num_hidden_layers=1)
    told = refusal("train", *common, trained / "store", "--from", other)
    assert re.search(r"features of 'tiny-clip-(\w{8})-grid6' \(24 numbers\), not of the model 'tiny-clip-(?!\1)", told)
    told = refusal("train", *common, trained / "store", "--from", trained / "photos")
    assert "has no config.json: name the whole folder" in told
    told = refusal("train", *common, trained / "store", "--from", trained / "tiny-clip", "--model", "vse")
    assert told == "--from trains clip-shan: leave out --model vse, or give word vectors"
    told = refusal("train", *common, trained / "store", "--word-vectors", demo / "x", "--model", "clip-shan")
    assert "the model clip-shan starts from a vision-language model: give its folder with --from" in told


def test_dropout_of_regions_keeps_the_whole_image_first():
    features = torch.arange(24.0).reshape(2, 6, 2)
    mask = torch.tensor([[True] * 6, [True] * 3 + [False] * 3])
    for _ in range(5):
        kept, _ = drop_regions(features, mask, 0.6, first=True)
        np.testing.assert_array_equal(kept[:, 0], features[:, 0])
