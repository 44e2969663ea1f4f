// What one thread of this machine can do at most, as JSON.
//
//     floor BYTES...
//
// read: GB/s over a working set of so many bytes that is read again and again.
// multiply: 10^9 multiply-adds a second from registers, for each precision that the processor has
// instructions for. Processor time, the best of several runs: other processes do not lower the bound.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

enum { RUNS = 9, CHAINS = 12, STEPS = 1000000 };  // as many chains as hide an instruction's latency

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// The compiler must take `x` for used and changed: it can leave out nothing that made it, and knows nothing
// of it afterwards.
#define OPAQUE(x) __asm__ volatile("" : "+m"(x))
#define OPAQUE_REGISTER(x) __asm__ volatile("" : "+x"(x))

// ---- reading

typedef uint32_t line __attribute__((vector_size(64)));
typedef void reader(const line *data, size_t lines);

#define DEFINE_READER(name, target)                             \
    target static void name(const line *data, size_t lines) {   \
        line sums[4] = {0};                                     \
        for (size_t i = 0; i + 4 <= lines; i += 4)              \
            for (int j = 0; j < 4; j++) sums[j] += data[i + j]; \
        OPAQUE(sums);                                           \
    }

static double gigabytes_per_second(reader *read, size_t bytes) {
    size_t page = 2 << 20, size = (bytes + page - 1) / page * page;
    char *data = aligned_alloc(page, size);
    if (!data) exit(1);
#ifdef MADV_HUGEPAGE
    madvise(data, size, MADV_HUGEPAGE);
#endif
    memset(data, 1, size);
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        int passes = (int)(400000000 / bytes) + 1;
        double start = seconds();
        for (int i = 0; i < passes; i++) read((const line *)data, bytes / sizeof(line));
        double rate = 1e-9 * (double)bytes * passes / (seconds() - start);
        if (rate > best) best = rate;
    }
    free(data);
    return best;
}

// ---- multiplying

typedef void multiplier(void);

// `step` makes the next `sum` of the last; `constants` are what it multiplies.
#define DEFINE_MULTIPLIER(name, target, type, constants, step)                            \
    target static void name(void) {                                                       \
        constants;                                                                        \
        type sums[CHAINS] = {0};                                                          \
        OPAQUE(sums);                                                                     \
        for (int i = 0; i < STEPS; i++) {                                                 \
            _Pragma("GCC unroll 16") for (int j = 0; j < CHAINS; j++) {                   \
                type sum = sums[j];                                                       \
                step;                                                                     \
                sums[j] = sum;                                                            \
            }                                                                             \
        }                                                                                 \
        OPAQUE(sums);                                                                     \
    }

static double gigamacs_per_second(multiplier *multiply, int macs_a_step) {
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        double start = seconds();
        multiply();
        double rate = 1e-9 * macs_a_step * CHAINS * STEPS / (seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}

// ---- what each processor has

typedef float floats __attribute__((vector_size(16)));
#define FLOAT_CONSTANTS floats x = {1, 1, 1, 1}; floats y = x
DEFINE_READER(read_any, )
DEFINE_MULTIPLIER(multiply_float32_any, , floats, FLOAT_CONSTANTS, sum = sum * x + y)

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f")))
#define AVX512_BF16 __attribute__((target("avx512f,avx512bf16")))
#define AVX512_VNNI __attribute__((target("avx512f,avx512vnni")))

DEFINE_READER(read_avx2, AVX2)
DEFINE_READER(read_avx512, AVX512)
DEFINE_MULTIPLIER(multiply_float32_avx2, AVX2, __m256, __m256 x = _mm256_set1_ps(1),
                  sum = _mm256_fmadd_ps(sum, x, x))
DEFINE_MULTIPLIER(multiply_float32_avx512, AVX512, __m512, __m512 x = _mm512_set1_ps(1),
                  sum = _mm512_fmadd_ps(sum, x, x))
DEFINE_MULTIPLIER(multiply_bfloat16_avx512, AVX512_BF16, __m512, __m512bh x = (__m512bh)_mm512_set1_ps(1),
                  sum = _mm512_dpbf16_ps(sum, x, x))
DEFINE_MULTIPLIER(multiply_int8_avx2, AVX2, __m256i,
                  __m256i x = _mm256_set1_epi8(1); __m256i ones = _mm256_set1_epi16(1),
                  OPAQUE_REGISTER(x); sum = _mm256_add_epi32(
                      sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), ones)))
DEFINE_MULTIPLIER(multiply_int8_avx512, AVX512_VNNI, __m512i, __m512i x = _mm512_set1_epi8(1),
                  sum = _mm512_dpbusd_epi32(sum, x, x))
#endif

typedef struct {
    const char *precision;
    multiplier *multiply;
    int macs_a_step;
} entry;

int main(int count, char **arguments) {
    reader *read = read_any;
    entry entries[3] = {{"float32", multiply_float32_any, 4}};
    int num_entries = 1;
#ifdef __x86_64__
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = __builtin_cpu_supports("avx512f");
    if (avx512) {
        read = read_avx512;
        entries[0] = (entry){"float32", multiply_float32_avx512, 16};
    } else if (avx2) {
        read = read_avx2;
        entries[0] = (entry){"float32", multiply_float32_avx2, 8};
    }
    if (avx512 && __builtin_cpu_supports("avx512bf16"))
        entries[num_entries++] = (entry){"bfloat16", multiply_bfloat16_avx512, 32};
    if (avx512 && __builtin_cpu_supports("avx512vnni"))
        entries[num_entries++] = (entry){"int8", multiply_int8_avx512, 64};
    else if (avx2)
        entries[num_entries++] = (entry){"int8", multiply_int8_avx2, 32};
#endif

    printf("{\"read\": {");
    for (int i = 1; i < count; i++) {
        size_t bytes = strtoull(arguments[i], NULL, 10);
        printf("%s\"%zu\": %.2f", i > 1 ? ", " : "", bytes, gigabytes_per_second(read, bytes));
    }
    printf("}, \"multiply\": {");
    for (int i = 0; i < num_entries; i++)
        printf("%s\"%s\": %.2f", i ? ", " : "", entries[i].precision,
               gigamacs_per_second(entries[i].multiply, entries[i].macs_a_step));
    printf("}}\n");
}
