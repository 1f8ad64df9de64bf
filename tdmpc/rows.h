/* Elementwise work on one row, which stays in the innermost cache, and what the kernels share.
 *
 * Plain C that compilers vectorise. Rows are float32, contiguous. Sums run in one fixed order per row. NaN and infinity
 * pass through.
 */
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>

#define GRAIN 32768 /* numbers that are worth a thread */
#define TOGETHER 8 /* rows */
#define LANES 16 /* of the widest vectors there are */
#define PADDED(n) (((n) + LANES - 1) / LANES * LANES)

/* threads for so much work, of which `worth` is worth one: little is done before others have begun */
static inline int workers(int threads, long work, long worth)
{
    return work < threads * worth ? (int)(work / worth) + 1 : threads;
}

/* e^x within 2 ulp for x up to 88; saturates below -87 */
static inline float exp_(float x)
{
    x = -87.0f > x ? -87.0f : x;
    float t = x * 1.44269504f + 12583039.0f; /* 1.5 2^23 + 127: the sum's last bits are the exponent of the result */
    float n = t - 12583039.0f, r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 8.312525172e-3f; /* least greatest error, 1.05e-7 of e^r, where |r| < log(2) / 2 */
    p = p * r + 4.189011414e-2f;
    p = p * r + 1.666711447e-1f;
    p = p * r + 4.999923178e-1f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    float scale;
    memcpy(&bits, &t, 4);
    bits <<= 23;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

/* tanh(x) to 1e-7 */
static inline float tanh_(float x)
{
    float w = exp_(-2 * fabsf(x));
    return copysignf((1 - w) / (1 + w), x);
}

/* Bias, a factor, layer norm, scale and shift of rows `apart` numbers from each other, in place; `hat`, unless null,
 * keeps the normed rows, one behind the other, and `rstd` their 1 / std. Step by step for some rows together: a
 * processor waits less for the sums of one while it is at the next. */
static inline void norm_rows(long rows, long dim, long apart, const float *bias, float factor, const float *scale,
                             const float *shift, float *x, float *hat, float *rstd)
{
    for (long from = 0; from < rows; from += TOGETHER) {
        long to = from + TOGETHER < rows ? from + TOGETHER : rows;
        float mean[TOGETHER], inverse[TOGETHER];
        for (long r = from; r < to; r++) {
            float *row = x + r * apart, sum = 0;
#pragma omp simd reduction(+ : sum)
            for (long i = 0; i < dim; i++) { row[i] = (row[i] + bias[i]) * factor; sum += row[i]; }
            mean[r - from] = sum / dim;
        }
        for (long r = from; r < to; r++) {
            float *row = x + r * apart, squares = 0, middle = mean[r - from];
#pragma omp simd reduction(+ : squares)
            for (long i = 0; i < dim; i++) { row[i] -= middle; squares += row[i] * row[i]; }
            inverse[r - from] = 1.0f / sqrtf(squares / dim + 1e-5f);
        }
        for (long r = from; r < to; r++) {
            float *row = x + r * apart, *keep = hat ? hat + r * dim : row, by = inverse[r - from];
#pragma omp simd
            for (long i = 0; i < dim; i++) {
                float normed = row[i] * by;
                keep[i] = normed;
                row[i] = normed * scale[i] + shift[i];
            }
            if (rstd) rstd[r] = by;
        }
    }
}

/* gradient of a row of norm_rows: `g` comes in as that of its output and leaves as that of x + bias; sums go to gscale
 * and gshift */
static inline void norm_row_grad(long dim, float factor, const float *scale, const float *hat, float rstd, float *g,
                                 float *gscale, float *gshift)
{
    float sum = 0, along = 0, by = rstd * factor;
#pragma omp simd reduction(+ : sum, along)
    for (long i = 0; i < dim; i++) {
        gscale[i] += g[i] * hat[i];
        gshift[i] += g[i];
        g[i] *= scale[i];
        sum += g[i];
        along += g[i] * hat[i];
    }
    sum /= dim;
    along /= dim;
#pragma omp simd
    for (long i = 0; i < dim; i++) g[i] = by * (g[i] - sum - hat[i] * along);
}

/* mish(x) = x t, t = tanh(softplus(x)) = h / (h + 1), h = w^2 / 2 + w, w = e^x */
static inline void mish_row(long dim, const float *x, float *y)
{
#pragma omp simd
    for (long i = 0; i < dim; i++) {
        float w = exp_(20.0f < x[i] ? 20.0f : x[i]), h = w * (0.5f * w + 1.0f);
        y[i] = x[i] * (h / (h + 1.0f));
    }
}

/* y <- mish(x), slope <- d mish(x) / dx = t + x (w^2 + w) / (h + 1)^2 */
static inline void mish_row_and_slope(long dim, const float *x, float *y, float *slope)
{
#pragma omp simd
    for (long i = 0; i < dim; i++) {
        float of = x[i], w = exp_(20.0f < of ? 20.0f : of), h = w * (0.5f * w + 1.0f);
        float inverse = 1.0f / (h + 1.0f), t = h * inverse;
        y[i] = of * t;
        slope[i] = t + of * (w * w + w) * (inverse * inverse);
    }
}

/* softmax over groups of `group` neighbours */
static inline void simnorm_row(long dim, long group, const float *x, float *y)
{
    for (long i = 0; i < dim; i += group) {
        float top = x[i];
        for (long j = 1; j < group; j++) top = x[i + j] > top ? x[i + j] : top;
        for (long j = 0; j < group; j++) y[i + j] = x[i + j] - top;
    }
#pragma omp simd
    for (long i = 0; i < dim; i++) y[i] = exp_(y[i]);
    for (long i = 0; i < dim; i += group) {
        float sum = 0;
        for (long j = 0; j < group; j++) sum += y[i + j];
        float inverse = 1.0f / sum;
        for (long j = 0; j < group; j++) y[i + j] *= inverse;
    }
}

static inline void simnorm_row_grad(long dim, long group, const float *y, float *g)
{
    for (long i = 0; i < dim; i += group) {
        float along = 0;
        for (long j = 0; j < group; j++) along += g[i + j] * y[i + j];
        for (long j = 0; j < group; j++) g[i + j] = y[i + j] * (g[i + j] - along);
    }
}

/* log-sum-exp of one row; `p`, with room for PADDED(bins) values, becomes its softmax. The exponentials run over whole
 * vectors: a scalar tail of them would cost more than the vectors before it. */
static inline float softmax_row(long bins, const float *x, float *p)
{
    long padded = PADDED(bins);
    float top = x[0], sum = 0;
#pragma omp simd reduction(max : top)
    for (long k = 0; k < bins; k++) top = x[k] > top ? x[k] : top;
    for (long k = bins; k < padded; k++) p[k] = 0;
#pragma omp simd
    for (long k = 0; k < bins; k++) p[k] = x[k] - top;
#pragma omp simd
    for (long k = 0; k < padded; k++) p[k] = exp_(p[k]);
#pragma omp simd reduction(+ : sum)
    for (long k = 0; k < bins; k++) sum += p[k];
    float inverse = 1.0f / sum;
#pragma omp simd
    for (long k = 0; k < bins; k++) p[k] *= inverse;
    return top + logf(sum);
}

/* the mean of `centres` by the softmax of one row, which `p` becomes; its symexp is the number that a row stands for */
static inline float mean_bin(long bins, const float *x, const float *centres, float *p)
{
    float mean = 0;
    softmax_row(bins, x, p);
#pragma omp simd reduction(+ : mean)
    for (long k = 0; k < bins; k++) mean += p[k] * centres[k];
    return mean;
}

static inline float symexp_(float mean) { return copysignf(exp_(fabsf(mean)) - 1, mean); }

/* times `by`, the gradient of that number with respect to the row */
static inline void mean_bin_grad(long bins, const float *p, const float *centres, float mean, float by, float *to)
{
    float slope = by * exp_(fabsf(mean));
#pragma omp simd
    for (long k = 0; k < bins; k++) to[k] = slope * p[k] * (centres[k] - mean);
}
