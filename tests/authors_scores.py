"""Published scores in plain NumPy and float64, one pair at a time, from tensors as their authors named them.

Written from the equations of the papers and of their public code; nothing here is shared with the models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
State = Mapping[str, Array]
Score = Callable[[Sequence[State], Mapping[str, Any], Array, Sequence[int]], float]


def score(kind: Score, states: Any, settings: Any, features: Any, tokens: Any) -> float:
    """The score of one image (features K x F) and one caption (token numbers)."""
    states = [states] if isinstance(states, Mapping) else states
    plain = [{name: tensor.double().numpy() for name, tensor in state.items()} for state in states]
    return float(kind(plain, settings, features.astype(np.float64), list(tokens)))


def unit(x: Array) -> Array:
    return x / (np.sqrt((x * x).sum(-1, keepdims=True)) + 1e-8)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def softmax(x: Array, axis: int) -> Array:
    exponents = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponents / exponents.sum(axis=axis, keepdims=True)


def linear(state: State, name: str, x: Array) -> Array:
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", 0)


def batch_norm(state: State, name: str, x: Array) -> Array:
    scaled = (x - state[f"{name}.running_mean"]) / np.sqrt(state[f"{name}.running_var"] + 1e-5)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def gru(state: State, name: str, x: Array, side: str = "") -> Array:
    """States of one direction over rows n x size, n x hidden."""
    states, h = [], np.zeros(state[f"{name}.weight_hh_l0{side}"].shape[1])
    for row in x if side == "" else x[::-1]:
        into = state[f"{name}.weight_ih_l0{side}"] @ row + state[f"{name}.bias_ih_l0{side}"]
        past = state[f"{name}.weight_hh_l0{side}"] @ h + state[f"{name}.bias_hh_l0{side}"]
        (r_in, z_in, n_in), (r_past, z_past, n_past) = np.split(into, 3), np.split(past, 3)
        z = sigmoid(z_in + z_past)
        h = (1 - z) * np.tanh(n_in + sigmoid(r_in + r_past) * n_past) + z * h
        states.append(h)
    return np.stack(states if side == "" else states[::-1])


def mean_gru(state: State, name: str, x: Array) -> Array:
    if f"{name}.weight_ih_l0_reverse" not in state:
        return gru(state, name, x)
    return (gru(state, name, x) + gru(state, name, x, "_reverse")) / 2


def words(state: State, tokens: Sequence[int], rnn: str = "rnn") -> Array:
    if "linear.weight" in state:
        return linear(state, "linear", bert(state, "bert", tokens))
    return mean_gru(state, rnn, state["embed.weight"][list(tokens)])


def attended(queries: Array, rows: Array, smooth: float, slope: float = 0.1) -> Array:
    """For each query, the rows weighted by SCAN's attention: LeakyReLU, length 1 over the queries, softmax."""
    cosines = rows @ queries.T
    bent = unit(np.where(cosines > 0, cosines, slope * cosines))
    return softmax(smooth * bent, axis=0).T @ rows


