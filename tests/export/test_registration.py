"""A model from another package: registered by an entry point, trained, exported, indexed, searched and explained."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from gallery_scores import by_id
from shan_engine.base.errors import InputError
from shan_engine.bundle.contents import Bundle
from shan_engine.gallery.reader import Gallery
from shan_engine.indexing.images import index_store
from shan_engine.scoring.scorer import Scorer
from shan_engine.search.answer import search
from shan_engine.text.hugging_face import HuggingFaceTokenizer
from shan_export.bundle_writer import export_bundle
from shan_model.checkpoint import load_checkpoint, save_checkpoint
from shan_model.registry import new_model
from shan_model.training.loop import train
from synthetic import Photos, captioned, one_thread, settings
from tiny import CAPTIONS, EXTRACTOR, FEATURES, make_record, make_store

MODULE = '''
"""A late-interaction model (ColBERT's MaxSim) with a transformer over sub-word tokens."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from shan_model.config import ModelConfig
from shan_model.encoders import TextEncoder
from shan_model.pooled.global_models import TransformerLayer
from shan_model.norms import l2_normalise, masked_mean, masked_softmax
from shan_model.registry import Registration
from shan_model.retrieval import GridScores, RetrievalModel
from torch import nn


@dataclass(frozen=True, kw_only=True)
class ToyConfig(ModelConfig):
    model: ClassVar[str] = "toy"
    heads: int = 2


class Transformer(TextEncoder):
    def __init__(self, vocab_size, dim, heads):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, dim)
        self.layer = TransformerLayer(dim, heads)

    def forward(self, tokens, lengths):
        mask = torch.arange(tokens.shape[1], device=tokens.device)[None, :] < lengths[:, None]
        return l2_normalise(self.layer(self.tokens(tokens), mask)) * mask[..., None], mask


class Toy(RetrievalModel):
    Config = ToyConfig

    def build_text_encoder(self):
        return Transformer(self.config.vocab_size, self.config.embed_dim, self.config.heads)

    def image_terms(self, regions, region_mask):
        return {"image_regions": regions, "region_mask": region_mask}

    def caption_terms(self, words, word_mask):
        return {"caption_words": words, "word_mask": word_mask}

    def score_grid(self, image, caption, *, last_step=None):
        cosines = torch.einsum("bkd,cnd->bcnk", image["image_regions"], caption["caption_words"])
        weights = masked_softmax(9 * cosines, image["region_mask"][:, None, None, :], dim=-1)
        scores = masked_mean((weights * cosines).sum(-1), caption["word_mask"][None])
        return GridScores(scores, scores[..., None], weights)

    def pair_scores(self, regions, region_mask, words, word_mask):
        cosines = words @ regions.transpose(1, 2)
        weights = torch.softmax(9 * cosines - 1e9 * ~region_mask[:, None, :], dim=-1)
        pooled = (weights * cosines).sum(-1) * word_mask
        return (pooled.sum(-1) / word_mask.sum(-1))[:, None]


