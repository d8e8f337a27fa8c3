"""SHAN over a sentence model: its terms, its global term and class evidence, its checkpoint, its training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sentences import PIECES, save_tiny_sentence_model, tiny_table
from shan_engine.base.errors import InputError
from shan_engine.store.feature_store import FeatureStore
from shan_engine.store.records import RegionRecord, SeenClasses
from shan_engine.store.schema import StoreSchema
from shan_engine.text.tokenizer import pad
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.classes.evidence import class_evidence
from shan_model.encoders import TextDropout
from shan_model.training import loop as training
from shan_model.training import text as train_text
from shan_model.training.grid import score_split
from shan_model.training.loop import train
from shan_model.training.schedule import TrainConfig
from synthetic import Photos, captioned, curve, one_thread, settings

TEXTS = ["a dog on the grass", "man runs", "the red cat with a hat ."]
NOTHING = TextDropout(embedding=0.0, values=0.0)


@pytest.fixture(scope="module", autouse=True)
def alone():
    with one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_text, "ClassTable", tiny_table)
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A table of captions, and the folder of a sentence model."""
    folder = tmp_path_factory.mktemp("start")
    return captioned(folder)[0], save_tiny_sentence_model(folder / "sentence")


@pytest.fixture(scope="module")
def model(start):
    table, folder = start
    text = train_text.SentencePieces(folder, table.split("train"))
    torch.manual_seed(3)
    return text.new_model(sentence_settings(), 10).eval(), text.tokenizer


def sentence_settings(**changes) -> TrainConfig:
    return settings(model="sentence-shan", **changes)


def tokens_of(tokenizer):
    return map(torch.from_numpy, pad([tokenizer.encode(text).tokens for text in TEXTS]))


def test_words_of_the_training_captions_are_centred_and_scaled(start, model):
    encoder, tokenizer = model[0].text_encoder, model[1]
    words = {word for caption in start[0].split("train").captions for word in caption.split()}
    tokens, lengths = map(torch.from_numpy, pad([tokenizer.encode(word).tokens for word in sorted(words)]))
    vectors = encoder.embed(tokens, lengths)[:, 1]
    markers = encoder.embed(tokens[:1], lengths[:1])[0, [0, -1]]
    mean = torch.cat([vectors, markers]).mean(0)
    assert mean.norm() < 0.3
    assert 5 < vectors.norm(dim=1).mean() < 6


def test_what_training_remembers_is_what_the_sentence_model_gives(model):
    module, tokenizer = model
    tokens, lengths = tokens_of(tokenizer)
    whole, mask = module.text_encoder(tokens, lengths)
    module.train()
    for _ in range(2):
        words, _ = module.text_encoder.forward_with_dropout(tokens, lengths, NOTHING)
        torch.testing.assert_close(words, whole, atol=1e-5, rtol=0)
    remembered = module.text_encoder.sentence(tokens, lengths)
    module.eval()
    torch.testing.assert_close(remembered, module.text_encoder.sentence(tokens, lengths), atol=1e-6, rtol=0)
    assert (mask.sum(1) < lengths).all()  # markers and function words name nothing


def test_a_class_weighs_what_its_own_and_its_kinds_names_say(model):
    """By hand: a softmax over the nodes' nearest names, each divided by the share of photos that show the node."""
    table, tokenizer = tiny_table.load(), model[1]
    encoder = model[0].text_encoder.sentence_model
    texts, nodes = table.texts(plurals=False)
    random = torch.nn.functional.normalize(torch.randn(len(texts), 16), dim=1)
    evidence = class_evidence(table, lambda asked: random[: len(asked)])
    shares = np.array([0.5, 0.3, 0.2], np.float32)
    evidence.set_prior(shares)
    tokens, lengths = tokens_of(tokenizer)
    sentences = encoder.sentence(tokens, lengths)
    cosines = (sentences @ random.T).numpy()
    nearest = np.stack([cosines[:, nodes == node].max(1) for node in range(len(table.nodes))], axis=1) / 0.05
    share = np.exp(nearest)
    total, no_node = share.sum(1, keepdims=True), np.exp(0.8 / 0.05)
    prior = table.members().astype(np.float32) @ shares
    expected = ((share / total / prior) @ table.members()) ** (1 - no_node / (total + no_node) / 2)
    np.testing.assert_allclose(evidence(sentences), expected, rtol=0.15, atol=1e-3)


