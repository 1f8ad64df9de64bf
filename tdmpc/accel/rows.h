/* Operations on one row, which fits into the innermost cache, and definitions that the kernels share.
 *
 * Plain C that compilers vectorise, and vector extensions of GCC and clang where that is much faster. Rows are float32,
 * contiguous. The order of the sums of a row is fixed. NaN and infinity are propagated.
 *
 * Every compiler gives the same bits. Compilers choose, copy by copy of a loop, which products they fuse with a sum, so
 * they are told to fuse none (-ffp-contract=off), and `fma_` and `fmas` say where it is done. Nor may they order a sum:
 * sums are written with vectors, and `omp simd` is only for loops whose elements are independent.
 */
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>

#define GRAIN 32768 /* elements from which a thread is worth starting */
#define TOGETHER 8 /* rows that are processed together */
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

/* number of threads for `work`, one for each `worth` of it */
static inline int workers(int threads, long work, long worth)
{
    return work < threads * worth ? (int)(work / worth) + 1 : threads;
}

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

ALWAYS vector nfmas(vector a, vector b, vector c)
{
#if defined(__AVX512F__)
    return (vector)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vector)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vector)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return c - a * b;
#endif
}

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

/* the sum in order of index, independent of the number of threads */
static inline float in_order(long n, const float *x)
{
    double sum = 0;
    for (long i = 0; i < n; i++) sum += x[i];
    return sum;
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

/* whether a row is of 4 or 8 vectors, which `norm_row` and `norm_back` keep in registers */
#define FEW(dim) ((dim) == 4 * WIDE || (dim) == 8 * WIDE)

/* the sum over `n` such vectors and their lanes */
ALWAYS vector total(const int n, const vector *v)
{
    vector sum = (v[0] + v[1]) + (v[2] + v[3]);
    if (n == 8) sum += (v[4] + v[5]) + (v[6] + v[7]);
    return summed(sum, WIDE);
}

/* the same of the products of two times `n` vectors */
ALWAYS vector along_both(const int n, const vector *a, const vector *b)
{
    vector sum = fmas(a[0], b[0], a[1] * b[1]) + fmas(a[2], b[2], a[3] * b[3]);
    if (n == 8) sum += fmas(a[4], b[4], a[5] * b[5]) + fmas(a[6], b[6], a[7] * b[7]);
    return summed(sum, WIDE);
}

/* a row of norm_rows */
ALWAYS void norm_row(const int n, const float *bias, float factor, const float *scale, const float *shift, float *x,
                     float *hat, float *rstd)
{
    vector row[8];
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) row[j] = (((const vector *)x)[j] + ((const vector *)bias)[j]) * factor;
    vector mean = total(n, row) * (1.0f / (n * WIDE));
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) row[j] -= mean;
    float by = 1.0f / sqrtf(fma_(along_both(n, row, row)[0], 1.0f / (n * WIDE), 1e-5f));
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        vector normed = row[j] * by;
        if (hat) ((vector *)hat)[j] = normed;
        ((vector *)x)[j] = fmas(normed, ((const vector *)scale)[j], ((const vector *)shift)[j]);
    }
    if (rstd) *rstd = by;
}

/* Bias, a factor, layer norm, scale and shift of rows at a distance of `apart` elements, in place; `hat`, unless null,
 * gets the normalised rows, contiguous, and `rstd` their 1 / std. Several rows are processed together, so that the
 * processor does not wait for the sums of one. */
