from __future__ import annotations

import pytest
from synthetic import captioned, one_thread


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The captions and word vectors of a small training, on one thread."""
    with one_thread():
        yield captioned(tmp_path_factory.mktemp("training"))
