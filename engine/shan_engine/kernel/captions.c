#include <string.h>

#include "captions.h"

EXPORT void shan_captions_free(Captions *packed) {
    if (!packed) return;
    free(packed->first);
    release(packed->queries);
    release(packed->rows);
    release(packed->gates);
    release(packed->image_pool);
    release(packed->text_pool);
    free(packed);
}

/* Packs captions. Words, queries and gate terms are C x n x D, the mask is C x n; for step 1 alone, gate terms and pools
 * are NULL. Returns NULL if memory runs out. */
EXPORT Captions *shan_captions_new(const float *words, const float *queries, const float *gate, const float *attended,
                                   const uint8_t *mask, int64_t captions, int64_t most, int64_t dim,
                                   const float *image_pool, const float *text_pool, float temperature,
                                   float region_weight, float word_weight, int steps) {
    Captions *packed = calloc(1, sizeof *packed);
    if (!packed) return NULL;
    int gated = steps > 1, width = gated ? GATED_WIDTH : LOCAL_WIDTH;
    int64_t lanes = width * LANES, chunks = (dim + lanes - 1) / lanes, total = 0;
    *packed = (Captions){.captions = captions, .dim = dim, .chunks = chunks, .width = width, .steps = steps,
                         .temperature = temperature, .region_weight = region_weight, .word_weight = word_weight};
    packed->first = malloc((size_t)(captions + 1) * sizeof(int64_t));
    if (!packed->first) goto short_of_memory;
    for (int64_t c = 0; c <= captions; c++) {
        packed->first[c] = total;
        if (c == captions) break;
        int64_t count = 0;
        for (int64_t j = 0; j < most; j++) count += mask[c * most + j] != 0;
        total += count;
        if (count > packed->longest) packed->longest = count;
    }
    packed->panels = (total + PANEL - 1) / PANEL;
    packed->queries = vectors((size_t)(packed->panels * chunks * lanes * PANEL_VECTORS));
    packed->rows = vectors((size_t)(total * chunks * width));
    packed->gates = vectors((size_t)(gated ? total * chunks * GATES : 0));
    packed->image_pool = vectors((size_t)chunks);
    packed->text_pool = vectors((size_t)chunks);
    if (!packed->queries || !packed->rows || !packed->gates || !packed->image_pool || !packed->text_pool) goto short_of_memory;
    for (int64_t c = 0; c < captions; c++) {
        int64_t count = packed->first[c + 1] - packed->first[c], row = 0;
        vf *rows = packed->rows + packed->first[c] * chunks * width;
        vf *gates = packed->gates + packed->first[c] * chunks * GATES;
        for (int64_t j = 0; j < most; j++) {
            if (!mask[c * most + j]) continue;
            int64_t from = (c * most + j) * dim, word = packed->first[c] + row;
            pack_row(words + from, dim, 1.0f, rows + row * width, count * width, width);
            if (gated) {
                pack_row(attended + from, dim, -LOG2_E, gates + row * GATES, count * GATES, 1);
                pack_row(gate + from, dim, -LOG2_E, gates + row * GATES + 1, count * GATES, 1);
            }
            float *panel = packed->queries + word / PANEL * chunks * lanes * PANEL + word % PANEL;
            for (int64_t d = 0; d < dim; d++) panel[d * PANEL] = queries[from + d];
            row++;
        }
    }
    if (gated) {
        memcpy(packed->image_pool, image_pool, (size_t)dim * sizeof(float));
        memcpy(packed->text_pool, text_pool, (size_t)dim * sizeof(float));
    }
    return packed;
short_of_memory:
    shan_captions_free(packed);
    return NULL;
}
