from __future__ import annotations

import numpy as np
from in_process import output_of, refusal, shan
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


def test_what_is_left_out_is_listed(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[1, 2], [np.inf, 1], [3, 4]], np.float32))
    done = shan("import", tmp_path / "x.npy", "--store", tmp_path / "s", "--skip-broken")
    assert (done.returncode, done.stdout) == (0, "")
    left_out, imported = done.stderr.splitlines()
    assert left_out.startswith(f"left out: {tmp_path / 'x.npy'} has NaN or infinite features in row 1")
    assert imported == f"{tmp_path / 's'}: 2 images imported, 1 left out"