static inline void norm_rows(long rows, long dim, long apart, const float *bias, float factor, const float *scale,
                             const float *shift, float *x, float *hat, float *rstd)
{
    for (long r = 0; r < rows && FEW(dim); r++) {
        float *keep = hat ? hat + r * dim : 0, *by = rstd ? rstd + r : 0;
        if (dim == 4 * WIDE) norm_row(4, bias, factor, scale, shift, x + r * apart, keep, by);
        else norm_row(8, bias, factor, scale, shift, x + r * apart, keep, by);
    }
    if (FEW(dim)) return;
    for (long from = 0; from < rows; from += TOGETHER) {
        long to = from + TOGETHER < rows ? from + TOGETHER : rows;
        float mean[TOGETHER], inverse[TOGETHER];
        for (long r = from; r < to; r++) {
            float *row = x + r * apart;
#pragma omp simd
            for (long i = 0; i < dim; i++) row[i] = (row[i] + bias[i]) * factor;
            mean[r - from] = sum_of(dim, row) / dim;
        }
        for (long r = from; r < to; r++) {
            float *row = x + r * apart, middle = mean[r - from];
#pragma omp simd
            for (long i = 0; i < dim; i++) row[i] -= middle;
            inverse[r - from] = 1.0f / sqrtf(dot(dim, row, row) / dim + 1e-5f);
        }
        for (long r = from; r < to; r++) {
            float *row = x + r * apart, *keep = hat ? hat + r * dim : row, by = inverse[r - from];
#pragma omp simd
            for (long i = 0; i < dim; i++) {
                float normed = row[i] * by;
                keep[i] = normed;
                row[i] = fma_(normed, scale[i], shift[i]);
            }
            if (rstd) rstd[r] = by;
        }
    }
}

/* norm_row_grad */
ALWAYS void norm_back(const int n, float factor, const float *scale, const float *hat, float rstd, float *g,
                      float *gscale, float *gshift)
{
    vector *of = (vector *)g, pull[8];
    const vector *normed = (const vector *)hat;
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) {
        if (gscale) {
            vector *to = (vector *)gscale + j;
            *to = fmas(of[j], normed[j], *to);
            ((vector *)gshift)[j] += of[j];
        }
        pull[j] = of[j] * ((const vector *)scale)[j];
    }
    vector mean = total(n, pull) * (1.0f / (n * WIDE)), slope = along_both(n, pull, normed) * (1.0f / (n * WIDE));
#pragma GCC unroll 8
    for (int j = 0; j < n; j++) of[j] = (rstd * factor) * nfmas(normed[j], slope, pull[j] - mean);
}

/* gradient of a row of norm_rows: `g` is that of its output on entry and that of x + bias on return; the gradients of
 * scale and shift are added to gscale and gshift, unless null */
static inline void norm_row_grad(long dim, float factor, const float *scale, const float *hat, float rstd, float *g,
                                 float *gscale, float *gshift)
{
    if (dim == 4 * WIDE) norm_back(4, factor, scale, hat, rstd, g, gscale, gshift);
    if (dim == 8 * WIDE) norm_back(8, factor, scale, hat, rstd, g, gscale, gshift);
    if (FEW(dim)) return;
    if (gscale)
#pragma omp simd
        for (long i = 0; i < dim; i++) gscale[i] = fma_(g[i], hat[i], gscale[i]), gshift[i] += g[i];
#pragma omp simd
    for (long i = 0; i < dim; i++) g[i] *= scale[i];
    float mean = sum_of(dim, g) / dim, along = dot(dim, g, hat) / dim, by = rstd * factor;
#pragma omp simd
    for (long i = 0; i < dim; i++) g[i] = by * fma_(-hat[i], along, g[i] - mean);
}

/* mish(x) = x t, t = tanh(softplus(x)) = h / (h + 1), h = w^2 / 2 + w, w = e^x; whole vectors, as are the next one's */
ALWAYS vector halves(vector w) { return w * fmas(w, all_of(0.5f), all_of(1.0f)); } /* h */

static inline void mish_row(long dim, const float *x, float *y)
{
    for (long i = 0; i < dim; i += WIDE) {
        vector of = load(x + i), h = halves(exps(smaller(all_of(20.0f), of)));
        *(vector *)(y + i) = of * (h * inverses(h + 1.0f));
    }
}

