"""Plans of CLIP's and SigLIP's graphs, of MaxSim and of text transformers, built by TensorRT for RTX without a GPU."""

from __future__ import annotations

import pytest
import torch
import vision_language
from bundle_cache import BundleCache
from shan_export.bundle_writer import export_bundle
from shan_export.tensorrt.compile import compile_bundle
from shan_export.vision_language.bundle import export_from
from shan_export.vision_language.text_side import pretrained_text
from shan_model.bert.folder import PretrainedBert
from shan_model.checkpoint import save_checkpoint
from shan_model.registry import new_model
from text_encoders import text_encoder

pytest.importorskip("tensorrt_rtx")

PLANS = {"image_encoder.plan", "text_encoder.plan", "pair_scorer.plan"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return vision_language.clip_folder(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture(scope="module")
def cache(pytestconfig):
    return BundleCache(pytestconfig.cache.mkdir("bundles"), export_from, module="shan_export.vision_language.bundle")


def compiled(bundle, precision):
    plans, _ = compile_bundle(bundle, precision=precision, architectures=["sm_86"])
    assert set(plans.files) == PLANS
    return plans.check


@pytest.mark.parametrize("scorer", ["clip", "late"])
def test_cosine_and_late_interaction_compile(clip, cache, tmp_path, scorer):
    cache(clip, tmp_path / "bundle", scorer=scorer)
    compiled(tmp_path / "bundle", "fp32")
    for precision in ("fp16", "bf16"):
        assert 0 < compiled(tmp_path / "bundle", precision).largest_score_difference < 0.05


@pytest.mark.slow
def test_siglip_compiles(cache, tmp_path):
    folder = vision_language.siglip_folder(tmp_path / "siglip", vision_language.siglip_tokenizer())
    cache(folder, tmp_path / "bundle", scorer="late")
    assert 0 < compiled(tmp_path / "bundle", "fp16").largest_score_difference < 0.05


@pytest.mark.slow
def test_shan_over_clips_tokens_and_over_a_text_transformer_compiles(clip, pytestconfig, tmp_path):
    cache = BundleCache(pytestconfig.cache.mkdir("bundles"), export_bundle)
    held, bert = pretrained_text(clip), PretrainedBert.load(text_encoder(tmp_path / "encoder"))
    torch.manual_seed(0)
    of_clip = new_model(
        "clip-shan", {"source": "clip"}, feature_dim=24, embed_dim=24, vocab_size=len(held.tokenizer), text=held.config
    )
    of_bert = new_model(
        "shan", {}, feature_dim=24, embed_dim=24, vocab_size=len(bert.tokenizer), transformer=bert.config
    )
    for name, model, tokenizer in (("clip", of_clip, held.tokenizer), ("bert", of_bert, bert.tokenizer)):
        save_checkpoint(model, tokenizer, tmp_path / f"{name}.checkpoint")
        cache(tmp_path / f"{name}.checkpoint", tmp_path / name)
        compiled(tmp_path / name, "fp32")
        assert 0 < compiled(tmp_path / name, "fp16").largest_score_difference < 0.1
