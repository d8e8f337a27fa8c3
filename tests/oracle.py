"""SHAN's score (docs/scoring.md) in slow numpy float64, for one image and caption; shares no code with the project."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def _sigmoid(x):
    return np.exp(-np.logaddexp(0.0, -x))


def _softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def _unit(x):
    return x / max(math.sqrt(float(x @ x)), 1e-8)


def _cos(x, y):
    return float(_unit(x) @ _unit(y))


def gru(inputs, w_ih, w_hh, b_ih, b_hh):
    """Hidden states of a GRU with gates r, z, n in torch's order, from a zero state."""
    size = w_hh.shape[1]
    h, states = np.zeros(size), []
    for x in inputs:
        i, o = w_ih @ x + b_ih, w_hh @ h + b_hh
        r = _sigmoid(i[:size] + o[:size])
        z = _sigmoid(i[size : 2 * size] + o[size : 2 * size])
        n = np.tanh(i[2 * size :] + r * o[2 * size :])
        h = (1 - z) * n + z * h
        states.append(h)
    return states


def encode_image(t, features):
    return np.array([_unit(t["image_encoder.fc.weight"] @ f + t["image_encoder.fc.bias"]) for f in features])


def encode_caption(t, tokens):
    x = [
        np.concatenate([t["text_encoder.word_vectors.weight"][k], t["text_encoder.embedding.weight"][k]])
        for k in tokens
    ]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    forward = gru(x, *(t[f"text_encoder.gru.{name}"] for name in names))
    backward = gru(x[::-1], *(t[f"text_encoder.gru.{name}_reverse"] for name in names))[::-1]
    return np.array([_unit((f + b) / 2) for f, b in zip(forward, backward, strict=True)])


def align(t, config, V, T):
    """Step scores of regions V (K x D) and words T (n x D), as lists of floats."""
    lam = float(config["temperature"])
    a, b = {"full": (1.0, 1.0), "i2t": (1.0, 0.0), "t2i": (0.0, 1.0)}[config["direction"]]
    A = (V @ t["alignment.image_proj.weight"].T) @ (T @ t["alignment.text_proj.weight"].T).T
    t_star = [sum(w * word for w, word in zip(_softmax(lam * A[i]), T, strict=True)) for i in range(len(V))]
    v_star = [sum(w * v for w, v in zip(_softmax(lam * A[:, j]), V, strict=True)) for j in range(len(T))]
    scores = [
        a * float(np.mean([_cos(v, s) for v, s in zip(V, t_star, strict=True)]))
        + b * float(np.mean([_cos(w, s) for w, s in zip(T, v_star, strict=True)]))
    ]
    v_c = _pool(t, "image", V, t_star)
    t_c = _pool(t, "text", T, v_star)
    t_c_star = _softmax(lam * np.array([_cos(v_c, w) for w in T])) @ T
    v_c_star = _softmax(lam * np.array([_cos(t_c, v) for v in V])) @ V
    scores.append(a * _cos(v_c, t_c_star) + b * _cos(t_c, v_c_star))
    scores.append(_cos(v_c + t_c_star, t_c + v_c_star))
    return scores[: len(config["steps"])]


def _pool(t, side, local, attended):
    fused = []
    for x, y in zip(local, attended, strict=True):
        g = _sigmoid(t[f"alignment.{side}_gate.weight"] @ np.concatenate([x, y]) + t[f"alignment.{side}_gate.bias"])
        fused.append(g * x + (1 - g) * y)
    fused = np.array(fused)
    return _softmax(fused @ t[f"alignment.{side}_pool.weight"][0]) @ fused


def shan_score(
    tensors: Mapping[str, Any], config: Mapping[str, Any], features: Any, tokens: Sequence[int]
) -> list[float]:
    """Step scores of one image (K x F) with one caption, from a checkpoint's tensors and configuration."""
    t = {name: np.asarray(tensor, np.float64) for name, tensor in tensors.items()}
    V = encode_image(t, np.asarray(features, np.float64))
    return align(t, config, V, encode_caption(t, tokens))
