"""Tiny checkpoints of random weights, with the names and the shapes that other authors' code writes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny import FEATURES, WORDS

D, WORD = 16, 6
VOCABULARY = ["<pad>", "<start>", "<end>", "<unk>", *WORDS]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
BERT, POSITIONS = 64, 40  # one head
States = list[dict[str, torch.Tensor]]


class Weights:
    """Random tensors, large enough that all nonlinearities bend; every call of a `Weights` of a seed is another."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> torch.Tensor:
        return torch.from_numpy(self.random.normal(size=shape) * scale).float()

    def linear(self, name: str, into: int, out: int, *, bias: bool = True) -> dict[str, torch.Tensor]:
        weight = {f"{name}.weight": self.normal(out, into, scale=1.5 / into**0.5)}
        return weight | ({f"{name}.bias": self.normal(out, scale=0.3)} if bias else {})

    def gru(self, name: str, into: int, hidden: int, *, both: bool = True) -> dict[str, torch.Tensor]:
        found = {}
        for side in ("", "_reverse")[: 1 + both]:
            found |= {
                f"{name}.weight_ih_l0{side}": self.normal(3 * hidden, into, scale=1.2 / into**0.5),
                f"{name}.weight_hh_l0{side}": self.normal(3 * hidden, hidden, scale=1.2 / hidden**0.5),
                f"{name}.bias_ih_l0{side}": self.normal(3 * hidden, scale=0.3),
                f"{name}.bias_hh_l0{side}": self.normal(3 * hidden, scale=0.3),
            }
        return found

    def batch_norm(self, name: str, size: int) -> dict[str, torch.Tensor]:
        return {
            f"{name}.weight": self.normal(size).abs() + 0.5,
            f"{name}.bias": self.normal(size, scale=0.3),
            f"{name}.running_mean": self.normal(size, scale=0.3),
            f"{name}.running_var": self.normal(size).abs() + 0.5,
            f"{name}.num_batches_tracked": torch.tensor(9),
        }

    def words(self, rnn: str = "rnn", *, extra: int = 0, both: bool = True) -> dict[str, torch.Tensor]:
        return {"embed.weight": self.normal(len(VOCABULARY) + extra, WORD)} | self.gru(rnn, WORD, D, both=both)

    def layer_norm(self, name: str, size: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": self.normal(size).abs() + 0.5, f"{name}.bias": self.normal(size, scale=0.3)}

    def torch_layer(self, name: str, size: int) -> dict[str, torch.Tensor]:
        """Of `nn.TransformerEncoderLayer`."""
        joint = self.linear("in_proj", size, 3 * size)
        return {
            **{f"{name}.self_attn.{key.replace('.', '_')}": tensor for key, tensor in joint.items()},
            **self.linear(f"{name}.self_attn.out_proj", size, size),
            **self.linear(f"{name}.linear1", size, 10),
            **self.linear(f"{name}.linear2", 10, size),
            **self.layer_norm(f"{name}.norm1", size),
            **self.layer_norm(f"{name}.norm2", size),
        }

    def bert(self, name: str, *, layers: int) -> dict[str, torch.Tensor]:
        """Of `transformers.BertModel`, with its pooler and the buffer of older versions."""
        found = {
            f"{name}.embeddings.word_embeddings.weight": self.normal(len(PIECES), BERT),
            f"{name}.embeddings.position_embeddings.weight": self.normal(POSITIONS, BERT),
            f"{name}.embeddings.token_type_embeddings.weight": self.normal(2, BERT),
            f"{name}.embeddings.position_ids": torch.arange(POSITIONS)[None],
            **self.layer_norm(f"{name}.embeddings.LayerNorm", BERT),
            **self.linear(f"{name}.pooler.dense", BERT, BERT),
        }
        for layer in (f"{name}.encoder.layer.{number}" for number in range(layers)):
            for part in (
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ):
                found |= self.linear(f"{layer}.{part}", BERT, BERT)
            found |= self.linear(f"{layer}.intermediate.dense", BERT, 20) | self.linear(
                f"{layer}.output.dense", 20, BERT
            )
            found |= self.layer_norm(f"{layer}.attention.output.LayerNorm", BERT)
            found |= self.layer_norm(f"{layer}.output.LayerNorm", BERT)
        return found

    def bert_words(self) -> dict[str, torch.Tensor]:
        return self.bert("bert", layers=1) | self.linear("linear", BERT, D)

    def mlp(self) -> dict[str, torch.Tensor]:
        return {
            **self.linear("fc", FEATURES, D),
            **self.linear("mlp.layers.0", FEATURES, D // 2),
            **self.linear("mlp.layers.1", D // 2, D),
            **self.batch_norm("mlp.bns.0", D // 2),
            **self.batch_norm("mlp.bns.1", D),
        }

    def gpo(self) -> dict[str, torch.Tensor]:
        return self.gru("gpool.gru", 32, 32) | self.linear("gpool.linear", 32, 1, bias=False)


def scan(seed: int = 0, *, both: bool = True, **settings: Any) -> tuple[States, dict[str, Any]]:
    make = Weights(seed)
    usual = {
        "cross_attn": "t2i", "agg_func": "LogSumExp", "lambda_softmax": 9.0, "lambda_lse": 6.0,
        "raw_feature_norm": "clipped_l2norm", "num_layers": 1, "bi_gru": both, "no_imgnorm": False,
    }  # fmt: skip
    return [make.linear("fc", FEATURES, D), make.words(both=both)], usual | settings


def vse_infty(seed: int = 0, *, bert: bool = False, **settings: Any) -> tuple[States, dict[str, Any]]:
    make = Weights(seed)
    text = make.gpo() | (make.bert_words() if bert else make.words(extra=1))
    return [make.mlp() | make.gpo(), text], {"precomp_enc_type": "basic", "num_layers": 1} | settings


def sgraf(seed: int = 0, *, steps: int = 0) -> tuple[States, dict[str, Any]]:
    """SAF, or with `steps` SGR."""
    make, size = Weights(seed), 8
    pair: dict[str, torch.Tensor] = {}
    for side in ("v", "t"):
        for part, norm in (("embedding_local", 36), ("embedding_global", D)):
            pair |= make.linear(f"{side}_global_w.{part}.0", D, D)
            pair |= make.batch_norm(f"{side}_global_w.{part}.1", norm) if side == "v" else {}
        pair |= make.linear(f"{side}_global_w.embedding_common.0", D, 1)
    pair |= make.linear("sim_tranloc_w", D, size) | make.linear("sim_tranglo_w", D, size)
    pair |= make.linear("sim_eval_w", size, 1)
    for step in range(steps):
        for part in ("graph_query_w", "graph_key_w", "sim_graph_w"):
            pair |= make.linear(f"SGR_module.{step}.{part}", size, size)
    if not steps:
        pair |= make.linear("SAF_module.attn_sim_w", size, 1) | make.batch_norm("SAF_module.bn", 1)
    settings = {"module_name": "SGR" if steps else "SAF", "sgr_step": 3, "num_layers": 1, "bi_gru": True}
    return [make.linear("fc", FEATURES, D), make.words("cap_rnn"), pair], settings


def chan(
    seed: int = 0, *, attention: bool = True, bert: bool = False, **settings: Any
) -> tuple[States, dict[str, Any]]:
    make = Weights(seed)
    image = make.linear("fc", FEATURES, D)
    if attention:
        image |= {"feedforward.ln.weight": make.normal(D), "feedforward.ln.bias": make.normal(D)}
        joint = make.linear("in_proj", D, 3 * D)
        image |= {f"feedforward.attn.{name.replace('.', '_')}": tensor for name, tensor in joint.items()}
        image |= make.linear("feedforward.attn.out_proj", D, D)
    usual = {
        "coding_type": "VHACoding", "pooling_type": "LSEPooling", "belta": 0.1,
        "precomp_enc_type": "selfattention" if attention else "basic", "text_enc_type": "bigru",
    }  # fmt: skip
    return [image, make.bert_words() if bert else make.words() | make.linear("fc", D, D)], usual | settings


def esa(seed: int = 0, *, bert: bool = False) -> tuple[States, dict[str, Any]]:
    make = Weights(seed)
    image = make.mlp() | make.linear("linear1", D, D)
    text = make.bert_words() if bert else make.words()
    return [image, text | make.linear("linear1", D, D)], {"precomp_enc_type": "basic"}


def tern(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Over features whose last five numbers are a box and its area."""
    make, size = Weights(seed), 12
    state = {
        **make.bert("txt_enc.bert_model", layers=2),
        **make.linear("txt_enc.map", BERT, D),
        **make.linear("img_enc.pos_encoding_image.map.0", FEATURES, size),
        **make.linear("img_enc.pos_encoding_image.map.2", size, size),
        **make.linear("img_enc.fc", size, D),
        **make.linear("img_proj", size, D),
        **make.linear("cap_proj", BERT, D),
    }
    state["txt_enc.word_embeddings.weight"] = state["txt_enc.bert_model.embeddings.word_embeddings.weight"]
    for layer in range(2):
        state |= make.torch_layer(f"img_enc.transformer_encoder.layers.{layer}", size)
        state |= make.torch_layer(f"transformer_encoder_1.layers.{layer}", D)
    return {f"img_txt_enc.{name}": tensor for name, tensor in state.items()}, {}


def write(path: Path, states: object, settings: Mapping[str, Any]) -> Path:
    """A file as training code saves it."""
    namespace = argparse.Namespace(**settings)
    torch.save({"epoch": 7, "model": states, "best_rsum": np.float64(450.5), "opt": namespace, "Eiters": 99}, path)
    return path


def write_vocabulary(path: Path, words: list[str] = VOCABULARY) -> Path:
    numbers = {word: number for number, word in enumerate(words)}
    named = {str(number): word for word, number in numbers.items()}
    path.write_text(json.dumps({"word2idx": numbers, "idx2word": named, "idx": len(words)}))
    return path


def write_pieces(path: Path) -> Path:
    """BERT's `vocab.txt`."""
    path.write_text("\n".join(PIECES) + "\n")
    return path
