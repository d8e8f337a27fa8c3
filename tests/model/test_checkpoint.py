from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from shan_engine.base.errors import InputError
from shan_engine.text.vocabulary import Vocabulary
from shan_model.checkpoint import FIX, load_checkpoint, save_checkpoint
from shan_model.config import ShanConfig
from shan_model.shan.network import Shan
from synthetic import fill
from tiny import WORDS, random_tensors, tiny_config, write_checkpoint


def test_a_hand_written_checkpoint_loads(checkpoint):
    model, vocabulary = load_checkpoint(checkpoint.folder)
    assert model.config.to_dict() == checkpoint.config
    assert vocabulary.words[4:] == tuple(WORDS)
    assert not model.training
    state = model.state_dict()
    assert state.keys() == checkpoint.tensors.keys()
    for name, tensor in checkpoint.tensors.items():
        np.testing.assert_array_equal(state[name].numpy(), tensor)


def test_save_then_load(tmp_path):
    model = Shan(ShanConfig.from_dict(tiny_config(direction="i2t", steps=["l2l"])))
    save_checkpoint(model, Vocabulary.build(WORDS), tmp_path / "new")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["config.json", "model.safetensors", "vocab.json"]
    loaded, vocabulary = load_checkpoint(tmp_path / "new")
    assert loaded.config == model.config
    assert vocabulary == Vocabulary.build(WORDS)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


@pytest.mark.parametrize("room", [0, 8])
def test_a_full_disk_keeps_the_checkpoint(small_disk, room):
    """With room for the small files alone, not even they are replaced."""
    folder = small_disk("1m") / "m"
    model = Shan(ShanConfig.from_dict(tiny_config()))
    save_checkpoint(model, Vocabulary.build(WORDS), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fill(folder.parent / "filler", room=room)
    other = Shan(ShanConfig.from_dict(tiny_config(direction="i2t")))
    with pytest.raises(InputError, match=rf"the disk is full while writing {folder}/model\.safetensors: free"):
        save_checkpoint(other, Vocabulary.build([*WORDS[1:], "bird"]), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_steps_left_out_still_have_their_tensors():
    short = Shan(ShanConfig.from_dict(tiny_config(steps=["l2l"]))).state_dict()
    assert short.keys() == random_tensors(tiny_config()).keys()


NAME = "alignment.image_gate.weight"


def drop(tensors):
    del tensors[NAME]


def add(tensors):
    tensors["alignment.more"] = np.zeros(3, np.float32)


def reshape(tensors):
    tensors[NAME] = np.ascontiguousarray(tensors[NAME].T)


def spoil(tensors):
    tensors[NAME][3, 4] = np.nan


def infinite(tensors):
    tensors[NAME][3, 4] = np.inf


def narrow(tensors):
    tensors[NAME] = tensors[NAME].astype(np.float16)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (drop, [NAME, "no tensor"]),
        (add, ["alignment.more", "unknown"]),
        (reshape, [NAME, "[64, 32]", "[32, 64]"]),
        (spoil, [NAME, "NaN"]),
        (infinite, [NAME, "infinite"]),
        (narrow, [NAME, "float16"]),
    ],
)
def test_a_wrong_tensor_is_named(tmp_path, change, parts):
    tensors = random_tensors(tiny_config())
    change(tensors)
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), tensors)
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    assert all(part in str(caught.value) for part in [*parts, str(folder), FIX])


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    (folder / name).unlink()
    with pytest.raises(InputError, match=name) as caught:
        load_checkpoint(folder)
    assert name == "vocab.json" or str(caught.value).endswith(f"the checkpoint {folder} has no {name}: {FIX}")


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_damaged_file_is_an_error(tmp_path, name):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    (folder / name).write_bytes((folder / name).read_bytes()[:50])
    with pytest.raises(InputError, match="bad") as caught:
        load_checkpoint(folder)
    assert name == "vocab.json" or str(caught.value).endswith(FIX)


def test_another_vocabulary_is_refused(tmp_path):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    Vocabulary.build(WORDS[:-1]).save(folder / "vocab.json")
    with pytest.raises(
        InputError, match=rf"vocab\.json has {3 + len(WORDS)} words, config\.json says {4 + len(WORDS)}"
    ):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"embed_dim": 0}, "embed_dim"),
        ({"feature_dim": 2.5}, "feature_dim"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"direction": "both"}, "direction"),
        ({"steps": []}, "steps"),
        ({"steps": ["g2l"]}, "steps"),
        ({"steps": None}, "bad"),
        ({"model": "clip"}, "clip"),
        ({"layers": 2}, "layers"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, changes, part):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    (folder / "config.json").write_text(json.dumps(tiny_config(**changes)))
    with pytest.raises(InputError, match=part) as caught:
        load_checkpoint(folder)
    assert str(folder) in str(caught.value)
    assert str(caught.value).endswith(f": {FIX}")


@pytest.mark.parametrize("content", ["[1]", "null", '"shan"'])
def test_a_configuration_that_is_no_object(tmp_path, content):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match="bad"):
        load_checkpoint(folder)


def test_a_configuration_without_a_key(tmp_path):
    folder = write_checkpoint(tmp_path / "bad", tiny_config(), random_tensors(tiny_config()))
    config = tiny_config()
    del config["temperature"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    assert str(caught.value) == f"{folder}/config.json: the configuration has no temperature: {FIX}"
