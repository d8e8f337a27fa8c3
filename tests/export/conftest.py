from __future__ import annotations

import pytest
from shan_export.efficientnet import GridExtractor, RegionStatistics, load_backbone


@pytest.fixture(scope="package")
def extractor():
    """The default extractor as a PyTorch module; nothing may change it."""
    return GridExtractor(load_backbone(), RegionStatistics.load()).eval()
