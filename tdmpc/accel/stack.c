/* MLPs, forward and backward: blocks of rows pass through all layers while they are in the inner caches.
 *
 * Most of the time of a batched product of small matrices is memory traffic, so products and norms share one loop.
 * `tdmpc.accel.stack` calls this and documents the arguments. The order of every sum depends on the sizes of a network
 * only, not on the number of threads or of networks.
 */
#include "rows.h"

#if WIDE == 8
#define PANEL 2 /* vectors in a row of a tile; TALL rows of them fill the registers */
#else
#define PANEL 4
#endif
#define TALL 6
#define BLOCK 64 /* rows that pass through the layers together */
#define SPAN 256 /* rows whose parameter gradients are summed together; the sums of all spans are then added in order */
#define SPANS 8 /* maximum for all heads of a seed: each needs memory as large as a network */
#define WORTH 2000000 /* multiplications from which a thread is worth starting */
#define PLAIN -1
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))

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
            vector left = all_of(a[i * row]);
#pragma GCC unroll 4
            for (int j = 0; j < n; j++) sum[i][j] = fmas(left, right[j], sum[i][j]);
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
    for (; j + PANEL * WIDE <= columns; j += PANEL * WIDE)
        strip(PANEL, more, rows, depth, a, row, step, b + j, ldb, c + j, ldc);
    for (; j < columns; j += WIDE) strip(1, more, rows, depth, a, row, step, b + j, ldb, c + j, ldc);
}

/* c (rows, PADDED(out)) = a (rows, depth) b (depth, out); elements beyond `out` in a row of c are undefined.
 * Vectors read beyond a row of b, so its last rows are copied to `room`, (LANES + 1) * PADDED(out) elements. */
static void through(long rows, long depth, long out, const float *a, long row, const float *b, float *c, float *room)
{
    long padded = PADDED(out), tail = SMALLER(depth, (padded - out + out - 1) / out);
    multiply(0, rows, depth - tail, padded, a, row, 1, b, out, c, padded);
    if (!tail) return;
    for (long k = 0; k < tail; k++)
        for (long j = 0; j < padded; j++) room[k * padded + j] = j < out ? b[(depth - tail + k) * out + j] : 0;
    multiply(1, rows, tail, padded, a + depth - tail, row, 1, room, padded, c, padded);
}

#define UPPER(lane, s) ((lane) & (s) ? WIDE + (lane) - (s) : (lane))
#define LOWER(lane, s) ((lane) & (s) ? WIDE + (lane) : (lane) + (s))
#define CROSS(s) /* swaps two blocks of s columns of every two rows that differ in bit s */ \
    for (int i = 0; i < WIDE; i++) \
        if (!(i & s)) { \
            vector upper = v[i], lower = v[i + s]; \
            v[i] = SHUFFLED(upper, lower, EACH(UPPER, s)); \
            v[i + s] = SHUFFLED(upper, lower, EACH(LOWER, s)); \
        }

/* transposes a square of the width of a vector */
ALWAYS void turn_square(const float *from, long row, float *to, long into)
{
    vector v[WIDE];
#pragma GCC unroll 16
    for (int i = 0; i < WIDE; i++) v[i] = *(const vector *)(from + i * row);
#pragma GCC unroll 16
    CROSS(1)
#pragma GCC unroll 16
    CROSS(2)
#if WIDE > 4
#pragma GCC unroll 16
    CROSS(4)
#endif
#if WIDE > 8
#pragma GCC unroll 16
    CROSS(8)
#endif
#pragma GCC unroll 16
    for (int i = 0; i < WIDE; i++) *(vector *)(to + i * into) = v[i];
}

/* to (columns, PADDED(rows)) = transpose of from (rows, columns), zero beyond its rows */
static void turn(long rows, long columns, const float *from, float *to)
{
    long padded = PADDED(rows), whole = rows / LANES * LANES, square = columns / WIDE * WIDE;
    for (long i = 0; i < whole; i += WIDE)
        for (long j = 0; j < square; j += WIDE)
            turn_square(from + i * columns + j, columns, to + j * padded + i, padded);
    for (long i = 0; i < whole; i += LANES)
        for (long j = square; j < columns; j++)
#pragma GCC unroll 16
            for (long k = 0; k < LANES; k++) to[j * padded + i + k] = from[(i + k) * columns + j];
    for (long i = whole; i < padded; i++)
        for (long j = 0; j < columns; j++) to[j * padded + i] = i < rows ? from[i * columns + j] : 0;
}

