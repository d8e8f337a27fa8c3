"""Shards on a real local Ray cluster answer as they do in one process, whoever is killed."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest
from ray_workers import own_cluster, workers_named
from shan_engine.api import open_shards
from shan_engine.base.errors import BackendError
from shan_engine.jobs.ray_cluster import import_ray
from shan_engine.search.query import Query
from tiny import CAPTIONS

ray = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster of three CPUs for all tests; each has workers of its own."""
    os.environ.update(RAY_worker_niceness="0")  # else other tests on the machine hold them up
    with own_cluster(3):
        yield


@pytest.fixture(scope="module")
def shards(shards, tmp_path_factory):
    """Two shards: a worker takes seconds to start."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("0.gallery", "1.gallery"):
        shutil.copytree(shards / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def here(shards, bundle_path):
    with open_shards([shards], bundle_path, device="cpu", threads=1) as engine:
        yield engine


def workers() -> list[int]:
    """Processes of this test's own cluster that hold a shard."""
    return workers_named("ShardWorker")


def until(true, seconds=250):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


def asked(engine, **options):
    photo = engine.stored_photo("photo3")
    queries = [*CAPTIONS, Query.of("a dog", also="grass", without="man"), Query.of(None, photo=photo)]
    return repr(engine.search_all(queries, top_k=20, **options))


def test_the_same_answers_as_in_one_process_and_a_lost_shard_is_named(shards, here, bundle_path, make, tmp_path):
    folder = tmp_path / "all"
    shutil.copytree(shards, folder)
    with (
        open_shards([folder], bundle_path, ray="auto", device="cpu") as engine,
        open_shards([folder], bundle_path, device="cpu", threads=1) as local,
    ):
        assert asked(engine) == asked(local)
        assert asked(engine, grouped=True, skip=3) == asked(local, grouped=True, skip=3)
        assert repr(engine.browse(top_k=20)) == repr(local.browse(top_k=20))
        before = repr(engine.search("a dog", top_k=30))

        (killed, *_) = workers()
        os.kill(killed, signal.SIGKILL)
        found = engine.search("a dog", top_k=30)
        (missing,) = found.missing
        assert missing.photos == 30 - len(found) == 30 - found.matching
        assert "its worker died" in missing.why
        until(lambda: not engine.search("a dog").missing)  # it was started anew
        assert repr(engine.search("a dog", top_k=30)) == before

        make(folder, 9, range(50, 55))
        for one in (local, engine):
            assert one.refresh()
        until(lambda: not engine.search("a dog").missing)
        assert len(engine) == 35
        assert asked(engine) == asked(local)


def test_a_replica_answers_for_a_killed_worker_until_no_machine_is_left(shards, bundle_path, monkeypatch):
    queries, one = [CAPTIONS[number % 5] for number in range(200)], shards / "0.gallery"
    with open_shards([one], bundle_path, device="cpu", threads=1) as here:
        expected = repr(here.search_all(queries, top_k=3))
    killed = []

    def kill(done):
        if done and not killed:
            killed.append(workers()[0])
            os.kill(killed[0], signal.SIGKILL)

    with open_shards([one], bundle_path, ray="auto", replicas=2, device="cpu") as engine:
        assert repr(engine.search_all(queries, top_k=3, on_pairs=kill)) == expected
        assert killed
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False}])
        for worker in workers():
            os.kill(worker, signal.SIGKILL)
        with pytest.raises(BackendError, match="the Ray cluster 'auto' has no machine left: start it again"):
            engine.search("a dog")


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_thousand_queries(here, shards, bundle_path):
    """One query after another, as a page asks them; every answer is whole or names the shard that it lacks."""
    with open_shards([shards], bundle_path, ray="auto", device="cpu") as engine:
        whole = {query: repr(here.search(query)) for query in CAPTIONS}
        lacking = 0
        for number in range(1000):
            if number == 500:
                os.kill(workers()[0], signal.SIGKILL)
            found = engine.search(CAPTIONS[number % 5])
            lacking += bool(found.missing)
            assert found.missing or repr(found) == whole[CAPTIONS[number % 5]]
            assert found.matching + sum(one.photos for one in found.missing) == 30
        assert 0 < lacking < 500
        until(lambda: not engine.search("a dog").missing)


def test_a_cluster_without_room_is_one_sentence(shards, bundle_path):
    with pytest.raises(BackendError, match=r"has 3 CPUs for 6 workers of shards: add machines, or ask for fewer"):
        open_shards([shards], bundle_path, ray="auto", replicas=3, device="cpu")


def test_news_of_the_cluster_keep_off_standard_output(capsys, caplog):
    """Where a worker dies, Ray prints lines of advice to standard output, into the answer of `--json`."""
    caplog.set_level("INFO")
    news = {"lines": ["A worker died\nor was killed"], "pid": "raylet", "is_err": False}
    import_ray()._private.worker.print_to_stdstream(news, ignore_prefix=False)
    assert capsys.readouterr().out == ""
    assert "Ray: A worker died" in caplog.text


def test_no_cluster_is_one_sentence(shards, bundle_path, monkeypatch):
    def missing(**options):
        raise ConnectionError("Could not find any running Ray instance.\nMore advice")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", missing)
    with pytest.raises(BackendError, match=r"no Ray cluster at 'auto' \(Could not find any running Ray instance\.\)"):
        open_shards([shards], bundle_path, ray="auto", device="cpu")
