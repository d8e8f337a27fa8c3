"""One of each kind of thing on disk, small, with everything that such a thing may hold."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from shan_engine.base.metadata import Metadata
from shan_engine.base.text_lines import TextLine
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.captions import index_captions
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.indexing.querybank import Querybank
from shan_engine.integrity import verify
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.search.tuning import FIRST_PASS, TARGETS, Tuning
from shan_engine.store import verify as verify_store
from shan_engine.store.contents import Content, Place
from shan_engine.store.facts import StoredFacts
from shan_engine.text.query_files import QueryLine
from tiny import CAPTIONS, make_store


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks run in this process: another one takes a second to start."""

    def run(main: Any, *arguments: Any) -> Any:
        with redirect_stdout(io.StringIO()) as output:
            main(*arguments)
        yield from (json.loads(line) for line in output.getvalue().splitlines()[:-1])

    monkeypatch.setattr(verify, "isolated", lambda module, kind, path, fix: run(verify._main, kind, Path(path), fix))
    monkeypatch.setattr(verify_store, "isolated", lambda module, path: run(verify_store._main, Path(path)))


@pytest.fixture(scope="session")
def things(scorer: Any, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `store`, `gallery`, `captions`, `bundle` and `job`; copy it before changing it."""
    at = tmp_path_factory.mktemp("things")
    with make_store(at / "store", range(12)) as store:
        ids = store.ids()
        store.put_contents({id: Content("ab" * 16, (Place(id, f"photos/{id[5:]}.jpg", ""),)) for id in ids})
        store.put_facts({id: StoredFacts("s", {"camera": "Nikon"}) for id in ids})
        store.put_metadata(Metadata({"year": "INTEGER"}, dict.fromkeys(ids, (1990,))))
        store.put_text({ids[3]: [TextLine("two dogs", 0.9, (1, 2, 3, 4))]}, reader="test")
        bank, sizes = Querybank.of(CAPTIONS[:2]), BlockSizes(images=5, staged_from=2)
        index_store(store, scorer, at / "gallery", querybank=bank, sizes=sizes)
    Tuning(12, 3, 4, (1.0,) * len(TARGETS), (50,) * len(TARGETS), FIRST_PASS).save(at / "gallery")
    (at / "captions.txt").write_text("\n".join(CAPTIONS) + "\n")
    index_captions(at / "captions.txt", scorer, at / "captions")
    shutil.copytree(bundle_path, at / "bundle")
    left = iter(range(2))
    score_job(
        scorer,
        [Gallery.open(at / "gallery")],
        [QueryLine(str(number), text, "") for number, text in enumerate(CAPTIONS)],
        at / "hits.parquet",
        options=JobOptions(top_k=3, block_pairs=20),
        stop=lambda: next(left, None) is None,
    )
    return at