class ToyGraph(nn.Module):
    """The export wrapper."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, lengths):
        return self.model.caption_terms(*self.model.text_encoder(tokens, lengths))


registration = Registration(Toy, text_graph="toy_model:ToyGraph")
broken = Registration(Toy, text_graph="toy_model:Missing")
'''


def install(folder, monkeypatch, *, target="toy_model:registration"):
    """What pip leaves of a package that registers the model: its module, and its metadata with an entry point."""
    (folder / "toy_model.py").write_text(MODULE)
    info = folder / "toy_model-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[shan_engine.models]\ntoy = {target}\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "toy_model", raising=False)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    yield
    sys.modules.pop("toy_model", None)


def word_piece():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator(
        CAPTIONS, trainers.WordPieceTrainer(vocab_size=50, special_tokens=special, show_progress=False)
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return HuggingFaceTokenizer(made.to_str())


@pytest.mark.usefixtures("toy")
def test_a_registered_model_with_sub_word_tokens_is_exported_searched_and_explained(tmp_path):
    torch.manual_seed(0)
    tokenizer = word_piece()
    model = new_model("toy", {"heads": 4}, feature_dim=FEATURES, vocab_size=len(tokenizer), embed_dim=16)
    save_checkpoint(model, tokenizer, tmp_path / "checkpoint")
    assert (tmp_path / "checkpoint" / "tokenizer.json").is_file()
    manifest = export_bundle(
        tmp_path / "checkpoint", tmp_path / "bundle", feature_extractor_name=EXTRACTOR, max_words=24
    )
    assert manifest.parity < 1e-5
    assert manifest.model["model"] == "toy"
    assert "tokenizer.json" in manifest.files
    assert "vocab.json" not in manifest.files

    scorer = Scorer(Bundle.open(tmp_path / "bundle"), "cpu", threads=1)
    with make_store(tmp_path / "store", range(9)) as store:
        index_store(store, scorer, tmp_path / "gallery")
    gallery = Gallery.open(tmp_path / "gallery", scorer.bundle)
    captions = ["a dog runs over the grass", "two children play"]
    found = by_id(scorer, gallery, tmp_path, captions)
    for row, caption in enumerate(captions):
        tokens = torch.tensor([scorer.encoders.tokens(caption)])
        features = torch.from_numpy(make_record(1).features)[None]
        with torch.no_grad():
            mask = torch.ones(features.shape[:2], dtype=torch.bool)
            expected = model.eval()(features, mask, tokens, torch.tensor([tokens.shape[1]])).item()
        assert found["photo1"][row] == pytest.approx(expected, abs=1e-5)

    query = "a dogrun runs"
    result = search(scorer, gallery, [query], top_k=3)[0]
    reading = scorer.encoders.read(query)
    assert len(reading.words[1].tokens) > 1
    for hit in result.hits:
        assert [word.word for word in hit.words] == ["dogrun", "runs"]  # "a" names nothing to see
    hit = result.hits[0]
    block = gallery.blocks[0]
    row = [image.id for image in block.images_at(list(range(len(block))))].index(hit.image.id)
    attention = scorer.explain(
        scorer.encoders.complete(block.rows_of([row])), scorer.encoders.encode_captions([reading.tokens])
    )["word_attention"][0, 0]
    pieces = list(reading.words[1].tokens)
    mean = attention[pieces].mean(0)  # of the word's pieces
    assert hit.words[0].region == int(np.argmax(mean))
    assert hit.words[0].weight == pytest.approx(float(mean.max()))


@pytest.mark.usefixtures("toy")
def test_a_registered_model_is_trained(tmp_path):
    with one_thread():
        table, vectors = captioned(tmp_path)
        options = settings(
            epochs=12, patience=12, batch_size=9, embed_dim=24, learning_rate=1e-2, average=0.9, model="toy"
        )
        rsum = train(Photos(), table, vectors, tmp_path / "trained", options)
    assert rsum > 300  # chance is about 170
    model, vocabulary = load_checkpoint(tmp_path / "trained")
    assert type(model).__name__ == "Toy"
    assert len(vocabulary) == model.config.vocab_size  # no words beyond the captions': it has no word vectors


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("toy_model:Toy", "is not a Registration of a model named toy: fix the package's entry point"),
        ("toy_model:missing", "the model toy cannot be loaded from toy_model:missing .*: fix or remove the package"),
        ("no_such_module:registration", "cannot be loaded from no_such_module"),
    ],
)
def test_a_wrong_registration_is_named(tmp_path, monkeypatch, target, part):
    install(tmp_path, monkeypatch, target=target)
    with pytest.raises(InputError, match=part):
        new_model("toy", {}, feature_dim=4, vocab_size=9)
    with pytest.raises(InputError, match=r"'clip': it must be one of shan, scan, vse, tern, sentence-shan, .*, toy"):
        new_model("clip", {}, feature_dim=4, vocab_size=9)


def test_a_missing_export_wrapper_is_named(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, target="toy_model:broken")
    tokenizer = word_piece()
    model = new_model("toy", {}, feature_dim=4, vocab_size=len(tokenizer), embed_dim=8)
    save_checkpoint(model, tokenizer, tmp_path / "checkpoint")
    with pytest.raises(InputError, match="the export wrapper toy_model:Missing of the model toy cannot be loaded"):
        export_bundle(tmp_path / "checkpoint", tmp_path / "bundle")
