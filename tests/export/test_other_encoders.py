"""SigLIP, SigLIP 2 and open_clip's checkpoints: what each does differently from CLIP."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import vision_language
from bundle_cache import BundleCache
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.locate import demo_bundle
from shan_engine.photos.decode import read_scaled
from shan_engine.photos.extractor import FeatureExtractor
from shan_engine.scoring.scorer import Scorer
from shan_export.vision_language.bundle import export_from
from shan_export.vision_language.folder import Folder
from shan_export.vision_language.pretrained import Pretrained
from torch.nn.functional import normalize

PHOTOS = demo_bundle().parent / "photos"


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("siglip") / "tiny-siglip"
    return vision_language.siglip_folder(folder, vision_language.siglip_tokenizer())


def test_siglip_pads_its_texts_and_stretches_its_photos(siglip, pytestconfig, tmp_path):
    from PIL import Image
    from transformers import PreTrainedTokenizerFast, SiglipImageProcessorPil, SiglipModel

    cache = BundleCache(pytestconfig.cache.mkdir("bundles"), export_from, module="shan_export.vision_language.bundle")
    manifest = cache(siglip, tmp_path / "bundle", scorer="late")
    assert manifest.parity < 1e-5
    scorer = Scorer(Bundle.open(tmp_path / "bundle"), "cpu", threads=1)
    extractor = FeatureExtractor(scorer.bundle.feature_extractor, "cpu")
    assert extractor.recipe.fit.shortest_edge == 0
    assert extractor.recipe.resampling == "bilinear"
    queries = ["two brown bison graze", "A bee! In a flower."]
    photos = [PHOTOS / name for name in ("cat.jpg", "bee.jpg")]
    found = extractor(np.stack([read_scaled(path, 32, 32, fit=extractor.recipe.fit).pixels for path in photos]))
    features = np.stack([regions.features for regions in found])
    images = scorer.encoders.encode_images(features, np.ones(features.shape[:2], np.bool_))
    captions = scorer.encoders.encode_captions([scorer.encoders.tokens(query) for query in queries])

    model, tokenizer = SiglipModel.from_pretrained(siglip).eval(), PreTrainedTokenizerFast.from_pretrained(siglip)
    pixels = SiglipImageProcessorPil.from_pretrained(siglip)(
        images=[Image.open(path) for path in photos], return_tensors="pt"
    )
    texts = tokenizer(queries, padding="max_length", max_length=64, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        cosines = (
            normalize(model.get_image_features(**pixels).pooler_output)
            @ normalize(model.get_text_features(input_ids=texts).pooler_output).T
        )
    np.testing.assert_allclose(images["image_vector"] @ captions["query_vector"].T, cosines.numpy(), atol=1e-5)
    # Each patch's region is what attention pooling makes of that patch alone.
    with torch.no_grad():
        patches = model.vision_model(**pixels).last_hidden_state
        alone = normalize(model.vision_model.head(patches.flatten(0, 1)[:, None]), dim=-1).unflatten(0, (2, 16))
    np.testing.assert_allclose(images["image_regions"][:, 1:], alone.numpy(), atol=1e-5)


def test_siglip_2_reads_small_letters(tmp_path):
    folder = vision_language.siglip_folder(tmp_path / "model", vision_language.siglip2_tokenizer())
    tokenizer = Pretrained.load(Folder.open(folder)).engine_tokenizer
    read = tokenizer.encode("A Photo of an ALPACA")
    assert read.tokens == tokenizer.encode("a photo of an alpaca").tokens
    assert [word.text for word in read.words] == ["A", "Photo", "of", "an", "ALPACA"]
    assert tokenizer.markers == ((), (1,))


def plain_clip(state, pixels, tokens, heads):
    """Open_clip's forward pass, from its paper and tensors: image vector 1 x D and text vector 1 x D."""

    def layers(x, prefix, mask=None):
        number = 0
        while f"{prefix}resblocks.{number}.ln_1.weight" in state:
            own = {
                name.removeprefix(f"{prefix}resblocks.{number}."): tensor
                for name, tensor in state.items()
                if name.startswith(f"{prefix}resblocks.{number}.")
            }
            attention = torch.nn.MultiheadAttention(x.shape[-1], heads, batch_first=True)
            attention.load_state_dict({n.removeprefix("attn."): t for n, t in own.items() if n.startswith("attn.")})
            y = norm(x, own["ln_1.weight"], own["ln_1.bias"])
            x = x + attention(y, y, y, attn_mask=mask, need_weights=False)[0]
            y = norm(x, own["ln_2.weight"], own["ln_2.bias"]) @ own["mlp.c_fc.weight"].T + own["mlp.c_fc.bias"]
            x = x + (y * torch.sigmoid(1.702 * y)) @ own["mlp.c_proj.weight"].T + own["mlp.c_proj.bias"]
            number += 1
        return x

    def norm(x, weight, bias):
        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias)

    patches = torch.nn.functional.conv2d(pixels, state["visual.conv1.weight"], stride=8).flatten(2).transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"][None, None], patches], 1) + state["visual.positional_embedding"]
    x = layers(norm(x, state["visual.ln_pre.weight"], state["visual.ln_pre.bias"]), "visual.transformer.")
    image = norm(x[:, 0], state["visual.ln_post.weight"], state["visual.ln_post.bias"]) @ state["visual.proj"]
    count = tokens.shape[1]
    x = state["token_embedding.weight"][tokens] + state["positional_embedding"][:count]
    x = layers(x, "transformer.", torch.full((count, count), float("-inf")).triu(1))
    text = norm(x, state["ln_final.weight"], state["ln_final.bias"])[0, -1:] @ state["text_projection"]
    return image, text


