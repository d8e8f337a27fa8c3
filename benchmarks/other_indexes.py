"""Indexes of other engines over a gallery's regions or pooled regions, for other_engines.py; each is kept on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import package
from shan_engine.base.threads import usable_cpus

Floats = NDArray[np.float32]
Search = Callable[..., Sequence[int]]
"""The places of the first ten for a query by its number, with a setting as keywords."""
TEN = 10


@dataclass(frozen=True)
class Problem:
    """Regions N x K x D and pooled regions N x D of a gallery, and words n x D of each query; all of length 1."""

    regions: Floats
    pooled: Floats
    words: list[Floats]
    means: Floats


@dataclass(frozen=True)
class Engine:
    """An engine with its index; `settings` are from fast to thorough, each with a name."""

    name: str
    score: str
    search: Search
    settings: dict[str, dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def built(folder: Path, make: Callable[[], None], images: int, distribution: str) -> dict[str, Any]:
    """An index that is made where it is not there yet, and what it took."""
    note = folder.with_suffix(".json")
    if not note.exists():
        began = time.perf_counter()
        make()
        note.write_text(json.dumps({"seconds_to_build": round(time.perf_counter() - began, 1)}))
    files: Iterator[Path] = folder.rglob("*") if folder.is_dir() else iter([folder])
    size = sum(file.stat().st_size for file in files if file.is_file())
    return {**json.loads(note.read_text()), "bytes_an_image": round(size / images), "version": package(distribution)}


def fast_plaid(problem: Problem, work: Path) -> Engine:
    import torch
    from fast_plaid import search as plaid

    torch.set_num_threads(usable_cpus())
    folder = work / "fast-plaid"
    folder.mkdir(exist_ok=True)
    index = plaid.FastPlaid(index=str(folder), device="cpu")

    def make() -> None:
        index.create(documents_embeddings=[torch.from_numpy(rows) for rows in problem.regions], seed=0)

    facts = built(folder, make, len(problem.regions), "fast-plaid")
    asked = [torch.from_numpy(rows)[None] for rows in problem.words]

    def ask(number: int, **setting: int) -> list[int]:
        (hits,) = index.search(queries_embeddings=asked[number], top_k=TEN, show_progress=False, **setting)
        return [place for place, _ in hits]

    settings = {
        f"n_ivf_probe {probe}, n_full_scores {full}": {"n_ivf_probe": probe, "n_full_scores": full}
        for probe, full in ((1, 256), (4, 1024), (8, 4096), (32, 8192))
    }
    return Engine("fast-plaid", "MaxSim", ask, settings, facts)


def xtr_warp(problem: Problem, work: Path) -> Engine:
    import torch
    from xtr_warp.search import XTRWarp

    torch.set_num_threads(usable_cpus())
    folder = work / "xtr-warp-rs"
    folder.mkdir(exist_ok=True)
    index = XTRWarp(index=str(folder), device="cpu")

    def make() -> None:
        index.create([torch.from_numpy(rows) for rows in problem.regions], device="cpu", show_progress=False)

    facts = built(folder, make, len(problem.regions), "xtr-warp-rs")
    index.load("cpu")
    asked = [torch.from_numpy(rows)[None] for rows in problem.words]

    def ask(number: int, **setting: int) -> list[int]:
        (hits,) = index.search(
            asked[number], top_k=TEN, num_threads=usable_cpus(), show_progress=False, **setting
        )  # fmt: skip
        return [place for place, _ in hits]

    settings: dict[str, dict[str, Any]] = {"as it chooses": {}}
    # Cosines of words and regions are below the 0.5 at which it drops a word.
    settings |= {
        f"nprobe {probe}": {"nprobe": probe, "bound": 8 * probe, "centroid_score_threshold": 0.0}
        for probe in (2, 8, 32, 128)
    }
    return Engine("xtr-warp-rs", "MaxSim", ask, settings, facts)


def faiss_vectors(kind: str) -> Callable[[Problem, Path], Engine]:
    def engine(problem: Problem, work: Path) -> Engine:
        import faiss

        faiss.omp_set_num_threads(usable_cpus())
        N, D = problem.pooled.shape
        file = work / f"faiss-{kind}"
        lists = round(4 * N**0.5)

        def make() -> None:
            index = faiss.index_factory(D, {"hnsw": "HNSW32,Flat", "ivf": f"IVF{lists},Flat", "flat": "Flat"}[kind],
                                        faiss.METRIC_INNER_PRODUCT)  # fmt: skip
            index.train(problem.pooled)
            index.add(problem.pooled)
            faiss.write_index(index, str(file))

        facts = built(file, make, N, "faiss-cpu")
        index, parameters = faiss.read_index(str(file)), faiss.ParameterSpace()

        def ask(number: int, **setting: int) -> list[int]:
            for name, value in setting.items():
                parameters.set_index_parameter(index, name, value)
            places: list[int] = index.search(problem.means[number : number + 1], TEN)[1][0].tolist()
            return places

        settings: dict[str, dict[str, dict[str, Any]]] = {
            "hnsw": {f"efSearch {wide}": {"efSearch": wide} for wide in (16, 64, 256, 1024)},
            "ivf": {f"nprobe {some}": {"nprobe": some} for some in (1, 4, 16, 64)},
            "flat": {"all": {}},
        }
        return Engine(f"faiss {kind}", "cosine", ask, settings[kind], facts)

    return engine


def usearch_vectors(problem: Problem, work: Path) -> Engine:
    from usearch.index import Index

    N, D = problem.pooled.shape
    file = work / "usearch"

    def fresh() -> Index:
        return Index(ndim=D, metric="ip", dtype="f32")

    def make() -> None:
        index = fresh()
        index.add(np.arange(N), problem.pooled, threads=usable_cpus())
        index.save(str(file))

    facts = built(file, make, N, "usearch")
    index = fresh()
    index.load(str(file))

    def ask(number: int, expansion: int) -> list[int]:
        index.expansion_search = expansion
        places: list[int] = index.search(problem.means[number], TEN).keys.tolist()
        return places

    settings = {f"expansion {wide}": {"expansion": wide} for wide in (16, 64, 256, 1024)}
    return Engine("usearch", "cosine", ask, settings, facts)


ENGINES: dict[str, Callable[[Problem, Path], Engine]] = {
    "fast-plaid": fast_plaid,
    "xtr-warp-rs": xtr_warp,
    "faiss-flat": faiss_vectors("flat"),
    "faiss-ivf": faiss_vectors("ivf"),
    "faiss-hnsw": faiss_vectors("hnsw"),
    "usearch": usearch_vectors,
}
