"""A graph beyond protobuf's 2 GiB: its weights lie beside it, and it is exported, copied and run all the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from shan_engine.photos.extractor import FeatureExtractor
from shan_export.onnx_file import copy_whole, export_graph

SIDE, WIDE = 8, 2_880_000


class Large(torch.nn.Module):
    """Pixels through 2.2 GB of weights to four regions of 240 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(SIDE * SIDE * 3, WIDE, bias=False)

    def forward(self, pixels):
        return self.linear(pixels.flatten(1).float() / 255).unflatten(1, (4, 240, -1)).mean(-1)


@pytest.mark.slow
def test_weights_of_over_two_gigabytes_lie_beside_the_graph(tmp_path):
    torch.manual_seed(0)
    module = Large()
    path = tmp_path / "large.onnx"
    export_graph(
        module,
        inputs={"pixels": torch.zeros(2, SIDE, SIDE, 3, dtype=torch.uint8)},
        outputs=["features"],
        dynamic={"pixels": {0: "batch"}},
        path=path,
    )
    assert path.stat().st_size < 2**20
    assert (tmp_path / "large.onnx.data").stat().st_size > 2**31
    (tmp_path / "copy").mkdir()
    copy_whole(path, tmp_path / "copy" / "extractor.onnx")
    path.with_name("large.onnx.data").unlink()  # the copy stands alone
    recipe = {"name": "large", "width": SIDE, "height": SIDE}
    (tmp_path / "copy" / "extractor.json").write_text(json.dumps(recipe))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), np.uint8)
    found = FeatureExtractor(tmp_path / "copy" / "extractor.onnx", "cpu")(pixels)
    with torch.no_grad():
        wanted = module(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(np.stack([regions.features for regions in found]), wanted, atol=1e-5)