def test_the_prior_is_how_often_training_photos_were_seen_as_a_class(start, tmp_path):
    table, folder = start
    split = table.split("train")
    records = []
    for number, image in enumerate(split.images):
        seen = SeenClasses(*(np.array(x, t) for x, t in (([0, 2], "u2"), ([0.75, 0.25], "f2"), ([0, 0], "u1"))))
        records.append(RegionRecord(image, np.ones((1, 10), np.float32), seen=seen if number else None))
    with FeatureStore.create(tmp_path / "store", StoreSchema("synthetic", 10, version=2)) as store:
        store.write(records)
        model = train_text.SentencePieces(folder, split, store).new_model(sentence_settings(), 10)
    prior = model.class_evidence.log_prior.exp()
    torch.testing.assert_close(prior, torch.tensor([0.751, 0.001, 0.251, 0.751]), atol=1e-4, rtol=0)


def test_a_checkpoint_gives_back_model_and_small_tensors(model, tmp_path):
    module, tokenizer = model
    save_checkpoint(module, tokenizer, tmp_path)
    loaded, again = load_checkpoint(tmp_path)
    assert len(again) == len(PIECES)
    assert loaded.text_encoder.sentence_model.table.codes.dtype == torch.uint8
    tokens, lengths = tokens_of(tokenizer)
    with torch.no_grad():
        one, other = (it.encode_captions(tokens, lengths) for it in (module, loaded))
    assert one.keys() >= {"caption_words", "query_vector", "class_weights"}
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert loaded.parts()["global"] == {"weight": 0.5}


def test_it_learns_and_going_on_gives_the_same_weights(start, tmp_path, monkeypatch):
    table, folder = start
    dropout = dict.fromkeys(("region_dropout", "feature_dropout", "word_dropout", "row_dropout"), 0.0)
    config = sentence_settings(epochs=5, learning_rate=1e-2, phrases=0.1, **dropout)
    whole = train(Photos(), table, folder, tmp_path / "whole", config)
    assert whole > 300  # chance is about 170
    monkeypatch.setattr(training, "SAVE_EVERY", 2)

    def stop(state):
        if state.done_steps == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Photos(), table, folder, tmp_path / "cut", config, on_progress=stop)
    assert train(Photos(), table, folder, tmp_path / "cut", config) == whole
    assert curve(tmp_path / "whole") == curve(tmp_path / "cut")
    (one, tokenizer), (other, _) = (load_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())
    assert "text_encoder.sentence_model.table.codes" not in torch.load(tmp_path / "whole" / "last.pt")["averaged"]
    split = table.split("dev")
    scores = score_split(one, Photos(), tokenizer, split, torch.device("cpu"))
    assert scores.shape == (len(split.images), len(split.captions))


def test_another_sentence_model_is_refused(start, tmp_path):
    table, folder = start
    train(Photos(), table, folder, tmp_path / "m", sentence_settings(epochs=1))
    other = save_tiny_sentence_model(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="made with other sentence model"):
        train(Photos(), table, other, tmp_path / "m", sentence_settings(epochs=2))


def test_words_that_name_nothing_are_left_out_of_the_score_alone(start, model):
    """The GRU still reads them; a text that has no others keeps them all."""
    module, tokenizer = model
    texts = ["a dog on the grass", "on the"]
    tokens, lengths = map(torch.from_numpy, pad([tokenizer.encode(text).tokens for text in texts]))
    encoder = module.text_encoder
    words, mask = encoder(tokens, lengths)
    whole, real = encoder.encode(encoder.embed(tokens, lengths), lengths)
    kept = [[tokenizer.pieces[tokens[0, place]] for place in mask[0].nonzero()[:, 0]], mask[1].tolist()]
    assert kept == [["▁dog", "▁grass"], real[1].tolist()]
    torch.testing.assert_close(words[mask], whole[mask])
    assert not words[0][~mask[0]].any()
    wide = replace(module.config, rows="all")
    assert torch.equal(type(encoder)(wide).kept(tokens, lengths, whole, real)[1], real)


def test_compiled_scores_allow_gaps_between_words(model):
    module, tokenizer = model
    tokens, lengths = tokens_of(tokenizer)
    with torch.no_grad():
        image = module.encode_images(torch.randn(4, 5, 10), torch.ones(4, 5, dtype=torch.bool))
        caption = module.encode_captions(tokens, lengths)
        compiled = module.compiled_first_step(image, caption)
        if compiled is None:
            pytest.skip("the kernel is not built")
        torch.testing.assert_close(compiled, module.score_grid(image, caption).scores, atol=1e-5, rtol=0)
