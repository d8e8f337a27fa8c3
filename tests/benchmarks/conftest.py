"""Benchmarks run from their folder, as `python benchmarks/NAME.py` does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """A script of benchmarks/ as a module; PyTorch's threads are afterwards as many as before."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    yield importlib.import_module
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    """Captions of the demo's photos, all of split `test`."""
    import shan_engine

    with shan_engine.open(device="cpu") as engine:
        ids = engine.ids
    texts = ("a dog on the grass", "a man with a red hat", "children play in the water", "a boat by a building")
    rows = [f"test\t{id}\t{texts[number % len(texts)]}" for number, id in enumerate(ids)]
    path = tmp_path / "captions.tsv"
    path.write_text("\n".join(["split\timage\tcaption", *rows]) + "\n", "utf-8")
    return path
