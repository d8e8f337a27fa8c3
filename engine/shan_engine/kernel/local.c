/* Step 1 alone, on images read straight from a large array. */
#include <math.h>
#include <string.h>

#include "attention.h"

enum { FLOAT32, FLOAT16, INT8 };

/* For one chunk of `rows` rows: attend, and add to own · attended and attended · attended. */
INLINE void attend_tile(int rows, const vf *own, const vf *other, int64_t others, const float *weights, int64_t stride,
                        vf *sums) {
    vf first[TILE], second[TILE];
    UNROLL for (int r = 0; r < rows; r++) first[r] = second[r] = (vf){0};
    for (int64_t j = 0; j < others; j++) {
        vf left = other[j * LOCAL_WIDTH], right = other[j * LOCAL_WIDTH + 1];
        UNROLL for (int r = 0; r < rows; r++) {
            first[r] += weights[r] * left;
            second[r] += weights[r] * right;
        }
        weights += stride;
    }
    UNROLL for (int r = 0; r < rows; r++) {
        sums[2 * r] += own[r * LOCAL_WIDTH] * first[r] + own[r * LOCAL_WIDTH + 1] * second[r];
        sums[2 * r + 1] += first[r] * first[r] + second[r] * second[r];
    }
}

/* The mean cosine between `count` rows and what they attend to among `others` rows. */
static float mean_cosine(const vf *rows, int64_t count, const vf *other, int64_t others, const float *weights,
                         int64_t stride, int64_t chunks, vf *sums) {
    memset(sums, 0, (size_t)(2 * count) * sizeof(vf));
    for (int64_t chunk = 0; chunk < chunks; chunk++)
        for (int64_t row = 0, tile; row < count; row += tile) {
            tile = next_tile(count - row, TILE);
            WITH_CONSTANT_ROWS(tile, attend_tile(ROWS, rows + (chunk * count + row) * LOCAL_WIDTH,
                                                 other + chunk * others * LOCAL_WIDTH, others, weights + row, stride,
                                                 sums + 2 * row))
        }
    float total = 0;
    for (int64_t r = 0; r < count; r++) total += sum(sums[2 * r]) / length(sum(sums[2 * r + 1]));
    return total / (float)count;
}

/* Row number `row` of an image's regions. */
static const float *as_floats(const void *regions, int type, int64_t row, int64_t dim, const float *scales, float *room) {
    if (type == FLOAT32) return (const float *)regions + row * dim;
    if (type == FLOAT16) {
        const uint16_t *from = (const uint16_t *)regions + row * dim;
        for (int64_t d = 0; d < dim; d++) room[d] = from_half(from[d]);
    } else {
        const int8_t *from = (const int8_t *)regions + row * dim;
        for (int64_t d = 0; d < dim; d++) room[d] = (float)from[d] * scales[row];
    }
    return room;
}

/* Step 1 of images with all captions: images x captions. Of each image there are regions, most x D of `type`, with
 * `most` scales where they are int8, and a mask of `most`. Returns 0, or 1 if memory runs out. */
EXPORT int shan_local_of(const Captions *captions, const void *const *regions, int type, const float *const *scales,
                      const uint8_t *const *mask, int64_t images, int64_t most, float *out) {
    int64_t chunks = captions->chunks, width = captions->panels * PANEL, words = captions->longest;
    int64_t alpha_most = (int64_t)round_up((size_t)most, LANES), beta_most = (int64_t)round_up((size_t)words, LANES);
    vf *packed = vectors((size_t)(most * chunks * LOCAL_WIDTH));
    vf *sums = vectors((size_t)(2 * (most > words ? most : words)));
    float *room = vectors((size_t)(captions->dim / LANES + 1));
    float *affinity = vectors((size_t)((most * width + beta_most) / LANES + 1));
    float *alpha = vectors((size_t)(words * alpha_most / LANES)), *beta = vectors((size_t)(most * beta_most / LANES));
    int failed = !packed || !sums || !room || !affinity || !alpha || !beta;
    for (int64_t b = 0; b < images && !failed; b++) {
        int64_t count = 0, row = 0;
        for (int64_t i = 0; i < most; i++) count += mask[b][i] != 0;
        for (int64_t i = 0; i < most; i++)
            if (mask[b][i])
                pack_row(as_floats(regions[b], type, i, captions->dim, scales ? scales[b] : NULL, room), captions->dim,
                         1.0f, packed + row++ * LOCAL_WIDTH, count * LOCAL_WIDTH, 2);
        affinities(LOCAL_WIDTH, packed, count, captions, affinity);
        for (int64_t c = 0; c < captions->captions; c++) {
            int64_t n = captions->first[c + 1] - captions->first[c];
            int64_t alpha_stride = (int64_t)round_up((size_t)count, LANES);
            int64_t beta_stride = (int64_t)round_up((size_t)n, LANES);
            const vf *caption = captions->rows + captions->first[c] * chunks * LOCAL_WIDTH;
            attention(affinity + captions->first[c], width, count, n, alpha, alpha_stride, beta, beta_stride);
            out[b * captions->captions + c] =
                captions->region_weight * mean_cosine(packed, count, caption, n, alpha, alpha_stride, chunks, sums) +
                captions->word_weight * mean_cosine(caption, n, packed, count, beta, beta_stride, chunks, sums);
        }
    }
    void *parts[] = {packed, sums, room, affinity, alpha, beta};
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) release(parts[part]);
    return failed;
}