/* --- a call ----------------------------------------------------------------------------------------------- */

typedef struct { intptr_t in, out, group; } Layer; /* group: PLAIN, 0 for mish, otherwise of SimNorm */

typedef struct {
    const float *x; /* (nets, rows, width); (seeds, rows, width) where shared by a seed's heads */
    float *to;      /* (nets, rows, width) gradient; null where it is not wanted */
    long width, shared, live; /* live: of how many first rows a gradient is wanted; that of later blocks is zero */
} Part;

typedef struct { /* as `tdmpc.accel.stack` fills it */
    const Layer *layers;
    long count, seeds, heads, apart, rows; /* layers, and numbers from a seed's first net to the next one's */
    const float *numbers; /* of each net: weight (in, out), bias, and where normed scale and shift, layer by layer, and */
                          /* zeros up to a whole vector */
    Part part[2];         /* a row of the input is a row of the first and, unless null, one of the second */
    const float *centres; /* of bins, or null: rather than the last layer's rows, the numbers that these stand for */
    float *held;          /* or null: of each normed layer the normed rows (nets, rows, out) and 1 / std (nets, rows), */
                          /* and with `centres` the last layer's rows */
    float *y;             /* (nets, rows, out), with `centres` (nets, rows), or its gradient */
    float *to;            /* (nets, numbers of a net) gradients; null where they are not wanted */
    const int64_t *zeros; /* (seeds, dropped) what the first layer leaves out before its norm, or null: places among */
    long dropped, drawn;  /* (heads, drawn, out), ascending */
    float kept;           /* factor of the rest */
    const float *target;  /* (seeds, rows, out) distributions to learn, the same for all heads of a seed, or null */
    const float *weights; /* (rows / per) of the cross-entropies with them */
    long per;
    float *loss; /* (seeds,) the mean over heads and rows of weight times cross-entropy, and `y` each one's share */
} Call;

static long numbers_of(Layer its) { return its.out * (its.in + (its.group == PLAIN ? 1 : 3)); }

static long nets_of(const Call *of) { return of->seeds * of->heads; }

static long over(const Call *of, long (*each)(Layer))
{
    long sum = 0;
    for (long l = 0; l < of->count; l++) sum += each(of->layers[l]);
    return sum;
}

static const float *net_at(const Call *of, long net)
{
    return of->numbers + net / of->heads * of->apart + net % of->heads * PADDED(over(of, numbers_of));
}

static long products_of(Layer its) { return its.in * its.out; }

static int busy(const Call *of, int threads)
{
    return workers(threads, over(of, products_of) * nets_of(of) * of->rows, WORTH);
}

static long widest(const Call *of)
{
    long found = of->layers[0].in;
    for (long l = 0; l < of->count; l++) found = of->layers[l].out > found ? of->layers[l].out : found;
    return PADDED(found);
}

static float *room(long numbers) { return aligned_alloc(64, PADDED(numbers) * sizeof(float)); }

/* `which`, null for all of them in order, of a net's rows from `from` on, both parts beside each other: where they lie
 * if nothing has to be moved, otherwise `to` */
static const float *input(const Call *of, long net, long from, long many, const long *which, float *to)
{
    long in = of->layers[0].in, done = 0;
    for (int p = 0; done < in; p++) {
        Part its = of->part[p];
        const float *x = its.x + ((its.shared ? net / of->heads : net) * of->rows + from) * its.width;
        if (its.width == in && !which) return x;
        for (long r = 0; r < many; r++)
            memcpy(to + r * in + done, x + (which ? which[r] : r) * its.width, its.width * sizeof(float));
        done += its.width;
    }
    return to;
}

typedef struct { const int64_t *from, *to; long first; } Zeros; /* of some rows, and the place where these begin */

