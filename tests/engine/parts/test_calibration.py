"""Probabilities of hits: a formula over the parts of a score, the same for a photo in every gallery."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from in_process import shan
from part_bundle import add_parts, add_querybank, make_seen_store, sign_files
from shan_engine.base.errors import BundleError, InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.engine import Engine
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.scoring.scorer import Scorer
from tiny import CAPTIONS, WORDS

WEIGHTS = {"bias": -0.4, "steps": 1.5, "global": -2.0, "classes": 3.0, "hubness": -1.1}
IMAGES = 60


@pytest.fixture(scope="module")
def folder(bundle_path, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    add_querybank(add_parts(Path(shutil.copytree(bundle_path, folder / "bundle"))), WORDS[:8], 9.0, 0.7)
    shutil.copytree(folder / "bundle", folder / "uncalibrated")
    sign_files(folder / "bundle", calibration=WEIGHTS)
    for name, count in (("whole", IMAGES), ("part", 20)):
        with make_seen_store(folder / f"{name}.store", range(count)) as store:
            index_store(store, scorer_of(folder / "bundle"), folder / name)
    return folder


def scorer_of(bundle: Path) -> Scorer:
    return Scorer(Bundle.open(bundle), "cpu", threads=1)


@pytest.fixture(scope="module")
def engine(folder) -> Engine:
    return opened(folder)


def opened(folder, name="whole", bundle="bundle") -> Engine:
    scorer = scorer_of(folder / bundle)
    return Engine(scorer, Gallery.open(folder / name, scorer.bundle))


@pytest.mark.parametrize("normalise", [True, False])
def test_a_probability_is_the_logistic_of_weighted_parts(engine, normalise):
    normalised = engine.search(CAPTIONS[0], top_k=IMAGES)
    hubness = {hit.image.id: hit.hubness / 0.7 for hit in normalised}
    for hit in engine.search(CAPTIONS[0], top_k=IMAGES, normalise=normalise):
        *steps, vector, classes = hit.step_scores
        logit = WEIGHTS["bias"] + WEIGHTS["steps"] * sum(steps) + WEIGHTS["global"] * vector
        logit += WEIGHTS["classes"] * classes + WEIGHTS["hubness"] * hubness[hit.image.id]
        assert hit.probability == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_it_depends_neither_on_the_gallery_nor_on_explanations(folder, engine):
    whole = {hit.image.id: hit.probability for hit in engine.search(CAPTIONS[1], top_k=IMAGES, explain=False)}
    part = opened(folder, "part").search(CAPTIONS[1], top_k=IMAGES)
    assert len(part) == 20
    for hit in part:
        assert hit.probability == pytest.approx(whole[hit.image.id], abs=1e-6)


def test_a_threshold_keeps_the_hits_above_it_and_tells_the_best(engine):
    everything = engine.search(CAPTIONS[0], top_k=IMAGES)
    middle = float(np.median([hit.probability for hit in everything]))
    kept = engine.search(CAPTIONS[0], top_k=IMAGES, threshold=middle)
    expected = [hit.image.id for hit in everything if hit.probability >= middle]
    assert [hit.image.id for hit in kept] == expected
    assert [hit.rank for hit in kept] == list(range(1, len(expected) + 1))
    assert len(expected) < IMAGES
    none = engine.search(CAPTIONS[0], top_k=IMAGES, threshold=1.0)
    assert not none.hits
    assert none.best_probability == max(hit.probability for hit in everything)


def test_only_a_single_phrase_has_a_probability(engine):
    hits = engine.search(CAPTIONS[0], without=WORDS[3])
    assert hits.best_probability is None
    assert {hit.probability for hit in hits} == {None}
    with pytest.raises(InputError, match="only hits of a single phrase"):
        engine.search(CAPTIONS[0], also=WORDS[3], threshold=0.5)


def test_without_a_calibration_there_is_no_probability_and_a_threshold_is_refused(folder):
    engine = opened(folder, "part", "uncalibrated")
    found = engine.search(CAPTIONS[0])
    assert found.hits[0].probability is None
    assert not found.nothing_fits
    with pytest.raises(InputError, match="hits have no probability"):
        engine.search(CAPTIONS[0], threshold=0.5)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_probability(engine, threshold):
    with pytest.raises(InputError, match="from 0 to 1"):
        engine.search(CAPTIONS[0], threshold=threshold)


def test_a_calibration_of_an_unknown_part_is_refused(folder, tmp_path):
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    sign_files(tmp_path / "bundle", calibration={"bias": 0.0, "smell": 1.0})
    with pytest.raises(BundleError, match="calibration"):
        Bundle.open(tmp_path / "bundle")


def test_the_command_says_that_nothing_fits(folder, tmp_path):
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    sign_files(tmp_path / "bundle", calibration={"bias": -2.0})
    asked = ["search", CAPTIONS[0], "--gallery", str(folder / "part"), "--model", str(tmp_path / "bundle")]
    done = shan(*asked, "--json")
    assert f"{CAPTIONS[0]}: nothing seems to show this: the best guess has a probability of 0.12" in done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["best_probability"] == pytest.approx(1 / (1 + np.exp(2)))
    assert answer["hits"][0]["probability"] == pytest.approx(1 / (1 + np.exp(2)))
    table = shan(*asked, "--threshold", "0.1")
    assert "nothing seems" not in table.stderr
    assert "probability" in table.stdout
    none = shan(*asked, "--threshold", "0.2", "--json")
    assert json.loads(none.stdout)[0]["hits"] == []
    assert "probability of 0.12" in none.stderr


def test_words_that_no_photo_taught_are_told(folder, tmp_path):
    shutil.copytree(folder / "bundle", tmp_path / "bundle")
    tokenizer = Bundle.open(folder / "bundle").tokenizer
    learnt = np.ones(len(tokenizer), np.bool_)
    reading = tokenizer.read(f"a {WORDS[0]} {WORDS[1]}", 20)
    (word,) = [word for word in reading.words if word.text == WORDS[1]]
    learnt[[reading.tokens[place] for place in word.tokens]] = False
    np.savez(tmp_path / "bundle" / "learnt.npz", tokens=np.packbits(learnt))
    sign_files(tmp_path / "bundle")
    hits = opened(folder, "part", tmp_path / "bundle").search(f"a {WORDS[0]} {WORDS[1]}")
    assert hits.unlearnt == (WORDS[1],)
    assert opened(folder, "part").search(f"a {WORDS[0]} {WORDS[1]}").unlearnt == ()
