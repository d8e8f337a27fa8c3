from __future__ import annotations

import pytest
import torch
from shan_engine.errors import InputError
from shan_model import training
from shan_model.checkpoint import load_checkpoint
from shan_model.training import train
from synthetic import Photos, captioned, one_thread, settings


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    with one_thread():
        yield captioned(tmp_path_factory.mktemp("training"))


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)


@pytest.mark.parametrize("inside", [False, True], ids=["after-a-step", "inside-a-step"])
@pytest.mark.parametrize("stop", [3, 6, 8])
def test_interrupted_and_resumed_gives_the_same_weights(files, tmp_path, monkeypatch, stop, inside):
    table, vectors = files
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    whole = train(Photos(), table, vectors, tmp_path / "whole", settings())

    def interrupt(state):
        if state.done_steps == stop:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if inside:  # the weights have moved, the step is not yet counted
            update = training._Run.update

            def cut(run, *args):
                loss = update(run, *args)
                if run.step == stop:
                    raise KeyboardInterrupt
                return loss

            patch.setattr(training._Run, "update", cut)
        with pytest.raises(KeyboardInterrupt):
            train(
                Photos(), table, vectors, tmp_path / "cut", settings(),
                on_progress=(lambda state: None) if inside else interrupt,
            )  # fmt: skip
    assert 0 < weights(tmp_path / "cut")["step"] <= stop
    resumed = train(Photos(), table, vectors, tmp_path / "cut", settings())
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert one["step"] == other["step"] == 12
    for part in ("model", "averaged"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), (part, name)
    assert one["best"] == other["best"]
    assert whole == resumed == one["best"]
    best, again = (load_checkpoint(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(best[name], again[name]) for name in best)


def test_other_settings_are_refused_but_more_epochs_are_not(files, tmp_path):
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1))
    with pytest.raises(InputError, match=r"margin 0\.2, not 0\.3"):
        train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, margin=0.3))
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2))
    assert weights(tmp_path / "m")["step"] == 12
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, margin=0.3), resume=False)
    assert weights(tmp_path / "m")["step"] == 6


def test_resuming_reads_steps_that_were_saved(files, tmp_path):
    """`steps` is a tuple in the settings; saved and read again it still compares equal."""
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, steps=("l2l",)))
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2, steps=("l2l",)))
    assert weights(tmp_path / "m")["step"] == 12
