/* Vectors of the width of the processor, and the elementary functions and sums that the kernels have in common.
 *
 * Every compiler gives the same bits. Compilers choose, copy by copy of a loop, which products they fuse with a sum, so
 * they are told to fuse none (-ffp-contract=off), and `fma_` and `fmas` say where it is done. Nor may they order a sum:
 * sums are written with vectors, and `omp simd` is only for loops whose elements are independent.
 */
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>

#define LANES 16 /* elements of the widest vector registers */
#define PADDED(n) (((n) + LANES - 1) / LANES * LANES)
#define ALWAYS static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
#define WIDE 16 /* elements of a vector on this processor */
#define EACH(f, s) f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), \
                   f(8, s), f(9, s), f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#elif defined(__AVX__)
#define WIDE 8
#define EACH(f, s) f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)
#else
#define WIDE 4
#define EACH(f, s) f(0, s), f(1, s), f(2, s), f(3, s)
#endif
#if defined(__FMA__) && !defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef float vector __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));
typedef int lanes __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

#ifdef __clang__
#define SHUFFLED(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLED(a, b, ...) __builtin_shuffle(a, b, (lanes){__VA_ARGS__})
#endif
#define PARTNER(lane, s) ((lane) ^ ((s) % WIDE))
#define PARTNERS(v, s) SHUFFLED(v, v, EACH(PARTNER, s)) /* of each lane the one that differs in bit s */

/* a b + c, rounded once where the processor can, otherwise twice. `fmas` is the same for vectors; `nfmas`: c - a b. */
static inline float fma_(float a, float b, float c)
{
#if defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

ALWAYS vector fmas(vector a, vector b, vector c)
{
#if defined(__AVX512F__)
    return (vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vector)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vector)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

ALWAYS vector nfmas(vector a, vector b, vector c) { return fmas(-a, b, c); }

#define SAME(lane, x) (x)
ALWAYS vector all_of(float x) { return (vector){EACH(SAME, x)}; }

/* e^x within 2 ulp for x up to 88; saturates below -87. `exps` is the same for vectors. */
static inline float exp_(float x)
{
    x = -87.0f > x ? -87.0f : x;
    float t = fma_(x, 1.44269504f, 12583039.0f); /* 1.5 2^23 + 127: its last bits are the exponent of the result */
    float n = t - 12583039.0f, r = fma_(n, 2.12194440e-4f, fma_(n, -0.693359375f, x));
    float p = 8.312525172e-3f; /* least greatest error, 1.05e-7 of e^r, where |r| < log(2) / 2 */
    p = fma_(p, r, 4.189011414e-2f);
    p = fma_(p, r, 1.666711447e-1f);
    p = fma_(p, r, 4.999923178e-1f);
    p = fma_(p, r, 1.0f);
    p = fma_(p, r, 1.0f);
    uint32_t bits;
    float scale;
    memcpy(&bits, &t, 4);
    bits <<= 23;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* elementwise maximum or minimum; b where one is NaN */
#if defined(__AVX512F__) /* compilers make three operations of the form below */
ALWAYS vector greater(vector a, vector b) { return (vector)_mm512_max_ps((__m512)a, (__m512)b); }
ALWAYS vector smaller(vector a, vector b) { return (vector)_mm512_min_ps((__m512)a, (__m512)b); }
#else
ALWAYS vector chosen(lanes which, vector a, vector b)
{
    return (vector)((which & (lanes)a) | (~which & (lanes)b));
}

ALWAYS vector greater(vector a, vector b) { return chosen(a > b, a, b); }
ALWAYS vector smaller(vector a, vector b) { return chosen(a < b, a, b); }
#endif

ALWAYS vector exps(vector x)
{
    x = greater(all_of(-87.0f), x);
    vector t = fmas(x, all_of(1.44269504f), all_of(12583039.0f)), n = t - 12583039.0f;
    vector r = fmas(n, all_of(2.12194440e-4f), fmas(n, all_of(-0.693359375f), x));
    vector p = fmas(r, all_of(8.312525172e-3f), all_of(4.189011414e-2f));
    p = fmas(p, r, all_of(1.666711447e-1f));
    p = fmas(p, r, all_of(4.999923178e-1f));
    p = fmas(p, r, all_of(1.0f));
    p = fmas(p, r, all_of(1.0f));
    return p * (vector)((lanes)t << 23);
}

ALWAYS vector inverses(vector x) /* 1 / x of each, to 1e-7; x: from 1 to 1e30 */
{
#if WIDE == 16 /* a division takes as long as ten other operations */
    vector guess = (vector)_mm512_rcp14_ps((__m512)x);
    return fmas(guess, nfmas(x, guess, all_of(1.0f)), guess);
#else
    return 1.0f / x;
#endif
}

/* Logarithms and powers of the C library, in double precision: libraries and their versions differ in its last bits, of
 * which rounding to float32 leaves nothing in all but one of millions; those for float32 differ more often. */
static inline float log_(float x) { return (float)log((double)x); }
static inline float log1p_(float x) { return (float)log1p((double)x); }
static inline float pow_(float x, float y) { return (float)pow((double)x, (double)y); }

/* tanh(x) to 1e-7 */
static inline float tanh_(float x)
{
    float w = exp_(-2 * fabsf(x));
    return copysignf((1 - w) / (1 + w), x);
}

/* whether a vector consists of whole groups of that size, which the next two functions require */
ALWAYS int fits(long group) { return group <= WIDE && !(group & (group - 1)); }

/* the sum of each group of lanes, in all of them */
ALWAYS vector summed(vector v, long group)
{
    if (group > 1) v += PARTNERS(v, 1);
    if (group > 2) v += PARTNERS(v, 2);
    if (group > 4) v += PARTNERS(v, 4);
    if (group > 8) v += PARTNERS(v, 8);
    return v;
}

/* the maximum of each group of lanes, in all of them; undefined for a group with a NaN */
ALWAYS vector greatest(vector v, long group)
{
    if (group > 1) v = greater(v, PARTNERS(v, 1));
    if (group > 2) v = greater(v, PARTNERS(v, 2));
    if (group > 4) v = greater(v, PARTNERS(v, 4));
    if (group > 8) v = greater(v, PARTNERS(v, 8));
    return v;
}

ALWAYS vector load(const float *x) { return *(const vector *)x; }

ALWAYS float dot(long n, const float *a, const float *b)
{
    vector sum = {0};
    long whole = n / WIDE * WIDE;
    for (long i = 0; i < whole; i += WIDE) sum = fmas(load(a + i), load(b + i), sum);
    float found = summed(sum, WIDE)[0];
    for (long i = whole; i < n; i++) found = fma_(a[i], b[i], found);
    return found;
}

ALWAYS float sum_of(long n, const float *x)
{
    vector sum = {0};
    long whole = n / WIDE * WIDE;
    for (long i = 0; i < whole; i += WIDE) sum += load(x + i);
    float found = summed(sum, WIDE)[0];
    for (long i = whole; i < n; i++) found += x[i];
    return found;
}
