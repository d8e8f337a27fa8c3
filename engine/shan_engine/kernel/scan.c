/* A flat scan: products of int8 rows, each with a scale, and queries of floats. */
#include "vector.h"

/* LANES numbers of int8 as floats. Compilers widen generic vectors one number at a time. */
INLINE vf widened(const int8_t *from) {
#if LANES == 4 && defined(__SSE4_1__)
    return (vf)_mm_cvtepi32_ps(_mm_cvtepi8_epi32(_mm_loadu_si32(from)));
#elif LANES == 8 && defined(__AVX2__)
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)from)));
#elif LANES == 16 && defined(__AVX512F__)
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)from)));
#else
    vf floats;
    for (int lane = 0; lane < LANES; lane++) floats[lane] = (float)from[lane];
    return floats;
#endif
}

/* As sum(), but for the order in which lanes are added. */
INLINE float total_of(vf x) {
#if LANES >= 8 && defined(__AVX__)
#if LANES == 16
    __m256 half = _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm512_extractf32x8_ps((__m512)x, 1));
#else
    __m256 half = (__m256)x;
#endif
    __m128 rest = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    rest = _mm_add_ps(rest, _mm_movehl_ps(rest, rest));
    return _mm_cvtss_f32(_mm_add_ss(rest, _mm_movehdup_ps(rest)));
#else
    return sum(x);
#endif
}

enum { AHEAD = 2048, LINE = 64 }; /* bytes: how far ahead memory is asked for, and a line of the cache */

/* The products of `count` rows and `some` queries; few enough that the sums stay in registers. */
INLINE void products(int count, int some, const int8_t *vectors, const float *scales, int64_t dim, const float *queries,
                     float *out, int64_t stride) {
    vf total[8];
    UNROLL for (int t = 0; t < count * some; t++) total[t] = (vf){0};
    int64_t d = 0;
    for (; d + LANES <= dim; d += LANES)
        UNROLL for (int r = 0; r < count; r++) {
            vf row = widened(vectors + r * dim + d);
            UNROLL for (int q = 0; q < some; q++) total[r * some + q] += row * load(queries + q * dim + d);
        }
    UNROLL for (int r = 0; r < count; r++)
        UNROLL for (int q = 0; q < some; q++) {
            float product = total_of(total[r * some + q]);
            for (int64_t rest = d; rest < dim; rest++)
                product += (float)vectors[r * dim + rest] * queries[q * dim + rest];
            out[q * stride + r] = product * scales[r];
        }
}

/* Four rows, or fewer at the end, with all queries. */
INLINE void rows_scan(int64_t count, const int8_t *vectors, const float *scales, int64_t dim, const float *queries,
                      int64_t some, float *out, int64_t stride) {
    int64_t q = 0;
    for (; q + 4 <= some; q += 4) {
        int64_t r = 0;
        for (; r + 2 <= count; r += 2)
            products(2, 4, vectors + r * dim, scales + r, dim, queries + q * dim, out + q * stride + r, stride);
        if (r < count) products(1, 4, vectors + r * dim, scales + r, dim, queries + q * dim, out + q * stride + r, stride);
    }
    for (; q < some; q++) {
        if (count == 4) {
            products(4, 1, vectors, scales, dim, queries + q * dim, out + q * stride, stride);
            continue;
        }
        for (int64_t r = 0; r < count; r++)
            products(1, 1, vectors + r * dim, scales + r, dim, queries + q * dim, out + q * stride + r, stride);
    }
}

/* The products of vectors, in `pieces` arrays of `counts` rows of `dim` numbers, with `some` queries. Each row has a
 * scale. A query's products are `stride` floats from those of the one before. */
