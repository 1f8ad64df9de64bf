/* Fused elementwise passes between matrix products, row by row, so that a row stays in the innermost cache.
 *
 * Plain C that compilers vectorise; `tdmpc.fused` builds it with the machine's compiler, calls it through ctypes and
 * holds the meaning of every argument. Rows are float32, contiguous. Sums run in one fixed order per row and, over
 * rows, in fixed blocks of BLOCK rows, so results depend neither on threads nor on what lies beside a row. NaN and
 * infinity pass through.
 */
#include <stdint.h>
#include <string.h>
#include <stdlib.h>
#include <math.h>

#define BLOCK 64 /* rows whose gradients of scale, shift and bias are summed before they are joined, in order */
#define GRAIN 32768 /* numbers that are worth a thread */
#define EPS 1e-5f /* of the layer norm */
#define LANES 16 /* of the widest vectors there are */
#define PADDED(n) (((n) + LANES - 1) / LANES * LANES)

/* threads for so many numbers: few are done before others have begun */
static inline int workers(int threads, long numbers)
{
    return numbers < (long)threads * GRAIN ? (int)(numbers / GRAIN) + 1 : threads;
}

static inline float exp_(float x) /* e^x within 2 ulp; saturates outside [-87.3, 88.3] */
{
    x = -87.3f > x ? -87.3f : x;
    x = 88.3f < x ? 88.3f : x;
    float n = rintf(x * 1.44269504f);
    float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    int32_t bits;
    float scale;
    bits = ((int32_t)n + 127) << 23;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

static inline float inverse_(float x) /* 1 / x for x in [1, 1e30] within 2 ulp: three Newton steps, a third of a division's time */
{
    int32_t bits;
    float y;
    memcpy(&bits, &x, 4);
    bits = 0x7ef311c7 - bits;
    memcpy(&y, &bits, 4);
    y *= 2.0f - x * y;
    y *= 2.0f - x * y;
    y *= 2.0f - x * y;
    return y;
}

/* bias, dropout, layer norm, scale and shift of one row: `hat` the normed row, `pre` what the activation gets */
static inline float norm_row(long dim, const float *x, const float *bias, const float *drop, const float *scale,
                             const float *shift, float *hat, float *pre)
{
    float sum = 0, squares = 0;
    if (drop) {
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < dim; i++) { hat[i] = (x[i] + bias[i]) * drop[i]; sum += hat[i]; }
    } else {
#pragma omp simd reduction(+ : sum)
        for (long i = 0; i < dim; i++) { hat[i] = x[i] + bias[i]; sum += hat[i]; }
    }
    float mean = sum / dim;
#pragma omp simd reduction(+ : squares)
    for (long i = 0; i < dim; i++) { hat[i] -= mean; squares += hat[i] * hat[i]; }
    float rstd = 1.0f / sqrtf(squares / dim + EPS);
#pragma omp simd
    for (long i = 0; i < dim; i++) { hat[i] *= rstd; pre[i] = hat[i] * scale[i] + shift[i]; }
    return rstd;
}

/* gradient of norm_row: `g` comes in as that of `pre` and leaves as that of x + bias; sums go to gscale, gshift, gbias */
static inline void norm_row_grad(long dim, const float *drop, const float *scale, const float *hat, float rstd, float *g,
                                 float *gbias, float *gscale, float *gshift)
{
    float sum = 0, along = 0;
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
    if (drop) {
#pragma omp simd
        for (long i = 0; i < dim; i++) { g[i] = rstd * (g[i] - sum - hat[i] * along) * drop[i]; gbias[i] += g[i]; }
    } else {
#pragma omp simd
        for (long i = 0; i < dim; i++) { g[i] = rstd * (g[i] - sum - hat[i] * along); gbias[i] += g[i]; }
    }
}

/* mish(x) = x t, t = tanh(softplus(x)) = h / (h + 1), h = w^2 / 2 + w, w = e^x */
static inline void mish_row(long dim, const float *x, float *y)
{
#pragma omp simd
    for (long i = 0; i < dim; i++) {
        float w = exp_(20.0f < x[i] ? 20.0f : x[i]), h = w * (0.5f * w + 1.0f);
        y[i] = x[i] * (h * inverse_(h + 1.0f));
    }
}

