"""The torch back end on CPU: its kernels in Triton's interpreter against the plain module, the rest as it is.

What only a GPU can show (speed, streams, what the compiler makes of the kernels) is `make gpu-check`'s.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_problem import Problem, problem
from shan_engine.backends.torch_cuda import device_gallery, pair_scores
from shan_engine.backends.torch_cuda.device_gallery import DeviceGallery
from shan_engine.backends.torch_cuda.pair_scores import Tiles, choose_tiles
from shan_engine.backends.torch_cuda.ranking import merge_best, read_best
from shan_engine.backends.torch_cuda.several import SplitGallery
from shan_engine.base.errors import BackendError, BundleError

CPU = torch.device("cpu")


class Held:
    """A problem's images as `upload.Images`, at most `most` at a time; with `hubness`, one number each."""

    def __init__(
        self, drawn: Problem, dtype: str = "float32", most: int = 100, hubness: np.ndarray | None = None
    ) -> None:
        self.normalised, self._hubness = hubness is not None, hubness
        self._regions, self._mask, self._most = drawn.images["image_regions"], drawn.images["region_mask"], most
        self.regions, self.dim = self._regions.shape[1:]
        self.dtype = np.dtype(dtype)
        self.reads: list[int] = []

    def __len__(self) -> int:
        return len(self._regions)

    def read(self, start: int, most: int) -> dict[str, np.ndarray]:
        rows = slice(start, start + min(most, self._most))
        regions, mask = self._regions[rows], self._mask[rows]
        self.reads.append(len(mask))
        other = {"mask": mask} if self._hubness is None else {"mask": mask, "hubness": self._hubness[rows]}
        if self.dtype != np.int8:
            return {"regions": regions.astype(self.dtype), **other}
        scales = np.abs(regions).max(-1) / np.float32(127)
        return {"regions": np.rint(regions / scales[..., None]).astype(np.int8), "scales": scales, **other}


def scores_of(drawn: Problem, **options) -> np.ndarray:
    """B x C, by the back end."""
    held = DeviceGallery(Held(drawn), drawn.constants, CPU, **options)
    return np.concatenate([scores for _, _, scores in held.scores([drawn.captions])])


def tiles_of(kernel: str, regions: int, words: int, dim: int) -> Tiles:
    whole, dims = pair_scores._power(regions), pair_scores._power(dim) if kernel == "rows" else 32
    return Tiles(kernel, whole, 16, pair_scores._power(words), dims, 4, 1)


