/* Step 1 and its gradients for training, from products of regions and words, without forming attended vectors. */
#include <math.h>
#include <string.h>

#include "vector.h"

enum { MAX_REGIONS = 128, MAX_WORDS = 128, MAX_VECTORS = MAX_WORDS / LANES };
#define EPSILON 1e-16f
#define MASKED -1e9f

/* One image and one caption. Rows of words are vectors of LANES. */
typedef struct {
    const float *affinity, *similarity; /* regions x words, rows `stride` floats apart */
    const float *image_gram;            /* regions x regions */
    const float *caption_gram;          /* words x words, rows of vectors * LANES */
    const unsigned char *region_mask, *word_mask;
    int64_t regions, stride;
    float region_weight, word_weight; /* a and b, divided by the number of regions and words */
} Pair;

typedef struct {
    float *affinity, *similarity, *caption_gram;
    vf *image_gram; /* regions x regions, still to be summed over lanes */
} Gradients;

/* exp(x) for x <= 0. */
INLINE vf exponential(vf x) { return power_of_two(largest(splat(-126.0f), x * LOG2_E)); }

INLINE float maximum(vf x) {
    float most = x[0];
    UNROLL for (int lane = 1; lane < LANES; lane++) most = x[lane] > most ? x[lane] : most;
    return most;
}

INLINE vf root(vf x) {
    vf y;
    x = largest(splat(EPSILON), x);
    UNROLL for (int lane = 0; lane < LANES; lane++) y[lane] = sqrtf(x[lane]);
    return y;
}

/* The pair's score. If `to` is given, also its gradients, times `gradient`. */
INLINE float score_pair(const Pair *p, const int vectors, float gradient, const Gradients *to) {
    vf alpha[MAX_REGIONS * MAX_VECTORS], beta[MAX_REGIONS * MAX_VECTORS]; /* regions x vectors */
    vf valid[MAX_VECTORS], hidden[MAX_VECTORS], worst[MAX_VECTORS];
    vf total[MAX_VECTORS], norm[MAX_VECTORS], dot[MAX_VECTORS];
    const int64_t K = p->regions, words = vectors * LANES;
    for (int v = 0; v < vectors; v++) {
        for (int lane = 0; lane < LANES; lane++) {
            valid[v][lane] = (float)p->word_mask[v * LANES + lane];
            hidden[v][lane] = p->word_mask[v * LANES + lane] ? 0.0f : MASKED;
        }
        worst[v] = splat(MASKED);
        total[v] = norm[v] = dot[v] = (vf){0};
    }
    for (int64_t i = 0; i < K; i++) {
        const float *row = p->affinity + i * p->stride;
        vf most = splat(MASKED), sums = {0};
        for (int v = 0; v < vectors; v++) {
            vf x = load(row + v * LANES);
            most = largest(most, x + hidden[v]);
            if (p->region_mask[i]) worst[v] = largest(worst[v], x);
        }
        vf shift = splat(maximum(most));
        for (int v = 0; v < vectors; v++) {
            alpha[i * vectors + v] = valid[v] * exponential(load(row + v * LANES) + hidden[v] - shift);
            sums += alpha[i * vectors + v];
        }
        float share = 1.0f / sum(sums);
        for (int v = 0; v < vectors; v++) alpha[i * vectors + v] *= share;
    }
    for (int64_t i = 0; i < K; i++)
        for (int v = 0; v < vectors; v++) {
            beta[i * vectors + v] = p->region_mask[i] ? exponential(load(p->affinity + i * p->stride + v * LANES) - worst[v]) : (vf){0};
            total[v] += beta[i * vectors + v];
        }
    for (int v = 0; v < vectors; v++) total[v] = valid[v] / total[v];
    for (int64_t i = 0; i < K; i++)
        for (int v = 0; v < vectors; v++) beta[i * vectors + v] *= total[v];

    float score = 0;
    for (int64_t i = 0; i < K; i++) { /* regions attend to words */
        if (!p->region_mask[i]) {
            if (to)
                for (int v = 0; v < vectors; v++) {
                    store(to->affinity + i * p->stride + v * LANES, (vf){0});
                    store(to->similarity + i * p->stride + v * LANES, (vf){0});
                }
            continue;
        }
        const float *similar = p->similarity + i * p->stride, *weights = (const float *)(alpha + i * vectors);
        vf spread[MAX_VECTORS], product = {0}, square = {0};
        for (int v = 0; v < vectors; v++) spread[v] = (vf){0};
        for (int64_t j = 0; j < words; j++)
            for (int v = 0; v < vectors; v++)
                spread[v] += weights[j] * load(p->caption_gram + j * words + v * LANES);
        for (int v = 0; v < vectors; v++) {
            product += alpha[i * vectors + v] * load(similar + v * LANES);
            square += alpha[i * vectors + v] * spread[v];
        }
        float along = sum(product), length = sqrtf(fmaxf(sum(square), EPSILON));
        score += p->region_weight * along / length;
        if (!to) continue;
        float slope = gradient * p->region_weight / length, bend = slope * along / (length * length);
        vf change[MAX_VECTORS], inner = {0};
        for (int v = 0; v < vectors; v++) {
            change[v] = slope * load(similar + v * LANES) - bend * spread[v];
            inner += change[v] * alpha[i * vectors + v];
        }
        float mean = sum(inner);
        for (int v = 0; v < vectors; v++) {
            store(to->affinity + i * p->stride + v * LANES, alpha[i * vectors + v] * (change[v] - mean));
            store(to->similarity + i * p->stride + v * LANES, slope * alpha[i * vectors + v]);
        }
        for (int64_t j = 0; j < words; j++)
            for (int v = 0; v < vectors; v++) {
                float *gram = to->caption_gram + j * words + v * LANES;
                store(gram, load(gram) - 0.5f * bend * weights[j] * alpha[i * vectors + v]);
            }
    }

    vf spread[MAX_REGIONS * MAX_VECTORS], product[MAX_VECTORS], slope[MAX_VECTORS], bend[MAX_VECTORS]; /* words attend to regions */
    for (int v = 0; v < vectors; v++) product[v] = (vf){0};
    for (int64_t i = 0; i < K; i++) {
        vf sums[MAX_VECTORS];
        for (int v = 0; v < vectors; v++) sums[v] = (vf){0};
        for (int64_t k = 0; k < K; k++)
            for (int v = 0; v < vectors; v++) sums[v] += p->image_gram[i * K + k] * beta[k * vectors + v];
        for (int v = 0; v < vectors; v++) {
            spread[i * vectors + v] = sums[v];
            norm[v] += beta[i * vectors + v] * sums[v];
            product[v] += beta[i * vectors + v] * load(p->similarity + i * p->stride + v * LANES);
        }
    }
    for (int v = 0; v < vectors; v++) {
        vf length = root(norm[v]);
        score += p->word_weight * sum(product[v] / length);
        slope[v] = gradient * p->word_weight * valid[v] / length;
        bend[v] = slope[v] * product[v] / (length * length);
    }
    if (!to) return score;
    for (int64_t i = 0; i < K; i++)
        for (int v = 0; v < vectors; v++) {
            vf change = slope[v] * load(p->similarity + i * p->stride + v * LANES) - bend[v] * spread[i * vectors + v];
            dot[v] += beta[i * vectors + v] * change;
            spread[i * vectors + v] = change;
        }
    for (int64_t i = 0; i < K; i++) {
        if (!p->region_mask[i]) continue;
        for (int v = 0; v < vectors; v++) {
            float *affine = to->affinity + i * p->stride + v * LANES, *similar = to->similarity + i * p->stride + v * LANES;
            store(affine, load(affine) + beta[i * vectors + v] * (spread[i * vectors + v] - dot[v]));
            store(similar, load(similar) + slope[v] * beta[i * vectors + v]);
            vf scaled = -0.5f * bend[v] * beta[i * vectors + v];
            for (int64_t k = 0; k < K; k++) to->image_gram[i * K + k] += scaled * beta[k * vectors + v];
        }
    }
    return score;
}

