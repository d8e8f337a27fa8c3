/* Captions packed for the kernel, and how rows of either side are packed. */
#ifndef SHAN_CAPTIONS_H
#define SHAN_CAPTIONS_H

#include "vector.h"

#define TILE 6                               /* rows of a register tile: with two vectors each, 12 sums in flight */
#define PANEL (LANES == 4 ? 8 : 16)          /* words of a panel of queries */
#define PANEL_VECTORS (PANEL / LANES)

/* Local rows are packed as [chunk][row][width]: `width` vectors of a row at a time, one where the steps have gates, two
 * for step 1 alone. Gate terms, times -log2(e), are packed as [chunk][row][attended term, own term]. */
enum { GATED_WIDTH = 1, LOCAL_WIDTH = 2, GATES = 2 };

typedef struct {
    int64_t captions, dim, chunks;
    int width, steps;
    float temperature, region_weight, word_weight;
    int64_t *first;  /* captions + 1: a caption's first word among all captions' */
    int64_t longest, panels;
    float *queries;  /* [panel][dimension][PANEL] */
    vf *rows;        /* caption c's from first[c] * chunks * width on */
    vf *gates;       /* and from first[c] * chunks * GATES on */
    vf *image_pool, *text_pool; /* [chunk] */
} Captions;

/* Copies `scale` times a row of `dim` floats to places `stride` vectors apart, `width` vectors to each. */
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