/* y <- mish(x), slope <- d mish(x) / dx = t + x (w^2 + w) / (h + 1)^2 */
static inline void mish_row_and_slope(long dim, const float *x, float *y, float *slope)
{
    for (long i = 0; i < dim; i += WIDE) {
        vector of = load(x + i), w = exps(smaller(all_of(20.0f), of)), h = halves(w);
        vector inverse = inverses(h + 1.0f), t = h * inverse;
        *(vector *)(y + i) = of * t;
        *(vector *)(slope + i) = fmas(of * fmas(w, w, w), inverse * inverse, t);
    }
}

/* softmax over each group of `group` consecutive elements */
static inline void simnorm_row(long dim, long group, const float *x, float *y)
{
    long whole = fits(group) ? dim / WIDE * WIDE : 0;
    for (long i = 0; i < whole; i += WIDE) {
        vector of = load(x + i), power = exps(of - greatest(of, group));
        *(vector *)(y + i) = power / summed(power, group);
    }
    for (long i = whole; i < dim; i += group) {
        float top = x[i], sum = 0;
        for (long j = 1; j < group; j++) top = x[i + j] > top ? x[i + j] : top;
        for (long j = 0; j < group; j++) sum += y[i + j] = exp_(x[i + j] - top);
        for (long j = 0; j < group; j++) y[i + j] /= sum;
    }
}

static inline void simnorm_row_grad(long dim, long group, const float *y, float *g)
{
    long whole = fits(group) ? dim / WIDE * WIDE : 0;
    for (long i = 0; i < whole; i += WIDE) {
        vector own = load(y + i), *to = (vector *)(g + i);
        *to = own * (*to - summed(*to * own, group));
    }
    for (long i = whole; i < dim; i += group) {
        float along = 0;
        for (long j = 0; j < group; j++) along = fma_(g[i + j], y[i + j], along);
        for (long j = 0; j < group; j++) g[i + j] = y[i + j] * (g[i + j] - along);
    }
}

/* p <- e^(x - top), top the greatest of a row, which comes back with their sum: the softmax is p / sum. p: room for
 * PADDED(bins), all of it whole vectors, since a scalar tail would cost more than the vectors before it. */
static inline float exps_row(long bins, const float *x, float *p, float *top)
{
    long padded = PADDED(bins);
    memcpy(p, x, bins * sizeof(float));
    for (long k = bins; k < padded; k++) p[k] = -INFINITY;
    vector *of = (vector *)p, most = of[0], sum = {0};
    for (long k = 1; k < padded / WIDE; k++) most = greater(most, of[k]);
    most = greatest(most, WIDE);
    for (long k = 0; k < padded / WIDE; k++) sum += of[k] = exps(of[k] - most);
    *top = most[0];
    return summed(sum, WIDE)[0];
}

/* the mean of `centres` by the softmax of one row, whose symexp is the number that a row stands for; `p` and `sum` as
 * above */
static inline float mean_bin(long bins, const float *x, const float *centres, float *p, float *sum)
{
    float top;
    *sum = exps_row(bins, x, p, &top);
    return dot(bins, p, centres) / *sum;
}

static inline float symexp_(float mean) { return copysignf(exp_(fabsf(mean)) - 1, mean); }

/* times `by`, the gradient of that number with respect to the row */
static inline void mean_bin_grad(long bins, const float *p, float sum, const float *centres, float mean, float by,
                                 float *to)
{
    float slope = by * exp_(fabsf(mean)) / sum;
#pragma omp simd
    for (long k = 0; k < bins; k++) to[k] = slope * p[k] * (centres[k] - mean);
}

/* weight times the cross-entropy in nats of a row of logits against `target`, which may sum to 0, and in `to`, unless
 * null, its gradient; `p`: room for PADDED(bins) */
static inline float cross_entropy_row(long bins, const float *x, const float *target, float weight, float *p, float *to)
{
    float top, sum = exps_row(bins, x, p, &top), along = dot(bins, target, x), all = sum_of(bins, target);
    float by = all / sum;
    if (to)
#pragma omp simd
        for (long k = 0; k < bins; k++) to[k] = weight * fma_(by, p[k], -target[k]);
    return weight * fma_(all, top + log_(sum), -along);
}
