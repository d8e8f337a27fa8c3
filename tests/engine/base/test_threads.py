"""How many CPUs a process takes: those it may run on, within its control group's quota."""

from __future__ import annotations

import math
import os

import pytest
from shan_engine.base.threads import cpu_quota, memory_quota, usable_cpus
from shan_engine.jobs.options import JobOptions


def write_groups(root, groups, files):
    """A process's groups, and the files of their limits, below `root`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups + "\n")
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),
        ("0::/a/b", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "50000 100000\n"}, 0.5),
        ("4:memory:/m\n1:cpu,cpuacct:/c", {"cpu/c/cpu.cfs_quota_us": "200000", "cpu/c/cpu.cfs_period_us": "100000"}, 2),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/../beyond", {}, math.inf),
    ],
)
def test_the_lowest_limit_of_the_groups_holds(tmp_path, groups, files, quota):
    write_groups(tmp_path, groups, files)
    assert cpu_quota(tmp_path) == quota


def test_where_there_are_no_groups_there_is_no_limit(tmp_path):
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs CPU affinity")
def test_a_process_that_is_held_on_one_cpu_uses_one():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cpus() <= len(before)


@pytest.mark.parametrize(
    ("groups", "files", "quota", "default"),
    [
        ("0::/a/b", {"a/memory.max": "2147483648\n", "a/b/memory.max": "max\n"}, 2**31, 2**29),
        ("0::/", {"memory.max": "max\n"}, math.inf, 2**30),
        ("9:memory:/m\n1:cpu:/c", {"memory/m/memory.limit_in_bytes": "104857600"}, 100 * 2**20, 64 * 2**20),
        ("9:memory:/m", {"memory/m/memory.limit_in_bytes": "9223372036854771712"}, 9223372036854771712, 2**30),
    ],
)
def test_a_job_takes_a_quarter_of_a_containers_memory(tmp_path, monkeypatch, groups, files, quota, default):
    write_groups(tmp_path, groups, files)
    assert memory_quota(tmp_path) == quota
    monkeypatch.setattr("shan_engine.jobs.options.memory_quota", lambda: memory_quota(tmp_path))
    assert JobOptions().memory == default
