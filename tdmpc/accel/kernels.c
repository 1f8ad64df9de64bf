/* Two-hot targets, losses, the policy's Gaussian, gradient clipping and Adam, each in one pass.
 *
 * `tdmpc.accel.kernels` builds this file, `tdmpc.accel.fused` calls it through ctypes and documents the arguments.
 * Arrays are float32, contiguous. Results do not depend on the number of threads or on the other rows.
 */
#include "rows.h"

/* --- bins ------------------------------------------------------------------------------------------------- */

/* x (sets, many, rows) -> y (sets, rows, bins): weights on the two of the evenly spaced bins around symlog(x), the mean
 * over `many` */
void two_hot(long sets, long many, long rows, long bins, const float *centres, const float *x, float *y, int threads)
{
    float low = centres[0], high = centres[bins - 1], share = 1.0f / many;
    threads = workers(threads, sets * many * rows * bins, GRAIN);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long row = 0; row < sets * rows; row++) {
        float *to = y + row * bins;
        const float *from = x + row / rows * many * rows + row % rows;
        for (long n = 0; n < many; n++) {
            float at = copysignf(log1p_(fabsf(from[n * rows])), from[n * rows]);
            at = at < low ? low : at > high ? high : at; /* NaN is propagated */
            float position = (at - low) / (high - low) * (bins - 1);
#pragma omp simd
            for (long k = 0; k < bins; k++) {
                float tent = 1.0f - fabsf(position - k);
                tent = tent < 0 ? 0 : tent;
                to[k] = n ? fma_(tent, share, to[k]) : tent * share;
            }
        }
    }
}

/* logits (rows, bins) -> y (rows,): symexp of the mean bin */
void two_hot_inverse(long rows, long bins, const float *logits, const float *centres, float *y, int threads)
{
    threads = workers(threads, rows * bins, GRAIN);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long row = 0; row < rows; row++) {
        float p[PADDED(bins)], sum;
        y[row] = symexp_(mean_bin(bins, logits + row * bins, centres, p, &sum));
    }
}

/* --- losses ----------------------------------------------------------------------------------------------- */

/* logits (sets, heads, rows, bins), target distributions (sets, rows, bins), weights (rows / per,) -> y (sets,): mean
 * over heads and rows of weight times cross-entropy, from that of each in `each` (sets, heads, rows). With `grad`, also
 * d y / d logits. A target of zeros, which sums to 0 rather than 1, has no loss. */
void cross_entropy(long sets, long heads, long rows, long bins, long per, const float *logits, const float *target,
                   const float *weights, float *y, float *each, float *grad, int threads)
{
    long all = heads * rows;
    threads = workers(threads, sets * all * bins, GRAIN);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long row = 0; row < sets * all; row++) {
        const float *t = target + (row / all * rows + row % rows) * bins;
        float p[PADDED(bins)], weight = weights[row % rows / per] / all;
        each[row] = cross_entropy_row(bins, logits + row * bins, t, weight, p, grad ? grad + row * bins : 0);
    }
    for (long set = 0; set < sets; set++) y[set] = in_order(all, each + set * all);
}

/* x (seeds, steps, heads, size), near (seeds, steps, size), weights (steps,) -> y (seeds,): mean of weight times
 * (x - near)^2, from each head's in `each` (seeds, steps, heads), and grad = d y / d x */
void squared_errors(long seeds, long steps, long heads, long size, const float *x, const float *near,
                    const float *weights, float *y, float *each, float *grad, int threads)
{
    threads = workers(threads, seeds * steps * heads * size, GRAIN);
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (long part = 0; part < seeds * steps * heads; part++) {
        const float *from = x + part * size, *to = near + part / heads * size;
        float *slope = grad + part * size, weight = weights[part / heads % steps] / (steps * heads * size);
#pragma omp simd
        for (long i = 0; i < size; i++) slope[i] = from[i] - to[i];
        each[part] = weight * dot(size, slope, slope);
#pragma omp simd
        for (long i = 0; i < size; i++) slope[i] *= 2 * weight;
    }
    for (long seed = 0; seed < seeds; seed++) y[seed] = in_order(steps * heads, each + seed * steps * heads);
}

/* --- the policy's Gaussian -------------------------------------------------------------------------------- */

/* raw (rows, 2 size) -> mean and log_std (rows, size) = middle + half tanh of the second half of a row */
void squash(long rows, long size, float low, float high, const float *raw, float *mean, float *log_std)
{
    float half = 0.5f * (high - low);
    for (long row = 0; row < rows; row++) {
        const float *from = raw + 2 * row * size;
#pragma omp simd
        for (long i = 0; i < size; i++) {
            mean[row * size + i] = from[i];
            log_std[row * size + i] = fma_(half, tanh_(from[size + i]), low + half);
        }
    }
}

