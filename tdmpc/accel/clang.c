/* What a loop of OpenMP calls where clang compiles it, by the library that torch has loaded, GCC's.
 *
 * clang would load a library of its own, whose threads and torch's compete for the cores. Here is only what `parallel
 * for num_threads schedule(static) if` of a `long` needs; the names are those of clang's library. This file is empty
 * for other compilers, and on systems where torch's library is clang's own.
 */
#if defined(__clang__) && defined(__linux__)
#include <stdarg.h>
#include <stdint.h>

#define MOST 24 /* variables of a loop */
#define OWN __attribute__((visibility("hidden"))) /* another library's calls are not ours */
#define EIGHT(x, i) x[i], x[i + 1], x[i + 2], x[i + 3], x[i + 4], x[i + 5], x[i + 6], x[i + 7]
#define EIGHT_POINTERS void *, void *, void *, void *, void *, void *, void *, void *

void GOMP_parallel(void (*each)(void *), void *data, unsigned threads, unsigned flags);
int omp_get_thread_num(void);
int omp_get_num_threads(void);

typedef void Task(int32_t *thread, int32_t *bound, EIGHT_POINTERS, EIGHT_POINTERS, EIGHT_POINTERS);
typedef struct { Task *task; void *variables[MOST]; } Loop;

static _Thread_local int asked; /* threads for the next loop */

static void run(void *data)
{
    Loop *of = data;
    int32_t thread = omp_get_thread_num(), bound = 0;
    of->task(&thread, &bound, EIGHT(of->variables, 0), EIGHT(of->variables, 8), EIGHT(of->variables, 16));
}

OWN int32_t __kmpc_global_thread_num(void *place) { return omp_get_thread_num(); }

OWN void __kmpc_push_num_threads(void *place, int32_t thread, int32_t threads) { asked = threads; }

OWN void __kmpc_fork_call(void *place, int32_t count, Task *task, ...)
{
    Loop of = {.task = task};
    int threads = asked;
    va_list given;
    if (count > MOST) __builtin_trap(); /* raise MOST */
    va_start(given, task);
    for (int32_t i = 0; i < count; i++) of.variables[i] = va_arg(given, void *);
    va_end(given);
    asked = 0;
    GOMP_parallel(run, &of, threads, 0);
}

OWN void __kmpc_serialized_parallel(void *place, int32_t thread) { asked = 0; }

OWN void __kmpc_end_serialized_parallel(void *place, int32_t thread) {}

/* the part of a thread, from `low` to `high`, which are those of the whole loop on entry */
OWN void __kmpc_for_static_init_8(void *place, int32_t thread, int32_t schedule, int32_t *last, int64_t *low,
                                  int64_t *high, int64_t *stride, int64_t step, int64_t chunk)
{
    int64_t count = *high - *low + 1, threads = omp_get_num_threads(), own = omp_get_thread_num();
    int64_t part = (count + threads - 1) / threads, from = *low + own * part;
    *last = own == threads - 1;
    *high = from + part - 1 < *high ? from + part - 1 : *high;
    *low = from;
    *stride = count;
}

OWN void __kmpc_for_static_fini(void *place, int32_t thread) {}
#endif
