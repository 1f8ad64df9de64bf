/* A stack of layers, forward and backward: blocks of rows go through all of them while they are in the inner caches.
 *
 * A batched matrix product of small matrices is mostly the traffic around it, so products stand here with the norms
 * between them. `tdmpc.stack` calls this and holds the meaning of every argument. Every sum runs in an order that
 * depends on the sizes of a net alone, not on threads or on the nets beside it.
 */
#include "rows.h"

#if defined(__AVX512F__)
#define WIDE 16 /* numbers of a vector */
#define PANEL 4 /* vectors of a tile's row: with TALL rows, as many as the registers hold */
#elif defined(__AVX__)
#define WIDE 8
#define PANEL 2
#else
#define WIDE 4
#define PANEL 4
#endif
#define TALL 6
#define BLOCK 64 /* rows that go through the layers together */
#define SPAN 256 /* rows whose gradients of parameters are summed before they are joined, in order */
#define SPANS 8 /* at most, of all heads of a seed: each holds sums as large as a net */
#define WORTH 2000000 /* multiplications that are worth a thread */
#define PLAIN -1
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define ALWAYS static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

typedef struct { /* `tdmpc.stack` hands these over as an array of numbers, each as wide as a pointer */
    intptr_t in, out, group;                               /* group: PLAIN, 0 for mish, otherwise of SimNorm */
    const float *weight, *bias, *scale, *shift;            /* (nets, in, out), (nets, out) */
    float *held, *rstd;                                    /* (nets, rows, out), (nets, rows): normed rows; or null */
    float *to_weight, *to_bias, *to_scale, *to_shift;      /* gradients; null where none of them is wanted */
} Layer;

typedef struct {
    long layers, seeds, heads, apart, shared, rows; /* apart: nets from a seed's first to the next one's */
} Sizes;

/* --- products --------------------------------------------------------------------------------------------- */

/* c (m, n vectors) = a b, or c + a b where `more`; a's element (i, k) is a[i * row + k * step] */
ALWAYS void tile(const int m, const int n, const int more, long depth, const float *a, long row, long step,
                 const float *b, long ldb, float *c, long ldc)
{
    vector sum[TALL][PANEL], right[PANEL];
#pragma GCC unroll 6
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) sum[i][j] = (vector){0};
    for (long k = 0; k < depth; k++, a += step, b += ldb) {
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) right[j] = ((const vector *)b)[j];
#pragma GCC unroll 6
        for (int i = 0; i < m; i++) {
            float left = a[i * row];
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) sum[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n; j++) {
            vector *to = (vector *)(c + i * ldc) + j;
            if (more) *to += sum[i][j];
            else *to = sum[i][j];
        }
}

ALWAYS void strip(const int n, const int more, long rows, long depth, const float *a, long row, long step,
                  const float *b, long ldb, float *c, long ldc)
{
    long i = 0;
    for (; i + TALL <= rows; i += TALL) tile(TALL, n, more, depth, a + i * row, row, step, b, ldb, c + i * ldc, ldc);
    for (; i + 2 <= rows; i += 2) tile(2, n, more, depth, a + i * row, row, step, b, ldb, c + i * ldc, ldc);
    if (i < rows) tile(1, n, more, depth, a + i * row, row, step, b, ldb, c + i * ldc, ldc);
}

/* c (rows, columns) = a (rows, depth) b (depth, columns), or added to it; columns: a multiple of LANES */
ALWAYS void multiply(const int more, long rows, long depth, long columns, const float *a, long row, long step,
                     const float *b, long ldb, float *c, long ldc)
{
    long j = 0;
    for (; j + PANEL * WIDE <= columns; j += PANEL * WIDE) strip(PANEL, more, rows, depth, a, row, step, b + j, ldb, c + j, ldc);
    for (; j < columns; j += WIDE) strip(1, more, rows, depth, a, row, step, b + j, ldb, c + j, ldc);
}

/* c (rows, PADDED(out)) = a (rows, depth) b (depth, out); what lies behind `out` in a row of c is of no meaning.
 * Vectors read beyond a row of b, so its last rows are multiplied from a copy: room for (LANES + 1) * PADDED(out). */