def cosines(x: Array, y: Array) -> Array:
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def scan(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    V, T = unit(linear(states[0], "fc", features)), unit(words(states[1], tokens))
    asking, asked = (T, V) if settings["cross_attn"] == "t2i" else (V, T)
    relevances = cosines(asking, attended(asking, asked, settings["lambda_softmax"]))
    if settings["agg_func"] == "Mean":
        return relevances.mean()
    return np.log(np.exp(settings["lambda_lse"] * relevances).sum()) / settings["lambda_lse"]


def mlp_rows(state: State, features: Array) -> Array:
    hidden = batch_norm(state, "mlp.bns.0", linear(state, "mlp.layers.0", features))
    return linear(state, "fc", features) + linear(state, "mlp.layers.1", np.maximum(hidden, 0))


def gpo(state: State, rows: Array) -> Array:
    ranks = np.arange(len(rows))[:, None] * np.exp(-np.log(10000) * np.arange(0, 32, 2) / 32)
    positions = np.zeros((len(rows), 32))
    positions[:, 0::2], positions[:, 1::2] = np.sin(ranks), np.cos(ranks)
    theta = softmax(linear(state, "gpool.linear", mean_gru(state, "gpool.gru", positions))[:, 0] / 0.1, axis=0)
    return theta @ -np.sort(-rows, axis=0)


def vse_infty(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    image, text = states
    return unit(gpo(image, mlp_rows(image, features))) @ unit(gpo(text, words(text, tokens)))


def esa(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    image, text = states
    pooled = [
        (softmax(linear(state, "linear1", rows), axis=0) * rows).sum(0)
        for state, rows in ((image, mlp_rows(image, features)), (text, words(text, tokens)))
    ]
    return unit(pooled[0]) @ unit(pooled[1])


def layer_norm(state: State, name: str, x: Array, epsilon: float = 1e-5) -> Array:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def heads_attention(query: Array, key: Array, value: Array, heads: int) -> Array:
    """Multi-head attention of rows n x D to each other, before the last linear layer."""
    parts = zip(*(np.split(x, heads, axis=-1) for x in (query, key, value)), strict=True)
    return np.concatenate([softmax(q @ k.T / np.sqrt(q.shape[-1]), axis=-1) @ v for q, k, v in parts], axis=-1)


def self_attention(state: State, name: str, x: Array, heads: int) -> Array:
    joint = x @ state[f"{name}.in_proj_weight"].T + state[f"{name}.in_proj_bias"]
    return linear(state, f"{name}.out_proj", heads_attention(*np.split(joint, 3, axis=-1), heads))


def chan(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    rows = linear(states[0], "fc", features)
    if settings["precomp_enc_type"] == "selfattention":
        rows = rows + self_attention(states[0], "feedforward.attn", layer_norm(states[0], "feedforward.ln", rows), 8)
    best = (unit(rows) @ unit(words(states[1], tokens)).T).max(axis=0)
    return best.mean() if settings["pooling_type"] == "MeanPooling" else np.log(np.exp(best / settings["belta"]).sum())


def whole_side(state: State, side: str, rows: Array) -> Array:
    local = linear(state, f"{side}.embedding_local.0", rows)
    whole = linear(state, f"{side}.embedding_global.0", rows.mean(0))
    if f"{side}.embedding_local.1.weight" in state:
        norm = f"{side}.embedding_local.1"
        places = {name: value[: len(rows)] for name, value in state.items() if name.startswith(norm) and value.ndim}
        local = batch_norm(places, norm, local.T).T
        whole = batch_norm(state, f"{side}.embedding_global.1", whole)
    weights = softmax(linear(state, f"{side}.embedding_common.0", np.tanh(local) * np.tanh(whole))[:, 0], axis=0)
    return unit(weights @ rows)


def sgraf(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    image, text, pair = states
    V, T = unit(linear(image, "fc", features)), unit(words(text, tokens, "cap_rnn"))
    of_words = unit(linear(pair, "sim_tranloc_w", (unit(attended(T, V, 9.0)) - T) ** 2))
    wholes = whole_side(pair, "v_global_w", V) - whole_side(pair, "t_global_w", T)
    S = np.concatenate([unit(linear(pair, "sim_tranglo_w", wholes**2))[None], of_words])
    if settings["module_name"] == "SGR":
        for step in (f"SGR_module.{number}" for number in range(settings["sgr_step"])):
            edges = softmax(
                linear(pair, f"{step}.graph_query_w", S) @ linear(pair, f"{step}.graph_key_w", S).T, axis=-1
            )
            S = np.maximum(linear(pair, f"{step}.sim_graph_w", edges @ S), 0)
        one = S[0]
    else:
        weights = sigmoid(batch_norm(pair, "SAF_module.bn", linear(pair, "SAF_module.attn_sim_w", S))[:, 0])
        one = unit(weights / weights.sum() @ S)
    return sigmoid(linear(pair, "sim_eval_w", one))[0]


def bert(state: State, name: str, tokens: Sequence[int]) -> Array:
    parts = (
        ("word_embeddings", list(tokens)),
        ("position_embeddings", range(len(tokens))),
        ("token_type_embeddings", [0]),
    )
    x = sum(state[f"{name}.embeddings.{part}.weight"][rows] for part, rows in parts)
    x = layer_norm(state, f"{name}.embeddings.LayerNorm", x, 1e-12)
    number = 0
    while f"{(layer := f'{name}.encoder.layer.{number}')}.output.dense.weight" in state:
        asked = [linear(state, f"{layer}.attention.self.{part}", x) for part in ("query", "key", "value")]
        seen = linear(state, f"{layer}.attention.output.dense", heads_attention(*asked, heads=1))
        x = layer_norm(state, f"{layer}.attention.output.LayerNorm", x + seen, 1e-12)
        hidden = linear(state, f"{layer}.intermediate.dense", x)
        hidden = hidden * (1 + np.vectorize(math.erf)(hidden / np.sqrt(2))) / 2
        x = layer_norm(state, f"{layer}.output.LayerNorm", x + linear(state, f"{layer}.output.dense", hidden), 1e-12)
        number += 1
    return x


def torch_layers(state: State, name: str, x: Array) -> Array:
    number = 0
    while f"{(layer := f'{name}.{number}')}.linear1.weight" in state:
        x = layer_norm(state, f"{layer}.norm1", x + self_attention(state, f"{layer}.self_attn", x, 4))
        hidden = np.maximum(linear(state, f"{layer}.linear1", x), 0)
        x = layer_norm(state, f"{layer}.norm2", x + linear(state, f"{layer}.linear2", hidden))
        number += 1
    return x


def tern(states: Sequence[State], settings: Mapping[str, Any], features: Array, tokens: Sequence[int]) -> float:
    root = "img_txt_enc."
    state = {name.removeprefix(root): value for name, value in states[0].items()}
    rows = np.concatenate([np.zeros((1, features.shape[1])), features])
    hidden = np.maximum(linear(state, "img_enc.pos_encoding_image.map.0", rows), 0)
    rows = torch_layers(
        state, "img_enc.transformer_encoder.layers", linear(state, "img_enc.pos_encoding_image.map.2", hidden)
    )
    pieces = linear(state, "cap_proj", bert(state, "txt_enc.bert_model", tokens))
    image, caption = (
        unit(torch_layers(state, "transformer_encoder_1.layers", side)[0])
        for side in (linear(state, "img_proj", rows), pieces)
    )
    return image @ caption