/* g <- g d mish(x) / dx = g (t + x (1 - t^2) w / (1 + w)) */
static inline void mish_row_grad(long dim, const float *x, float *g)
{
#pragma omp simd
    for (long i = 0; i < dim; i++) {
        float w = exp_(20.0f < x[i] ? 20.0f : x[i]), h = w * (0.5f * w + 1.0f);
        float both = inverse_((h + 1.0f) * (w + 1.0f)), t = h * (w + 1.0f) * both;
        g[i] *= t + x[i] * (1.0f - t * t) * (w * (h + 1.0f) * both);
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

/* x (nets, rows, dim); bias, scale, shift (nets, dim); drop (nets, rows, dim) or null; y may be x.
 * group: 0 ends in mish, otherwise in SimNorm. `held` like x, or x, and `rstd` (nets, rows), or both null: where the
 * normed rows and their 1 / standard deviations are kept. */
void norm_forward(long nets, long rows, long dim, long group, const float *x, const float *bias, const float *drop,
                  const float *scale, const float *shift, float *held, float *rstd, float *y, int threads)
{
#pragma omp parallel for num_threads(workers(threads, nets * rows * dim)) schedule(static) if (threads > 1)
    for (long row = 0; row < nets * rows; row++) {
        float own_hat[dim], pre[dim];
        long own = row / rows * dim, at = row * dim;
        float *hat = held ? held + at : own_hat;
        float deviation = norm_row(dim, x + at, bias + own, drop ? drop + at : 0, scale + own, shift + own, hat, pre);
        if (held) rstd[row] = deviation;
        if (group) simnorm_row(dim, group, pre, y + at);
        else mish_row(dim, pre, y + at);
    }
}

/* gy (nets, rows, dim) -> gx like gy, gsums (nets, 3, dim): gradients of bias, scale, shift. The other arguments as
 * norm_forward had and left them. Returns 0, or 1 without memory. */
int norm_backward(long nets, long rows, long dim, long group, const float *drop, const float *scale, const float *shift,
                  const float *held, const float *rstd, const float *gy, float *gx, float *gsums, int threads)
{
    long blocks = (rows + BLOCK - 1) / BLOCK;
    float *parts = calloc(nets * blocks * 3 * dim, sizeof(float));
    if (!parts) return 1;
#pragma omp parallel for num_threads(workers(threads, nets * rows * dim)) schedule(static) if (threads > 1)
    for (long part = 0; part < nets * blocks; part++) {
        long net = part / blocks, first = part % blocks * BLOCK, last = first + BLOCK < rows ? first + BLOCK : rows;
        float pre[dim], *sums = parts + part * 3 * dim;
        for (long row = first; row < last; row++) {
            long own = net * dim, at = (net * rows + row) * dim;
            const float *hat = held + at, *factor = scale + own, *add = shift + own;
            float *g = gx + at;
#pragma omp simd
            for (long i = 0; i < dim; i++) pre[i] = hat[i] * factor[i] + add[i];
            memcpy(g, gy + at, dim * sizeof(float));
            if (group) { simnorm_row(dim, group, pre, pre); simnorm_row_grad(dim, group, pre, g); }
            else mish_row_grad(dim, pre, g);
            norm_row_grad(dim, drop ? drop + at : 0, factor, hat, rstd[net * rows + row], g, sums, sums + dim, sums + 2 * dim);
        }
    }
    memset(gsums, 0, nets * 3 * dim * sizeof(float));
    for (long part = 0; part < nets * blocks; part++)
        for (long i = 0; i < 3 * dim; i++) gsums[part / blocks * 3 * dim + i] += parts[part * 3 * dim + i];
    free(parts);
    return 0;
}

/* log-sum-exp of one row; `p`, with room for `padded` values, becomes its softmax. The exponentials run over whole
 * vectors: a scalar tail of them would cost more than the vectors before it. */
static inline float softmax_row(long bins, long padded, const float *x, float *p)
{
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

/* logits (rows, bins) -> y (rows,): symexp of the mean bin. With `grad`, also d y / d logits (rows, bins). */
void two_hot_inverse(long rows, long bins, const float *logits, const float *centres, float *y, float *grad, int threads)
{
#pragma omp parallel for num_threads(workers(threads, rows * bins)) schedule(static) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        long padded = PADDED(bins);
        float p[padded], mean = 0;
        softmax_row(bins, padded, logits + row * bins, p);
#pragma omp simd reduction(+ : mean)
        for (long k = 0; k < bins; k++) mean += p[k] * centres[k];
        y[row] = mean < 0 ? -expm1f(-mean) : expm1f(mean);
        if (!grad) continue;
        float slope = expf(fabsf(mean));
#pragma omp simd
        for (long k = 0; k < bins; k++) grad[row * bins + k] = slope * p[k] * (centres[k] - mean);
    }
}

/* logits (sets, heads, rows, bins), target distributions (sets, rows, bins) -> y (sets, heads, rows) cross-entropy.
 * With `grad`, also d y / d logits. A target of zeros, which sums to 0 rather than 1, has no loss. */
void cross_entropy(long sets, long heads, long rows, long bins, const float *logits, const float *target, float *y,
                   float *grad, int threads)
{
#pragma omp parallel for num_threads(workers(threads, sets * heads * rows * bins)) schedule(static) if (threads > 1)
    for (long row = 0; row < sets * heads * rows; row++) {
        const float *x = logits + row * bins, *t = target + (row / (heads * rows) * rows + row % rows) * bins;
        long padded = PADDED(bins);
        float p[padded], along = 0, total = 0, lse = softmax_row(bins, padded, x, p);
#pragma omp simd reduction(+ : along, total)
        for (long k = 0; k < bins; k++) { along += t[k] * x[k]; total += t[k]; }
        y[row] = total * lse - along;
        if (!grad) continue;
#pragma omp simd
        for (long k = 0; k < bins; k++) grad[row * bins + k] = total * p[k] - t[k];
    }
}

static inline void adam_part(long n, float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                             float beta1, float beta2, float rate, float root, float eps)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float mean = m[i] + (1.0f - beta1) * (g[i] - m[i]), square = beta2 * v[i] + (1.0f - beta2) * (g[i] * g[i]);
        m[i] = mean;
        v[i] = square;
        p[i] -= rate * mean / (sqrtf(square) * root + eps);
    }
}

/* One step of Adam on `count` tensors of so many numbers, in place. rate: learning rate / (1 - beta1^t); root:
 * 1 / sqrt(1 - beta2^t). */
void adam(long count, const long *sizes, float *const *p, float *const *g, float *const *m, float *const *v, float beta1,
          float beta2, float rate, float root, float eps, int threads)
{
    for (long of = 0; of < count; of++) {
        long n = sizes[of], parts = (n + GRAIN - 1) / GRAIN;
#pragma omp parallel for num_threads(workers(threads, n)) schedule(static) if (threads > 1 && parts > 1)
        for (long part = 0; part < parts; part++) {
            long at = part * GRAIN, size = n - at < GRAIN ? n - at : GRAIN;
            adam_part(size, p[of] + at, g[of] + at, m[of] + at, v[of] + at, beta1, beta2, rate, root, eps);
        }
    }
}
