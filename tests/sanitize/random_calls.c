/* Calls the score kernel with random shapes, masks and numbers, for sanitizers to watch: random_calls SEED CALLS THREADS.
 * Every array is exactly as large as the kernel may read or write. Some begin at odd places, as slices of files do. */
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Captions Captions;
Captions *shan_captions_new(const float *, const float *, const float *, const float *, const uint8_t *, int64_t, int64_t,
                            int64_t, const float *, const float *, float, float, float, int);
void shan_captions_free(Captions *);
int shan_score(const Captions *, const float *, const float *, const float *, const uint8_t *, int64_t, int64_t, float *,
               int64_t);
int shan_local_of(const Captions *, const void *const *, int, const float *const *, const uint8_t *const *, int64_t,
                  int64_t, float *);
void shan_scan_pieces(const int8_t *const *, const float *const *, const int64_t *, int64_t, int64_t, const float *,
                      int64_t, float *, int64_t);
int shan_evidence_pieces(const uint16_t *const *, const uint16_t *const *, const int64_t *, int64_t, int64_t,
                         const float *, int64_t, int64_t, float, float *, int64_t);

typedef struct {
    uint64_t state;
    void *held[48];
    int count;
} Random;

static uint64_t next(Random *r) {
    r->state ^= r->state << 13, r->state ^= r->state >> 7, r->state ^= r->state << 17;
    return r->state;
}
static int64_t below(Random *r, int64_t limit) { return (int64_t)(next(r) % (uint64_t)limit); }

static void *room(Random *r, int64_t bytes, int64_t align) {
    int64_t odd = below(r, 4) ? 0 : align; /* a slice of an array need not begin where vectors do */
    char *base = malloc((size_t)(bytes + odd + !(bytes + odd)));
    r->held[r->count++] = base;
    return base + odd;
}

static float *floats(Random *r, int64_t count) {
    float *made = room(r, count * 4, 4);
    int64_t kind = below(r, 12);
    for (int64_t i = 0; i < count; i++)
        made[i] = kind == 0 ? 0.0f : kind == 1 ? 1e30f : (float)(below(r, 2001) - 1000) / 1000.0f;
    return made;
}

static uint8_t *mask(Random *r, int64_t count) {
    uint8_t *made = room(r, count, 1);
    int64_t kind = below(r, 4);
    for (int64_t i = 0; i < count; i++) made[i] = kind == 0 ? 0 : kind == 1 ? 1 : (uint8_t)below(r, 2);
    return made;
}

static void call(Random *r) {
    int64_t B = below(r, 6), K = 1 + below(r, below(r, 2) ? 5 : 70), n = 1 + below(r, below(r, 2) ? 4 : 40);
    int64_t C = below(r, 7), D = 1 + below(r, below(r, 2) ? 40 : 200);
    int steps = 1 + (int)below(r, 3);
    const float *terms[4];
    for (int i = 0; i < 4; i++) terms[i] = steps > 1 || i < 2 ? floats(r, C * n * D) : NULL;
    const float *pools[2] = {steps > 1 ? floats(r, D) : NULL, steps > 1 ? floats(r, D) : NULL};
    Captions *captions = shan_captions_new(terms[0], terms[1], terms[2], terms[3], mask(r, C * n), C, n, D, pools[0],
                                           pools[1], 9.0f, 1.0f, 0.7f, steps);
    if (!captions) abort();
    const uint8_t *real = mask(r, B * K);
    if (steps > 1) {
        float *out = room(r, B * C * steps * 4, 4);
        if (shan_score(captions, floats(r, B * K * D), floats(r, B * K * D), floats(r, B * K * D), real, B, K, out,
                       C * steps))
            abort();
    } else {
        int type = (int)below(r, 3);
        void *regions = type == 0 ? (void *)floats(r, B * K * D) : room(r, B * K * D * (type == 1 ? 2 : 1), 2 - type / 2);
        if (type) memset(regions, (int)below(r, 128), (size_t)(B * K * D * (type == 1 ? 2 : 1)));
        int64_t rows = B ? below(r, 9) : 0;
        const float *scales = type == 2 ? floats(r, B * K) : NULL, *of_rows[9];
        const void *which[9];
        const uint8_t *masks[9];
        for (int64_t i = 0; i < rows; i++) {
            int64_t row = below(r, B);
            which[i] = (const char *)regions + row * K * D * (type == 0 ? 4 : type == 1 ? 2 : 1);
            of_rows[i] = scales ? scales + row * K : NULL;
            masks[i] = real + row * K;
        }
        if (shan_local_of(captions, which, type, scales ? of_rows : NULL, masks, rows, K, room(r, rows * C * 4, 4)))
            abort();
    }
    shan_captions_free(captions);
    int64_t pieces = below(r, 4), most = 1 + below(r, 40), L = 1 + below(r, 30), Q = 1 + below(r, 20), counts[4], N = 0;
    const int8_t *vectors[4];
    const float *scales[4];
    const uint16_t *numbers[4], *shares[4];
    for (int64_t p = 0; p < pieces; N += counts[p++]) {
        counts[p] = below(r, 11);
        vectors[p] = memset(room(r, counts[p] * D, 1), (int)below(r, 256), (size_t)(counts[p] * D));
        scales[p] = floats(r, counts[p]);
        numbers[p] = memset(room(r, counts[p] * most * 2, 2), (int)below(r, 2), (size_t)(counts[p] * most * 2));
        shares[p] = memset(room(r, counts[p] * most * 2, 2), (int)below(r, 128), (size_t)(counts[p] * most * 2));
    }
    shan_scan_pieces(vectors, scales, counts, pieces, D, floats(r, Q * D), Q, room(r, Q * N * 4, 4), N);
    if (shan_evidence_pieces(numbers, shares, counts, pieces, most, floats(r, Q * L), Q, L, 0.9f,
                             room(r, Q * N * 4, 4), N))
        abort();
    while (r->count) free(r->held[--r->count]);
}

static int64_t calls;

static void *run(void *seed) {
    Random r = {.state = 88172645463325252ull ^ (uint64_t)(uintptr_t)seed * 2654435761ull};
    for (int64_t i = 0; i < calls; i++) call(&r);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int64_t seed = atoll(argv[1]), threads = atoll(argv[3]);
    calls = atoll(argv[2]) / threads;
    pthread_t started[64];
    for (int64_t i = 0; i < threads && i < 64; i++)
        if (pthread_create(&started[i], NULL, run, (void *)(uintptr_t)(seed * 64 + i + 1))) return 3;
    for (int64_t i = 0; i < threads && i < 64; i++) pthread_join(started[i], NULL);
    printf("%lld calls on %lld threads: clean\n", (long long)(calls * threads), (long long)threads);
    return 0;
}