SHAPES = [  # images, regions, captions, words, D
    (2, 5, 3, 4, 8),
    (1, 36, 2, 13, 40),
    (1, 16, 1, 16, 32),
    (1, 50, 1, 20, 100),
    (1, 1, 1, 1, 1),
    (1, 100, 1, 33, 72),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", ["rows", "chunks"])
def test_both_kernels_give_the_plain_modules_scores(shape, kernel, monkeypatch) -> None:
    drawn = problem(*shape, kept=0.6)
    monkeypatch.setattr(pair_scores, "choose_tiles", lambda K, n, D, dtype, steps: tiles_of(kernel, K, n, D))
    np.testing.assert_allclose(scores_of(drawn), drawn.expected.sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kernel", "steps"), [("rows", 2), ("rows", 3), ("chunks", 1), ("chunks", 2), ("chunks", 3)])
@pytest.mark.parametrize("direction", ["full", "i2t", "t2i"])
def test_steps_directions_and_temperatures(kernel, steps, direction, monkeypatch) -> None:
    temperature = 4.0 if steps == 2 else 9.0
    drawn = problem(2, 21, 1, 7, 24, steps=steps, direction=direction, temperature=temperature, kept=0.7)
    monkeypatch.setattr(pair_scores, "choose_tiles", lambda K, n, D, dtype, steps: tiles_of(kernel, K, n, D))
    np.testing.assert_allclose(scores_of(drawn), drawn.expected.sum(-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", ["rows", "chunks"])
def test_half_precision_ranks_as_float32_does(kernel, monkeypatch) -> None:
    drawn = problem(12, 12, 2, 9, 40)
    monkeypatch.setattr(pair_scores, "choose_tiles", lambda K, n, D, dtype, steps: tiles_of(kernel, K, n, D))
    found, exact = scores_of(drawn, dtype=torch.float16), drawn.expected.sum(-1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=4e-3)
    assert np.abs(found - exact).max() > 1e-6  # it is another precision
    for column in range(2):
        # Neighbours in the ranking may change places only where they are as close as the error.
        ranked = exact[np.argsort(-found[:, column]), column]
        assert (np.diff(ranked) < 4e-3).all()


@pytest.mark.parametrize("kernel", ["rows", "chunks"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # as it should be
def test_an_image_without_regions_and_one_with_a_nan_score_nan_alone(kernel, monkeypatch) -> None:
    drawn = problem(4, 20, 1, 5, 16)
    drawn.images["region_mask"][1] = False
    drawn.images["image_regions"][2, 3, 4] = np.nan
    monkeypatch.setattr(pair_scores, "choose_tiles", lambda K, n, D, dtype, steps: tiles_of(kernel, K, n, D))
    found = scores_of(drawn)[:, 0]
    np.testing.assert_array_equal(np.isnan(found), [False, True, True, False])
    np.testing.assert_allclose(found[[0, 3]], drawn.expected.sum(-1)[[0, 3], 0], rtol=0, atol=1e-5)


def test_every_shape_has_tiles_that_hold_it() -> None:
    for K in (1, 36, 64, 65, 128):
        for n in (1, 17, 33, 128):
            for D in (1, 256, 300, 1024):
                for dtype in (torch.float32, torch.float16):
                    tiles = choose_tiles(K, n, D, dtype, 3)
                    assert tiles.words >= n
                    assert tiles.regions >= K
                    assert tiles.dims >= D or tiles.kernel == "chunks"
    with pytest.raises(BackendError, match=r"129 regions with 3 words: .* at most 128 of each, use --device cpu"):
        choose_tiles(129, 3, 256, torch.float16, 3)


LEVELS = {"terms": 10**6, "regions": 12_000, "streamed": 4_500}


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("stored", ["float32", "float16", "int8"])
@pytest.mark.parametrize("level", LEVELS)
def test_what_does_not_fit_is_streamed_and_ranks_the_same(level, stored, normalised) -> None:
    drawn = problem(9, 6, 3, 5, 16)
    hubness = np.linspace(2, 0, 9, dtype=np.float32)[[4, 0, 8, 2, 6, 1, 3, 7, 5]] if normalised else None
    # An image's regions take 6 x 17 x 4 bytes as float32, about half of it otherwise.
    budget = LEVELS[level] * (2 if stored == "float32" else 1) // 2
    images = Held(drawn, stored, 4, hubness)
    held = DeviceGallery(images, drawn.constants, CPU, budget=budget)
    assert held.level == level
    images.reads.clear()
    first = {name: array[:2] for name, array in drawn.captions.items()}
    last = {name: array[2:] for name, array in drawn.captions.items()}
    found = held.top_k([first, last], 4)
    assert sum(images.reads) == (9 if level == "streamed" else 0)
    expected = drawn.expected.sum(-1).T - (0 if hubness is None else hubness)
    tolerance = {"float32": 1e-5, "float16": 3e-3, "int8": 6e-2}[stored]
    for (scores, places), exact in zip(found, (expected[:2], expected[2:]), strict=True):
        np.testing.assert_allclose(scores, np.take_along_axis(exact, places, 1), rtol=0, atol=tolerance)
        np.testing.assert_allclose(scores, -np.sort(-exact, axis=1)[:, :4], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("level", "sizes"), [("streamed", [11, 6, 3, 3, 3, 2]), ("terms", [11, 5, 2, 3, 6, 3, 3])], ids=str
)
def test_where_memory_is_short_a_block_is_halved_and_nothing_is_lost(level, sizes, monkeypatch) -> None:
    drawn = problem(11, 4, 2, 3, 8)
    held = DeviceGallery(Held(drawn), drawn.constants, CPU)
    if level == "streamed":
        held._resident, held.level = [], "streamed"
    tried = []

    def short(terms, *others):
        tried.append(len(terms.regions))
        if len(terms.regions) > 3:
            raise torch.OutOfMemoryError("no room")
        return pair_scores.score_pairs(terms, *others)

    monkeypatch.setattr(device_gallery, "score_pairs", short)
    ((scores, places),) = held.top_k([drawn.captions], 11)
    assert tried == sizes
    for row in range(2):
        assert sorted(places[row]) == list(range(11))
        np.testing.assert_allclose(scores[row], drawn.expected.sum(-1)[places[row], row], rtol=0, atol=1e-5)
    monkeypatch.setattr(device_gallery, "score_pairs", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(BackendError, match=r"too little free memory for a single image: .* or use --device cpu"):
        held.top_k([drawn.captions], 1)


def test_a_gallery_that_turns_out_too_large_is_streamed(monkeypatch) -> None:
    drawn = problem(5, 4, 1, 3, 8)
    monkeypatch.setattr(
        DeviceGallery, "_completed", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("no room"))
    )
    held = DeviceGallery(Held(drawn), drawn.constants, CPU)
    assert (held.level, held._resident) == ("streamed", [])
    monkeypatch.undo()
    ((scores, _),) = held.top_k([drawn.captions], 1)
    assert scores[0, 0] == pytest.approx(drawn.expected.sum(-1).max(), abs=1e-5)


@pytest.mark.parametrize("devices", [2, 9])
def test_several_devices_give_what_one_does(devices) -> None:
    drawn = problem(6, 4, 2, 3, 8)
    for array in drawn.images.values():  # ties across devices
        array[5] = array[1]
    one = DeviceGallery(Held(drawn), drawn.constants, CPU)
    several = SplitGallery(Held(drawn), drawn.constants, [CPU] * devices)
    for alone, together in zip(one.top_k([drawn.captions], 5)[0], several.top_k([drawn.captions], 5)[0], strict=True):
        np.testing.assert_array_equal(alone, together)
    parts = list(several.scores([drawn.captions]))
    np.testing.assert_array_equal(
        np.concatenate([scores for _, _, scores in parts]), next(one.scores([drawn.captions]))[2]
    )
    assert [place for _, columns, _ in parts for place in range(columns.start, columns.stop)] == list(range(6))


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, -0.0, 1.5, -1.5, 2.0, -np.inf, np.inf]), min_size=1, max_size=9), max_size=4
    ),
    st.integers(1, 12),
)
@settings(max_examples=60)
def test_the_best_are_those_of_a_stable_sort(blocks, k) -> None:
    scores = np.array([number for block in blocks for number in block] or [0.0], np.float32)
    best, start = None, 0
    for block in blocks or [[0.0]]:
        best = merge_best(best, torch.tensor([block], dtype=torch.float32), start, k)
        start += len(block)
    found, places = read_best(best)
    order = np.argsort(-scores, kind="stable")[:k]
    np.testing.assert_array_equal(places[0].numpy(), order)
    np.testing.assert_array_equal(found[0].numpy(), scores[order])


def test_a_nan_is_never_lost() -> None:
    scores = torch.tensor([[1.0, torch.inf, torch.nan, -torch.nan]])
    found, places = read_best(merge_best(None, scores, 0, 3))
    assert places[0].tolist() == [2, 3, 1]
    assert found[0].isnan().tolist() == [True, True, False]


def test_a_bundle_without_the_gates_weights_is_refused() -> None:
    drawn = problem()
    old = dataclasses.replace(drawn.constants, image_gate=None, image_gate_bias=None, image_attended_gate=None)
    with pytest.raises(BundleError, match="lacks the gates' weights: export its checkpoint again to use a GPU"):
        DeviceGallery(Held(drawn), old, CPU)
    bare = problem(steps=1)
    alone = dataclasses.replace(bare.constants, image_gate=None, image_pool=None, text_pool=None)
    held = DeviceGallery(Held(bare), alone, CPU)
    ((scores, _),) = held.top_k([bare.captions], 1)
    np.testing.assert_allclose(scores[:, 0], bare.expected.sum(-1).max(0), rtol=0, atol=1e-5)


def test_tensors_that_a_kernel_cannot_read_are_refused() -> None:
    drawn = problem()
    held = DeviceGallery(Held(drawn), drawn.constants, CPU)
    ((_, terms),) = held._resident
    captions = held._captions(drawn.captions)
    out = torch.empty((3, 2))
    with pytest.raises(ValueError, match="a term is missing, not contiguous"):
        pair_scores.score_pairs(dataclasses.replace(terms, own=None), captions, held._pools, drawn.constants, out)
    with pytest.raises(ValueError, match=r"out is \(2, 3\), not a contiguous 3 x 2"):
        pair_scores.score_pairs(terms, captions, held._pools, drawn.constants, out.T)
    with pytest.raises(ValueError, match="captions need the arrays caption_words and caption_queries, not word_mask"):
        held.top_k([{"word_mask": drawn.captions["word_mask"]}], 1)


def test_a_gpu_too_small_for_the_tiles_is_a_sentence(monkeypatch) -> None:
    from triton.runtime.errors import OutOfResources

    class Small:
        def __getitem__(self, grid):
            return lambda *_, **__: (_ for _ in ()).throw(OutOfResources(200_000, 100_000, "shared memory"))

    monkeypatch.setattr(pair_scores.pair_kernels, "score_in_chunks", Small())
    drawn = problem(steps=1)
    with pytest.raises(
        BackendError, match=r"too small for 5 regions with 4 words in torch\.float32: index the gallery"
    ):
        scores_of(drawn)
