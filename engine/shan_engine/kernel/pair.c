#include <math.h>

#include "attention.h"

/* One side of a pair: its packed rows, the weights with which each attends to the other side's rows, and the sums
 * gathered in the pass over the dimensions. */
typedef struct {
    const vf *rows, *gates;
    int64_t count;
    float *weights; /* [other side's row][own row], rows `stride` apart */
    int64_t stride;
    const vf *pool;
    vf *sums;       /* [row][3]: own · attended, attended · attended, pool · fused */
    vf *fused;      /* [chunk][row] */
    float *softmax; /* [row] */
    vf *dots;       /* [row]: row · the other side's pooled vector */
    vf *pooled;     /* [chunk] */
} Side;

/* For one chunk of `rows` rows: attend, gate, fuse. */
INLINE void fuse_tile(int rows, const vf *own, const vf *own_gates, const vf *other, const vf *other_gates,
                      int64_t others, const float *weights, int64_t stride, vf pool, vf *sums, vf *fused) {
    vf attended[TILE], gate[TILE];
    UNROLL for (int r = 0; r < rows; r++) {
        attended[r] = (vf){0};
        gate[r] = own_gates[r * GATES + 1];
    }
    for (int64_t j = 0; j < others; j++) {
        vf local = other[j], term = other_gates[j * GATES];
        UNROLL for (int r = 0; r < rows; r++) {
            attended[r] += weights[r] * local;
            gate[r] += weights[r] * term;
        }
        weights += stride;
    }
    /* Two sigmoids share one division. */
    UNROLL for (int r = 0; r < rows; r += 2) {
        int next = r + 1 < rows ? r + 1 : r;
        vf first = sigmoid_inverse(gate[r]);
        if (next == r) {
            gate[r] = 1.0f / first;
        } else {
            vf second = sigmoid_inverse(gate[next]);
            vf inverse = 1.0f / (first * second);
            gate[r] = second * inverse;
            gate[next] = first * inverse;
        }
    }
    UNROLL for (int r = 0; r < rows; r++) {
        vf local = own[r], mixed = attended[r] + gate[r] * (local - attended[r]);
        fused[r] = mixed;
        sums[3 * r] += local * attended[r];
        sums[3 * r + 1] += attended[r] * attended[r];
        sums[3 * r + 2] += pool * mixed;
    }
}

INLINE void fuse(const Side *side, const Side *other, int64_t chunk) {
    int64_t first = chunk * side->count, other_first = chunk * other->count;
    for (int64_t row = 0, rows; row < side->count; row += rows) {
        rows = next_tile(side->count - row, TILE);
        WITH_CONSTANT_ROWS(rows, fuse_tile(ROWS, side->rows + first + row, side->gates + (first + row) * GATES,
                                           other->rows + other_first, other->gates + other_first * GATES, other->count,
                                           side->weights + row, side->stride, side->pool[chunk], side->sums + 3 * row,
                                           side->fused + first + row))
    }
}

INLINE void softmax(float *values, int64_t count) {
    float top = -FLT_MAX, total = 0;
    for (int64_t i = 0; i < count; i++) top = values[i] > top ? values[i] : top;
    for (int64_t i = 0; i < count; i++) total += values[i] = expf(values[i] - top);
    for (int64_t i = 0; i < count; i++) values[i] /= total;
}

/* The mean cosine between a side's rows and what they attend to. Also takes the softmax of the pooling weights. */
static float local_mean(Side *side) {
    float mean = 0;
    for (int64_t r = 0; r < side->count; r++) {
        mean += sum(side->sums[3 * r]) / length(sum(side->sums[3 * r + 1]));
        side->softmax[r] = sum(side->sums[3 * r + 2]);
    }
    softmax(side->softmax, side->count);
    return mean / (float)side->count;
}

/* Σ_r weights[r] rows[r], in four separate sums so that additions overlap. */
INLINE vf mix(const float *weights, const vf *rows, int64_t count) {
    vf total[4] = {{0}};
    int64_t r = 0;
    for (; r + 4 <= count; r += 4)
        UNROLL for (int k = 0; k < 4; k++) total[k] += weights[r + k] * rows[r + k];
    for (; r < count; r++) total[0] += weights[r] * rows[r];
    return (total[0] + total[1]) + (total[2] + total[3]);
}

INLINE void pool(Side *side, Side *other, int64_t chunk, vf *square) {
    vf pooled = mix(side->softmax, side->fused + chunk * side->count, side->count);
    const vf *rows = other->rows + chunk * other->count;
    side->pooled[chunk] = pooled;
    *square += pooled * pooled;
    for (int64_t r = 0; r < other->count; r++) other->dots[r] += pooled * rows[r];
}

static void attend_globally(Side *side, float temperature, float other_length) {
    for (int64_t r = 0; r < side->count; r++) side->softmax[r] = temperature * sum(side->dots[r]) / other_length;
    softmax(side->softmax, side->count);
}

/* The arrays of the next image, `size` floats each; none if size is 0. */
typedef struct {
    const float *arrays[3];
    int64_t size;
} Next;

/* Fetches one chunk's share of the next image into the cache. */
INLINE void fetch(const Next *next, int64_t chunk, int64_t chunks) {
    int64_t from = next->size * chunk / chunks, to = next->size * (chunk + 1) / chunks;
    for (int part = 0; part < 3; part++)
        for (int64_t at = from; at < to; at += 16) __builtin_prefetch(next->arrays[part] + at, 0, 3);
}

