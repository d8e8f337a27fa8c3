"""The same blocks on a real local Ray cluster give the same bytes, whoever is killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from unittest.mock import Mock

import pytest
from job_runs import as_queries
from ray_workers import own_cluster, workers_named
from shan_engine.base.errors import BackendError, BundleError, GalleryError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.jobs.ray_cluster import connect
from shan_engine.jobs.ray_run import RayCluster, import_ray
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster of two CPUs for all tests; it has workers of its own for each job."""
    with own_cluster(2):
        yield


def workers() -> list[int]:
    """Processes of this test's own cluster that score now."""
    return workers_named("BlockWorker")


@pytest.mark.parametrize(
    ("name", "direction"),
    [("best.parquet", "text-to-image"), ("a.parquet", "image-to-text"), ("a.npy", "image-to-text")],
)
def test_the_same_bytes_as_one_process(run_job, name, direction):
    runner = RayCluster("auto", 2)
    found = run_job(f"ray-{name}", direction=direction, runner=runner)
    assert found.read_bytes() == run_job(name, direction=direction).read_bytes()
    assert runner.lost == 0


def test_a_worker_killed_in_the_middle_costs_nothing_but_its_block(run_job):
    killed = []

    def kill(progress):
        if progress.blocks_done == 5 and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    runner = RayCluster("auto", 2)
    found = run_job("ray.parquet", runner=runner, on_progress=kill, block_pairs=40)
    assert runner.lost == 1
    assert found.read_bytes() == run_job("one.parquet", block_pairs=40).read_bytes()


@pytest.mark.slow
def test_a_block_that_ends_every_worker_is_given_up(run_job, tmp_path):
    ended = threading.Event()

    def kill_all():
        while not ended.is_set():
            for process in workers():
                os.kill(process, signal.SIGKILL)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(BackendError, match=r"4 Ray workers died at (startup|block \d+) \(.* run the command again"):
            run_job("ray.parquet", runner=RayCluster("auto", 2))
    finally:
        ended.set()
        killer.join()
    assert run_job("ray.parquet").read_bytes() == run_job("one.parquet").read_bytes()


def test_a_worker_that_cannot_start_holds_nobody_up(run_job):
    """The cluster has two CPUs for three workers."""
    found = run_job("ray.parquet", runner=RayCluster("auto", 3))
    assert found.read_bytes() == run_job("one.parquet").read_bytes()


@pytest.mark.slow
def test_asked_to_stop_it_keeps_what_workers_have_begun(run_job, tmp_path):
    seen = []
    run_job("ray.parquet", runner=RayCluster("auto", 2), stop=lambda: len(seen) > 3, on_progress=seen.append)
    assert 3 <= seen[-1].blocks_done <= 5
    assert not (tmp_path / "ray.parquet").exists()
    assert run_job("ray.parquet").read_bytes() == run_job("one.parquet").read_bytes()


def test_errors_of_workers_are_said_as_here(scorer, gallery_copy, bundle_copy, tmp_path):
    gallery, queries = Gallery.open(gallery_copy), as_queries(["a dog"])
    file = next(gallery_copy.glob("blocks/*/image_regions.npy"))
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    with pytest.raises(GalleryError, match=r"'photo40' of .* is damaged, a byte of it has changed"):
        score_job(scorer, [gallery], queries, tmp_path / "a.parquet", runner=RayCluster("auto", 1))
    other = Scorer(Bundle.open(bundle_copy), "cpu", threads=1)
    vars(other)["kernel"] = None
    (bundle_copy / "kernel.npz").unlink()
    with pytest.raises(BundleError, match=r"has no kernel\.npz: export it again"):
        score_job(other, [gallery], queries, tmp_path / "b.parquet", runner=RayCluster("auto", 1))


def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr(ray, "init", pytest.fail)  # Ray alone takes more than a minute
    with pytest.raises(BackendError, match=f"no Ray cluster at '{address}'.*: start one with `ray start --head`"):
        connect(ray, address)


def test_a_cluster_that_does_not_start_in_time_is_one_sentence(monkeypatch):
    monkeypatch.setattr(ray, "init", Mock(side_effect=Exception("The current node timed out during startup.")))
    with pytest.raises(BackendError, match=r"no Ray cluster at 'local' \(The current node timed out during startup"):
        connect(ray, "local", 1)


def test_no_ray_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BackendError, match=r"--ray needs Ray, which is not installed: pip install '\.\[ray\]'"):
        import_ray()


def test_no_cluster_is_one_sentence(monkeypatch):
    def missing(**options):
        assert options["address"] == "auto"
        raise ConnectionError("Could not find any running Ray instance.\nMore advice")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", missing)
    said = r"no Ray cluster at 'auto' \(Could not find any running Ray instance\.\): start one with `ray start --head`"
    with pytest.raises(BackendError, match=said), RayCluster("auto"):
        raise AssertionError("it connected")
