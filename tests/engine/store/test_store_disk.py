"""Stores under several writers, on full disks and through compactions: what was committed stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from shan_engine.base.errors import StoreError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.verify import verify_store
from stores import SCHEMA, assert_same, record

WRITER = """
import sys
from pathlib import Path
import numpy as np
from shan_engine.store.records import RegionRecord
from shan_engine.store.verify import verify_store
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.schema import StoreSchema
path, name, batches = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with FeatureStore.create(path, StoreSchema("test", 16)) as store:
    for batch in range(batches):
        features = np.full((30, 16), batch, np.float32)
        store.write([RegionRecord(f"{name}-{batch}-{i}", features) for i in range(5)])
        print(batch, flush=True)
"""


def _writer(path: Path, name: str, batches: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(batches)], stdout=subprocess.PIPE, text=True
    )


def test_two_writers_at_once(tmp_path: Path) -> None:
    with _writer(tmp_path / "s", "a", 15) as one, _writer(tmp_path / "s", "b", 15) as other:
        assert one.wait() == 0
        assert other.wait() == 0
    with FeatureStore.open(tmp_path / "s") as store:
        wanted = {f"{name}-{batch}-{i}" for name in "ab" for batch in range(15) for i in range(5)}
        assert set(store.ids()) == wanted
        assert all(problem is None for _, problem in verify_store(tmp_path / "s"))


def test_a_killed_writer_loses_no_committed_batch(tmp_path: Path) -> None:
    with _writer(tmp_path / "s", "a", 100_000) as writer:
        assert writer.stdout is not None
        for _ in range(8):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        assert writer.wait() == -signal.SIGKILL
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        committed = [f"a-{batch}-{i}" for batch in range(last + 1) for i in range(5)]
        for id, found in zip(committed, store.read(committed), strict=True):
            assert (found.features == int(id.split("-")[1])).all()
        assert all(problem is None for _, problem in verify_store(tmp_path / "s"))
        assert len(store) % 5 == 0
        store.write([record("after")])
        assert "after" in store


def test_compact_shrinks_and_keeps(tmp_path: Path) -> None:
    path = tmp_path / "s"
    records = [record(str(number), number, 60) for number in range(40)]
    store = FeatureStore.create(path, SCHEMA)
    store.write(records)
    store.delete(str(number) for number in range(30))
    before, after = store.compact()
    assert after < before / 2
    assert sorted(item.name for item in path.iterdir()) == ["data.mdb", "lock.mdb"]
    with FeatureStore.open(path, readonly=False) as store:
        assert store.bytes_used == after
        for found, wanted in zip(store.read(store.ids()), records[30:], strict=True):
            assert_same(found, wanted)
        store.write(records[:1])
        assert len(store) == 11


def test_a_writer_from_before_a_compaction_is_told(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "s", SCHEMA).close()
    script = f"""
from pathlib import Path
from shan_engine.store.verify import verify_store
from shan_engine.store.feature_store import FeatureStore
FeatureStore.open(Path({str(tmp_path / "s")!r}), readonly=False).compact()
"""
    with FeatureStore.open(tmp_path / "s", readonly=False) as store:
        subprocess.run([sys.executable, "-c", script], check=True)
        with pytest.raises(StoreError, match="compacted by another process"):
            store.write([record("a")])


@pytest.mark.parametrize("more", [0, 1, 2])
def test_a_compaction_loses_nothing_while_others_have_the_store_open(tmp_path: Path, more: int) -> None:
    """LMDB's number of the last transaction stays in the lock file then; it may be odd or even."""
    path = tmp_path / "s"
    ids = [str(number) for number in range(3 + more)]
    with FeatureStore.create(path, SCHEMA) as store:
        for id in ids:
            store.write([record(id)])
    compact = f"""
from pathlib import Path
from shan_engine.store.feature_store import FeatureStore
FeatureStore.open(Path({str(path)!r}), readonly=False).compact()
"""
    write = f"""
from pathlib import Path
import numpy as np
from shan_engine.store.records import RegionRecord
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.schema import StoreSchema
with FeatureStore.open(Path({str(path)!r})) as store:
    assert store.ids() == {ids}, store.ids()
with FeatureStore.create(Path({str(path)!r}), StoreSchema("test", 16)) as store:
    store.write([RegionRecord("late", np.zeros((1, 16), np.float32))])
    assert store.ids() == {[*ids, "late"]}, store.ids()
"""
    with FeatureStore.open(path) as reader:
        for script in (compact, write):
            subprocess.run([sys.executable, "-c", script], check=True)
            assert reader.ids() == ids  # as it was when it was opened
            assert len(reader.read(ids)) == len(ids)
    with FeatureStore.open(path) as store:
        assert store.ids() == [*ids, "late"]
        assert all(problem is None for _, problem in verify_store(path))