def open_clip_folder(folder, **config):
    """A checkpoint of open_clip as its hub has it: 3 x 3 patches, two layers a side."""
    random, width, dim = torch.Generator().manual_seed(0), 32, 24
    tokenizer = vision_language.clip_tokenizer()
    tokenizer.save_pretrained(folder)

    def drawn(*shape):
        return torch.randn(*shape, generator=random) / shape[-1] ** 0.5

    state = {"logit_scale": torch.tensor(2.0), "visual.conv1.weight": drawn(width, 3, 8, 8)}
    state |= {"visual.class_embedding": drawn(width), "visual.positional_embedding": drawn(10, width)}
    state |= {"token_embedding.weight": drawn(len(tokenizer), width), "positional_embedding": drawn(77, width)}
    state |= {"visual.proj": drawn(width, dim), "text_projection": drawn(width, dim)}
    norms = ["visual.ln_pre", "visual.ln_post", "ln_final"]
    for prefix in ("visual.transformer.", "transformer."):
        for number in range(2):
            layer = f"{prefix}resblocks.{number}."
            norms += [f"{layer}ln_1", f"{layer}ln_2"]
            state |= {f"{layer}attn.in_proj_weight": drawn(3 * width, width)}
            state |= {f"{layer}attn.in_proj_bias": drawn(3 * width)}
            for name, into, out in (("attn.out_proj", 32, 32), ("mlp.c_fc", 32, 128), ("mlp.c_proj", 128, 32)):
                state |= {f"{layer}{name}.weight": drawn(out, into), f"{layer}{name}.bias": drawn(out)}
    for name in norms:
        state |= {f"{name}.weight": 1 + drawn(width), f"{name}.bias": drawn(width)}
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    settings = {
        "embed_dim": dim,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 24, "layers": 2, "width": width, "patch_size": 8, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": len(tokenizer), "width": width, "heads": 4, "layers": 2},
        **config,
    }
    preprocessing = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic"}
    text = json.dumps({"model_cfg": settings, "preprocess_cfg": preprocessing})
    (folder / "open_clip_config.json").write_text(text)
    return state


def test_an_open_clip_checkpoint_gives_what_open_clip_computes(tmp_path):
    state = open_clip_folder(tmp_path / "model")
    pretrained = Pretrained.load(Folder.open(tmp_path / "model"))
    image_tower, text_tower = pretrained.towers(6)
    pixels = torch.randint(0, 256, (1, 24, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([pretrained.engine_tokenizer.encode("a cat on the sofa").tokens])
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    with torch.no_grad():
        image, text = plain_clip(state, ((pixels / 255 - mean) / std).permute(0, 3, 1, 2), tokens, 4)
        features, boxes = image_tower(pixels)
        rows, _ = text_tower(tokens, torch.tensor([tokens.shape[1]]))
    torch.testing.assert_close(features[:, 0], image, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(rows[:, -1], normalize(text), atol=1e-5, rtol=0)
    assert boxes.shape == (1, 10, 4)
    assert pretrained.recipe("x").shortest_edge == 24


def test_rounded_weights_take_half_the_space_and_the_graph_computes_with_them(tmp_path):
    from shan_export.small_weights import pack_weights
    from shan_export.vision_language.bundle import round_model, write_extractor

    pretrained = Pretrained.load(Folder.open(vision_language.clip_folder(tmp_path / "model")))
    tower, _ = pretrained.towers(6)
    write_extractor(tower, pretrained.recipe("whole"), tmp_path / "whole.onnx")
    assert 0 < round_model(pretrained, large_to_8_bits=False) < 0.01
    write_extractor(tower, pretrained.recipe("half"), tmp_path / "half.onnx")
    pack_weights(tmp_path / "half.onnx")
    weights = sum(tensor.numel() for tensor in tower.state_dict().values())
    assert (tmp_path / "whole.onnx").stat().st_size - (tmp_path / "half.onnx").stat().st_size > weights
    pixels = np.random.default_rng(0).integers(0, 256, (1, 56, 56, 3), np.uint8)
    with torch.no_grad():
        expected = tower(torch.from_numpy(pixels))[0][0].numpy()
    np.testing.assert_allclose(FeatureExtractor(tmp_path / "half.onnx", "cpu")(pixels)[0].features, expected, atol=1e-4)


def test_other_models_of_open_clip_are_refused_by_name(tmp_path):
    open_clip_folder(tmp_path / "timm", vision_cfg={"timm_model_name": "vit_base_patch16_siglip_224", "image_size": 24})
    with pytest.raises(InputError, match=r"another kind of model \(vision_cfg.timm_model_name\)"):
        Pretrained.load(Folder.open(tmp_path / "timm"))
    state = open_clip_folder(tmp_path / "coca")
    torch.save({**state, "text_decoder.ln_final.weight": torch.ones(3)}, tmp_path / "coca/open_clip_pytorch_model.bin")
    with pytest.raises(InputError, match=r"have a tensor text_decoder.ln_final.weight"):
        Pretrained.load(Folder.open(tmp_path / "coca"))
