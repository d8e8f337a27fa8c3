"""The compiled score against the plain module, and its other entry points against what they replace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_problem import problem
from shan_engine.base.errors import BackendError
from shan_engine.kernel.constants import ShanConstants
from shan_engine.kernel.library import variants
from shan_engine.kernel.pieces import Pieces
from shan_engine.kernel.shan import Kernel, load_kernel

pytestmark = pytest.mark.skipif(not variants(), reason="the kernel is not built")
RIGHT: dict[str, Any] = {"temperature": 9.0, "region_weight": 1.0, "word_weight": 1.0, "steps": 3}
STEP_1 = ShanConstants(None, None, 9.0, 1.0, 0.0, 1)


@given(
    st.sampled_from(variants() or ["none"]),
    st.integers(1, 2),
    st.one_of(st.integers(1, 14), st.sampled_from([36, 100])),
    st.integers(1, 3),
    st.one_of(st.integers(1, 20), st.just(128)),
    st.one_of(st.integers(1, 40), st.sampled_from([64, 256])),
    st.fixed_dictionaries(
        {
            "steps": st.integers(1, 3),
            "direction": st.sampled_from(["full", "i2t", "t2i"]),
            "temperature": st.sampled_from([1.0, 9.0]),
            "kept": st.sampled_from([0.3, 0.8, 1.0]),
            "seed": st.integers(0, 2**31),
        }
    ),
)
@settings(max_examples=150)
def test_scores_are_those_of_the_plain_module(variant, images, regions, captions, words, dim, options) -> None:
    drawn = problem(images, regions, captions, words, dim, **options)
    kernel = Kernel(drawn.constants, variant, threads=1)
    found = kernel.step_scores(drawn.images, drawn.captions)
    np.testing.assert_allclose(found, drawn.expected, rtol=0, atol=1e-5)
    scores = kernel.score(drawn.images, drawn.captions)
    np.testing.assert_allclose(scores, drawn.expected.sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("steps", [1, 3])
def test_threads_and_blocks_of_captions_change_nothing(variant, steps, monkeypatch) -> None:
    drawn = problem(9, 36, 7, 13, 32, steps=steps)
    one = Kernel(drawn.constants, variant, threads=1).step_scores(drawn.images, drawn.captions)
    monkeypatch.setattr("shan_engine.kernel.shan.THREAD_WORK", 1)
    monkeypatch.setattr("shan_engine.kernel.shan.BLOCK_BYTES", 16 * 13 * 32 * 2)
    two = Kernel(drawn.constants, variant, threads=2).step_scores(drawn.images, drawn.captions)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_chosen_rows_are_read_from_any_storage(variant, storage) -> None:
    drawn = problem(6, 11, 4, 9, 29, steps=1, kept=0.7)
    regions, mask = drawn.images["image_regions"], drawn.images["region_mask"]
    scales = np.abs(regions).max(-1) / 127
    if storage == "int8":
        stored = np.rint(regions / scales[..., None]).astype(np.int8)
        read = stored * scales[..., None]
    else:
        stored = regions.astype(storage)
        read = stored.astype(np.float32)
    rows = np.array([4, 0, 0, 5])
    kernel = Kernel(drawn.constants, variant)
    found = kernel.local_scores(stored, scales if storage == "int8" else None, mask, rows, drawn.captions)
    images = {"image_regions": read[rows], "region_mask": mask[rows]}
    expected = kernel.score(images, drawn.captions)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, drawn.expected[rows, :, 0], rtol=0, atol=5e-2 if storage == "int8" else 1e-3)


def test_rows_are_read_from_a_mapped_file(tmp_path) -> None:
    drawn = problem(6, 11, 4, 9, 29, steps=1)
    np.save(tmp_path / "regions.npy", drawn.images["image_regions"])
    mapped = np.load(tmp_path / "regions.npy", mmap_mode="r")
    rows = np.arange(6)
    found = Kernel(drawn.constants, variants()[0]).local_scores(
        mapped, None, drawn.images["region_mask"], rows, drawn.captions
    )
    np.testing.assert_allclose(found, drawn.expected[..., 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", variants())
def test_every_half_precision_number_is_read_as_numpy_reads_it(variant) -> None:
    """One region of one number v, one word of 1: the score is the sign of v, NaN where v is."""
    numbers = np.arange(2**16, dtype=np.uint16).view(np.float16)
    captions = {name: np.ones((1, 1, 1), np.float32) for name in ("caption_words", "caption_queries")}
    captions["word_mask"] = np.ones((1, 1), bool)
    constants = STEP_1
    mask = np.ones((2**16, 1), bool)
    rows = np.arange(2**16)
    found = Kernel(constants, variant).local_scores(numbers[:, None, None], None, mask, rows, captions)[:, 0]
    finite = np.isfinite(numbers)
    np.testing.assert_array_equal(found[finite], numbers[finite].astype(np.float32))
    assert np.isnan(found[~finite]).all()


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize(("count", "some", "dim"), [(1, 1, 3), (4, 1, 64), (6, 5, 77), (21, 4, 32), (7, 11, 256)])
def test_a_scan_gives_products(variant, count, some, dim) -> None:
    random = np.random.default_rng(0)
    vectors = random.integers(-127, 128, (30, dim), np.int8)
    scales, queries = random.random(30, np.float32), random.standard_normal((some, dim), np.float32)
    some_vectors, some_scales = (Pieces([array[2 : 2 + count], array[3:5]]) for array in (vectors, scales))
    found = Kernel(STEP_1, variant).scan(some_vectors, some_scales, queries)
    rows = [*range(2, 2 + count), 3, 4]
    expected = (vectors[rows].astype(np.float64) @ queries.T) * scales[rows, None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("captions", [1, 2, 3, 19])
def test_evidence_adds_up_the_weights_of_numbers(variant, captions) -> None:
    random = np.random.default_rng(0)
    numbers, shares = random.integers(0, 12, (9, 21), np.uint16), random.random((9, 21)).astype(np.float16)
    shares[4], shares[5] = 0, 2**-20  # no class; subnormal in half precision
    weights = random.random((captions, 10), np.float32)
    pieces = (Pieces([array[:7], array[7:]]) for array in (numbers, shares))
    found = Kernel(STEP_1, variant).evidence(*pieces, weights, 0.5)
    expected = np.stack([(shares.astype(float) * row[np.minimum(numbers, 9)]).sum(axis=1) for row in weights], axis=1)
    expected[4] = 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("images", "captions"), [(0, 3), (2, 0)])
@pytest.mark.parametrize("steps", [1, 2])
def test_nothing_scores_to_nothing(images, captions, steps) -> None:
    drawn = problem(images, 5, captions, 4, steps=steps)
    scores = Kernel(drawn.constants, variants()[0]).score(drawn.images, drawn.captions)
    assert scores.shape == (images, captions)


def test_an_image_without_regions_scores_nan_and_no_other_does() -> None:
    drawn = problem()
    mask = drawn.images["region_mask"].copy()
    mask[0] = False
    scores = Kernel(drawn.constants, variants()[0]).score({**drawn.images, "region_mask": mask}, drawn.captions)
    assert np.isnan(scores[0]).all()
    np.testing.assert_allclose(scores[1], drawn.expected[1].sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", variants())
@pytest.mark.parametrize("name", ["image_regions", "image_gate_term", "image_attended_gate_term"])
def test_a_nan_in_an_image_reaches_its_scores_and_no_other(variant, name) -> None:
    drawn = problem()
    damaged = drawn.images[name].copy()
    damaged[0, 3, 5] = np.nan
    scores = Kernel(drawn.constants, variant).score({**drawn.images, name: damaged}, drawn.captions)
    assert np.isnan(scores[0]).all()
    np.testing.assert_allclose(scores[1], drawn.expected[1].sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "name", "change", "message"),
    [
        ("images", "image_regions", lambda a: a.astype(np.float64), "image_regions has type float64, not float32"),
        ("images", "image_regions", lambda a: a[0], "image_regions has shape 5 x 8, not any x any x any"),
        ("images", "region_mask", lambda a: a[:, :4], "region_mask has shape 2 x 4, not 2 x 5"),
        ("images", "image_gate_term", lambda a: a[:, ::-1], "image_gate_term is not contiguous"),
        ("captions", "caption_queries", lambda a: a[..., :4], "caption_queries has shape 3 x 4 x 4, not 3 x 4 x 8"),
        ("captions", "word_mask", lambda a: a.astype(np.uint8), "word_mask has type uint8, not bool"),
    ],
)
def test_wrong_arrays_are_refused_by_name(side, name, change, message) -> None:
    drawn = problem()
    arrays = {"images": drawn.images, "captions": drawn.captions}
    arrays[side] = {**arrays[side], name: change(arrays[side][name])}
    kernel = Kernel(drawn.constants, variants()[0])
    with pytest.raises(ValueError, match=message):
        kernel.score(arrays["images"], arrays["captions"])
    del arrays[side][name]
    with pytest.raises(ValueError, match=f"there is no array {name}"):
        kernel.score(arrays["images"], arrays["captions"])


def test_numbers_out_of_range_are_refused() -> None:
    drawn = problem(steps=1)
    kernel = Kernel(drawn.constants, variants()[0])
    local = (drawn.images["image_regions"], None, drawn.images["region_mask"])
    with pytest.raises(ValueError, match="rows has numbers from 0 to 2, not within 0 to 1"):
        kernel.local_scores(*local, np.array([0, 2]), drawn.captions)
    vectors, scales, queries = np.ones((2, 8), np.int8), np.ones(2, np.float32), np.ones((1, 8), np.float32)
    with pytest.raises(ValueError, match="scales has 2 images in other pieces than the 2 beside them"):
        kernel.scan(Pieces([vectors]), Pieces([scales[:1], scales[1:]]), queries)
    with pytest.raises(ValueError, match="pieces of int8 \\(4,\\) and int8 \\(8,\\) do not fit"):
        Pieces([vectors, vectors[:, :4]])
    with pytest.raises(ValueError, match="not contiguous"):
        Pieces([vectors.T])


def test_the_environment_chooses_the_variant(monkeypatch) -> None:
    monkeypatch.delenv("SHAN_KERNEL", raising=False)
    assert load_kernel(STEP_1).variant == variants()[0]
    monkeypatch.setenv("SHAN_KERNEL", "baseline")
    assert load_kernel(STEP_1).variant == "baseline"
    monkeypatch.setenv("SHAN_KERNEL", "off")
    assert load_kernel(STEP_1) is None
    monkeypatch.setenv("SHAN_KERNEL", "fastest")
    with pytest.raises(BackendError, match=r"SHAN_KERNEL=fastest names no variant .* baseline, off, or unset it"):
        load_kernel(STEP_1)


@pytest.mark.parametrize("variant", variants())
def test_the_kernel_takes_a_thousand_regions(variant):
    drawn = problem(2, 1024, 2, 9, 16, steps=3, direction="full", temperature=9.0, kept=0.8, seed=0)
    found = Kernel(drawn.constants, variant, threads=1).step_scores(drawn.images, drawn.captions)
    np.testing.assert_allclose(found, drawn.expected, atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 4},
        {"steps": 2.0},
        {"steps": 2**63},
        {"temperature": float("inf")},
        {"word_weight": float("nan")},
        {"region_weight": "1"},
        {"text_pool": np.zeros((2, 3), np.float32)},
        {"image_pool": np.zeros(3)},
        {"image_pool": np.full(3, np.inf, np.float32)},
        {"image_gate": np.zeros((3, 2), np.float32)},
    ],
)
def test_constants_that_no_model_has_are_refused(wrong: dict[str, object]) -> None:
    """The C code would read and write beyond its memory."""
    pool = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ShanConstants(**{"image_pool": pool, "text_pool": pool, **RIGHT, **wrong})