static Zeros zeros_of(const Call *of, long net, long from, long many)
{
    if (!of->zeros) return (Zeros){0, 0, 0};
    long dim = of->layers[0].out, first = (net % of->heads * of->drawn + from) * dim;
    const int64_t *low = of->zeros + net / of->heads * of->dropped, *end = low + of->dropped, *to;
    for (long left = end - low; left;) { /* the first one that is not before these rows */
        long half = left / 2;
        if (low[half] < first) low += half + 1, left -= half + 1;
        else left = half;
    }
    for (to = low; to < end && *to < first + many * dim;) to++;
    return (Zeros){low, to, first};
}

typedef struct {
    Layer its;
    const float *scale, *shift;
    float *held, *rstd;     /* normed rows and 1 / std of each: of all rows, or of a block that is learnt from */
    float *weight, *bias;   /* (in, PADDED(out)), (3, out): gradients of bias, scale and shift */
    float *y, *slope;       /* (BLOCK, PADDED(out)) what the layer gave, and mish's slope there */
    const float *turned[2]; /* (out, PADDED(in)), of the first layer one of each part of its input */
} Own;

typedef struct {
    long at, held, count, rows[BLOCK]; /* a block's first row, where those that are held begin, and from there on the */
} Live;                                /* rows that have a gradient */

/* --- forward ---------------------------------------------------------------------------------------------- */

/* Layers, not null, keep what the way back from a block needs of them, and the last rows are given back; otherwise
 * `held` and `y` take all. */
static const float *forward_block(const Call *of, const Own *layers, long net, long from, long many, float *made,
                                  float *next, float *spare)
{
    long nets = nets_of(of), row = of->layers[0].in, at = net * of->rows + from;
    const float *own = net_at(of, net), *a = input(of, net, from, many, 0, next);
    Zeros none = zeros_of(of, net, from, many);
    float *held = of->held;
    for (long l = 0; l < of->count; l++) {
        Layer its = of->layers[l];
        long dim = its.out, padded = PADDED(dim), last = l == of->count - 1;
        const float *bias = own + its.in * dim;
        float *to = !last ? made : layers ? next : of->centres ? held ? held + at * dim : next : of->y + at * dim;
        through(many, its.in, dim, a, row, own, made, spare);
        if (its.group == PLAIN)
            for (long r = 0; r < many; r++)
#pragma omp simd
                for (long i = 0; i < dim; i++) to[r * dim + i] = made[r * padded + i] + bias[i];
        if (last && of->centres)
            for (long r = 0; r < many; r++) {
                float sum;
                of->y[at + r] = symexp_(mean_bin(dim, to + r * dim, of->centres, spare, &sum));
            }
        if (its.group != PLAIN) {
            float *hat = layers ? layers[l].held : held ? held + at * dim : 0;
            float *rstd = layers ? layers[l].rstd : held ? held + nets * of->rows * dim + at : 0;
            if (!l)
                for (const int64_t *z = none.from; z < none.to; z++) {
                    long place = *z - none.first;
                    made[place / dim * padded + place % dim] = -bias[place % dim];
                }
            norm_rows(many, dim, padded, bias, l ? 1 : of->kept, bias + dim, bias + 2 * dim, made, hat, rstd);
            for (long r = 0; r < many; r++) {
                float *pre = made + r * padded, *into = to + r * (last ? dim : padded);
                if (layers) into = layers[l].y + r * padded;
                if (its.group) simnorm_row(dim, its.group, pre, into);
                else if (layers) mish_row_and_slope(padded, pre, into, layers[l].slope + r * padded);
                else mish_row(padded, pre, into);
            }
            if (held) held += nets * of->rows * (dim + 1);
        }
        own += numbers_of(its);
        row = padded;
        if (layers) {
            a = layers[l].y;
            continue;
        }
        float *other = next;
        a = made, next = made, made = other;
    }
    return next;
}

