// The three number formats of a matrix product.
//
// In each of them an input is a row of 32-bit words (one float, two bfloat16 or four bytes), a weight matrix is
// panels of sixteen outputs with one 64-byte vector for each word of the input, and a product is
// sums = dot(sums, vector of weights, broadcast word). So one product kernel serves all three.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "math.h"
#include "vector.h"

namespace NEUROQ_ISA {

inline uint16_t to_bfloat16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return static_cast<uint16_t>((bits + ((bits >> 16) & 1) + 0x7fff) >> 16);
}

struct Float32 {
    using Math = Exact;
    using Weight = float;
    using Sums = Vec;
    using Cache = Float32;  // how keys and values are kept
    static constexpr int GROUP = 1;  // inputs of one word

    static float weight_scale(const float*, int) { return 1.0f; }
    static Weight weight(float value, float) { return value; }

    static Sums dot(Sums sums, Words w, Words x) { return fma(as_float(w), as_float(x), sums); }

    // Write `count` inputs (a multiple of 16) as words; returns what the product must be multiplied by.
    static float write_words(uint32_t* words, const float* x, int count) {
        std::memcpy(words, x, sizeof(float) * count);
        return 1.0f;
    }

    // Write a[0], b[0], a[1], b[1], … as words; `count` of each, a multiple of 16.
    static void write_pairs(uint32_t* words, const float* a, const float* b, int count) {
        for (int i = 0; i < count; ++i) {
            std::memcpy(words + 2 * i, a + i, sizeof(float));
            std::memcpy(words + 2 * i + 1, b + i, sizeof(float));
        }
    }

    // Write weight k of sixteen outputs to the vector of its word; what follows in the word is cleared.
    static void write_column(uint32_t* word, const float* weights, int) {
        store(reinterpret_cast<float*>(word), load(weights));
    }
};

struct Bfloat16 {
    using Math = Fast;
    using Weight = uint16_t;
    using Sums = Vec;
    using Cache = Bfloat16;
    static constexpr int GROUP = 2;

    static float weight_scale(const float*, int) { return 1.0f; }
    static Weight weight(float value, float) { return to_bfloat16(value); }

    static Sums dot(Sums sums, Words w, Words x) { return dot_bfloat16(sums, w, x); }

    static float write_words(uint32_t* words, const float* x, int count) {
        for (int i = 0; i < count; i += LANES) store_bfloat16(words + i / GROUP, load(x + i));
        return 1.0f;
    }

    static void write_pairs(uint32_t* words, const float* a, const float* b, int count) {
        for (int i = 0; i < count; i += LANES) store_words(words + i, pair_bfloat16(load(a + i), load(b + i)));
    }

    static void write_column(uint32_t* word, const float* weights, int k) {
        const Vec column = load(weights);
        store_words(word, k % GROUP == 0 ? replace_lower(column) : replace_upper(load_words(word), column));
    }
};

// Weights have one scale for each output, inputs one for each row. Inputs are stored plus 128, as the
// instruction multiplies unsigned by signed bytes; the sums start at what this adds, taken away.
struct Int8 {
    using Math = Fast;
    using Weight = int8_t;
    using Sums = Words;
    using Cache = Bfloat16;
    static constexpr int GROUP = 4;
    static constexpr float HIGHEST = 127.0f;
    static constexpr int ZERO_POINT = 128;

    static float weight_scale(const float* row, int count) {
        float largest = 0.0f;
        for (int i = 0; i < count; ++i) largest = std::fmax(largest, std::fabs(row[i]));
        return largest / HIGHEST;
    }
    static Weight weight(float value, float scale) {
        return scale > 0.0f ? static_cast<int8_t>(std::lrintf(value / scale)) : 0;
    }

    static Sums dot(Sums sums, Words w, Words x) { return dot_bytes(sums, w, x); }

    static float write_words(uint32_t* words, const float* x, int count) {
        Vec largest = abs(load(x));
        for (int i = LANES; i < count; i += LANES) largest = max(largest, abs(load(x + i)));
        return write_words(words, x, count, highest(largest));
    }

    static float write_words(uint32_t* words, const float* x, int count, float largest) {
        const Vec inverse = broadcast(largest > 0.0f ? HIGHEST / largest : 0.0f);
        const Vec zero_point = broadcast(ZERO_POINT);
        for (int i = 0; i < count; i += LANES) {
            store_bytes(reinterpret_cast<uint8_t*>(words + i / GROUP), fma(load(x + i), inverse, zero_point));
        }
        return largest / HIGHEST;
    }
};

}  // namespace NEUROQ_ISA
