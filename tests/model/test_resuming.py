from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from shan_engine.base.errors import InputError
from shan_model.checkpoint import load_checkpoint
from shan_model.training import loop as training
from shan_model.training.loop import train
from synthetic import F, Photos, curve, epochs, settings, weights


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
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")
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


def test_restarted_and_killed_at_once_does_not_bring_the_old_run_back(files, tmp_path, monkeypatch):
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1))

    def kill(run, *args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "update", kill)
        with pytest.raises(KeyboardInterrupt):
            train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1), resume=False)
    steps = []
    train(Photos(), *files, tmp_path / "m", settings(epochs=1), on_progress=lambda seen: steps.append(seen.done_steps))
    assert steps[:6] == [1, 2, 3, 4, 5, 6]


def test_resuming_reads_steps_that_were_saved(files, tmp_path):
    """`steps` is a tuple in the settings; saved and read again it still compares equal."""
    table, vectors = files
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=1, options={"steps": ("l2l",)}))
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2, options={"steps": ("l2l",)}))
    assert weights(tmp_path / "m")["step"] == 12


def other_caption(table, vectors, tmp_path):
    split, image, caption = table.rows[0]
    return replace(table, rows=((split, image, caption + " ."), *table.rows[1:])), vectors


def other_image(table, vectors, tmp_path):
    (split, one, first), second, (_, two, third), *more = table.rows
    return replace(table, rows=((split, two, first), second, (split, one, third), *more)), vectors


def other_dev_caption(table, vectors, tmp_path):
    rows = [(split, image, caption + "." * (split == "dev")) for split, image, caption in table.rows]
    return replace(table, rows=tuple(rows)), vectors


def other_vectors(table, vectors, tmp_path):
    (tmp_path / "v.txt").write_text(re.sub(r"(?m)^dog \S+", "dog 9", vectors.read_text()))
    return table, tmp_path / "v.txt"


def test_other_views_are_refused(files, tmp_path):
    class Some(Photos):
        def __contains__(self, id):
            return id.startswith("x-dog")

    train(Photos(), *files, tmp_path / "m", settings(epochs=1), views=[Photos()])
    for views in ([], [Photos(), Photos()], [Some()]):
        with pytest.raises(InputError, match=r"last\.pt was made with other views: use the same"):
            train(Photos(), *files, tmp_path / "m", settings(epochs=2), views=views)
    train(Photos(), *files, tmp_path / "m", settings(epochs=2), views=[Photos()])
    assert weights(tmp_path / "m")["step"] == 12


def other_words(table, vectors, tmp_path):
    (tmp_path / "v.txt").write_text(vectors.read_text().replace("hat ", "cap "))
    return table, tmp_path / "v.txt"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (other_caption, "captions"),
        (other_image, "captions"),
        (other_dev_caption, "captions"),
        (other_vectors, "word vectors"),
        (other_words, "word vectors"),
    ],
)
def test_other_data_is_refused(files, tmp_path, change, name):
    train(Photos(), *files, tmp_path / "m", settings(epochs=1))
    before = (tmp_path / "m" / "last.pt").read_bytes()
    table, vectors = change(*files, tmp_path)
    with pytest.raises(InputError) as caught:
        train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2))
    path = tmp_path / "m" / "last.pt"
    assert str(caught.value) == f"{path} was made with other {name}: use the same, another --output, or --restart"
    assert path.read_bytes() == before
    train(Photos(), table, vectors, tmp_path / "m", settings(epochs=2), resume=False)
    assert weights(tmp_path / "m")["step"] == 12


@pytest.mark.parametrize("other", [Photos(feature_dim=F + 2), Photos("another")], ids=["size", "extractor"])
def test_other_features_are_refused(files, tmp_path, other):
    train(Photos(), *files, tmp_path / "m", settings(epochs=1))
    with pytest.raises(InputError, match=r"last\.pt was made with other features: use the same"):
        train(other, *files, tmp_path / "m", settings(epochs=2))


def test_views_in_another_order_are_refused(files, tmp_path):
    views = [Photos("synthetic-crop1"), Photos("synthetic-mirrored")]
    train(Photos(), *files, tmp_path / "m", settings(epochs=1), views=views)
    with pytest.raises(InputError, match=r"last\.pt was made with other views: use the same"):
        train(Photos(), *files, tmp_path / "m", settings(epochs=2), views=views[::-1])


def test_every_epoch_is_listed_once(files, tmp_path, monkeypatch):
    """Cut after the line of epoch 2 was written and before the state was, then resumed, then started anew."""
    output = tmp_path / "m"
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    save = training._Run.save

    def cut(run):
        if run.step == 12:
            raise KeyboardInterrupt
        save(run)

    with monkeypatch.context() as patch:
        patch.setattr(training._Run, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            train(Photos(), *files, output, settings(epochs=3))
    assert epochs(output) == [1, 2]
    assert weights(output)["step"] == 10
    train(Photos(), *files, output, settings(epochs=3))
    assert epochs(output) == [1, 2, 3]
    train(Photos(), *files, output, settings(epochs=1), resume=False)
    assert epochs(output) == [1]