static void score_pair(const Captions *captions, Side *image, Side *caption, const Next *next, float *steps) {
    float a = captions->region_weight, b = captions->word_weight;
    Side *sides[2] = {image, caption};
    for (int s = 0; s < 2; s++)
        for (int64_t r = 0; r < sides[s]->count; r++) {
            Side *side = sides[s];
            side->sums[3 * r] = side->sums[3 * r + 1] = side->sums[3 * r + 2] = side->dots[r] = (vf){0};
        }
    for (int64_t chunk = 0; chunk < captions->chunks; chunk++) {
        fetch(next, chunk, captions->chunks);
        fuse(image, caption, chunk);
        fuse(caption, image, chunk);
    }
    float regions = local_mean(image), words = local_mean(caption);
    steps[0] = a * regions + b * words;

    vf image_square = {0}, caption_square = {0};
    for (int64_t chunk = captions->chunks - 1; chunk >= 0; chunk--) { /* backwards, because the last chunks are still cached */
        pool(image, caption, chunk, &image_square);
        pool(caption, image, chunk, &caption_square);
    }
    float v_length = length(sum(image_square)), t_length = length(sum(caption_square));
    attend_globally(caption, captions->temperature, v_length);
    attend_globally(image, captions->temperature, t_length);

    vf v_t = {0}, t_t = {0}, t_v = {0}, v_v = {0}, both = {0}, first = {0}, second = {0};
    for (int64_t chunk = 0; chunk < captions->chunks; chunk++) {
        vf t_star = mix(caption->softmax, caption->rows + chunk * caption->count, caption->count);
        vf v_star = mix(image->softmax, image->rows + chunk * image->count, image->count);
        vf v = image->pooled[chunk], t = caption->pooled[chunk], left = v + t_star, right = t + v_star;
        v_t += v * t_star;
        t_t += t_star * t_star;
        t_v += t * v_star;
        v_v += v_star * v_star;
        both += left * right;
        first += left * left;
        second += right * right;
    }
    steps[1] = a * sum(v_t) / (v_length * length(sum(t_t))) + b * sum(t_v) / (t_length * length(sum(v_v)));
    if (captions->steps > 2) steps[2] = sum(both) / (length(sum(first)) * length(sum(second)));
}

static int allocate(Side *side, int64_t own, int64_t other, int64_t chunks) {
    side->stride = (int64_t)round_up((size_t)own, LANES);
    side->weights = vectors((size_t)(other * side->stride / LANES + 1));
    side->sums = vectors((size_t)(3 * own));
    side->fused = vectors((size_t)(chunks * own));
    side->softmax = vectors((size_t)own);
    side->dots = vectors((size_t)own);
    side->pooled = vectors((size_t)chunks);
    return side->weights && side->sums && side->fused && side->softmax && side->dots && side->pooled;
}

static void release_side(Side *side) {
    void *parts[] = {side->weights, side->sums, side->fused, side->softmax, side->dots, side->pooled};
    for (size_t part = 0; part < sizeof parts / sizeof *parts; part++) release(parts[part]);
}

/* Writes step scores B x C x steps, with images `out_stride` floats apart. Regions and gate terms are B x K x D, the mask
 * is B x K. Returns 0, or 1 if memory runs out. */
EXPORT int shan_score(const Captions *captions, const float *regions, const float *gate, const float *attended,
                      const uint8_t *mask, int64_t images, int64_t most, float *out, int64_t out_stride) {
    int64_t dim = captions->dim, chunks = captions->chunks, width = captions->panels * PANEL;
    Side image = {0}, caption = {0};
    vf *rows = vectors((size_t)(most * chunks)), *gates = vectors((size_t)(most * chunks * GATES));
    float *affinity = vectors((size_t)(most * width / LANES + 1 + captions->longest / LANES + 1));
    int failed = !rows || !gates || !affinity || !allocate(&image, most, captions->longest, chunks) ||
                 !allocate(&caption, captions->longest, most, chunks);
    for (int64_t b = 0; b < images && !failed; b++) {
        int64_t count = 0, row = 0;
        for (int64_t i = 0; i < most; i++) count += mask[b * most + i] != 0;
        for (int64_t i = 0; i < most; i++) {
            if (!mask[b * most + i]) continue;
            int64_t from = (b * most + i) * dim;
            pack_row(regions + from, dim, 1.0f, rows + row, count, 1);
            pack_row(attended + from, dim, -LOG2_E, gates + row * GATES, count * GATES, 1);
            pack_row(gate + from, dim, -LOG2_E, gates + row * GATES + 1, count * GATES, 1);
            row++;
        }
        affinities(GATED_WIDTH, rows, count, captions, affinity);
        image.rows = rows;
        image.gates = gates;
        image.count = count;
        image.pool = captions->image_pool;
        image.stride = (int64_t)round_up((size_t)count, LANES);
        for (int64_t c = 0; c < captions->captions; c++) {
            caption.rows = captions->rows + captions->first[c] * chunks;
            caption.gates = captions->gates + captions->first[c] * chunks * GATES;
            caption.count = captions->first[c + 1] - captions->first[c];
            caption.pool = captions->text_pool;
            caption.stride = (int64_t)round_up((size_t)caption.count, LANES);
            attention(affinity + captions->first[c], width, count, caption.count, image.weights, image.stride,
                      caption.weights, caption.stride);
            int64_t after = (b + 1) * most * dim;
            Next next = {{regions + after, gate + after, attended + after},
                         b + 1 < images && c + 1 == captions->captions ? most * dim : 0};
            score_pair(captions, &image, &caption, &next, out + b * out_stride + c * captions->steps);
        }
    }
    release(rows);
    release(gates);
    release(affinity);
    release_side(&image);
    release_side(&caption);
    return failed;
}