/* Scores B x C of images and captions. If `gradient` (B x C) is given, also the gradients of all inputs.
 *
 * affinity and similarity are B x K x C x N, image_gram is B x K x K, caption_gram C x N x N, the masks B x K and C x N;
 * N is a multiple of 16. The caller zeroes the gradients of the Gram matrices. Returns 1 if a size is not supported or
 * memory runs out. */
EXPORT int shan_train_local(const float *affinity, const float *similarity, const float *image_gram,
                            const float *caption_gram, const unsigned char *region_mask, const unsigned char *word_mask,
                            int64_t images, int64_t regions, int64_t captions, int64_t words, float region_weight,
                            float word_weight, const float *gradient, float *scores, float *affinity_gradient,
                            float *similarity_gradient, float *image_gram_gradient, float *caption_gram_gradient) {
    if (regions > MAX_REGIONS || words > MAX_WORDS || words % 16) return 1;
    const int64_t stride = captions * words, square = regions * regions;
    vf *sums = gradient ? vectors((size_t)square) : NULL;
    if (gradient && !sums) return 1;
    for (int64_t b = 0; b < images; b++) {
        int64_t seen = 0;
        for (int64_t i = 0; i < regions; i++) seen += region_mask[b * regions + i];
        if (gradient) memset(sums, 0, (size_t)square * sizeof(vf));
        for (int64_t c = 0; c < captions; c++) {
            int64_t said = 0, at = b * regions * stride + c * words;
            for (int64_t j = 0; j < words; j++) said += word_mask[c * words + j];
            Pair pair = {affinity + at, similarity + at, image_gram + b * square, caption_gram + c * words * words,
                         region_mask + b * regions, word_mask + c * words, regions, stride,
                         region_weight / (float)seen, word_weight / (float)said};
            Gradients to;
            if (gradient)
                to = (Gradients){affinity_gradient + at, similarity_gradient + at,
                                 caption_gram_gradient + c * words * words, sums};
            const Gradients *wanted = gradient ? &to : NULL;
            float factor = gradient ? gradient[b * captions + c] : 0, score;
            switch (words / LANES) {
                case 1: score = wanted ? score_pair(&pair, 1, factor, wanted) : score_pair(&pair, 1, 0, NULL); break;
                case 2: score = wanted ? score_pair(&pair, 2, factor, wanted) : score_pair(&pair, 2, 0, NULL); break;
                case 4: score = wanted ? score_pair(&pair, 4, factor, wanted) : score_pair(&pair, 4, 0, NULL); break;
                default: score = score_pair(&pair, (int)(words / LANES), factor, wanted);
            }
            if (scores) scores[b * captions + c] = score;
        }
        if (gradient)
            for (int64_t i = 0; i < square; i++) image_gram_gradient[b * square + i] = sum(sums[i]);
    }
    release(sums);
    return 0;
}
