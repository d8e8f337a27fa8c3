"""`shan-engine models`: the choice, and what was measured."""

from __future__ import annotations

import json

import pytest
import shan_model.listing
import torch
from in_process import output_of
from shan_model.registry import MODELS, new_model

OVER_WORD_VECTORS = [name for name, held in MODELS.items() if "word vectors" in held.model.text_sources]
SIZES = {"feature_dim": 6, "vocab_size": 9, "embed_dim": 8, "word_vector_dim": 4, "embedding_dim": 4}
ROW = {
    "settings": "--model esa",
    "recall": {
        **{f"{side}_retrieval_r{k}": 10.0 + k for side in ("text", "image") for k in (1, 5, 10)},
        "rsum": 92.0,
        "intervals_95": {"rsum": [90.5, 94.0]},
    },
    "bytes_a_photo": 1234,
    "ms_a_query": 5.5,
    "pairs_per_second": 67890,
}


@pytest.fixture
def measured(monkeypatch):
    report = {"protocol": "One epoch.", "rows": {"one": ROW, "other": {"settings": "--model chan", "ms_a_query": 2}}}
    monkeypatch.setattr(shan_model.listing, "measured_models", lambda: report)
    return report


def test_the_choice_is_the_registry(measured):
    found = json.loads(output_of("models", "--json"))
    assert found["measured"] == measured
    listed = {model["name"]: model for model in found["models"]}
    assert list(listed) == list(MODELS)
    assert all(model["summary"] for model in listed.values())
    assert {name for name, model in listed.items() if not model["trained"]} == {
        name for name in MODELS if name.endswith("-bert")
    }


@pytest.mark.parametrize("name", OVER_WORD_VECTORS)
def test_a_listed_model_explains_if_its_score_tells_regions(name):
    model = new_model(name, {}, **SIZES).eval()
    with torch.no_grad():
        image = model.encode_images(torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool))
        caption = model.encode_captions(torch.full((2, 4), 5), torch.tensor([4, 2]))
        told = model.score_grid(image, caption).word_attention is not None
    listed = next(one for one in shan_model.listing.listed_models() if one.name == name)
    assert (listed.explained, listed.held) == (told, "one vector" if image.keys() == {"image_vector"} else "regions")


def test_rows_have_what_was_measured_of_them(measured):
    lines = output_of("models").splitlines()
    one = next(line.split() for line in lines if line.split()[:1] == ["one"])
    assert " ".join(one) == "one --model esa 11.0/15.0/20.0 11.0/15.0/20.0 92.0 (90.5 to 94.0) 1,234 5.5 67,890"
    other = next(line.split() for line in lines if line.split()[:1] == ["other"])
    assert other == ["other", "--model", "chan", "2"]
    assert any(line.startswith("One epoch.") for line in lines)
