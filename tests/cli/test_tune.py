"""`tune` and the options of a search in steps, as the installed command."""

from __future__ import annotations

import json
import re

import pytest
from in_process import output_of, refusal, shan
from shan_engine.indexing.images import BlockSizes, index_store
from shan_engine.kernel.library import variants
from tiny import make_store

pytestmark = pytest.mark.skipif(not variants(), reason="the kernel is not built")


@pytest.fixture(scope="module")
def place(scorer, bundle_path, tmp_path_factory):
    """The options of a gallery searched in stages, and a file of queries."""
    folder = tmp_path_factory.mktemp("tuned")
    with make_store(folder / "store", range(1200)) as store:
        index_store(store, scorer, folder / "gallery", sizes=BlockSizes(staged_from=100))
    queries = folder / "asked.txt"
    queries.write_text("a dog on grass\nman rides a bike\n")
    return folder / "gallery", ["--model", bundle_path], queries


def test_a_search_says_what_it_looked_at(place):
    gallery, model, _ = place
    search = ["search", "a dog", "--gallery", gallery, *model]
    (found,) = json.loads(output_of(*search, "--json"))
    assert found["scanned"] == {"first_pass": 1200, "step_1": 300, "all_steps": 69, "proven": False}
    assert "1,200 images in the first pass, 300 in step 1, 69 in all steps" in shan(*search, "-v", "--no-groups").stderr
    (whole,) = json.loads(output_of(*search, "--exhaustive", "--json"))
    assert whole["scanned"] is None
    assert len(whole["hits"]) == len(found["hits"]) == 10
    assert "all 1,200 images scored" in shan(*search, "-v", "--exhaustive").stderr
    assert "the recall target is 1.5: give a share" in refusal(*search, "--recall-target", "1.5")


def test_tuning_is_kept_in_the_gallery_and_used(place):
    gallery, model, queries = place
    said = shan("tune", gallery, "--queries", queries, *model)
    assert said.returncode == 0
    (reached,) = re.findall(r"to find 99\.0% of the hits: ([\d,]+) of 1,200 images in step 1", said.stderr)
    assert 300 <= int(reached.replace(",", "")) <= 1200
    held = json.loads(output_of("tune", gallery, "--queries", queries, *model, "--json"))
    assert (held["images"], held["queries"], held["top_k"]) == (1200, 2, 10)
    assert (gallery / "tuning.json").exists()
    (gallery / "tuning.json").write_text("{")
    search = ["search", "a dog", "--gallery", gallery, *model]
    assert "tuning.json is damaged" in refusal(*search)
    assert shan("tune", gallery, "--queries", queries, *model).returncode == 0
    assert shan(*search).returncode == 0


def test_a_small_gallery_has_nothing_to_tune(place, gallery_path):
    _, model, queries = place
    assert "there is nothing to tune" in refusal("tune", gallery_path, "--queries", queries, *model)
