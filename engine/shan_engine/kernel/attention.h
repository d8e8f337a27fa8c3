/* Affinities of an image's regions with the words of all captions, and the attention weights of one pair. */
#ifndef SHAN_ATTENTION_H
#define SHAN_ATTENTION_H

#include <float.h>
#include <math.h>

#include "captions.h"

/* Runs `call` with `rows` (1 to 6) available as the constant ROWS. */
#define WITH_CONSTANT_ROWS(rows, call)                                                                       \
    switch (rows) {                                                                                          \
        case 1: { enum { ROWS = 1 }; call; } break;                                                          \
        case 2: { enum { ROWS = 2 }; call; } break;                                                          \
        case 3: { enum { ROWS = 3 }; call; } break;                                                          \
        case 4: { enum { ROWS = 4 }; call; } break;                                                          \
        case 5: { enum { ROWS = 5 }; call; } break;                                                          \
        default: { enum { ROWS = 6 }; call; } break;                                                         \
    }

/* Rows of the next tile, at most `most`. All tiles get nearly the same size. */
INLINE int64_t next_tile(int64_t left, int64_t most) { return (left + (left + most - 1) / most - 1) / ((left + most - 1) / most); }

INLINE void affinity_tile(int rows, int width, const vf *image, int64_t stride, const float *panel, int64_t chunks,
                          float *out, int64_t out_stride) {
    vf total[TILE][PANEL_VECTORS];
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < PANEL_VECTORS; v++) total[r][v] = (vf){0};
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        const float *x = (const float *)(image + chunk * stride);
        for (int lane = 0; lane < width * LANES; lane++) {
            vf query[PANEL_VECTORS];
            UNROLL for (int v = 0; v < PANEL_VECTORS; v++) query[v] = load(panel + v * LANES);
            UNROLL for (int r = 0; r < rows; r++)
                UNROLL for (int v = 0; v < PANEL_VECTORS; v++) total[r][v] += x[r * width * LANES + lane] * query[v];
            panel += PANEL;
        }
    }
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < PANEL_VECTORS; v++) store(out + r * out_stride + v * LANES, total[r][v]);
}

/* λ A of one packed image and all packed captions: regions x (panels * PANEL). */
INLINE void affinities(int width, const vf *image, int64_t regions, const Captions *captions, float *out) {
    int64_t stride = captions->panels * PANEL, panel_size = captions->chunks * width * LANES * PANEL;
    for (int64_t p = 0; p < captions->panels; p++)
        for (int64_t row = 0, rows; row < regions; row += rows) {
            rows = next_tile(regions - row, TILE);
            WITH_CONSTANT_ROWS(rows, affinity_tile(ROWS, width, image + row * width, regions * width,
                                                   captions->queries + p * panel_size, captions->chunks,
                                                   out + row * stride + p * PANEL, stride))
        }
}

/* A norm of at least 1e-8, as in shan_model/norms.py. */
INLINE float length(float square) { return sqrtf(square > 1e-16f ? square : 1e-16f); }

/* Softmax down each of `columns` columns, a multiple of LANES. */
INLINE void softmax_down(const float *in, int64_t in_stride, float *out, int64_t out_stride, int64_t rows, int64_t columns) {
    for (int64_t column = 0; column < columns; column += LANES) {
        vf top = splat(-FLT_MAX), total = {0};
        for (int64_t row = 0; row < rows; row++) top = largest(load(in + row * in_stride + column), top);
        for (int64_t row = 0; row < rows; row++) {
            vf weight = power_of_two(largest(splat(-126.0f), (load(in + row * in_stride + column) - top) * LOG2_E));
            store(out + row * out_stride + column, weight);
            total += weight;
        }
        vf scale = 1.0f / total;
        for (int64_t row = 0; row < rows; row++) {
            float *place = out + row * out_stride + column;
            store(place, load(place) * scale);
        }
    }
}

/* Computes α (words x regions) and β (regions x words) from a pair's λ A, regions x words of a wider matrix. */
INLINE void attention(const float *affinity, int64_t stride, int64_t regions, int64_t words, float *alpha,
                      int64_t alpha_stride, float *beta, int64_t beta_stride) {
    softmax_down(affinity, stride, beta, beta_stride, regions, beta_stride);
    for (int64_t i = 0; i < regions; i++)
        for (int64_t j = 0; j < words; j++) alpha[j * alpha_stride + i] = affinity[i * stride + j];
    softmax_down(alpha, alpha_stride, alpha, alpha_stride, words, alpha_stride);
}

#endif