def test_a_full_disk_keeps_what_was_written(small_disk: Callable[[str], Path]) -> None:
    disk = small_disk("2m")
    with FeatureStore.create(disk / "s", SCHEMA) as store:
        written: list[str] = []

        def fill() -> None:
            for batch in range(100):
                ids = [f"{batch}-{i}" for i in range(20)]
                store.write([record(id, batch, 100) for id in ids])
                written.extend(ids)

        with pytest.raises(StoreError, match="the disk is full"):
            fill()
        assert written
        assert store.ids() == written
    with FeatureStore.open(disk / "s", readonly=False) as store:
        assert store.ids() == written
        assert all(problem is None for _, problem in verify_store(disk / "s"))
        with pytest.raises(StoreError, match="the disk is full"):
            store.compact()
    with FeatureStore.open(disk / "s") as store:
        assert store.ids() == written


MAKER = """
import resource, sys
from pathlib import Path
from shan_engine.base.errors import StoreError
from shan_engine.store.verify import verify_store
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.schema import StoreSchema
path, limit = Path(sys.argv[1]), int(sys.argv[2])
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
try:
    FeatureStore.create(path, StoreSchema("test", 16))
except StoreError as error:
    print(error, sorted(item.name for item in path.iterdir()) if path.exists() else "gone", sep="\\n")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
with FeatureStore.create(path, StoreSchema("test", 16)) as store:
    print(len(store))
"""


@pytest.mark.parametrize("limit", [0, 100, 5000, 9000, 13000])
@pytest.mark.parametrize("folder_is_there", [False, True])
def test_a_store_whose_making_fails_leaves_nothing(tmp_path: Path, limit: int, folder_is_there: bool) -> None:
    path = tmp_path / "s"
    if folder_is_there:
        path.mkdir()
    done = subprocess.run([sys.executable, "-c", MAKER, path, str(limit)], capture_output=True, text=True, check=True)
    sentence, left, images = done.stdout.splitlines()
    # LMDB calls a write that ended half-way an input/output error.
    assert str(path) in sentence
    assert "`ulimit -f`" in sentence
    assert (left, images) == ("[]" if folder_is_there else "gone", "0")


def test_a_store_that_was_there_outlives_a_failed_opening(tmp_path: Path) -> None:
    with FeatureStore.create(tmp_path / "s", SCHEMA) as store:
        store.write([record("a")])
    (tmp_path / "s" / "lock.mdb").unlink()
    done = subprocess.run(
        [sys.executable, "-c", MAKER, tmp_path / "s", "100"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["['data.mdb', 'lock.mdb']", "1"]


@pytest.mark.parametrize("size", ["4k", "8k", "12k", "16k"])
def test_no_store_is_left_on_a_disk_too_full_for_one(small_disk: Callable[[str], Path], size: str) -> None:
    disk = small_disk(size)
    with pytest.raises(StoreError, match=f"the disk is full, and {disk / 's'} keeps only what was written before"):
        FeatureStore.create(disk / "s", SCHEMA)
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("left", [b"", b"half a copy"])
def test_what_a_killed_compaction_left_is_cleared(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "s"
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([record("a")])
        (path / "compact.tmp").mkdir()
        (path / "compact.tmp" / "data.mdb").write_bytes(left)
        store.compact()
    assert sorted(item.name for item in path.iterdir()) == ["data.mdb", "lock.mdb"]
    with FeatureStore.open(path) as store:
        assert_same(store.read(["a"])[0], record("a"))


def test_a_second_compaction_loses_nothing_written_after_the_first(tmp_path: Path) -> None:
    path = tmp_path / "s"
    FeatureStore.create(path, SCHEMA).close()
    script = f"""
from pathlib import Path
import numpy as np
from shan_engine.store.records import RegionRecord
from shan_engine.store.verify import verify_store
from shan_engine.store.feature_store import FeatureStore
FeatureStore.open(Path({str(path)!r}), readonly=False).compact()
with FeatureStore.open(Path({str(path)!r}), readonly=False) as store:
    store.write([RegionRecord("late", np.zeros((1, 16), np.float32))])
"""
    with FeatureStore.open(path, readonly=False) as store:
        subprocess.run([sys.executable, "-c", script], check=True)
        with pytest.raises(StoreError, match="compacted by another process"):
            store.compact()
    with FeatureStore.open(path) as store:
        assert store.ids() == ["late"]


@pytest.mark.parametrize("lock", ["held", "missing"])
def test_a_store_that_may_not_be_written_is_read(tmp_path, lock):
    """As another user's, or on a read-only disk."""
    path = tmp_path / "s"
    with FeatureStore.create(path, SCHEMA) as store:
        store.write([record("a")])
    if lock == "missing":
        (path / "lock.mdb").unlink()
    for file in (*path.iterdir(), path):
        file.chmod(0o555 if file == path else 0o444)
    unprivileged = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.getuid() == 0 else []
    if unprivileged and subprocess.run([*unprivileged, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a user whom permissions bind")
    code = (
        "import sys; from pathlib import Path; from shan_engine.store.feature_store import FeatureStore\n"
        "with FeatureStore.open(Path(sys.argv[1])) as store: print(store.read(store.ids())[0].id)\n"
        "try: FeatureStore.open(Path(sys.argv[1]), readonly=False)\n"
        "except Exception as error: print(error)\n"
    )
    command = [*unprivileged, sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    path.chmod(0o755)
    assert done.stdout.splitlines()[:1] == ["a"], done.stderr
    assert "permission denied, let its owner give you access" in done.stdout