/* Fills `y` and, unless null, `held`. Returns 0, or 1 without memory. */
int stack_forward(const Call *of, int threads)
{
    long blocks = (of->rows + BLOCK - 1) / BLOCK, wide = widest(of);
    int failed = 0;
#pragma omp parallel for num_threads(busy(of, threads)) schedule(static) if (threads > 1)
    for (long task = 0; task < nets_of(of) * blocks; task++) {
        long from = task % blocks * BLOCK, many = SMALLER(BLOCK, of->rows - from);
        float *made = room((2 * BLOCK + LANES + 1) * wide), *next = made + BLOCK * wide;
        if (made) forward_block(of, 0, task / blocks, from, many, made, next, next + BLOCK * wide);
        else failed = 1;
        free(made);
    }
    return failed;
}

/* --- backward --------------------------------------------------------------------------------------------- */

/* the outputs of the layer for these rows, from the normalised rows */
static void again(const Own *own, const Live *live, float *pre)
{
    long dim = own->its.out, padded = PADDED(dim);
    for (long r = 0; r < live->count; r++) {
        const float *hat = own->held + (live->held + live->rows[r]) * dim;
#pragma omp simd
        for (long i = 0; i < dim; i++) pre[i] = fma_(hat[i], own->scale[i], own->shift[i]);
        if (own->its.group) simnorm_row(dim, own->its.group, pre, own->y + r * padded);
        else mish_row_and_slope(padded, pre, own->y + r * padded, own->slope + r * padded);
    }
}

/* gradient of the layer's output -> that of its product, in place; the gradients of bias, scale and shift are added to
 * `sums` (3, out), unless null. none, factor: the layer's dropout. */
static void before(const Own *own, const Live *live, Zeros none, float factor, float *g, float *sums)
{
    long dim = own->its.out, padded = PADDED(dim);
    for (long r = 0; r < live->count && own->its.group != PLAIN; r++) {
        long row = live->held + live->rows[r];
        float *of = g + r * padded;
        const float *slope = own->slope + r * padded;
        if (own->its.group) simnorm_row_grad(dim, own->its.group, own->y + r * padded, of);
        else
#pragma omp simd
            for (long i = 0; i < dim; i++) of[i] *= slope[i];
        norm_row_grad(dim, factor, own->scale, own->held + row * dim, own->rstd[row], of, sums ? sums + dim : 0,
                      sums ? sums + 2 * dim : 0);
    }
    long r = 0;
    for (const int64_t *z = none.from; z < none.to; z++) {
        long place = *z - none.first;
        while (r < live->count && live->rows[r] < place / dim) r++;
        if (r < live->count && live->rows[r] == place / dim) g[r * padded + place % dim] = 0;
    }
    for (r = 0; r < live->count && sums; r++)
#pragma omp simd
        for (long i = 0; i < dim; i++) sums[i] += g[r * padded + i];
}

/* the rows of a block that have a gradient, and their gradients: in the policy's objective only the lowest of several
 * value heads has one. logits: the last layer's rows, with `centres`. */
static Live having(const Call *of, const float *logits, long at, long many, float *g, float *spare)
{
    Live live = {.at = at, .held = at};
    long dim = of->layers[of->count - 1].out, wide = of->centres ? 1 : dim;
    for (long r = 0; r < many; r++) {
        const float *from = of->y + (at + r) * wide;
        int any = 0;
#pragma omp simd reduction(| : any)
        for (long i = 0; i < wide; i++) any |= from[i] != 0;
        if (!any) continue;
        float *to = g + live.count * PADDED(dim);
        memset(to + dim, 0, (PADDED(dim) - dim) * sizeof(float));
        if (of->centres) {
            float sum, mean = mean_bin(dim, logits + (at + r) * dim, of->centres, spare, &sum);
            mean_bin_grad(dim, spare, sum, of->centres, mean, *from, to);
        } else memcpy(to, from, dim * sizeof(float));
        live.rows[live.count++] = r;
    }
    return live;
}

