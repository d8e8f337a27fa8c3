"""The files that a training leaves: damaged, foreign or torn ones are told, and a full disk keeps the last."""

from __future__ import annotations

import shutil

import pytest
import torch
from shan_engine.base.errors import InputError
from shan_model.training import loop as training
from shan_model.training.loop import train
from shan_model.training.state import TrainState
from synthetic import Photos, epochs, fill, settings, weights


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
    """The output of one epoch; copy it before changing it."""
    output = tmp_path_factory.mktemp("trained") / "m"
    train(Photos(), *files, output, settings(epochs=1))
    return output


def refused(files, output):
    with pytest.raises(InputError) as caught:
        train(Photos(), *files, output, settings(epochs=2))
    assert str(caught.value).startswith(f"{output / 'last.pt'} ")
    assert str(caught.value).endswith(": use another --output, or --restart")
    return str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"not a state",
        lambda content: content[:1000],
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2] + b"\0\xff" + content[len(content) // 2 + 2 :],
    ],
    ids=["empty", "text", "head", "half", "without-its-last-byte", "two-bytes-in-a-tensor"],
)
def test_a_damaged_state_is_refused(files, trained, tmp_path, change):
    output = shutil.copytree(trained, tmp_path / "m")
    content = (output / "last.pt").read_bytes()
    (output / "last.pt").write_bytes(change(content))
    assert "is damaged" in refused(files, output)
    train(Photos(), *files, output, settings(epochs=1), resume=False)
    assert weights(output)["step"] == 6


def test_a_changed_bit_in_the_directory_of_a_state_is_told(trained, tmp_path):
    content = (trained / "last.pt").read_bytes()
    directory = content.index(b"PK\1\2")
    for place in range(directory, len(content), 211):
        changed = bytes([content[place] ^ 16])
        (tmp_path / "last.pt").write_bytes(content[:place] + changed + content[place + 1 :])
        with pytest.raises(InputError, match="is damaged"):
            TrainState.load(tmp_path)


def test_a_state_of_an_earlier_version_has_no_seal(trained, tmp_path):
    state = TrainState.load(trained)
    torch.save(vars(state), tmp_path / "last.pt")
    assert TrainState.load(tmp_path).step == state.step


def test_a_state_of_another_program_or_version_is_refused(files, trained, tmp_path):
    output = shutil.copytree(trained, tmp_path / "m")
    state = weights(output)
    without = {name: value for name, value in state.items() if name != "data"}
    for foreign in (without, {**state, "more": 1}, {"weight": torch.zeros(3)}, [1, 2], torch.zeros(3)):
        torch.save(foreign, output / "last.pt")
        assert "is not a training state of this version" in refused(files, output)
    for part in ("model", "averaged"):
        torch.save({**state, part: {"weight": torch.zeros(3)}}, output / "last.pt")
        assert "does not fit this version's model" in refused(files, output)
    shutil.copyfile(output / "model.safetensors", output / "last.pt")
    assert "is damaged or not a training state" in refused(files, output)
    (output / "last.pt").unlink()
    (output / "last.pt").mkdir()
    assert "cannot be read" in refused(files, output)


def test_an_output_that_is_a_file_is_refused_at_once(files, tmp_path):
    (tmp_path / "m").write_text("precious")
    for resume in (True, False):
        with pytest.raises(InputError, match=f"^{tmp_path}/m is a file: name another --output$"):
            train(Photos(), *files, tmp_path / "m", settings(epochs=1), resume=resume)
    assert (tmp_path / "m").read_text() == "precious"


@pytest.mark.parametrize(("every", "name"), [(2, "last.pt"), (100, "metrics.jsonl")])
def test_a_full_disk_keeps_the_last_state(files, trained, small_disk, tmp_path, monkeypatch, every, name):
    monkeypatch.setattr(training, "SAVE_EVERY", every)
    output = shutil.copytree(trained, small_disk("1m") / "m")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    filler = output.parent / "filler"
    fill(filler, room=0)
    with pytest.raises(InputError) as caught:
        train(Photos(), *files, output, settings())
    assert str(caught.value).startswith(f"the disk is full while writing {output / name}: free some space")
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    filler.unlink()
    train(Photos(), *files, output, settings())
    train(Photos(), *files, tmp_path / "whole", settings(epochs=1))
    train(Photos(), *files, tmp_path / "whole", settings())
    one, other = weights(output), weights(tmp_path / "whole")
    assert all(torch.equal(one["model"][name], tensor) for name, tensor in other["model"].items())


@pytest.mark.parametrize("torn", ['{"epoch": 2, "lo', '{"loss": 1}\n', "[2]\n", "\0\0\0", "\n\n", "2"])
def test_a_torn_line_of_metrics_goes(files, trained, tmp_path, torn):
    output = shutil.copytree(trained, tmp_path / "m")
    first = (output / "metrics.jsonl").read_text()
    (output / "metrics.jsonl").write_text(first + torn)
    train(Photos(), *files, output, settings(epochs=2))
    assert (output / "metrics.jsonl").read_text().startswith(first)
    assert epochs(output) == [1, 2]
