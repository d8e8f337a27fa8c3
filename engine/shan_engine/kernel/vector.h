/* Vectors of LANES floats, and the functions on them that the scores need. */
#ifndef SHAN_VECTOR_H
#define SHAN_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE__
#include <immintrin.h>
#endif

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#define LOG2_E 1.44269504f
#define UNROLL _Pragma("GCC unroll 16")

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef vf vf_unaligned __attribute__((aligned(4), may_alias));

INLINE vf load(const float *from) { return *(const vf_unaligned *)from; }
INLINE void store(float *to, vf x) { *(vf_unaligned *)to = x; }
INLINE vf splat(float x) { return x - (vf){0}; }

#if LANES == 4 && defined(__SSE__)
INLINE vf largest(vf x, vf y) { return (vf)_mm_max_ps((__m128)x, (__m128)y); }
INLINE vf smallest(vf x, vf y) { return (vf)_mm_min_ps((__m128)x, (__m128)y); }
#elif LANES == 8 && defined(__AVX__)
INLINE vf largest(vf x, vf y) { return (vf)_mm256_max_ps((__m256)x, (__m256)y); }
INLINE vf smallest(vf x, vf y) { return (vf)_mm256_min_ps((__m256)x, (__m256)y); }
#elif LANES == 16 && defined(__AVX512F__)
INLINE vf largest(vf x, vf y) { return (vf)_mm512_max_ps((__m512)x, (__m512)y); }
INLINE vf smallest(vf x, vf y) { return (vf)_mm512_min_ps((__m512)x, (__m512)y); }
#else
INLINE vf chosen(vi first, vf x, vf y) { return (vf)(((vi)x & first) | ((vi)y & ~first)); }
INLINE vf largest(vf x, vf y) { return chosen(x > y, x, y); }
INLINE vf smallest(vf x, vf y) { return chosen(x < y, x, y); }
#endif

INLINE float sum(vf x) {
    float total = 0;
    UNROLL for (int half = LANES / 2; half; half /= 2) {
        vf moved = x;
        UNROLL for (int lane = 0; lane < half; lane++) moved[lane] = x[lane + half];
        x += moved;
    }
    total += x[0];
    return total;
}

/* 2^x for x in [-126, 126], with a relative error of 1e-7: 2^n times a polynomial in the fraction. */
INLINE vf power_of_two(vf x) {
    const float shift = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */
    vf whole = x + shift, rest = x - (whole - shift);
    vf power = rest * 1.327645186e-3f + 9.675541174e-3f;
    power = power * rest + 5.550713336e-2f;
    power = power * rest + 2.402211973e-1f;
    power = power * rest + 6.931469670e-1f;
    power = power * rest + 1.000000072f;
    return (vf)((vi)power + ((vi)whole << 23));
}

/* 1 / sigmoid(x) from -log2(e) x. It stays below 2^61, so that the product of two is finite. */
INLINE vf sigmoid_inverse(vf x) { return 1.0f + power_of_two(smallest(splat(60.0f), largest(splat(-60.0f), x))); }

/* Converts an IEEE half to float, including subnormals, infinities and NaN. */
INLINE float from_half(uint16_t half) {
    uint32_t bits = (uint32_t)(half & 0x7fff) << 13;
    float value;
    memcpy(&value, &bits, sizeof value);
    value *= 0x1p112f;
    memcpy(&bits, &value, sizeof value);
    bits |= (uint32_t)(half & 0x8000) << 16 | ((half & 0x7c00) == 0x7c00 ? 0x7f800000u : 0);
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE size_t round_up(size_t size, size_t to) { return (size + to - 1) / to * to; }

/* Zeroed, aligned memory for `count` vectors. Free it with release(). */
static inline void *vectors(size_t count) {
    const size_t align = 64;
    char *memory = calloc(1, count * sizeof(vf) + 2 * align);
    if (!memory) return NULL;
    char *aligned = memory + align - (uintptr_t)memory % align; /* at least one byte in, which leaves room for the offset */
    aligned[-1] = (char)(aligned - memory);
    return aligned;
}

static inline void release(void *aligned) {
    if (aligned) free((char *)aligned - (unsigned char)((char *)aligned)[-1]);
}

#endif