/* gradients of mean and log_std (rows, size) -> that of raw (rows, 2 size) */
void squash_grad(long rows, long size, float low, float high, const float *log_std, const float *to_mean,
                 const float *to_log_std, float *to_raw)
{
    float half = 0.5f * (high - low);
    for (long row = 0; row < rows; row++) {
        float *to = to_raw + 2 * row * size;
#pragma omp simd
        for (long i = 0; i < size; i++) {
            float t = (log_std[row * size + i] - low - half) / half;
            to[i] = to_mean[row * size + i];
            to[size + i] = to_log_std[row * size + i] * half * fma_(-t, t, 1);
        }
    }
}

/* mean, log_std and eps (rows, size) -> action = tanh(mean + std eps) and std eps (rows, size), log_prob (rows,) of the
 * pre-squash Gaussian, hinge (rows,) = mean of relu(|mean| - threshold)^power and its slope d hinge / d mean */
void gaussian(long rows, long size, const float *mean, const float *log_std, const float *eps, float threshold,
              float power, float *action, float *spread, float *log_prob, float *hinge, float *slope)
{
#pragma omp simd
    for (long i = 0; i < rows * size; i++) {
        spread[i] = exp_(log_std[i]) * eps[i];
        action[i] = tanh_(mean[i] + spread[i]);
        slope[i] = 0;
    }
    for (long row = 0; row < rows; row++) {
        float log_density = 0, sum = 0;
        for (long i = row * size; i < (row + 1) * size; i++) {
            float beyond = fabsf(mean[i]) - threshold;
            log_density -= fma_(0.5f * eps[i], eps[i], log_std[i]) + 0.918938533f; /* log(2 pi) / 2 */
            if (beyond <= 0) continue; /* false for NaN, which is propagated */
            sum += pow_(beyond, power);
            slope[i] = copysignf(power * pow_(beyond, power - 1) / size, mean[i]);
        }
        log_prob[row] = log_density;
        hinge[row] = sum / size;
    }
}

/* gradients of action (rows, size), log_prob and hinge (rows,) -> those of mean and log_std (rows, size) */
void gaussian_grad(long rows, long size, const float *action, const float *spread, const float *slope,
                   const float *to_action, const float *to_log_prob, const float *to_hinge, float *to_mean,
                   float *to_log_std)
{
    for (long row = 0; row < rows; row++)
#pragma omp simd
        for (long i = row * size; i < (row + 1) * size; i++) {
            float through = to_action[i] * fma_(-action[i], action[i], 1);
            to_mean[i] = fma_(to_hinge[row], slope[i], through);
            to_log_std[i] = fma_(through, spread[i], -to_log_prob[row]);
        }
}

/* --- optimiser -------------------------------------------------------------------------------------------- */

static inline void adam_part(long n, float *restrict p, const float *restrict g, float *restrict m, float *restrict v,
                             float beta1, float beta2, float rate, float root, float eps)
{
#pragma omp simd
    for (long i = 0; i < n; i++) {
        float mean = fma_(1.0f - beta1, g[i] - m[i], m[i]);
        float square = fma_(beta2, v[i], (1.0f - beta2) * (g[i] * g[i]));
        m[i] = mean;
        v[i] = square;
        p[i] -= rate * mean / fma_(sqrtf(square), root, eps);
    }
}

/* norms (seeds,) over the elements of each seed in tensors of (seeds, size / seeds), which are scaled to norm `most`
 * where theirs is larger */
void clip(long count, const long *sizes, float *const *x, long seeds, float most, float *norms, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && seeds > 1)
    for (long seed = 0; seed < seeds; seed++) {
        double squares = 0;
        for (long of = 0; of < count; of++) {
            long n = sizes[of] / seeds;
            const float *own = x[of] + seed * n;
            for (long from = 0; from < n; from += GRAIN)
                squares += dot(n - from < GRAIN ? n - from : GRAIN, own + from, own + from);
        }
        norms[seed] = sqrt(squares);
        float factor = most / (norms[seed] + 1e-6f);
        if (factor >= 1) continue; /* false for NaN, which is propagated */
        for (long of = 0; of < count; of++) {
            long n = sizes[of] / seeds;
#pragma omp simd
            for (long i = seed * n; i < (seed + 1) * n; i++) x[of][i] *= factor;
        }
    }
}

/* One step of Adam on `count` tensors of `sizes` elements, in place, each with its number of steps t, learning rate /
 * (1 - beta1^t) and 1 / sqrt(1 - beta2^t). */
void adam(long count, const long *sizes, float *const *p, float *const *g, float *const *m, float *const *v,
          float *const *steps, const float *rates, const float *roots, float beta1, float beta2, float eps, int threads)
{
    for (long of = 0; of < count; of++) {
        long n = sizes[of], parts = (n + GRAIN - 1) / GRAIN;
        *steps[of] += 1;
#pragma omp parallel for num_threads(workers(threads, n, GRAIN)) schedule(static) if (threads > 1 && parts > 1)
        for (long part = 0; part < parts; part++) {
            long at = part * GRAIN, size = n - at < GRAIN ? n - at : GRAIN;
            adam_part(size, p[of] + at, g[of] + at, m[of] + at, v[of] + at, beta1, beta2, rates[of], roots[of], eps);
        }
    }
}
