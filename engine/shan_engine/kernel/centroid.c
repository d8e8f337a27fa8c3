/* Step 1 for images with each region replaced by a centroid: sums of rows of a table. */
#include "vector.h"

/* Sums `count` vectors, at `column`, over the table's rows that the codes name. */
INLINE void sum_rows(int count, const float *column, int64_t width, const uint16_t *codes, int regions, float *out) {
    vf total[8];
    UNROLL for (int v = 0; v < count; v++) total[v] = (vf){0};
    for (int i = 0; i < regions; i++) {
        const float *row = column + (int64_t)codes[i] * width;
        UNROLL for (int v = 0; v < count; v++) total[v] += load(row + v * LANES);
    }
    UNROLL for (int v = 0; v < count; v++) store(out + v * LANES, total[v]);
}

/* Scores `images` images with one caption of `words` words. The codes are images x most; counts[i] of them are real.
 * Row c of the table (`width` floats) is r_c, e_c1 ... e_cn, es_c1 ... es_cn. Writes one score every `stride` floats. */
EXPORT void shan_centroids(const uint16_t *codes, const int32_t *counts, int64_t images, int64_t most,
                           const float *table, int64_t width, int64_t words, float region_weight, float word_weight,
                           float *out, int64_t stride) {
    float sums[1024 + 3 * LANES] = {0}; /* words is at most 511 */
    int columns = (int)(1 + 2 * words + LANES - 1) / LANES;
    for (int64_t b = 0; b < images; b++) {
        for (int done = 0, now; done < columns; done += now) {
            const float *column = table + done * LANES;
            float *to = sums + done * LANES;
            int left = columns - done;
            now = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            switch (now) {
                case 8: sum_rows(8, column, width, codes + b * most, counts[b], to); break;
                case 4: sum_rows(4, column, width, codes + b * most, counts[b], to); break;
                case 2: sum_rows(2, column, width, codes + b * most, counts[b], to); break;
                default: sum_rows(1, column, width, codes + b * most, counts[b], to);
            }
        }
        vf total = {0};
        int64_t j = 0;
        for (; j + LANES <= words; j += LANES) total += load(sums + 1 + words + j) / load(sums + 1 + j);
        float mean = sum(total);
        for (; j < words; j++) mean += sums[1 + words + j] / sums[1 + j];
        out[b * stride] = region_weight * sums[0] / (float)counts[b] + word_weight * mean / (float)words;
    }
}
