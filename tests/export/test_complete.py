"""A querybank, a calibration and the learnt tokens join a bundle that is there already."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from part_bundle import add_parts, sign_files
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_export.complete import add_calibration, add_querybank, main
from tiny import WORDS

WEIGHTS = {"bias": -1.0, "steps": 0.5, "global": 0.5, "classes": 0.5, "hubness": -0.5}


@pytest.fixture
def bundle(bundle_path, tmp_path) -> Path:
    return add_parts(Path(shutil.copytree(bundle_path, tmp_path / "bundle")))


def test_everything_joins_a_bundle(bundle, tmp_path):
    (tmp_path / "bank.txt").write_text("a dog\na red hat\n")
    (tmp_path / "captions.tsv").write_text(f"split\timage\tcaption\ntrain\t1\t{WORDS[1]} {WORDS[2]}\n")
    (tmp_path / "weights.json").write_text(json.dumps(WEIGHTS))
    (bundle / "classes.json").unlink()  # their names would be learnt too
    sign_files(bundle)
    given = ["--querybank", "bank.txt", "--weight", "0.5", "--learnt", "captions.tsv", "--calibration", "weights.json"]
    main([str(bundle), *(str(tmp_path / word) if "." in word and not word[0].isdigit() else word for word in given)])
    opened = Bundle.open(bundle)
    assert opened.querybank == ("a dog", "a red hat")
    assert opened.manifest.querybank == {"inverse_temperature": 20.0, "weight": 0.5}
    assert opened.manifest.calibration == WEIGHTS
    assert opened.learnt is not None
    known = [opened.tokenizer.encode(word).tokens[1] for word in WORDS[:4]]
    assert opened.learnt[known].tolist() == [False, True, True, False]


def test_only_what_galleries_store_changes_the_fingerprint(bundle):
    before = Bundle.open(bundle).manifest.fingerprint

    def with_bank(queries: list[str], beta: float, weight: float) -> str:
        add_querybank(bundle, queries, inverse_temperature=beta, weight=weight)
        return Bundle.open(bundle).manifest.fingerprint

    first = with_bank(["a dog"], 20.0, 1.0)
    assert first != before
    assert with_bank(["a dog"], 20.0, 0.3) == first
    second = with_bank(["a dog"], 10.0, 0.3)
    assert second != first
    assert with_bank(["a cat"], 10.0, 0.3) not in {first, second}


def test_a_wrong_calibration_leaves_the_bundle_as_it_was(bundle):
    manifest = (bundle / "manifest.json").read_bytes()
    with pytest.raises(InputError, match="unknown part"):
        add_calibration(bundle, {"bias": 0.0, "smell": 1.0})
    assert (bundle / "manifest.json").read_bytes() == manifest
