"""Memory and descriptors of processes, and bytes and files on disk, over a run."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Held:
    """What a process holds: memory of its own in KiB, descriptors, threads."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, process: int) -> Held | None:
        """None where the process has just ended."""
        at = Path(f"/proc/{process}")
        try:
            lines = (line.split(":") for line in (at / "status").read_text().splitlines())
            told = {name: value.split() for name, value in lines if value.split()}
            return cls(int(told["RssAnon"][0]), len(list((at / "fd").iterdir())), int(told["Threads"][0]))
        except (OSError, KeyError):
            return None


class Watch:
    """Looks now and then, and keeps what it saw."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.disk: list[tuple[int, int]] = []
        self.lives: dict[str, list[Held]] = {}
        self._process: dict[str, int] = {}

    def look(self, processes: Mapping[str, int]) -> None:
        """Look at each process by name, of which only the last life counts, and at the folder."""
        for name, process in processes.items():
            if self._process.get(name) != process:
                self._process[name], self.lives[name] = process, []
            if held := Held.of(process):
                self.lives[name].append(held)
        sizes = []
        for path in self._folder.rglob("*"):
            try:
                sizes.append(path.stat().st_blocks * 512 if path.is_file() else 0)
            except OSError:  # just removed
                continue
        self.disk.append((sum(sizes), len(sizes)))

    def report(self, spared: tuple[str, ...]) -> dict[str, Any]:
        """Medians of the second and of the last quarter: of the disk, and of the processes that lived on."""

        def quarters(values: list[int]) -> list[int]:
            quarter = max(1, len(values) // 4)
            return [
                round(statistics.median(part)) for part in (values[quarter : 2 * quarter] or values, values[-quarter:])
            ]

        grown: dict[str, Any] = {
            "disk KiB": [size // 1024 for size in quarters([size for size, _ in self.disk])],
            "files": quarters([count for _, count in self.disk]),
        }
        for name in spared:
            for kind in ("memory", "descriptors", "threads"):
                grown[f"{name}: {kind}"] = quarters([getattr(held, kind) for held in self.lives[name]])
        return {"grown": grown}
