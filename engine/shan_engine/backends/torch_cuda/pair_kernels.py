"""SHAN's pair score as two Triton kernels. One program scores one image with one caption and writes one number.

Both kernels compute what `kernel/pair.c` does. They accumulate in float32, whatever the arrays' type, and store only
scores.

- `score_in_rows` holds whole rows of D. It first computes attention for all regions. It then takes the regions in
  tiles, so that each gate term is read once and each gate is computed once. Products of small matrices remain. V is
  read three times, but from device memory only once. Use it for small D, K and n, and for two or three steps.
- `score_in_chunks` holds BD dimensions of all regions and words at a time, for any D. It computes each gate twice,
  before and after the pooling weights are known. Step 1 needs one pass, because Gram matrices give all its products.

Shapes: regions and their gate terms are B x K x D; words, queries and their gate terms C x n x D; masks B x K and
C x n, of bytes; `OUT` is C x B. Padding rows of a tile are masked, so K, n and D may have any size.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-1e30)
SIZES = ["images", "captions", "K", "N"]  # change from call to call; no new compilation for 1 or multiples of 16


@triton.jit
def _length(square):
    """A norm of at least 1e-8, as in shan_model/norms.py."""
    return tl.sqrt(tl.maximum(square, 1e-16))


@triton.jit
def _softmax(logits, valid):
    """Softmax along the last axis, over the valid places."""
    last: tl.constexpr = len(logits.shape) - 1
    logits = tl.where(valid, logits, LOWEST)
    weights = tl.where(valid, tl.exp(logits - tl.max(logits, last, keep_dims=True)), 0.0)
    return weights * (1.0 / tl.sum(weights, last, keep_dims=True))


@triton.jit
def _fuse(local, attended, gate, FAST: tl.constexpr):
    """Mix by a gate. `gate` is the value before its sigmoid; FAST uses the GPU's approximate tanh (error 1e-3)."""
    if FAST:
        tanh = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [0.5 * gate], dtype=tl.float32, is_pure=True, pack=1
        )
        return attended + (local - attended) * (0.5 + 0.5 * tanh)
    return attended + (local - attended) / (1.0 + tl.exp(-gate))


@triton.jit
def _rows(array, first, row, rows, column, columns):
    """Load rows `first + row` at `column`, with 0 beyond `rows` and `columns`."""
    places = (first + row)[:, None] * columns + column[None, :]
    return tl.load(array + places, mask=(row < rows)[:, None] & (column < columns)[None, :], other=0.0)


@triton.jit
def _valid(mask, first, row, rows):
    return tl.load(mask + first + row, mask=row < rows, other=0) != 0


@triton.jit
def _mean(values, valid):
    return tl.sum(tl.where(valid, values, 0.0), 0) / tl.sum(valid.to(tl.float32), 0)


@triton.jit
def _global_steps(vv, tt, vt, v_ts, t_vs, v_vs, t_ts, ts_ts, vs_vs, ts_vs, a, b, STEPS: tl.constexpr):
    """Steps 2 and 3, from the inner products of v_c and t_c (v, t) with t_c* and v_c* (ts, vs)."""
    score = a * v_ts / (_length(vv) * _length(ts_ts)) + b * t_vs / (_length(tt) * _length(vs_vs))
    if STEPS > 2:
        left, right = vv + 2 * v_ts + ts_ts, tt + 2 * t_vs + vs_vs
        score += (vt + v_vs + t_ts + ts_vs) / (_length(left) * _length(right))
    return score


