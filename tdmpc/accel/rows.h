/* Operations on one row, which fits into the innermost cache, and what the kernels share.
 *
 * Plain C that compilers vectorise, and vector extensions of GCC and clang where that is much faster. Rows are float32,
 * contiguous. The order of the sums of a row is fixed, and the same bits come from every compiler (vectors.h). NaN and
 * infinity are propagated.
 */
#include "vectors.h"

#define GRAIN 32768 /* elements from which a thread is worth starting */
#define TOGETHER 8 /* rows that are processed together */

/* number of threads for `work`, one for each `worth` of it */
static inline int workers(int threads, long work, long worth)
{
    return work < threads * worth ? (int)(work / worth) + 1 : threads;
}

/* the sum in order of index, independent of the number of threads */
static inline float in_order(long n, const float *x)
{
    double sum = 0;
    for (long i = 0; i < n; i++) sum += x[i];
    return sum;
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

/* x <- (x + bias) factor; returns the sum. This one and the next two pass once over a row of any length: a loop that
 * writes narrower vectors than the next one reads would make it wait. */
ALWAYS float moved(long n, float *x, const float *bias, float factor)
{
    vector sum = {0};
    long i = 0;
    for (; i + WIDE <= n; i += WIDE) sum += *(vector *)(x + i) = (load(x + i) + load(bias + i)) * factor;
    float found = summed(sum, WIDE)[0];
    for (; i < n; i++) found += x[i] = (x[i] + bias[i]) * factor;
    return found;
}

/* x <- x - middle; returns the sum of squares */
ALWAYS float centred(long n, float *x, float middle)
{
    vector sum = {0};
    long i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        vector of = load(x + i) - middle;
        *(vector *)(x + i) = of;
        sum = fmas(of, of, sum);
    }
    float found = summed(sum, WIDE)[0];
    for (; i < n; i++) x[i] -= middle, found = fma_(x[i], x[i], found);
    return found;
}

/* x <- x scale; returns the sum, and that of the products with `hat` in `along` */
ALWAYS float scaled(long n, float *x, const float *scale, const float *hat, float *along)
{
    vector sum = {0}, products = {0};
    long i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        vector of = load(x + i) * load(scale + i);
        *(vector *)(x + i) = of;
        sum += of, products = fmas(of, load(hat + i), products);
    }
    float found = summed(sum, WIDE)[0];
    *along = summed(products, WIDE)[0];
    for (; i < n; i++) found += x[i] *= scale[i], *along = fma_(x[i], hat[i], *along);
    return found;
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
        for (long r = from; r < to; r++) mean[r - from] = moved(dim, x + r * apart, bias, factor) / dim;
        for (long r = from; r < to; r++)
            inverse[r - from] = 1.0f / sqrtf(centred(dim, x + r * apart, mean[r - from]) / dim + 1e-5f);
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
    float along, mean = scaled(dim, g, scale, hat, &along) / dim, by = rstd * factor;
    along /= dim;
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