static void through(long rows, long depth, long out, const float *a, long row, const float *b, float *c, float *room)
{
    long padded = PADDED(out), tail = SMALLER(depth, (padded - out + out - 1) / out);
    multiply(0, rows, depth - tail, padded, a, row, 1, b, out, c, padded);
    if (!tail) return;
    for (long k = 0; k < tail; k++)
        for (long j = 0; j < padded; j++) room[k * padded + j] = j < out ? b[(depth - tail + k) * out + j] : 0;
    multiply(1, rows, tail, padded, a + depth - tail, row, 1, room, padded, c, padded);
}

/* to (columns, PADDED(rows)) = from (rows, columns) turned, zero behind its rows */
static void turn(long rows, long columns, const float *from, float *to)
{
    long padded = PADDED(rows);
    memset(to, 0, columns * padded * sizeof(float));
    for (long i = 0; i < rows; i += LANES)
        for (long j = 0; j < columns; j++)
            for (long k = i; k < SMALLER(i + LANES, rows); k++) to[j * padded + k] = from[k * columns + j];
}

/* --- helpers ---------------------------------------------------------------------------------------------- */

static long widest(const Layer *layers, long count)
{
    long found = layers[0].in;
    for (long l = 0; l < count; l++) found = layers[l].out > found ? layers[l].out : found;
    return PADDED(found);
}

static int busy(int threads, const Layer *layers, Sizes of)
{
    long work = 0;
    for (long l = 0; l < of.layers; l++) work += layers[l].in * layers[l].out;
    return workers(threads, work * of.seeds * of.heads * of.rows, WORTH);
}

static float *room(long numbers) { return aligned_alloc(64, PADDED(numbers) * sizeof(float)); }

/* where the parameters of a net lie among those of all */
static long place(long net, Sizes of) { return net / of.heads * of.apart + net % of.heads; }

static const float *input(const float *x, long net, long row, long in, Sizes of)
{
    return x + ((of.shared ? net / of.heads : net) * of.rows + row) * in;
}

/* --- forward ---------------------------------------------------------------------------------------------- */

static void forward_block(const Layer *layers, Sizes of, long net, long from, long many, const float *x,
                          const float *drop, float *y, float *made, float *next, float *spare)
{
    long row = layers[0].in;
    const float *a = input(x, net, from, row, of);
    for (long l = 0; l < of.layers; l++) {
        Layer its = layers[l];
        long dim = its.out, padded = PADDED(dim), own = place(net, of), at = net * of.rows + from, last = l == of.layers - 1;
        const float *bias = its.bias + own * dim;
        through(many, its.in, dim, a, row, its.weight + own * its.in * dim, made, spare);
        for (long r = 0; r < many; r++) {
            float *pre = made + r * padded, *to = last ? y + (at + r) * dim : pre;
            if (its.group == PLAIN) {
#pragma omp simd
                for (long i = 0; i < dim; i++) to[i] = pre[i] + bias[i];
                continue;
            }
            float *hat = its.held ? its.held + (at + r) * dim : spare;
            float rstd = norm_row(dim, pre, bias, drop && !l ? drop + (at + r) * dim : 0, its.scale + own * dim,
                                  its.shift + own * dim, hat, pre);
            if (its.rstd) its.rstd[at + r] = rstd;
            if (its.group) simnorm_row(dim, its.group, pre, to);
            else mish_row(dim, pre, to);
        }
        float *other = next;
        a = made, row = padded, next = made, made = other;
    }
}

/* x (seeds, 1 where shared, otherwise heads, rows, in) -> y (seeds, heads, rows, out). drop like the first layer's rows,
 * or null. Returns 0, or 1 without memory. */
int stack_forward(const Layer *layers, Sizes of, const float *x, const float *drop, float *y, int threads)
{
    long blocks = (of.rows + BLOCK - 1) / BLOCK, wide = widest(layers, of.layers);
    int failed = 0;
#pragma omp parallel for num_threads(busy(threads, layers, of)) schedule(static) if (threads > 1)
    for (long task = 0; task < of.seeds * of.heads * blocks; task++) {
        long from = task % blocks * BLOCK, many = SMALLER(BLOCK, of.rows - from);
        float *made = room((2 * BLOCK + LANES + 1) * wide), *next = made + BLOCK * wide;
        if (made) forward_block(layers, of, task / blocks, from, many, x, drop, y, made, next, next + BLOCK * wide);
        else failed = 1;
        free(made);
    }
    return failed;
}

/* --- backward --------------------------------------------------------------------------------------------- */

