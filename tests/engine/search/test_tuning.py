"""How many images each stage sees, measured on queries and kept in a gallery."""

from __future__ import annotations

import json

import numpy as np
import pytest
from shan_engine.base.errors import GalleryError, InputError
from shan_engine.gallery.reader import Gallery
from shan_engine.kernel.library import variants
from shan_engine.search.answer import search
from shan_engine.search.measure import tune_gallery
from shan_engine.search.tuning import TARGETS, Tuning, choose_widths
from tiny import CAPTIONS

pytestmark = pytest.mark.skipif(not variants(), reason="the kernel is not built")


def test_tuning_meets_its_targets(scorer, copy, monkeypatch):
    monkeypatch.setattr("shan_engine.search.tuning.LEAST_STEP_1", 1)
    monkeypatch.setattr("shan_engine.search.tuning.LEAST_ALL_STEPS", 1)
    gallery = Gallery.open(copy / "gallery")
    seen: list[int] = []
    tuning = tune_gallery(scorer, gallery, CAPTIONS, on_pairs=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 2 * len(gallery) * len(CAPTIONS)
    assert tuning == Tuning.load(copy / "gallery")
    exact = [{hit.image.id for hit in found.hits} for found in search(scorer, gallery, CAPTIONS, exhaustive=True)]
    widths = []
    for target in TARGETS:
        steps = search(scorer, gallery, CAPTIONS, recall_target=target)
        widths.append(steps[0].stages.step_1)
        shares = [len({h.image.id for h in found.hits} & held) / 10 for found, held in zip(steps, exact, strict=True)]
        assert np.mean(shares) >= target
    assert widths == sorted(widths)
    assert widths[0] < len(gallery)


@pytest.mark.parametrize("target", [0.0, -1.0, 1.01, float("nan")])
def test_a_target_that_is_no_share_is_refused(scorer, staged, target):
    with pytest.raises(InputError, match="give a share of the hits"):
        search(scorer, Gallery.open(staged / "gallery"), ["a dog"], recall_target=target)


SOUND_TUNING = {
    "first_pass": "pooled",
    "images": 24,
    "queries": 3,
    "top_k": 10,
    "step_1": [0.5] * 7,
    "all_steps": [10] * 7,
}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"images": 5}',
        *(
            json.dumps({**SOUND_TUNING, **change})
            for change in (
                {"top_k": 0},
                {"top_k": -1},
                {"images": True},
                {"step_1": [0.5] * 6},
                {"step_1": [1e308] * 7},
                {"step_1": [10**400] * 7},
                {"step_1": [float("nan")] * 7},
                {"all_steps": [10**400] * 7},
                {"all_steps": [0] * 7},
                {"more": 1},
            )
        ),
    ],
)
def test_a_damaged_tuning_is_named(copy, content):
    assert choose_widths(copy / "gallery", 10**6, 10, 0.99).step_1 < 10**6
    (copy / "gallery" / "tuning.json").write_text(content)
    with pytest.raises(GalleryError, match=r"tuning\.json is damaged"):
        choose_widths(copy / "gallery", 10**6, 10, 0.99)


def test_more_images_reach_all_steps_in_a_larger_gallery(tmp_path):
    small, large = (choose_widths(tmp_path, images, 10, 0.99) for images in (8_000, 1_000_000))
    assert small.all_steps < large.all_steps < large.step_1
    of_one_step = choose_widths(tmp_path, 1_000_000, 10, 0.99, steps=1)
    assert (of_one_step.step_1, of_one_step.all_steps) == (large.step_1, 50)  # scores after step 1 are the exact ones
    measured = Tuning(**{**SOUND_TUNING, "images": 8_000, "all_steps": (90,) * 7, "step_1": (0.5,) * 7})
    measured.save(tmp_path)
    assert choose_widths(tmp_path, 8_000, 10, 0.99).all_steps == 90
    assert choose_widths(tmp_path, 16_000, 10, 0.99).all_steps > 90
