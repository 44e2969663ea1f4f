// What a training step does element by element, each in one pass: plain loops that the compiler vectorises.
// Numbers are stored as float or bfloat16 and computed as float.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

struct bfloat16 {
    uint16_t bits;

    bfloat16() = default;
    bfloat16(float a) {
        uint32_t word;
        std::memcpy(&word, &a, sizeof word);
        bits = static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);  // to the nearest, ties to even
    }
    operator float() const {
        const uint32_t word = static_cast<uint32_t>(bits) << 16;
        float a;
        std::memcpy(&a, &word, sizeof a);
        return a;
    }
};

// e^x within 2e-7 of its value; x beyond ±87 counts as ±87.
inline float exponential(float x) {
    constexpr float log2_e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    x = x < -87.0f ? -87.0f : x > 87.0f ? 87.0f : x;
    const float n = std::floor(x * log2_e + 0.5f);
    const float r = x - n * ln2_high - n * ln2_low;  // |r| <= ln 2 / 2
    float p = 1.9875691500e-4f;  // Cephes' polynomial for e^r
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return p * power;
}

inline float hyperbolic_tangent(float x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

// A maximum is vectorised only where no NaN is to be minded; a row with one has a NaN for its sum.
__attribute__((optimize("finite-math-only"))) float highest_of(const float* x, int64_t size) {
    float highest = x[0];
    for (int64_t i = 1; i < size; ++i) highest = highest > x[i] ? highest : x[i];
    return highest;
}

template <class T>
double cross_entropy(T* logits, const int64_t* targets, int64_t rows, int64_t width) {
    std::vector<float> powers(width);
    float* p = powers.data();
    double loss = 0;
    for (int64_t row = 0; row < rows; ++row, logits += width) {
        const int64_t target = targets[row];
        if (target < 0) {
            std::memset(logits, 0, width * sizeof(T));
            continue;
        }
        for (int64_t i = 0; i < width; ++i) p[i] = logits[i];
        const float highest = highest_of(p, width);
        float total = 0;
        for (int64_t i = 0; i < width; ++i) total += p[i] = exponential(p[i] - highest);
        loss += std::log(static_cast<double>(total)) + highest - static_cast<float>(logits[target]);
        const float scale = 1.0f / total;
        p[target] -= total;
        for (int64_t i = 0; i < width; ++i) logits[i] = p[i] * scale;
    }
    return loss;
}

template <class T>
void hyperbolic_tangents(const T* __restrict x, T* y, int64_t size) {
    for (int64_t i = 0; i < size; ++i) y[i] = hyperbolic_tangent(x[i]);
}

template <class T>
void step(const T* __restrict a, const T* __restrict b, const T* __restrict u, const bfloat16* __restrict noise,
          const float* __restrict amplitude, T* __restrict state, int64_t rows, int64_t width) {
    for (int64_t at = 0; at < rows * width; at += width)
        for (int64_t j = 0; j < width; ++j) {
            const int64_t i = at + j;
            state[i] = hyperbolic_tangent(a[i] + b[i] * u[i] + amplitude[j] * noise[i]);
        }
}

template <class T>
void step_backward(const T* __restrict d_state, const T* __restrict state, const T* __restrict b,
                   const T* __restrict u, const bfloat16* __restrict noise, T* __restrict d_drive,
                   T* __restrict d_b, T* __restrict d_u, float* __restrict d_amplitude, int64_t rows,
                   int64_t width) {
    for (int64_t at = 0; at < rows * width; at += width)
        for (int64_t j = 0; j < width; ++j) {
            const int64_t i = at + j;
            const float s = state[i], d = d_state[i] * (1.0f - s * s);
            d_drive[i] = d;
            d_b[i] = d * u[i];
            d_u[i] = d * b[i];
            d_amplitude[j] += d * noise[i];
        }
}

// d_state += d_u (1 - u²)
template <class T>
void add_through_tanh(T* d_state, const T* __restrict d_u, const T* __restrict u, int64_t size) {
    for (int64_t i = 0; i < size; ++i) d_state[i] = d_state[i] + d_u[i] * (1.0f - u[i] * u[i]);
}

}  // namespace

#define EXPORTED(TYPE, NAME)                                                                                   \
    extern "C" double cross_entropy_##NAME(TYPE* logits, const int64_t* targets, int64_t rows, int64_t width) { \
        return cross_entropy(logits, targets, rows, width);                                                    \
    }                                                                                                          \
    extern "C" void tanh_##NAME(const TYPE* x, TYPE* y, int64_t size) { hyperbolic_tangents(x, y, size); }      \
    extern "C" void step_##NAME(const TYPE* a, const TYPE* b, const TYPE* u, const bfloat16* noise,             \
                                const float* amplitude, TYPE* state, int64_t rows, int64_t width) {            \
        step(a, b, u, noise, amplitude, state, rows, width);                                           \
    }                                                                                                          \
    extern "C" void step_backward_##NAME(const TYPE* d_state, const TYPE* state, const TYPE* b, const TYPE* u,  \
                                         const bfloat16* noise, TYPE* d_drive, TYPE* d_b, TYPE* d_u,           \
                                         float* d_amplitude, int64_t rows, int64_t width) {                    \
        step_backward(d_state, state, b, u, noise, d_drive, d_b, d_u, d_amplitude, rows, width);               \
    }                                                                                                          \
    extern "C" void add_through_tanh_##NAME(TYPE* d_state, const TYPE* d_u, const TYPE* u, int64_t size) {      \
        add_through_tanh(d_state, d_u, u, size);                                                               \
    }

EXPORTED(float, float32)
EXPORTED(bfloat16, bfloat16)