typedef struct {
    float *weight, *bias; /* (in, PADDED(out)), (3, out): gradients of bias, scale and shift */
    float *y, *slope;     /* (BLOCK, PADDED(out)) what the layer gave, and mish's slope there */
    float *turned;        /* (out, PADDED(in)) */
} Own;

typedef struct {
    long own, at, count, rows[BLOCK]; /* where the net's parameters are, the block's first row, and rows from there on */
} Live;

/* what the layer gave to these rows, from the normed ones */
static void again(const Layer its, Own own, const Live *live, float *pre)
{
    long dim = its.out, padded = PADDED(dim);
    const float *scale = its.scale + live->own * dim, *shift = its.shift + live->own * dim;
    for (long r = 0; r < live->count; r++) {
        const float *hat = its.held + (live->at + live->rows[r]) * dim;
#pragma omp simd
        for (long i = 0; i < dim; i++) pre[i] = hat[i] * scale[i] + shift[i];
        if (its.group) simnorm_row(dim, its.group, pre, own.y + r * padded);
        else mish_row_and_slope(dim, pre, own.y + r * padded, own.slope + r * padded);
    }
}

/* gradient of what the layer gave -> that of its product, in place; those of bias, scale and shift are summed */
static void before(const Layer its, Own own, const Live *live, const float *drop, float *g)
{
    long dim = its.out, padded = PADDED(dim);
    for (long r = 0; r < live->count; r++, g += padded) {
        long row = live->at + live->rows[r];
        const float *slope = own.slope + r * padded;
        if (its.group == PLAIN) {
#pragma omp simd
            for (long i = 0; i < dim; i++) own.bias[i] += g[i];
            continue;
        }
        if (its.group) simnorm_row_grad(dim, its.group, own.y + r * padded, g);
        else
#pragma omp simd
            for (long i = 0; i < dim; i++) g[i] *= slope[i];
        norm_row_grad(dim, drop ? drop + row * dim : 0, its.scale + live->own * dim, its.held + row * dim,
                      its.rstd[row], g, own.bias, own.bias + dim, own.bias + 2 * dim);
    }
}

/* the rows of a block that have a gradient, and it: of several value heads, only the lowest has one in the policy's
 * objective */
static Live having(long own, long at, long many, long dim, const float *gy, float *g)
{
    Live live = {.own = own, .at = at};
    for (long r = 0; r < many; r++) {
        const float *from = gy + (at + r) * dim;
        int any = 0;
#pragma omp simd reduction(| : any)
        for (long i = 0; i < dim; i++) any |= from[i] != 0;
        if (!any) continue;
        float *to = g + live.count * PADDED(dim);
        memcpy(to, from, dim * sizeof(float));
        memset(to + dim, 0, (PADDED(dim) - dim) * sizeof(float));
        live.rows[live.count++] = r;
    }
    return live;
}

static void backward_block(const Layer *layers, Sizes of, const Own *own, long net, long from, long many, int more,
                           const float *x, const float *drop, const float *gy, float *gx, float *g, float *next)
{
    long at = net * of.rows + from, first = layers[0].in, last = of.layers - 1;
    Live live = having(place(net, of), at, many, layers[last].out, gy, g);
    for (long l = 0; l <= last; l++)
        if (layers[l].group != PLAIN) again(layers[l], own[l], &live, next);
    for (long l = last; l >= 0; l--) {
        Layer its = layers[l];
        long in = its.in, padded = PADDED(its.out), row = l ? PADDED(in) : in;
        before(its, own[l], &live, l ? 0 : drop, g);
        if (its.to_weight) {
            const float *a = l ? own[l - 1].y : input(x, net, from, in, of);
            if (!l && live.count < many) {
                for (long r = 0; r < live.count; r++) memcpy(next + r * in, a + live.rows[r] * in, in * sizeof(float));
                a = next;
            }
            if (more) multiply(1, in, live.count, padded, a, 1, row, g, padded, own[l].weight, padded);
            else multiply(0, in, live.count, padded, a, 1, row, g, padded, own[l].weight, padded);
        }
        if (!l && !gx) return;
        multiply(0, live.count, its.out, PADDED(in), g, padded, 1, own[l].turned, PADDED(in), next, PADDED(in));
        float *other = g;
        g = next, next = other;
    }
    if (live.count < many) memset(gx + at * first, 0, many * first * sizeof(float));
    for (long r = 0; r < live.count; r++)
        memcpy(gx + (at + live.rows[r]) * first, g + r * PADDED(first), first * sizeof(float));
}

