"""Every baseline becomes a bundle of the same contract, and the engine serves it without knowing its name."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet
import pytest
import torch
from gallery_scores import by_id
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.jobs.options import JobOptions
from shan_engine.jobs.run import score_job
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.text.query_files import numbered
from shan_engine.text.vocabulary import Vocabulary
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.registry import new_model
from tiny import CAPTIONS, EXTRACTOR, FEATURES, WORDS, make_record, make_store

VARIANTS = [
    ("vse", {}),
    ("tern", {"layers": 2}),
    ("scan", {"direction": "t2i", "pooling": "lse"}),
    ("scan", {"direction": "i2t", "pooling": "mean"}),
    pytest.param("mlasm", {"whole_dim": 4}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=lambda part: str(part))
def test_a_baseline_is_exported_indexed_and_searched(exported, tmp_path, name, options):
    torch.manual_seed(0)
    vocabulary = Vocabulary.build(WORDS)
    sizes = {"vocab_size": len(vocabulary), "embed_dim": 16, "word_vector_dim": 6, "embedding_dim": 4}
    model = new_model(name, options, feature_dim=FEATURES, **sizes)
    torch.nn.init.normal_(model.text_encoder.word_vectors.weight)
    if name == "tern":
        torch.nn.init.normal_(model.image_pool.token)
    save_checkpoint(model, vocabulary, tmp_path / "checkpoint")
    assert load_checkpoint(tmp_path / "checkpoint")[0].config == model.config
    manifest = exported(tmp_path / "checkpoint", tmp_path / "bundle", feature_extractor_name=EXTRACTOR)
    assert manifest.parity < 1e-5
    assert manifest.model["model"] == name

    scorer = Scorer(Bundle.open(tmp_path / "bundle"), "cpu", threads=1)
    with make_store(tmp_path / "store", range(14)) as store:
        index_store(store, scorer, tmp_path / "gallery")
    gallery = Gallery.open(tmp_path / "gallery", scorer.bundle)
    found = by_id(scorer, gallery, tmp_path)
    for number in (0, 1, 13):
        features = torch.from_numpy(make_record(number).features)[None]
        for row, caption in enumerate(CAPTIONS):
            tokens = torch.tensor([scorer.encoders.tokens(caption)])
            with torch.no_grad():
                mask = torch.ones(features.shape[:2], dtype=torch.bool)
                expected = model.eval()(features, mask, tokens, torch.tensor([tokens.shape[1]])).item()
            assert found[f"photo{number}"][row] == pytest.approx(expected, abs=1e-5)
    hits = search(scorer, gallery, [CAPTIONS[0]], top_k=3)[0].hits
    best = sorted(found, key=lambda id: -found[id][0])[:3]
    assert [hit.image.id for hit in hits] == best
    attends = name == "mlasm" or options.get("direction") == "t2i"
    assert [bool(hit.words) for hit in hits] == [attends] * 3
    assert all(np.isclose(hit.step_scores, [hit.score]).all() for hit in hits)
    score_job(scorer, [gallery], numbered(CAPTIONS[:1]), tmp_path / "best.parquet", options=JobOptions(top_k=3))
    table = pyarrow.parquet.read_table(tmp_path / "best.parquet")
    assert table.column_names == ["query_id", "query", "rank", "image_id", "score"]  # a single step needs no columns
    assert table["image_id"].to_pylist() == best
