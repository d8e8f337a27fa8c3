/* Captions packed for the kernel, and the packed layout of rows on either side. */
#ifndef SHAN_CAPTIONS_H
#define SHAN_CAPTIONS_H

#include "vector.h"

#define TILE 6                               /* rows of a register tile; two vectors each make 12 sums in flight */
#define PANEL (LANES == 4 ? 8 : 16)          /* words in a panel of queries */
#define PANEL_VECTORS (PANEL / LANES)

/* Local rows are packed as [chunk][row][width], with `width` vectors of a row at a time: one if steps have gates, two for
 * step 1 alone. Gate terms are multiplied by -log2(e) and packed as [chunk][row][attended term, own term]. */
enum { GATED_WIDTH = 1, LOCAL_WIDTH = 2, GATES = 2 };

typedef struct {
    int64_t captions, dim, chunks;
    int width, steps;
    float temperature, region_weight, word_weight;
    int64_t *first;  /* captions + 1: each caption's first word among all words */
    int64_t longest, panels;
    float *queries;  /* [panel][dimension][PANEL] */
    vf *rows;        /* those of caption c start at first[c] * chunks * width */
    vf *gates;       /* those of caption c start at first[c] * chunks * GATES */
    vf *image_pool, *text_pool; /* [chunk] */
} Captions;

/* Copies a row of `dim` floats, times `scale`, in groups of `width` vectors that are `stride` vectors apart. */
INLINE void pack_row(const float *row, int64_t dim, float scale, vf *to, int64_t stride, int width) {
    int64_t lanes = width * LANES, whole = dim / lanes;
    for (int64_t chunk = 0; chunk < whole; chunk++)
        for (int part = 0; part < width; part++) to[chunk * stride + part] = scale * load(row + chunk * lanes + part * LANES);
    if (whole * lanes < dim) {
        float *tail = (float *)(to + whole * stride);
        for (int64_t lane = 0; lane < lanes; lane++) tail[lane] = whole * lanes + lane < dim ? scale * row[whole * lanes + lane] : 0;
    }
}

#endif