/* numbers of a layer's sums, in all of a net's, and of what a span needs beside them */
static long sums_of(const Layer its) { return PADDED((its.in + 3) * PADDED(its.out)); }

static long all_sums(const Layer *layers, long count)
{
    long found = 0;
    for (long l = 0; l < count; l++) found += sums_of(layers[l]);
    return found;
}

static long rest_of(const Layer *layers, long count)
{
    long found = 2 * BLOCK * widest(layers, count);
    for (long l = 0; l < count; l++) found += 2 * BLOCK * PADDED(layers[l].out) + layers[l].out * PADDED(layers[l].in);
    return found;
}

static int backward_span(const Layer *layers, Sizes of, long net, long from, long to, const float *x, const float *drop,
                         const float *gy, float *gx, float *sums)
{
    float *all = room(rest_of(layers, of.layers)), *free_from = all;
    Own own[of.layers];
    if (!all) return 1;
    for (long l = 0; l < of.layers; l++) {
        Layer its = layers[l];
        long block = BLOCK * PADDED(its.out);
        own[l] = (Own){sums, sums + its.in * PADDED(its.out), free_from, free_from + block, free_from + 2 * block};
        memset(own[l].bias, 0, 3 * its.out * sizeof(float));
        if (l || gx) turn(its.in, its.out, its.weight + place(net, of) * its.in * its.out, own[l].turned);
        sums += sums_of(its);
        free_from += 2 * block + its.out * PADDED(its.in);
    }
    for (long row = from; row < to; row += BLOCK)
        backward_block(layers, of, own, net, row, SMALLER(BLOCK, to - row), row > from, x, drop, gy, gx, free_from,
                       free_from + BLOCK * widest(layers, of.layers));
    free(all);
    return 0;
}

/* the sums of a net's spans, in order, to where its gradients go */
static void join(const Layer *layers, long count, long net, long spans, const float *sums, long size)
{
    for (long l = 0; l < count; l++) {
        Layer its = layers[l];
        long in = its.in, out = its.out, padded = PADDED(out);
        float *to[3] = {its.to_bias, its.to_scale, its.to_shift};
        for (long span = 0; span < spans && its.to_weight; span++) {
            const float *from = sums + span * size, *beside = from + in * padded;
            for (long i = 0; i < in; i++) {
                float *row = its.to_weight + (net * in + i) * out;
#pragma omp simd
                for (long j = 0; j < out; j++) row[j] = from[i * padded + j] + (span ? row[j] : 0);
            }
            for (long n = 0; n < (its.group == PLAIN ? 1 : 3); n++) {
                float *row = to[n] + net * out;
                for (long j = 0; j < out; j++) row[j] = beside[n * out + j] + (span ? row[j] : 0);
            }
        }
        sums += sums_of(its);
    }
}

/* gy like y -> gx (seeds, heads, rows, in), null where it is not wanted, and the layers' gradients, nets side by side.
 * `held` and `rstd` as stack_forward left them. Returns 0, or 1 without memory. */
int stack_backward(const Layer *layers, Sizes of, const float *x, const float *drop, const float *gy, float *gx,
                   int threads)
{
    long most = of.heads < SPANS ? SPANS / of.heads : 1, length = (of.rows + most - 1) / most;
    length = length < SPAN ? SPAN : (length + BLOCK - 1) / BLOCK * BLOCK;
    long spans = (of.rows + length - 1) / length, nets = of.seeds * of.heads, size = all_sums(layers, of.layers);
    float *sums = room(nets * spans * size);
    int failed = 0;
    if (!sums) return 1;
#pragma omp parallel for num_threads(busy(threads, layers, of)) schedule(static) if (threads > 1)
    for (long task = 0; task < nets * spans; task++) {
        long from = task % spans * length, to = SMALLER(from + length, of.rows);
        if (backward_span(layers, of, task / spans, from, to, x, drop, gy, gx, sums + task * size)) failed = 1;
    }
#pragma omp parallel for num_threads(busy(threads, layers, of)) schedule(static) if (threads > 1)
    for (long net = 0; net < nets; net++) join(layers, of.layers, net, spans, sums + net * spans * size, size);
    free(sums);
    return failed;
}