/* the gradient of one part of the input, from that of the first layer's product; zero where a row has none */
static void to_input(Part its, int wanted, const Own *own, const float *turned, const Live *live, long many,
                     const float *g, float *next)
{
    long padded = PADDED(its.width);
    float *to = its.to + live->at * its.width;
    if (!wanted) {
        memset(to, 0, many * its.width * sizeof(float));
        return;
    }
    multiply(0, live->count, own->its.out, padded, g, PADDED(own->its.out), 1, turned, padded, next, padded);
    if (live->count < many) memset(to, 0, many * its.width * sizeof(float));
    for (long r = 0; r < live->count; r++)
        memcpy(to + live->rows[r] * its.width, next + r * padded, its.width * sizeof(float));
}

/* forward pass of the rows of a block; `g` becomes the gradient of their cross-entropies */
static Live learning(const Call *of, const Own *own, long net, long from, long many, float *g, float *next,
                     float *spare)
{
    long at = net * of->rows + from, dim = of->layers[of->count - 1].out;
    const float *rows = forward_block(of, own, net, from, many, g, next, spare);
    Live live = {.at = at, .count = many};
    for (long r = 0; r < many; r++) {
        const float *target = of->target + (net / of->heads * of->rows + from + r) * dim;
        float weight = of->weights[(from + r) / of->per] / (of->heads * of->rows), *to = g + r * PADDED(dim);
        of->y[at + r] = cross_entropy_row(dim, rows + r * dim, target, weight, spare, to);
        memset(to + dim, 0, (PADDED(dim) - dim) * sizeof(float));
        live.rows[r] = r;
    }
    return live;
}

static void backward_block(const Call *of, const Own *own, long net, long from, long many, int more, float *g,
                           float *next, float *spare)
{
    Live live = of->target ? learning(of, own, net, from, many, g, next, spare)
                           : having(of, own[of->count - 1].held, net * of->rows + from, many, g, next);
    for (long l = 0; l < of->count && !of->target; l++)
        if (own[l].its.group != PLAIN) again(own + l, &live, next);
    for (long l = of->count - 1; l >= 0; l--) {
        long in = own[l].its.in, out = own[l].its.out, row = l ? PADDED(in) : in;
        Zeros none = l ? (Zeros){0} : zeros_of(of, net, from, many);
        before(own + l, &live, none, l ? 1 : of->kept, g, of->to ? own[l].bias : 0);
        if (of->to) {
            const long *some = live.count < many ? live.rows : 0;
            const float *a = l ? own[l - 1].y : input(of, net, from, live.count, some, next);
            if (more) multiply(1, in, live.count, PADDED(out), a, 1, row, g, PADDED(out), own[l].weight, PADDED(out));
            else multiply(0, in, live.count, PADDED(out), a, 1, row, g, PADDED(out), own[l].weight, PADDED(out));
        }
        if (!l) break;
        multiply(0, live.count, out, row, g, PADDED(out), 1, own[l].turned[0], row, next, row);
        float *other = g;
        g = next, next = other;
    }
    for (int p = 0; p < 2; p++)
        if (of->part[p].to) to_input(of->part[p], from < of->part[p].live, own, own->turned[p], &live, many, g, next);
}

/* number of elements of a layer's sums, of the memory of a block, and of its transposed weights */
static long sums_of(Layer its) { return PADDED((its.in + 3) * PADDED(its.out)); }
static long block_of(Layer its) { return (3 * BLOCK + LANES) * PADDED(its.out); }
static long turned_of(Layer its) { return its.out * (PADDED(its.in) + LANES); }

/* transposes the weights of a network, and sets the pointers in `own` for a span */
static void describe(const Call *of, long net, Own *own, float *turned, int turns)
{
    const float *weight = net_at(of, net);
    float *held = of->held;
    for (long l = 0; l < of->count; l++) {
        Layer its = own[l].its = of->layers[l];
        long done = 0, parts = l ? 1 : 2;
        for (long p = 0; p < parts; p++) {
            long in = l ? its.in : of->part[p].width;
            if (l || of->part[p].to) {
                if (turns) turn(in, its.out, weight + done * its.out, turned);
                own[l].turned[p] = turned;
                turned += its.out * PADDED(in);
            }
            done += in;
        }
        weight += numbers_of(its);
        own[l].scale = weight - 2 * its.out, own[l].shift = weight - its.out;
        own[l].held = held;
        if (its.group == PLAIN || !held) continue;
        own[l].rstd = held + nets_of(of) * of->rows * its.out;
        held += nets_of(of) * of->rows * (its.out + 1);
    }
}

