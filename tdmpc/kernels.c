/* Softmax over bins and Adam's step, in one pass each.
 *
 * `tdmpc.fused` builds this with the machine's compiler, calls it through ctypes and holds the meaning of every
 * argument. Arrays are float32, contiguous. Results depend neither on threads nor on what lies beside a row.
 */
#include "rows.h"

/* x (rows,) -> y (rows, bins): weights on the two of the evenly spaced bins around symlog(x) */
void two_hot(long rows, long bins, const float *centres, const float *x, float *y, int threads)
{
    float low = centres[0], high = centres[bins - 1];
#pragma omp parallel for num_threads(workers(threads, rows * bins, GRAIN)) schedule(static) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        float at = copysignf(log1pf(fabsf(x[row])), x[row]), *to = y + row * bins;
        at = at < low ? low : at > high ? high : at; /* NaN stays */
        float position = (at - low) / (high - low) * (bins - 1);
#pragma omp simd
        for (long k = 0; k < bins; k++) {
            float tent = 1.0f - fabsf(position - k);
            to[k] = tent < 0 ? 0 : tent;
        }
    }
}

/* logits (rows, bins) -> y (rows,): symexp of the mean bin. With `grad`, also d y / d logits (rows, bins). */
void two_hot_inverse(long rows, long bins, const float *logits, const float *centres, float *y, float *grad, int threads)
{
#pragma omp parallel for num_threads(workers(threads, rows * bins, GRAIN)) schedule(static) if (threads > 1)
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
#pragma omp parallel for num_threads(workers(threads, sets * heads * rows * bins, GRAIN)) schedule(static) if (threads > 1)
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

/* tensors of (seeds, size / seeds) <- times the factor of each seed, in place */
void scale_seeds(long count, const long *sizes, float *const *x, long seeds, const float *factors)
{
    for (long of = 0; of < count; of++) {
        long n = sizes[of] / seeds;
        for (long seed = 0; seed < seeds; seed++)
#pragma omp simd
            for (long i = seed * n; i < (seed + 1) * n; i++) x[of][i] *= factors[seed];
    }
}

/* One step of Adam on `count` tensors of so many numbers, in place, each with a count of its steps. rate: learning rate / (1 - beta1^t); root:
 * 1 / sqrt(1 - beta2^t). */
void adam(long count, const long *sizes, float *const *p, float *const *g, float *const *m, float *const *v, float *const *steps,
          float beta1, float beta2, float rate, float root, float eps, int threads)
{
    for (long of = 0; of < count; of++) {
        long n = sizes[of], parts = (n + GRAIN - 1) / GRAIN;
        *steps[of] += 1;
#pragma omp parallel for num_threads(workers(threads, n, GRAIN)) schedule(static) if (threads > 1 && parts > 1)
        for (long part = 0; part < parts; part++) {
            long at = part * GRAIN, size = n - at < GRAIN ? n - at : GRAIN;
            adam_part(size, p[of] + at, g[of] + at, m[of] + at, v[of] + at, beta1, beta2, rate, root, eps);
        }
    }
}
