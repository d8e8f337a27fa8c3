from __future__ import annotations

import numpy as np
from in_process import output_of, refusal
from shan_engine.store.feature_store import FeatureStore


def test_an_import_replaces_nothing_and_keeps_the_storage_unless_told_otherwise(tmp_path):
    store, dev, test = tmp_path / "s", tmp_path / "dev_ims.npy", tmp_path / "test_ims.npy"
    np.save(dev, np.zeros((3, 2, 8), np.float32))
    np.save(test, np.ones((4, 2, 8), np.float32))
    output_of("import", dev, "--store", store, "--storage", "float16")
    sentence = refusal("import", test, "--store", store)
    assert f"3 images, such as '0', are in the store {store} already" in sentence
    assert "--ids" in sentence
    assert "--replace" in sentence
    sentence = refusal("import", test, "--store", store, "--replace", "--storage", "float32")
    assert f"the store {store} holds float16, not float32: leave out --storage" in sentence
    output_of("import", test, "--store", store, "--replace")
    with FeatureStore.open(store) as opened:
        assert sorted(opened.ids()) == ["0", "1", "2", "3"]
        assert all((record.features == 1).all() for record in opened.read(opened.ids()))
        assert opened.schema.dtype == "float16"