EXPORT void shan_scan_pieces(const int8_t *const *vectors, const float *const *scales, const int64_t *counts, int64_t pieces,
                      int64_t dim, const float *queries, int64_t some, float *out, int64_t stride) {
    for (int64_t p = 0; p < pieces; out += counts[p++])
        for (int64_t b = 0; b < counts[p]; b += 4) {
            const int8_t *rows = vectors[p] + b * dim;
            for (int64_t byte = 0; byte < 4 * dim; byte += LINE)
                __builtin_prefetch((const void *)((uintptr_t)rows + AHEAD + (uintptr_t)byte));
            rows_scan(counts[p] - b < 4 ? counts[p] - b : 4, rows, scales[p] + b, dim, queries, some, out + b, stride);
        }
}

INLINE float share(uint16_t half) {
#ifdef __F16C__
    return _cvtsh_ss(half);
#else
    return from_half(half);
#endif
}

INLINE int64_t within(int64_t number, int64_t count) { return number < count ? number : count - 1; }

/* Sums of one caption's weights by their numbers, for one row: sum_m shares[m] * weights[numbers[m]]. */
INLINE float evidence_of(const uint16_t *numbers, const uint16_t *shares, int64_t most, const float *weights,
                         int64_t classes) {
    int64_t m = 0;
    float found = 0;
#if LANES >= 8 && defined(__F16C__)
    __m256 total = _mm256_setzero_ps();
    __m256i last = _mm256_set1_epi32((int)(classes - 1));
    for (; m + 8 <= most; m += 8) {
        __m256i own = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(numbers + m)));
        __m256 weight = _mm256_i32gather_ps(weights, _mm256_min_epi32(own, last), 4);
        total = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(shares + m))), weight, total);
    }
    __m128 rest = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps(total, 1));
    rest = _mm_add_ps(rest, _mm_movehl_ps(rest, rest));
    found = _mm_cvtss_f32(_mm_add_ss(rest, _mm_movehdup_ps(rest)));
#endif
    for (; m < most; m++) found += share(shares[m]) * weights[within(numbers[m], classes)];
    return found;
}

/* The same of up to LANES captions, whose weights lie class by class. */
INLINE vf evidence_of_many(const uint16_t *numbers, const uint16_t *shares, int64_t most, const vf *weights,
                           int64_t classes) {
    vf found = {0};
    for (int64_t m = 0; m < most; m++) found += share(shares[m]) * weights[within(numbers[m], classes)];
    return found;
}

/* Sums of weights (captions x classes) by the numbers of rows, of which each has `most` and as many shares of half
 * precision, in `pieces` arrays of `counts` rows. A number that is too large counts as the last one. A row whose first
 * share is 0 gets `nothing`. A caption's sums are `stride` floats from those of the one before. Returns 0, or 1 if
 * memory runs out. */
EXPORT int shan_evidence_pieces(const uint16_t *const *numbers, const uint16_t *const *shares, const int64_t *counts,
                         int64_t pieces, int64_t most, const float *weights, int64_t captions, int64_t classes,
                         float nothing, float *out, int64_t stride) {
    if (captions < 3) {
        for (int64_t p = 0; p < pieces; out += counts[p++])
            for (int64_t b = 0; b < counts[p]; b++)
                for (int64_t c = 0; c < captions; c++) {
                    const uint16_t *own = shares[p] + b * most;
                    out[c * stride + b] =
                        own[0] ? evidence_of(numbers[p] + b * most, own, most, weights + c * classes, classes) : nothing;
                }
        return 0;
    }
    vf *table = vectors((size_t)classes);
    if (!table) return 1;
    for (int64_t c = 0; c < captions; c += LANES) {
        int64_t some = captions - c < LANES ? captions - c : LANES;
        for (int64_t class = 0; class < classes; class++)
            for (int64_t lane = 0; lane < some; lane++) table[class][lane] = weights[(c + lane) * classes + class];
        float *to = out + c * stride;
        for (int64_t p = 0; p < pieces; to += counts[p++])
            for (int64_t b = 0; b < counts[p]; b++) {
                const uint16_t *own = shares[p] + b * most;
                vf found = own[0] ? evidence_of_many(numbers[p] + b * most, own, most, table, classes) : splat(nothing);
                for (int64_t lane = 0; lane < some; lane++) to[lane * stride + b] = found[lane];
            }
    }
    release(table);
    return 0;
}
