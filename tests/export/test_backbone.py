"""Image models from a folder as feature extractors: DINOv2 and DINOv3 at random, against transformers' own pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import vision_language
from in_process import output_of
from PIL import Image
from shan_engine.base.errors import InputError
from shan_engine.locate import demo_bundle
from shan_engine.store.feature_store import FeatureStore
from shan_export.backbone import export_backbone, main

PHOTOS = demo_bundle().parent / "photos"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def write(folder, model, **preprocessing):
    vision_language.spread(model)
    model.save_pretrained(folder)
    settings = {"image_mean": MEAN, "image_std": STD, **preprocessing}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def test_dinov2_regions_are_means_of_its_patches(tmp_path, capsys):
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**SMALL, image_size=32, patch_size=4))  # its positions are those of 8 x 8 patches
    crop = {"height": 48, "width": 48}
    settings = {"size": {"shortest_edge": 54}, "crop_size": crop, "do_center_crop": True, "resample": 3}
    write(tmp_path / "dino", model, **settings)
    main([str(tmp_path / "dino"), "--output", str(tmp_path / "extractors")])
    graph = capsys.readouterr().out.strip()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").symlink_to(PHOTOS / "cat.jpg")
    output_of("extract", tmp_path / "photos", "--store", tmp_path / "store", "--extractor", graph)
    with FeatureStore.open(tmp_path / "store") as store:
        (record,) = store.read(["cat.jpg"])
    processor = BitImageProcessorPil(**settings, image_mean=MEAN, image_std=STD)
    pixels = processor(images=Image.open(PHOTOS / "cat.jpg"), return_tensors="pt")
    with torch.no_grad():
        patches = model.eval()(**pixels).last_hidden_state[0, 1:].reshape(6, 2, 6, 2, -1)
    np.testing.assert_allclose(record.features, patches.mean((1, 3)).flatten(0, 1).numpy(), atol=1e-4)
    assert record.boxes[0] == pytest.approx([66.7, 16.7, 111.1, 61.1], abs=3)  # of 400 x 300, cut to their middle


def test_dinov3_leaves_out_its_registers(tmp_path):
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    torch.manual_seed(0)
    config = DINOv3ViTConfig(**SMALL, intermediate_size=64, image_size=16, patch_size=4, num_register_tokens=3)
    model = DINOv3ViTModel(config)
    write(tmp_path / "dino", model, size={"height": 16, "width": 16}, resample=2)
    path = export_backbone(tmp_path / "dino", tmp_path, all_regions=True)
    from shan_engine.photos.extractor import FeatureExtractor

    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    found = np.stack([regions.features for regions in FeatureExtractor(path, "cpu")(pixels)])
    images = (torch.from_numpy(pixels) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    with torch.no_grad():
        expected = model.eval()(images.permute(0, 3, 1, 2)).last_hidden_state[:, 4:]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


def test_another_kind_of_model_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="a model of type 'bert', not one of dinov2, "):
        export_backbone(tmp_path, tmp_path / "extractors")
