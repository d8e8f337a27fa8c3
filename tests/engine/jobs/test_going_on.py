"""A job that was stopped goes on, and gives what it would have given."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest
from filelock import FileLock
from job_runs import as_queries, captions
from msgspec import structs
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.bundle.manifest import Manifest
from shan_engine.jobs.compute import run_here
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer

KINDS = ("best.parquet", "scores.npy")


class KilledError(Exception):
    """As a kill would come."""


def dying(after):
    """A runner that does so many blocks and then is gone."""

    def runner(work):
        for number, done in enumerate(run_here(work)):
            if number == after:
                raise KilledError
            yield done

    return runner


def backwards(work):
    """A runner that does the blocks in another order, as many workers might."""
    yield from run_here(replace(work, blocks=work.blocks[::-1]))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("direction", ["text-to-image", "image-to-text"])
def test_killed_again_and_again_it_gives_the_same_bytes(run_job, name, direction):
    whole = run_job(f"whole-{name}", direction=direction).read_bytes()
    seen = []
    for after in (0, 1, 4, 9):
        with pytest.raises(KilledError):
            run_job(name, direction=direction, runner=dying(after), on_progress=seen.append)
    found = run_job(name, direction=direction, on_progress=seen.append)
    assert found.read_bytes() == whole
    assert [progress.blocks_done for progress in seen] == sorted(progress.blocks_done for progress in seen)
    assert seen[-1].blocks_done == seen[-1].blocks > 14
    assert seen[-1].pairs_done == seen[-1].pairs == 23 * 71


@pytest.mark.parametrize("name", KINDS)
def test_the_order_of_blocks_does_not_show(run_job, name):
    assert run_job(name).read_bytes() == run_job(f"back-{name}", runner=backwards).read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_asked_to_stop_it_keeps_what_is_done(run_job, tmp_path, name):
    seen = []
    run_job(name, stop=lambda: len(seen) > 3, on_progress=seen.append)
    assert [progress.blocks_done for progress in seen] == [0, 1, 2, 3]
    assert not (tmp_path / name).exists()
    run_job(name, on_progress=seen.append)
    assert [progress.blocks_done for progress in seen[4:6]] == [3, 4]


@pytest.mark.parametrize("name", KINDS)
def test_a_block_whose_bytes_changed_is_done_again(run_job, tmp_path, name):
    whole = run_job(f"whole-{name}").read_bytes()
    with pytest.raises(KilledError):
        run_job(name, runner=dying(9))
    if name.endswith("npy"):
        with (tmp_path / f"{name}.job" / "matrix.npy").open("r+b") as file:
            file.seek(140)
            file.write(b"torn")
    else:
        with sqlite3.connect(tmp_path / f"{name}.job" / "journal.sqlite") as journal:
            journal.execute("update blocks set hits = zeroblob(length(hits)) where number = 2")
    seen = []
    assert run_job(name, on_progress=seen.append).read_bytes() == whole
    assert seen[0].blocks_done == 8


def test_a_matrix_that_was_lost_is_begun_anew(run_job, tmp_path):
    whole = run_job("whole.npy").read_bytes()
    with pytest.raises(KilledError):
        run_job("a.npy", runner=dying(9))
    (tmp_path / "a.npy.job" / "matrix.npy").unlink()
    assert run_job("a.npy").read_bytes() == whole


@pytest.mark.parametrize("name", KINDS)
def test_killed_when_all_is_written_but_the_folder_stands(run_job, tmp_path, monkeypatch, name):
    def die(folder):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr("shan_engine.jobs.run._remove", die)
        with pytest.raises(KilledError):
            run_job(name)
    whole = (tmp_path / name).read_bytes()
    seen = []
    assert run_job(name, on_progress=seen.append).read_bytes() == whole
    assert len(seen) == 1  # nothing was scored again


def test_other_memory_keeps_the_blocks_it_was_begun_with(run_job, tmp_path):
    with pytest.raises(KilledError):
        run_job("best.parquet", runner=dying(4))
    seen = []
    run_job("best.parquet", memory=2**33, block_pairs=10**6, on_progress=seen.append)
    assert (seen[0].blocks_done, seen[0].blocks) == (4, 23)


def begun(run_job):
    with pytest.raises(KilledError):
        run_job("best.parquet", runner=dying(2))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"texts": captions(22)}, "other captions"),
        ({"top_k": 3}, r"another --top-k \(10, now 3\)"),
        ({"threshold": 0.5, "top_k": 10}, r"another --threshold \(None, now 0.5\)"),
        ({"direction": "image-to-text"}, r"another --direction \(text-to-image, now image-to-text\)"),
    ],
)
def test_another_job_in_the_folder_is_refused_by_name(run_job, changes, what):
    begun(run_job)
    with pytest.raises(InputError, match=rf"best\.parquet\.job holds a job .* with {what}: .* --restart"):
        run_job("best.parquet", **changes)
    run_job("best.parquet", restart=True, **changes)


def test_another_gallery_is_refused_by_name(run_job, galleries):
    begun(run_job)
    with pytest.raises(InputError, match="started with 2 galleries, now 1"):
        run_job("best.parquet", of=galleries[:1])
    with pytest.raises(InputError, match=r"another gallery \(number 1, now other, or it has changed since\)"):
        run_job("best.parquet", of=galleries[::-1])
    part = galleries[1].restricted_to(galleries[1].ids()[1:])
    with pytest.raises(InputError, match=r"another gallery \(number 2, now other, or"):
        run_job("best.parquet", of=[galleries[0], part])


def test_damaged_journals_are_named(run_job, tmp_path):
    begun(run_job)
    journal = tmp_path / "best.parquet.job" / "journal.sqlite"
    journal.write_bytes(b"x" * 9000)
    with pytest.raises(InputError, match=r"the journal .*journal\.sqlite is damaged .*--restart"):
        run_job("best.parquet")
    run_job("best.parquet", restart=True)


def test_one_process_at_a_time(run_job, tmp_path):
    begun(run_job)
    said = r"another process is working on .*best\.parquet\.job: wait"
    with FileLock(tmp_path / "best.parquet.job" / "writer.lock"), pytest.raises(InputError, match=said):
        run_job("best.parquet")
    run_job("best.parquet")


def test_what_cannot_be_done_leaves_no_folder(scorer, galleries, tmp_path):
    twice = [*as_queries(["a dog", "a cat"]), as_queries(["man"])[0]]
    for queries, said in (
        (twice, "caption 0: the id 'q0' occurs twice: give each caption"),
        (as_queries(["a dog", "dog " * 200]), "caption 1: .* has 200 words, the model takes 126"),
        ([], "no captions"),
    ):
        with pytest.raises(InputError, match=said):
            score_job(scorer, galleries, queries, tmp_path / "a.parquet")
    for output, options, said in (
        ("a.csv", {}, "name it .npy .* or .parquet"),
        ("a.npy", {"top_k": 3}, "holds every score: name it .parquet to use --top-k"),
        ("", {}, "name it .npy"),
    ):
        with pytest.raises(InputError, match=said):
            score_job(scorer, galleries, as_queries(["a"]), tmp_path / output, options=JobOptions(**options))
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(InputError, match="is a folder: name a file"):
        score_job(scorer, galleries, as_queries(["a"]), tmp_path / "folder.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.npy"]


def test_a_gallery_of_another_bundle_is_refused(galleries, bundle_copy, tmp_path):
    structs.replace(Manifest.load(bundle_copy), fingerprint="f" * 64).save(bundle_copy)
    scorer = Scorer(Bundle.open(bundle_copy), "cpu")
    with pytest.raises(GalleryError, match=r"the gallery .*gallery was made by bundle"):
        score_job(scorer, galleries, as_queries(["a"]), tmp_path / "a.parquet")
    assert not list(tmp_path.glob("a.parquet*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 0}, "top-k is 0"),
        ({"threshold": float("nan")}, "the threshold is nan"),
        ({"memory": 5}, "at least 64MB"),
        ({"block_pairs": 0}, "a block cannot have 0 pairs"),
    ],
)
def test_options_that_mean_nothing(options, said):
    with pytest.raises(InputError, match=said):
        JobOptions(**options)


def test_deleted_images_are_not_scored(run_job, galleries):
    part = galleries[0].restricted_to(galleries[0].ids()[::3])
    scores = np.load(run_job("part.npy", of=[part]))
    whole = np.load(run_job("whole.npy", of=galleries[:1]))
    np.testing.assert_allclose(scores, whole[:, ::3], rtol=0, atol=1e-6)


def test_a_restart_with_captions_that_cannot_be_used_loses_no_block(run_job, tmp_path, scorer, galleries):
    begun(run_job)
    for queries, said in ((as_queries(["a dog", "dog " * 200]), "the model takes 126"), ([], "no captions")):
        with pytest.raises(InputError, match=said):
            score_job(scorer, galleries, queries, tmp_path / "best.parquet", restart=True)
    seen = []
    found = run_job("best.parquet", on_progress=seen.append)
    assert seen[0].blocks_done == 2
    assert found.read_bytes() == run_job("whole.parquet").read_bytes()


@pytest.mark.parametrize("began", [False, True])
def test_a_folder_with_other_files_is_refused_and_left_alone(run_job, tmp_path, began):
    folder = tmp_path / "best.parquet.job"
    if began:
        begun(run_job)
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(
        InputError,
        match=r"best\.parquet\.job is this job's folder, but it holds 'notes\.txt': move that file elsewhere",
    ):
        run_job("best.parquet")
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
