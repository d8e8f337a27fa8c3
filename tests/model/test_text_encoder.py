"""Text transformers from a folder: parity with transformers, words of pieces, training of none, some or all layers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from shan_engine.base.errors import InputError
from shan_engine.text.captions import CaptionTable
from shan_engine.text.tokenizer import pad
from shan_model.bert.folder import PretrainedBert
from shan_model.bert.word_encoder import WordTransformer
from shan_model.checkpoint import load_checkpoint
from shan_model.training.loop import train
from synthetic import Photos, captioned, curve, one_thread, settings
from text_encoders import KINDS, text_encoder

SENTENCES = ("the unbelievably long beach, with a child's hat!", "a dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return text_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with one_thread():
        yield captioned(tmp_path_factory.mktemp("training"))[0]


def encoder_of(pretrained, embed_dim=24):
    made = WordTransformer(
        pretrained.config, vocab_size=len(pretrained.tokenizer), embed_dim=embed_dim, unit_rows=False
    )
    made.bert.load_state_dict(pretrained.state)
    made.piece_kinds = pretrained.kinds
    return made.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_words_row_is_the_mean_of_its_pieces_states_by_transformers(kind, tmp_path):
    from transformers import AutoModel

    folder = text_encoder(tmp_path / kind, kind)
    pretrained = PretrainedBert.load(folder)
    encoder, own = encoder_of(pretrained), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        encoder.linear.weight.copy_(torch.eye(24))
        encoder.linear.bias.zero_()
    read = [pretrained.tokenizer.encode(sentence) for sentence in SENTENCES]
    tokens, lengths = map(torch.from_numpy, pad([one.tokens for one in read]))
    with torch.no_grad():
        rows, mask = encoder(tokens, lengths)
    assert max(len(word.tokens) for one in read for word in one.words) > 1
    for number, one in enumerate(read):
        with torch.no_grad():
            states = own(input_ids=torch.tensor([one.tokens])).last_hidden_state[0]
        words = [word.tokens for word in one.words if "'" not in word.text]  # of which BERT's own rules make three
        for places in words:
            torch.testing.assert_close(rows[number, places[0]], states[list(places)].mean(0), atol=1e-5, rtol=1e-5)
            assert mask[number, list(places)].tolist() == [True] + [False] * (len(places) - 1)
        markers = [0, len(one.tokens) - 1]
        torch.testing.assert_close(rows[number, markers], states[markers], atol=1e-5, rtol=1e-5)
    assert not rows[~mask].any()


def test_a_vocabulary_of_pieces_serves_in_place_of_a_tokenizer(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "bert")
    pieces = PretrainedBert.load(folder).tokenizer.pieces
    (tmp_path / "bert" / "tokenizer.json").unlink()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    found = PretrainedBert.load(tmp_path / "bert").tokenizer.encode(SENTENCES[0])
    assert found.tokens == PretrainedBert.load(folder).tokenizer.encode(SENTENCES[0]).tokens


def test_a_wrong_folder_is_named_in_a_sentence(folder, tmp_path):
    def refused(path):
        with pytest.raises(InputError) as error:
            PretrainedBert.load(path)
        return str(error.value)

    def changed(name, drop=(), **config):
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns(*drop))
        file = tmp_path / name / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
        return tmp_path / name

    assert "is not a folder" in refused(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "has no config.json: name the whole folder" in refused(tmp_path / "empty")
    assert "holds a model of type 'clip': --text-encoder takes bert, dist" in refused(changed("c", model_type="clip"))
    assert "names hidden_act relu, which is not that of BERT" in refused(changed("relu", hidden_act="relu"))
    assert "has no tokenizer: copy tokenizer.json" in refused(changed("dumb", drop=["tokenizer.json"]))
    assert "has no weights: copy model.safetensors" in refused(changed("light", drop=["*.safetensors"]))
    assert "have no encoder.layer.2.attention.self.query.weight" in refused(changed("deep", num_hidden_layers=3))
    (tmp_path / "dumb" / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is damaged" in refused(tmp_path / "dumb")


def weights(path):
    return load_checkpoint(path)[0].state_dict()


@pytest.mark.parametrize(("tuned", "changes"), [(0, ()), (1, ("layers.1.",)), ("all", ("",))])
def test_training_changes_the_layers_it_is_told_to(folder, table, tmp_path, tuned, changes):
    options = settings(
        epochs=8, patience=8, batch_size=9, learning_rate=2e-2, average=0.8, text_learning_rate=1e-3, tuned_layers=tuned
    )
    with one_thread():
        rsum = train(Photos(), table, folder, tmp_path / "model", options)
    assert rsum > 230  # chance is about 170
    before = PretrainedBert.load(folder).state
    after = weights(tmp_path / "model")
    for name, tensor in before.items():
        held = after[f"text_encoder.bert.{name}"]
        if "segments" in name:
            continue  # the second is never used
        rounded = tensor.half().float() if tensor.ndim == 2 else tensor
        assert torch.equal(held, rounded) != name.startswith(changes), name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("scan", {}),
        ("vse", {}),
        ("vse-infinity", {}),
        ("esa", {}),
        ("sgraf", {"module": "saf", "similarity_dim": 16}),
        ("chan", {"heads": 4}),
        ("mlasm", {}),
        ("tern", {"heads": 4}),
    ],
)
def test_every_model_of_words_takes_a_text_encoder(folder, table, tmp_path, name, options):
    with one_thread():
        train(
            Photos(), table, folder, tmp_path / "model",
            settings(model=name, options=options, epochs=1, batch_size=9, tuned_layers=1),
        )  # fmt: skip
    model, tokenizer = load_checkpoint(tmp_path / "model")
    assert model.config.model == name
    assert isinstance(model.text_encoder, WordTransformer)
    assert tokenizer.file_name == "tokenizer.json"
    data = json.loads((tmp_path / "model" / "config.json").read_text())
    assert data["transformer"]["dim"] == 24
    assert "word_vector_dim" not in data


def test_a_resumed_run_reaches_the_same_weights(folder, table, tmp_path):
    def stop(state):
        if state.done_steps > 5:
            raise KeyboardInterrupt

    options = settings(epochs=3, patience=9)
    with one_thread():
        train(Photos(), table, folder, tmp_path / "whole", options)
        with pytest.raises(KeyboardInterrupt):
            train(Photos(), table, folder, tmp_path / "resumed", options, on_progress=stop)
        train(Photos(), table, folder, tmp_path / "resumed", options)
    assert len(curve(tmp_path / "whole")) == 3
    assert curve(tmp_path / "whole") == curve(tmp_path / "resumed")


def test_texts_that_are_too_long_are_refused(folder, tmp_path, table):
    lines = (line for split in ("train", "dev") for line in rows(table.split(split), split))
    (tmp_path / "captions.tsv").write_text("split\timage\tcaption\n" + "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"has 60 tokens, the model takes 38: shorten it"):
        train(Photos(), CaptionTable.read(tmp_path / "captions.tsv"), folder, tmp_path / "model", settings())


def rows(split, name):
    for caption, image in zip(split.captions, split.caption_images, strict=True):
        text = "dog " * 60 if name == "dev" else caption
        yield f"{name}\t{split.images[image]}\t{text.strip()}"


def test_models_that_start_from_something_else_say_so(folder, table, tmp_path):
    with pytest.raises(InputError, match="there is no sentence model"):
        train(Photos(), table, folder, tmp_path / "model", settings(model="sentence-shan"))
    with pytest.raises(InputError, match="does not start from a text encoder"):
        train(Photos(), table, folder, tmp_path / "model", settings(model="chan-bert"))


def test_remembered_captions_are_those_that_are_read(folder):
    encoder = encoder_of(PretrainedBert.load(folder))
    assert encoder.freeze(0)[1] == "bert.pieces."
    tokenizer = PretrainedBert.load(folder).tokenizer
    tokens, lengths = map(torch.from_numpy, pad([tokenizer.encode(one).tokens for one in SENTENCES]))
    from shan_model.encoders import TextDropout

    with torch.no_grad():
        found, mask = encoder.forward_with_dropout(tokens, lengths, TextDropout(0.0, 0.0))
        again, _ = encoder.forward_with_dropout(tokens, lengths, TextDropout(0.0, 0.0))
        wanted, wanted_mask = encoder(tokens, lengths)
    assert torch.equal(found, again)
    assert torch.equal(mask, wanted_mask)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=2e-3)