static int backward_span(const Call *of, long net, long from, long to, float *turned, float *sums)
{
    long wide = widest(of);
    float *all = room(over(of, block_of) + (2 * BLOCK + LANES + 1) * wide), *next = all;
    Own own[of->count];
    if (!all) return 1;
    describe(of, net, own, turned, 0);
    for (long l = 0; l < of->count; l++) {
        Layer its = of->layers[l];
        own[l].weight = sums, own[l].bias = sums + its.in * PADDED(its.out);
        own[l].y = next, own[l].slope = next + BLOCK * PADDED(its.out);
        if (of->target) {
            own[l].held = own[l].slope + BLOCK * PADDED(its.out);
            own[l].rstd = own[l].held + BLOCK * its.out;
        }
        memset(own[l].bias, 0, 3 * its.out * sizeof(float));
        sums += sums_of(its);
        next += block_of(its);
    }
    for (long row = from; row < to; row += BLOCK)
        backward_block(of, own, net, row, SMALLER(BLOCK, to - row), row > from, next, next + BLOCK * wide,
                       next + 2 * BLOCK * wide);
    free(all);
    return 0;
}

/* adds the sums of the spans of a network, in order, into its gradients */
static void join(const Call *of, long net, long spans, const float *sums, long size)
{
    long used = over(of, numbers_of);
    float *to = of->to + net * PADDED(used);
    memset(to + used, 0, (PADDED(used) - used) * sizeof(float));
    for (long l = 0; l < of->count; l++) {
        Layer its = of->layers[l];
        long out = its.out, padded = PADDED(out), rest = numbers_of(its) - its.in * out;
        for (long span = 0; span < spans; span++) {
            const float *from = sums + span * size, *beside = from + its.in * padded;
            for (long i = 0; i < its.in; i++)
#pragma omp simd
                for (long j = 0; j < out; j++) to[i * out + j] = from[i * padded + j] + (span ? to[i * out + j] : 0);
            for (long j = 0; j < rest; j++) to[its.in * out + j] = beside[j] + (span ? to[its.in * out + j] : 0);
        }
        to += numbers_of(its);
        sums += sums_of(its);
    }
}

/* From the gradient in `y`, and `held` as stack_forward left it, fills what is wanted of the gradients of numbers and
 * input. With `target`, goes forward too, block by block, and fills `loss` and its gradients. Returns 0, or 1 without
 * memory. */
int stack_backward(const Call *of, int threads)
{
    long most = of->heads < SPANS ? SPANS / of->heads : 1, length = (of->rows + most - 1) / most;
    length = length < SPAN ? SPAN : (length + BLOCK - 1) / BLOCK * BLOCK;
    long spans = (of->rows + length - 1) / length, nets = nets_of(of);
    long size = over(of, sums_of), once = over(of, turned_of);
    float *sums = room(nets * spans * size), *turned = room(nets * once);
    int failed = !sums || !turned;
#pragma omp parallel for num_threads(busy(of, threads)) schedule(static) if (threads > 1)
    for (long net = 0; net < nets * !failed; net++) {
        Own own[of->count];
        describe(of, net, own, turned + net * once, 1);
    }
#pragma omp parallel for num_threads(busy(of, threads)) schedule(static) if (threads > 1)
    for (long task = 0; task < nets * spans * !failed; task++) {
        long net = task / spans, from = task % spans * length, to = SMALLER(from + length, of->rows);
        if (backward_span(of, net, from, to, turned + net * once, sums + task * size)) failed = 1;
    }
#pragma omp parallel for num_threads(busy(of, threads)) schedule(static) if (threads > 1)
    for (long net = 0; net < nets * (of->to && !failed); net++) join(of, net, spans, sums + net * spans * size, size);
    for (long seed = 0; seed < of->seeds * (of->target && !failed); seed++)
        of->loss[seed] = in_order(of->heads * of->rows, of->y + seed * of->heads * of->rows);
    free(sums);
    free(turned);
    return failed;
}
