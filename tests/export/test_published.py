"""Checkpoints of other authors' code: imported by the command, exported, indexed, searched, evaluated and scored."""

from __future__ import annotations

from functools import partial

import authors_scores
import layouts
import numpy as np
import pytest
import torch
from gallery_scores import by_id, matrix
from in_process import output_of
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.evaluation.evaluate import evaluate_split
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.store.records import pad_regions
from shan_engine.text.captions import CaptionTable
from shan_engine.text.tokenizer import pad
from shan_model.checkpoint import load_checkpoint
from tiny import CAPTIONS, EXTRACTOR, make_record, make_store

KINDS = {
    "scan-t2i": ("scan", {}),
    "scan-i2t-one-direction": ("scan", {"cross_attn": "i2t", "agg_func": "Mean", "lambda_softmax": 4.0, "both": False}),
    "vse_infty": ("vse_infty", {}),
    "esa": ("esa", {}),
    "sgr": ("sgraf", {"steps": 3}),
    "saf": ("sgraf", {}),
    "chan": ("chan", {}),
    "chan-basic": ("chan", {"attention": False, "pooling_type": "MeanPooling"}),
}


BERT = {"tern": ("tern", {}), **{f"{kind}-bert": (kind, {"bert": True}) for kind in ("vse_infty", "esa", "chan")}}
KINDS |= BERT
EXPORTED = ("vse_infty", "tern")  # not slow; the others differ from these by a layer


def imported(folder, name):
    """The folder of the checkpoint, and a plain function of features and tokens that scores a pair."""
    kind, options = KINDS[name]
    states, settings = getattr(layouts, kind)(**options)
    file = layouts.write(folder / "model_best.pth.tar", states, settings)
    bert = name in BERT
    vocab = layouts.write_pieces(folder / "vocab.txt") if bert else layouts.write_vocabulary(folder / "words.json")
    output_of("import-checkpoint", file, "--kind", kind, "--vocab", vocab, "--output", folder / "checkpoint")
    return folder / "checkpoint", partial(authors_scores.score, getattr(authors_scores, kind), states, settings)


@pytest.mark.parametrize("name", KINDS)
def test_a_published_checkpoint_scores_as_its_authors_equations_do(tmp_path, name):
    checkpoint, plain = imported(tmp_path, name)
    model, tokenizer = load_checkpoint(checkpoint)
    tokens = [tokenizer.encode(caption).tokens for caption in CAPTIONS]
    records = [
        make_record(number) for number in range(1, 7)
    ]  # of 4 to 9 regions: an image is padded, and so is a caption
    with torch.no_grad():
        image = model.encode_images(*map(torch.from_numpy, pad_regions(records)))
        caption = model.encode_captions(*map(torch.from_numpy, pad(tokens)))
        found = model.score_grid(image, caption).scores.numpy()
    expected = np.array([[plain(record.features, row) for row in tokens] for record in records])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 0.05


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in EXPORTED else pytest.mark.slow) for n in KINDS])
def test_a_published_checkpoint_is_exported_indexed_searched_and_evaluated(exported, tmp_path, name):
    checkpoint, plain = imported(tmp_path, name)
    manifest = exported(checkpoint, tmp_path / "bundle", feature_extractor_name=EXTRACTOR)
    assert manifest.parity < 1e-5
    assert manifest.max_words == (layouts.POSITIONS if name in BERT else 128)

    scorer = Scorer(Bundle.open(tmp_path / "bundle"), "cpu", threads=1)
    numbers = range(1, 7)
    with make_store(tmp_path / "store", numbers) as store:
        index_store(store, scorer, tmp_path / "gallery")
    gallery = Gallery.open(tmp_path / "gallery", scorer.bundle)
    found = by_id(scorer, gallery, tmp_path)
    tokens = [scorer.encoders.tokens(caption) for caption in CAPTIONS]
    expected = {f"photo{n}": [plain(make_record(n).features, row) for row in tokens] for n in numbers}
    for id, scores in expected.items():
        np.testing.assert_allclose(found[id], scores, rtol=0, atol=1e-5, err_msg=id)

    best = sorted(expected, key=lambda id: -expected[id][0])
    hits = search(scorer, gallery, [CAPTIONS[0]], top_k=3)[0].hits
    assert [hit.image.id for hit in hits] == best[:3]
    pairs = list(zip(best, CAPTIONS, strict=False))
    table = CaptionTable(tmp_path, tuple(("test", id, caption) for id, caption in pairs))
    first = [id == max(best[: len(pairs)], key=lambda other: expected[other][row]) for row, (id, _) in enumerate(pairs)]
    measured = evaluate_split([(scorer, gallery)], table, "test").recall.image_retrieval[0]
    assert measured == pytest.approx(100 * np.mean(first))


@pytest.mark.slow
def test_sgraf_as_published_is_both_models_averaged(exported, tmp_path):
    members, matrices = [], []
    with make_store(tmp_path / "store", range(1, 9)) as store:
        for name in ("sgr", "saf"):
            (tmp_path / name).mkdir()
            checkpoint, _ = imported(tmp_path / name, name)
            exported(checkpoint, tmp_path / name / "bundle", feature_extractor_name=EXTRACTOR)
            scorer = Scorer(Bundle.open(tmp_path / name / "bundle"), "cpu", threads=1)
            index_store(store, scorer, tmp_path / name / "gallery")
            gallery = Gallery.open(tmp_path / name / "gallery", scorer.bundle)
            members.append((scorer, gallery))
            matrices.append(matrix(scorer, gallery, tmp_path / name))
    ids = gallery.ids()
    table = CaptionTable(tmp_path, tuple(("test", id, CAPTIONS[row % 5]) for row, id in enumerate(ids)))
    best = np.mean(matrices, axis=0).argmax(1)
    measured = evaluate_split(members, table, "test").recall.image_retrieval[0]
    assert measured == pytest.approx(100 * np.mean([best[row % 5] == row for row in range(len(ids))]))


def test_an_image_with_more_regions_than_sgraf_has_places_for_is_refused(exported, tmp_path):
    checkpoint, _ = imported(tmp_path, "sgr")
    exported(checkpoint, tmp_path / "bundle", feature_extractor_name=EXTRACTOR)
    scorer = Scorer(Bundle.open(tmp_path / "bundle"), "cpu", threads=1)
    with pytest.raises(InputError, match=r"an image has 37 regions, the model of the bundle .* takes at most 36"):
        scorer.encoders.image_array_shapes(37)
