"""What a job writes is what the dense matrix says."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
from gallery_scores import matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from job_runs import captions
from shan_engine.gallery.reader import Gallery
from shan_engine.jobs.kept_pairs import ranked, ranks, select
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.plan import Portion, job_blocks, make_plan


@pytest.fixture(params=["kernel", "onnx-runtime"])
def way(request, scorer, monkeypatch) -> None:
    """Both ways to a score; where the kernel is not built, ONNX Runtime twice."""
    if request.param == "onnx-runtime":
        monkeypatch.setitem(vars(scorer), "kernel", None)


def dense(scorer, galleries, folder):
    """Scores captions x images of all galleries, each gallery in a job of its own."""
    parts = []
    for number, gallery in enumerate(galleries):
        (folder / f"{number}").mkdir(exist_ok=True)
        parts.append(matrix(scorer, gallery, folder / f"{number}", captions(23)))
    return np.concatenate(parts, axis=1)


def expected(scores, galleries, top_k, threshold, by_image):
    """Rows of a result, (query id, rank, image id, gallery, score), slowly."""
    images = [(id, gallery.path.name) for gallery in galleries for id in gallery.ids()]
    found = []
    for row, values in enumerate(scores.T if by_image else scores):
        order = sorted(range(len(values)), key=lambda column: (-values[column], column))
        kept = [column for column in order[:top_k] if threshold is None or values[column] >= threshold]
        for rank, column in enumerate(kept, 1):
            query, image = (column, row) if by_image else (row, column)
            found.append((f"q{query}", rank, *images[image], values[column]))
    return found


def rows_of(path):
    names = ("query_id", "rank", "image_id", "gallery", "score")
    table = pyarrow.parquet.read_table(path).to_pydict()
    return list(zip(*(table[name] for name in names), strict=True))


@pytest.mark.parametrize("by_image", [False, True])
@pytest.mark.parametrize(("top_k", "threshold"), [(1, None), (4, None), (500, None), (None, 1.0), (6, 1.0)])
def test_a_table_is_the_top_of_the_matrix(way, run_job, scorer, galleries, tmp_path, by_image, top_k, threshold):
    scores = dense(scorer, galleries, tmp_path)
    direction = "image-to-text" if by_image else "text-to-image"
    found = rows_of(run_job("best.parquet", direction=direction, top_k=top_k, threshold=threshold))
    wanted = expected(scores, galleries, top_k, threshold, by_image)
    assert [row[:4] for row in found] == [row[:4] for row in wanted]
    assert 0 < len(found) < scores.size or top_k == 500
    np.testing.assert_allclose([row[4] for row in found], [row[4] for row in wanted], rtol=0, atol=1e-6)


def test_parts_of_a_score_add_up_to_it(way, run_job):
    table = pyarrow.parquet.read_table(run_job("best.parquet", top_k=5))
    assert table.column_names == ["query_id", "query", "rank", "image_id", "gallery", "score", "l2l", "g2l", "g2g"]
    parts = np.stack([table[name].to_numpy() for name in ("l2l", "g2l", "g2g")])
    np.testing.assert_allclose(parts.sum(axis=0), table["score"].to_numpy(), rtol=0, atol=1e-5)
    assert (np.ptp(parts, axis=1) > 0).all()
    texts = dict(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))
    assert texts == {f"q{number}": text for number, text in enumerate(captions(23))}


def test_one_gallery_needs_no_column(run_job, galleries):
    assert "gallery" not in pyarrow.parquet.read_table(run_job("best.parquet", of=galleries[:1])).column_names


@pytest.mark.parametrize("direction", ["text-to-image", "image-to-text"])
def test_a_matrix_has_the_ids_of_its_sides(run_job, scorer, galleries, tmp_path, direction):
    scores = np.load(run_job("scores.npy", direction=direction))
    images = [f"{gallery.path.name}\t{id}" for gallery in galleries for id in gallery.ids()]
    queries = [f"q{number}" for number in range(23)]
    rows, columns = ((tmp_path / f"scores.{side}.txt").read_text().splitlines() for side in ("rows", "columns"))
    assert (rows, columns) == ((images, queries) if direction == "image-to-text" else (queries, images))
    whole = dense(scorer, galleries, tmp_path)
    np.testing.assert_allclose(scores, whole.T if direction == "image-to-text" else whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["a.parquet", "a.npy"])
@pytest.mark.parametrize("direction", ["text-to-image", "image-to-text"])
def test_blocks_of_any_size_give_the_same_hits(run_job, name, direction):
    one, other = (run_job(f"{pairs}{name}", block_pairs=pairs, direction=direction) for pairs in (10**6, 40))
    if name.endswith("npy"):
        np.testing.assert_allclose(np.load(one), np.load(other), rtol=0, atol=1e-6)
    else:
        assert [row[:4] for row in rows_of(one)] == [row[:4] for row in rows_of(other)]


def test_equal_scores_keep_the_galleries_order(run_job, galleries, gallery_copy):
    """Every image is in both galleries, and scores the same in both."""
    twin = Gallery.open(gallery_copy.rename(gallery_copy.with_name("twin")))
    found = rows_of(run_job("best.parquet", top_k=500, of=[galleries[0], twin]))
    assert len(found) == 23 * 82
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert (one[0], one[1] + 1, one[2], one[4]) == (other[0], other[1], other[2], other[4])
        assert (one[3], other[3]) == ("gallery", "twin")


def test_merging_in_little_memory_changes_nothing(run_job, monkeypatch):
    whole = run_job("one.parquet", threshold=-9.0).read_bytes()
    monkeypatch.setattr("shan_engine.jobs.job.most_pairs", lambda memory, steps: 10)
    assert run_job("two.parquet", threshold=-9.0).read_bytes() == whole


def test_row_groups_do_not_show_the_blocks(run_job, monkeypatch):
    monkeypatch.setattr("shan_engine.writers.hits_parquet.ROW_GROUP", 50)
    path = run_job("best.parquet", top_k=9)
    held = pyarrow.parquet.ParquetFile(path).metadata
    assert [held.row_group(number).num_rows for number in range(held.num_row_groups)] == [50] * 4 + [7]
    metadata = json.loads(pyarrow.parquet.read_schema(path).metadata[b"shan-engine"])
    assert metadata["top_k"] == 9
    assert [gallery["name"] for gallery in metadata["galleries"]] == ["gallery", "other"]


@settings(max_examples=60)
@given(
    st.integers(1, 6), st.integers(1, 12), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 14)),
    st.one_of(st.none(), st.integers(-2, 3)), st.integers(0, 2**32),
)  # fmt: skip
def test_hits_of_pieces_are_the_hits_of_the_whole(rows, columns, width, top_k, threshold, seed):
    """Scores are few whole numbers, so that ties are everywhere."""
    random = np.random.default_rng(seed)
    scores = random.integers(-2, 3, (rows, columns)).astype(np.float32)
    steps = random.random((rows, columns, 2)).astype(np.float32)
    pieces = [
        select(scores[:, a : a + width], steps[:, a : a + width], np.arange(rows) + 5,
               np.arange(a, min(a + width, columns)), top_k, threshold)
        for a in range(0, columns, width)
    ]  # fmt: skip
    found = ranked(np.concatenate(pieces), top_k)
    wanted = [
        (row + 5, column)
        for row in range(rows)
        for column in sorted(range(columns), key=lambda c: (-scores[row, c], c))[:top_k]
        if threshold is None or scores[row, column] >= threshold
    ]
    assert list(zip(found["row"].tolist(), found["column"].tolist(), strict=True)) == wanted
    for hit, rank in zip(found, ranks(found), strict=True):
        assert hit["score"] == scores[hit["row"] - 5, hit["column"]]
        np.testing.assert_array_equal(hit["steps"], steps[hit["row"] - 5, hit["column"]])
        assert rank == sum(row == hit["row"] for row, _ in wanted[: wanted.index((hit["row"], hit["column"]))])


@settings(max_examples=60)
@given(
    st.integers(1, 3000), st.integers(1, 9000), st.integers(64 * 2**20, 2**32),
    st.one_of(st.none(), st.integers(2000, 10**6)), st.booleans(), st.sampled_from([None, 0.5]),
    st.integers(1, 10**7),
)  # fmt: skip
def test_blocks_cover_every_pair_once_within_memory(
    captions_, images, memory, pairs, as_matrix, threshold, caption_bytes
):
    options = JobOptions(memory=memory, block_pairs=pairs, threshold=None if as_matrix else threshold)
    plan = make_plan(captions_, images, options, steps=3, matrix=as_matrix, caption_bytes=caption_bytes)
    seen = np.zeros((captions_, images), np.int8)
    for number, block in enumerate(job_blocks(plan, captions_, [Portion(0, images)])):
        assert block.number == number
        seen[block.captions[0] : block.captions[-1] + 1, block.start : block.stop] += 1
        assert block.pairs == len(block.captions) * (block.stop - block.start)
    assert (seen == 1).all()
    assert plan.captions == 1 or plan.captions * caption_bytes <= memory / 4
    assert plan.tile == 1 or plan.captions * plan.tile * 4 * (1 + 3) <= memory / 4
    assert not as_matrix or plan.tile == plan.images


def test_a_gallery_given_twice_is_refused(run_job, galleries):
    with pytest.raises(Exception, match="is given twice: name every gallery once"):
        run_job("best.parquet", of=[galleries[0], Gallery.open(galleries[0].path)])
