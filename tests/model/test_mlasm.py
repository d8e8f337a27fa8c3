"""MLASM against its equations in plain NumPy and float64, with and without the part that is made for each pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from authors_scores import attended, cosines, gru, linear, sigmoid, unit
from shan_model.registry import new_model

SIZES = {"feature_dim": 11, "vocab_size": 30, "embed_dim": 16, "word_vector_dim": 6, "embedding_dim": 4}


def plain(state, features, tokens, whole_dim):
    own, whole = features[:, : 11 - whole_dim], features[0, 11 - whole_dim :]
    V = unit(linear(state, "image_encoder.regions", own))
    tables = [state[f"text_encoder.{name}.weight"][tokens] for name in ("word_vectors", "embedding")]
    T = unit(gru(state, "text_encoder.gru", np.concatenate(tables, axis=1)))  # of one direction
    seen, read = attended(T, V, 9.0), attended(V, T, 4.0)
    local = cosines(V, read).mean() / 2 + cosines(T, seen).mean() / 2
    if not whole_dim:
        return local
    a = linear(state, "image_encoder.whole", unit(whole))
    r = linear(state, "from_regions", seen.mean(0))
    t = sigmoid(linear(state, "gate", np.concatenate([a, r])))
    v_g, t_g = unit(t * a + (1 - t) * r), unit(linear(state, "from_words", read.mean(0)))
    return 0.8 * local + 0.2 * v_g @ t_g


@pytest.mark.parametrize("whole_dim", [0, 4])
def test_mlasm_is_its_equations(whole_dim):
    torch.manual_seed(0)
    model = new_model("mlasm", {"whole_dim": whole_dim}, **SIZES).double().eval()
    random = np.random.default_rng(0)
    features, captions = random.normal(size=(3, 7, 11)), [[4, 9, 5, 22], [8, 3]]
    features[:, :, 11 - whole_dim :] = features[:, :1, 11 - whole_dim :]  # the whole image's, in each region's feature
    mask = torch.arange(7) < torch.tensor([7, 2, 4])[:, None]
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        image = model.encode_images(torch.from_numpy(features), mask)
        caption = model.encode_captions(torch.tensor([captions[0], [*captions[1], 0, 0]]), torch.tensor([4, 2]))
        found = model.score_grid(image, caption).scores.numpy()
    kept = [features[row, : int(mask[row].sum())] for row in range(3)]
    expected = [[plain(state, rows, np.array(tokens), whole_dim) for tokens in captions] for rows in kept]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)
