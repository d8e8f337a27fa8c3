"""What `import-checkpoint` refuses: each time one sentence, and nothing is written."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import layouts
import pytest
import torch
from in_process import output_of, refusal, shan
from shan_engine.base.errors import InputError
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_model.checkpoint import load_checkpoint
from shan_model.registry import new_model


@pytest.fixture
def vocab(tmp_path):
    return layouts.write_vocabulary(tmp_path / "words.json")


@pytest.fixture
def refused(tmp_path, vocab):
    """The sentence with which a file is refused."""

    def sentence(file, kind="scan", vocab=vocab):
        said = refusal("import-checkpoint", file, "--kind", kind, "--vocab", vocab, "--output", tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return said

    return sentence


class Hostile:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_pickle_that_names_code_is_refused_and_not_run(tmp_path, refused):
    states, settings = layouts.scan()
    trap = tmp_path / "made by the pickle"
    file = layouts.write(tmp_path / "model.pth", states, {**settings, "logger": Hostile(trap)})
    said = refused(file)
    assert "mkdir, which a checkpoint does not need, so it is not read" in said
    assert not trap.exists()
    torch.load(file, weights_only=False)
    assert trap.exists()  # it was a trap


def test_files_that_are_no_checkpoints(tmp_path, refused):
    assert "there is no checkpoint" in refused(tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    assert "is damaged, or not a file of torch.save" in refused(tmp_path / "text.pth")
    whole = layouts.write(tmp_path / "whole.pth", *layouts.scan()).read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    assert "is damaged, or not a file of torch.save" in refused(tmp_path / "cut.pth")
    torch.save({"state": 1}, tmp_path / "other.pth")
    assert "has no 'model'" in refused(tmp_path / "other.pth")
    torch.save({"model": [1, 2]}, tmp_path / "numbers.pth")
    assert "is not one state dict, or a list of them" in refused(tmp_path / "numbers.pth")


def test_files_of_older_versions_of_pytorch(tmp_path, vocab):
    states, settings = layouts.scan()
    held = {"model": states, "opt": argparse.Namespace(**settings)}
    torch.save(held, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    arguments = ["import-checkpoint", tmp_path / "old.pth", "--kind", "scan", "--vocab", vocab]
    output_of(*arguments, "--output", tmp_path / "out")
    assert load_checkpoint(tmp_path / "out")[0].config.negative_slope == 0.1


def test_another_kind_is_named(tmp_path, refused):
    scan = layouts.write(tmp_path / "scan.pth", *layouts.scan())
    vse = layouts.write(tmp_path / "vse.pth", *layouts.vse_infty())
    assert refused(scan, "vse_infty").endswith("is not a checkpoint of the kind vse_infty: pass --kind scan")
    assert refused(vse, "scan").endswith("is not a checkpoint of the kind scan: pass --kind vse_infty")


def test_every_tensor_counts(tmp_path, refused):
    (image, text), settings = layouts.scan()
    more = layouts.write(tmp_path / "more.pth", [image | {"gate.weight": torch.ones(2)}, text], settings)
    assert "has an unknown tensor model[0].gate.weight: give --kind" in refused(more)
    less = {name: tensor for name, tensor in text.items() if name != "rnn.bias_hh_l0_reverse"}
    assert "has no tensor model[1].rnn.bias_hh_l0_reverse" in refused(
        layouts.write(tmp_path / "less.pth", [image, less], settings)
    )
    other = text | {"rnn.weight_ih_l0": torch.ones(48, 5)}
    assert "model[1].rnn.weight_ih_l0 has shape [48, 5], not [48, 6]" in refused(
        layouts.write(tmp_path / "other.pth", [image, other], settings)
    )
    spoilt = image | {"fc.bias": torch.full((16,), torch.nan)}
    assert "model[0].fc.bias has NaN or infinite values" in refused(
        layouts.write(tmp_path / "nan.pth", [spoilt, text], settings)
    )


def test_settings_that_change_the_score(tmp_path, refused):
    for name, value, wanted in (
        ("agg_func", "Max", "agg_func Max: only LogSumExp or Mean"),
        ("raw_feature_norm", "softmax", "raw_feature_norm softmax: only clipped_l2norm"),
        ("no_txtnorm", True, "no_txtnorm True: only False"),
        ("num_layers", 2, "num_layers 2: only 1"),
    ):
        file = layouts.write(tmp_path / f"{name}.pth", *layouts.scan(**{name: value}))
        assert f"was trained with {wanted} can be imported" in refused(file)
    states, settings = layouts.scan()
    del settings["lambda_softmax"]
    file = layouts.write(tmp_path / "short.pth", states, settings)
    assert "does not say its lambda_softmax among the settings of its training" in refused(file)


def test_vocabularies(tmp_path, refused, vocab):
    file = layouts.write(tmp_path / "scan.pth", *layouts.scan())
    assert "there is no vocabulary" in refused(file, vocab=tmp_path / "nowhere.json")
    assert "the vocabulary that the checkpoint was trained with, as --vocab" in refused(
        file, vocab=tmp_path / "nowhere.json"
    )
    short = layouts.write_vocabulary(tmp_path / "short.json", layouts.VOCABULARY[:-3])
    assert "has 21 words, the checkpoint 24" in refused(file, vocab=short)


def test_what_is_left_out_is_listed_and_a_word_that_only_training_uses_is_added(tmp_path, vocab):
    (image, text), settings = layouts.vse_infty()
    parallel = [{f"module.{name}": tensor for name, tensor in image.items()}, text]
    file = layouts.write(tmp_path / "model.pth", parallel, argparse.Namespace(**settings).__dict__)
    arguments = ["import-checkpoint", file, "--kind", "vse_infty", "--vocab", vocab, "--output", tmp_path / "out"]
    done = shan(*arguments)
    assert done.returncode == 0
    assert "left out: model[0].mlp.bns.1.weight is not applied by the authors' code" in done.stderr
    words = json.loads((tmp_path / "out" / "vocab.json").read_text())["word2idx"]
    assert words["<mask>"] == len(layouts.VOCABULARY)
    assert "holds a checkpoint" in refusal(*arguments)
    shutil.rmtree(tmp_path / "out")
    output_of(*arguments)


def test_sentences_are_kept_with_the_vocabulary(tmp_path, vocab):
    punkt = tmp_path / "english"
    punkt.mkdir()
    for name, line in (
        ("abbrev_types.txt", "mr"),
        ("collocations.tab", ""),
        ("sent_starters.txt", ""),
        ("ortho_context.tab", ""),
    ):
        (punkt / name).write_text(f"{line}\n")
    file = layouts.write(tmp_path / "scan.pth", *layouts.scan())
    output_of(
        "import-checkpoint",
        file,
        "--kind",
        "scan",
        "--vocab",
        vocab,
        "--sentences",
        punkt,
        "--output",
        tmp_path / "out",
    )
    held = json.loads((tmp_path / "out" / "vocab.json").read_text())
    assert held["sentences"]["abbreviations"] == ["mr"]


def test_a_tokenizer_of_bert(tmp_path, refused, vocab):
    file = layouts.write(tmp_path / "tern.pth", *layouts.tern())
    pieces = layouts.write_pieces(tmp_path / "vocab.txt")
    assert "there is no tokenizer" in refused(file, "tern", tmp_path / "tokenizer.json")
    assert "there is no tokenizer" in refused(file, "tern", tmp_path / "other.txt")
    assert "is damaged" in refused(file, "tern", vocab)
    pieces.write_text(pieces.read_text() + "more\n")
    said = refused(file, "tern", pieces)
    assert "has 27 tokens, the checkpoint 26: give the tokenizer.json or vocab.txt of bert-base-uncased" in said
    layouts.write_pieces(pieces)
    arguments = ["import-checkpoint", file, "--kind", "tern", "--vocab", pieces, "--output", tmp_path / "out"]
    assert "vocab.txt splits captions itself: leave --sentences out" in refusal(*arguments, "--sentences", tmp_path)
    said = shan(*arguments).stderr
    assert "model[0].img_txt_enc.txt_enc.word_embeddings.weight is BERT's embedding again" in said
    tokenizer = HuggingFaceTokenizer.load(tmp_path / "out" / "tokenizer.json")
    assert [layouts.PIECES[token] for token in tokenizer.encode("A dog runs Hats", 20).tokens] == [
        "[CLS]", "a", "dog", "runs", "hat", "##s", "[SEP]",
    ]  # fmt: skip
    with pytest.raises(InputError, match="the model tern-bert cannot be trained here: import a checkpoint of it"):
        new_model("tern-bert", {}, feature_dim=3)