@triton.jit
def _both_fused(
    V, V_OWN, V_ATTENDED, T, T_OWN, T_ATTENDED, first_region, first_word, region, word, column,
    K, N, D, alpha, beta, PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Regions and words at some columns: fused with what they attend to, and as they are."""
    v, t = _rows(V, first_region, region, K, column, D), _rows(T, first_word, word, N, column, D)
    own = _rows(V_OWN, first_region, region, K, column, D).to(tl.float32)
    gate = tl.dot(alpha, _rows(T_ATTENDED, first_word, word, N, column, D), acc=own, input_precision=PRECISION)
    v_fused = _fuse(v.to(tl.float32), tl.dot(alpha, t, input_precision=PRECISION), gate, FAST)
    own = _rows(T_OWN, first_word, word, N, column, D).to(tl.float32)
    gate = tl.dot(beta, _rows(V_ATTENDED, first_region, region, K, column, D), acc=own, input_precision=PRECISION)
    t_fused = _fuse(t.to(tl.float32), tl.dot(beta, v, input_precision=PRECISION), gate, FAST)
    return v_fused, t_fused, v, t


@triton.jit(do_not_specialize=SIZES)
def score_in_rows(
    V, V_OWN, V_ATTENDED, V_MASK, T, U, T_OWN, T_ATTENDED, T_MASK, V_POOL, T_POOL, OUT,
    images, captions, K, N, D, temperature, a, b,
    STEPS: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr, FAST: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Grid: (images * captions,), with the captions of one image next to each other.

    BK, BN and BD are at least K, n and D. STEPS is 2 or 3.
    """
    pair = tl.program_id(0)
    image, caption = (pair // captions).to(tl.int64), (pair % captions).to(tl.int64)
    first_region, first_word = image * K, caption * N
    column, word, every = tl.arange(0, BD), tl.arange(0, BN), tl.arange(0, BK)
    regions, words = _valid(V_MASK, first_region, every, K), _valid(T_MASK, first_word, word, N)
    t = _rows(T, first_word, word, N, column, D)
    v = _rows(V, first_region, every, K, column, D)
    queries = _rows(U, first_word, word, N, column, D)
    affinity = tl.dot(v, tl.trans(queries), input_precision=PRECISION)
    similarity = tl.dot(v, tl.trans(t), input_precision=PRECISION)
    t_gram = tl.dot(t, tl.trans(t), input_precision=PRECISION)
    v_weights = _softmax(affinity, words[None, :])
    t_weights = _softmax(tl.trans(affinity), regions[None, :])
    alpha, beta = v_weights.to(t.dtype), t_weights.to(t.dtype)
    square = tl.sum(v_weights * tl.dot(alpha, t_gram.to(t.dtype), input_precision=PRECISION), 1)
    score = a * _mean(tl.sum(v_weights * similarity, 1) / _length(square), regions)
    t_dot = tl.sum(t_weights * tl.trans(similarity), 1)

    t_attended = _rows(T_ATTENDED, first_word, word, N, column, D)
    v_pool = tl.load(V_POOL + column, mask=column < D, other=0.0)
    v_star, t_gate = tl.zeros((BN, BD), tl.float32), tl.zeros((BN, BD), tl.float32)
    v_c, top, total = tl.zeros((BD,), tl.float32), -1.0e30, 0.0
    for start in range(0, K, TILE):
        region = start + tl.arange(0, TILE)
        chosen = (region[:, None] == every[None, :]).to(t.dtype)  # selects the tile's rows of α and columns of β
        alpha_here = tl.dot(chosen, alpha, input_precision=PRECISION).to(t.dtype)
        beta_here = tl.dot(beta, tl.trans(chosen), input_precision=PRECISION).to(t.dtype)
        here = _valid(V_MASK, first_region, region, K)
        tile = _rows(V, first_region, region, K, column, D)
        own = _rows(V_OWN, first_region, region, K, column, D).to(tl.float32)
        gate = tl.dot(alpha_here, t_attended, acc=own, input_precision=PRECISION)
        fused = _fuse(tile.to(tl.float32), tl.dot(alpha_here, t, input_precision=PRECISION), gate, FAST)
        logits = tl.where(here, tl.sum(fused * v_pool[None, :], 1), LOWEST)
        top_next = tl.maximum(top, tl.max(logits, 0))
        kept = tl.exp(top - top_next)
        weights = tl.where(here, tl.exp(logits - top_next), 0.0)
        v_c = v_c * kept + tl.sum(weights[:, None] * fused, 0)
        total = total * kept + tl.sum(weights, 0)
        top = top_next
        v_star = tl.dot(beta_here, tile, acc=v_star, input_precision=PRECISION)
        attended = _rows(V_ATTENDED, first_region, region, K, column, D)
        t_gate = tl.dot(beta_here, attended, acc=t_gate, input_precision=PRECISION)
    score += b * _mean(t_dot / _length(tl.sum(v_star * v_star, 1)), words)

    v_c = v_c * (1.0 / total)  # dividing each element would cost more than all other work on it
    t_gate += _rows(T_OWN, first_word, word, N, column, D).to(tl.float32)
    fused = _fuse(t.to(tl.float32), v_star, t_gate, FAST)
    t_pool = tl.load(T_POOL + column, mask=column < D, other=0.0)
    t_c = tl.sum(_softmax(tl.sum(fused * t_pool[None, :], 1), words)[:, None] * fused, 0)
    vv, tt, vt = tl.sum(v_c * v_c, 0), tl.sum(t_c * t_c, 0), tl.sum(v_c * t_c, 0)

    # Products of regions and words with v_c (column 0) and t_c (column 1). Those with v_c* and t_c* follow from them.
    v = _rows(V, first_region, every, K, column, D)
    which = tl.arange(0, 16)
    first, second = which[None, :] == 0, which[None, :] == 1
    pooled = tl.where(first, v_c[:, None], tl.where(second, t_c[:, None], 0.0)).to(t.dtype)
    of_regions = tl.dot(v, pooled, input_precision=PRECISION)
    of_words = tl.dot(t, pooled, input_precision=PRECISION)
    v_gram = tl.dot(v, tl.trans(v), input_precision=PRECISION)
    v_v, t_v = tl.sum(tl.where(first, of_regions, 0.0), 1), tl.sum(tl.where(second, of_regions, 0.0), 1)
    v_t, t_t = tl.sum(tl.where(first, of_words, 0.0), 1), tl.sum(tl.where(second, of_words, 0.0), 1)
    v_weights = _softmax(temperature * t_v / _length(tt), regions)  # v_c* is what t_c attends to
    t_weights = _softmax(temperature * v_t / _length(vv), words)
    ts_vs = tl.sum(tl.sum(v_weights[:, None] * t_weights[None, :] * similarity, 1), 0)
    ts_ts = tl.sum(t_weights * tl.sum(t_weights[None, :] * t_gram, 1), 0)
    vs_vs = tl.sum(v_weights * tl.sum(v_weights[None, :] * v_gram, 1), 0)
    score += _global_steps(
        vv, tt, vt, tl.sum(t_weights * v_t, 0), tl.sum(v_weights * t_v, 0),
        tl.sum(v_weights * v_v, 0), tl.sum(t_weights * t_t, 0), ts_ts, vs_vs, ts_vs, a, b, STEPS,
    )  # fmt: skip
    tl.store(OUT + caption * images + image, score)


@triton.jit(do_not_specialize=SIZES)
def score_in_chunks(
    V, V_OWN, V_ATTENDED, V_MASK, T, U, T_OWN, T_ATTENDED, T_MASK, V_POOL, T_POOL, OUT,
    images, captions, K, N, D, temperature, a, b,
    STEPS: tl.constexpr, BK: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr,
    PRECISION: tl.constexpr, FAST: tl.constexpr,
):  # fmt: skip
    """Grid: (images * captions,), with the captions of one image next to each other. BK >= K and BN >= n."""
    pair = tl.program_id(0)
    image, caption = (pair // captions).to(tl.int64), (pair % captions).to(tl.int64)
    first_region, first_word = image * K, caption * N
    region, word = tl.arange(0, BK), tl.arange(0, BN)
    regions, words = _valid(V_MASK, first_region, region, K), _valid(T_MASK, first_word, word, N)

    affinity, similarity = tl.zeros((BK, BN), tl.float32), tl.zeros((BK, BN), tl.float32)
    v_gram, t_gram = tl.zeros((BK, BK), tl.float32), tl.zeros((BN, BN), tl.float32)
    for start in range(0, D, BD):
        column = start + tl.arange(0, BD)
        v, t = _rows(V, first_region, region, K, column, D), _rows(T, first_word, word, N, column, D)
        queries = _rows(U, first_word, word, N, column, D)
        affinity = tl.dot(v, tl.trans(queries), acc=affinity, input_precision=PRECISION)
        similarity = tl.dot(v, tl.trans(t), acc=similarity, input_precision=PRECISION)
        v_gram = tl.dot(v, tl.trans(v), acc=v_gram, input_precision=PRECISION)
        t_gram = tl.dot(t, tl.trans(t), acc=t_gram, input_precision=PRECISION)
    v_weights = _softmax(affinity, words[None, :])
    t_weights = _softmax(tl.trans(affinity), regions[None, :])
    alpha, beta = v_weights.to(T.dtype.element_ty), t_weights.to(T.dtype.element_ty)
    # Step 1 needs products of t* and v* that are K x n, K x K and n x n, not K x D.
    square = tl.sum(v_weights * tl.dot(alpha, t_gram.to(alpha.dtype), input_precision=PRECISION), 1)
    score = a * _mean(tl.sum(v_weights * similarity, 1) / _length(square), regions)
    square = tl.sum(t_weights * tl.dot(beta, v_gram.to(beta.dtype), input_precision=PRECISION), 1)
    score += b * _mean(tl.sum(t_weights * tl.trans(similarity), 1) / _length(square), words)

    if STEPS > 1:
        v_logits, t_logits = tl.zeros((BK,), tl.float32), tl.zeros((BN,), tl.float32)
        for start in range(0, D, BD):
            column = start + tl.arange(0, BD)
            v_fused, t_fused, v, t = _both_fused(
                V, V_OWN, V_ATTENDED, T, T_OWN, T_ATTENDED, first_region, first_word, region, word, column,
                K, N, D, alpha, beta, PRECISION, FAST,
            )  # fmt: skip
            v_logits += tl.sum(v_fused * tl.load(V_POOL + column, mask=column < D, other=0.0)[None, :], 1)
            t_logits += tl.sum(t_fused * tl.load(T_POOL + column, mask=column < D, other=0.0)[None, :], 1)
        v_weights, t_weights = _softmax(v_logits, regions), _softmax(t_logits, words)

        vv, tt, vt = 0.0, 0.0, 0.0
        v_v, t_v = tl.zeros((BK,), tl.float32), tl.zeros((BK,), tl.float32)  # v_c and t_c with each region
        v_t, t_t = tl.zeros((BN,), tl.float32), tl.zeros((BN,), tl.float32)  # and with each word
        for start in range(0, D, BD):
            column = start + tl.arange(0, BD)
            v_fused, t_fused, v, t = _both_fused(
                V, V_OWN, V_ATTENDED, T, T_OWN, T_ATTENDED, first_region, first_word, region, word, column,
                K, N, D, alpha, beta, PRECISION, FAST,
            )  # fmt: skip
            v_c, t_c = tl.sum(v_weights[:, None] * v_fused, 0), tl.sum(t_weights[:, None] * t_fused, 0)
            vv += tl.sum(v_c * v_c, 0)
            tt += tl.sum(t_c * t_c, 0)
            vt += tl.sum(v_c * t_c, 0)
            v_v += tl.sum(v.to(tl.float32) * v_c[None, :], 1)
            t_v += tl.sum(v.to(tl.float32) * t_c[None, :], 1)
            v_t += tl.sum(t.to(tl.float32) * v_c[None, :], 1)
            t_t += tl.sum(t.to(tl.float32) * t_c[None, :], 1)
        v_weights = _softmax(temperature * t_v / _length(tt), regions)  # v_c* is what t_c attends to
        t_weights = _softmax(temperature * v_t / _length(vv), words)
        ts_ts, vs_vs, ts_vs = 0.0, 0.0, 0.0
        for start in range(0, D, BD):
            column = start + tl.arange(0, BD)
            v_local = _rows(V, first_region, region, K, column, D).to(tl.float32)
            t_local = _rows(T, first_word, word, N, column, D).to(tl.float32)
            v_c_star, t_c_star = tl.sum(v_weights[:, None] * v_local, 0), tl.sum(t_weights[:, None] * t_local, 0)
            ts_ts += tl.sum(t_c_star * t_c_star, 0)
            vs_vs += tl.sum(v_c_star * v_c_star, 0)
            ts_vs += tl.sum(t_c_star * v_c_star, 0)
        score += _global_steps(
            vv, tt, vt, tl.sum(t_weights * v_t, 0), tl.sum(v_weights * t_v, 0),
            tl.sum(v_weights * v_v, 0), tl.sum(t_weights * t_t, 0), ts_ts, vs_vs, ts_vs, a, b, STEPS,
        )  # fmt: skip
    tl.store(OUT + caption * images + image, score)
