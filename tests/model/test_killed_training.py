from __future__ import annotations

import signal

import pytest
import torch
from in_process import refusal
from installed import output_of, start, wait_for
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord
from shan_engine.store.schema import StoreSchema
from synthetic import F, Photos, captioned, curve

EPOCHS = 8


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """A training of all three steps over a store and a view, but for its output."""
    folder = tmp_path_factory.mktemp("killed")
    table, vectors = captioned(folder)
    for name in ("store", "view"):
        with FeatureStore.create(folder / name, StoreSchema("synthetic", F, max_regions=9)) as store:
            for image in sorted({image for _, image, _ in table.rows}):
                features, mask = Photos().regions([image])
                store.write([RegionRecord(image, features[0, mask[0]])])
    return (
        "train", "--store", folder / "store", "--view", folder / "view", "--captions", folder / "captions.tsv",
        "--word-vectors", vectors, "--embed-dim", 16, "--batch-size", 6, "--epochs", EPOCHS, "--patience", EPOCHS,
    )  # fmt: skip


def test_a_killed_training_goes_on_to_the_same_weights(command, tmp_path):
    output_of(*command, "--output", tmp_path / "whole")
    cut = tmp_path / "cut"
    for epoch in (2, 5):
        process = start(*command, "--output", cut)
        wait_for(lambda epoch=epoch: len(curve(cut)) >= epoch, process)
        process.kill()
        process.communicate()
        assert process.returncode == -9
    for name in ("last.pt", "model.safetensors"):
        (cut / f".{name}.a1b2c3d4.pt").write_bytes(b"half")  # as a kill while it was written leaves it
    output_of(*command, "--output", cut)
    assert sorted(path.name for path in cut.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert (cut / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()
    one, other = (torch.load(folder / "last.pt", weights_only=True) for folder in (cut, tmp_path / "whole"))
    assert one["step"] == other["step"]
    assert all(torch.equal(one["model"][name], tensor) for name, tensor in other["model"].items())
    assert len(curve(cut)) == EPOCHS
    assert curve(cut) == curve(tmp_path / "whole")


def test_a_second_training_into_the_same_folder_is_refused(command, tmp_path):
    process = start(*command, "--output", tmp_path / "m")
    wait_for((tmp_path / "m" / "metrics.jsonl").exists, process)
    process.send_signal(signal.SIGSTOP)
    try:
        sentence = refusal(*command, "--output", tmp_path / "m")
    finally:
        process.send_signal(signal.SIGCONT)
        process.communicate()
    assert f"another process is training in {tmp_path / 'm'}: wait for it" in sentence
    assert process.returncode == 0


def test_a_store_named_twice_is_refused(command, tmp_path):
    store = command[command.index("--store") + 1]
    sentence = refusal(*command, "--view", store, "--output", tmp_path / "m")
    assert f"the store {store} is given twice: leave one --view out" in sentence
