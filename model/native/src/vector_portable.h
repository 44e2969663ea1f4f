// Sixteen lanes in four vectors of four: any processor, through the compiler's vector types.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace NEUROQ_ISA {

constexpr int TILE_SUMS = 2;
constexpr int MAX_TILE_ROWS = 2;

constexpr int PARTS = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Integers __attribute__((vector_size(16)));
typedef uint32_t Unsigned __attribute__((vector_size(16)));

struct Vec {
    Floats part[PARTS];
};

struct Words {
    Unsigned part[PARTS];
};

template <class To, class From>
inline To bit_cast(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

template <class Operation>
inline Vec each_part(Operation operation) {
    return {{operation(0), operation(1), operation(2), operation(3)}};
}
template <class Operation>
inline Words each_words(Operation operation) {
    return {{operation(0), operation(1), operation(2), operation(3)}};
}
template <class Operation>
inline Vec each_lane(Operation operation) {
    Vec out;
    for (int i = 0; i < LANES; ++i) out.part[i / 4][i % 4] = operation(i);
    return out;
}
inline float lane(const Vec& a, int i) { return a.part[i / 4][i % 4]; }

inline Vec load(const float* from) {
    Vec out;
    std::memcpy(&out, from, sizeof out);
    return out;
}
inline void store(float* to, Vec a) { std::memcpy(to, &a, sizeof a); }
inline Vec broadcast(float a) {
    return each_part([&](int) { return Floats{a, a, a, a}; });
}
inline Vec operator+(Vec a, Vec b) {
    return each_part([&](int i) { return a.part[i] + b.part[i]; });
}
inline Vec operator-(Vec a, Vec b) {
    return each_part([&](int i) { return a.part[i] - b.part[i]; });
}
inline Vec operator*(Vec a, Vec b) {
    return each_part([&](int i) { return a.part[i] * b.part[i]; });
}
// One rounding where the processor has the instruction, two elsewhere.
inline Vec fma(Vec a, Vec b, Vec c) {
#ifdef __FP_FAST_FMAF
    return each_part([&](int i) {
        Floats out;
        for (int j = 0; j < 4; ++j) out[j] = __builtin_fmaf(a.part[i][j], b.part[i][j], c.part[i][j]);
        return out;
    });
#else
    return each_part([&](int i) { return a.part[i] * b.part[i] + c.part[i]; });
#endif
}
inline float fma(float a, float b, float c) {
#ifdef __FP_FAST_FMAF
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
inline Floats choose(Integers mask, Floats yes, Floats no) {
    return bit_cast<Floats>((mask & bit_cast<Integers>(yes)) | (~mask & bit_cast<Integers>(no)));
}
inline Vec min(Vec a, Vec b) {
    return each_part([&](int i) { return choose(a.part[i] < b.part[i], a.part[i], b.part[i]); });
}
inline Vec max(Vec a, Vec b) {
    return each_part([&](int i) { return choose(a.part[i] > b.part[i], a.part[i], b.part[i]); });
}
inline Vec abs(Vec a) {
    return each_part([&](int i) { return bit_cast<Floats>(bit_cast<Integers>(a.part[i]) & 0x7fffffff); });
}
inline Vec divide(Vec a, Vec b) {
    return each_part([&](int i) { return a.part[i] / b.part[i]; });
}
inline Vec reciprocal(Vec a) { return divide(broadcast(1.0f), a); }

// Adding and taking away 1.5 · 2^23 leaves no room for a fraction; exact for |a| < 2^22.
inline Vec round(Vec a) {
    const Vec shift = broadcast(12582912.0f);
    return (a + shift) - shift;
}
inline Integers to_integer(Floats a) {
    const Floats shift = {12582912.0f, 12582912.0f, 12582912.0f, 12582912.0f};
    return bit_cast<Integers>(a + shift) - bit_cast<Integers>(shift);
}
inline Vec times_two_to(Vec a, Vec n) {
    return each_part([&](int i) { return a.part[i] * bit_cast<Floats>((to_integer(n.part[i]) + 127) << 23); });
}

inline float sum(Vec a) {
    const Floats four = (a.part[0] + a.part[2]) + (a.part[1] + a.part[3]);
    return (four[0] + four[2]) + (four[1] + four[3]);
}
inline float highest(Vec a) {
    float best = lane(a, 0);
    for (int i = 1; i < LANES; ++i) best = lane(a, i) > best ? lane(a, i) : best;
    return best;
}

inline Vec first_lanes(Vec a, int count, Vec others) {
    return each_lane([&](int i) { return i < count ? lane(a, i) : lane(others, i); });
}

inline uint32_t bits_at_least(Vec a, Vec b) {
    uint32_t bits = 0;
    for (int i = 0; i < LANES; ++i) bits |= static_cast<uint32_t>(lane(a, i) >= lane(b, i)) << i;
    return bits;
}
inline uint32_t bits_above(Vec a, Vec b) {
    uint32_t bits = 0;
    for (int i = 0; i < LANES; ++i) bits |= static_cast<uint32_t>(lane(a, i) > lane(b, i)) << i;
    return bits;
}

inline Words load_words(const void* from) {
    Words out;
    std::memcpy(&out, from, sizeof out);
    return out;
}
inline void store_words(void* to, Words a) { std::memcpy(to, &a, sizeof a); }
inline Words broadcast_word(uint32_t a) {
    return each_words([&](int) { return Unsigned{a, a, a, a}; });
}
inline Vec to_float(Words a) {
    return each_part([&](int i) { return __builtin_convertvector(bit_cast<Integers>(a.part[i]), Floats); });
}
inline Vec as_float(Words a) { return bit_cast<Vec>(a); }
inline Words as_words(Vec a) { return bit_cast<Words>(a); }

// counts + 1 in the lanes where a > b (or a >= b): a comparison's result is -1.
inline Words count_above(Words counts, Vec a, Vec b) {
    return each_words([&](int i) { return counts.part[i] - bit_cast<Unsigned>(a.part[i] > b.part[i]); });
}
inline Words count_at_least(Words counts, Vec a, Vec b) {
    return each_words([&](int i) { return counts.part[i] - bit_cast<Unsigned>(a.part[i] >= b.part[i]); });
}

// Sixteen bytes: each lane, between 0 and 255, rounded.
inline void store_bytes(uint8_t* to, Vec a) {
    for (int i = 0; i < PARTS; ++i) {
        const Integers whole = to_integer(a.part[i]);
        for (int j = 0; j < 4; ++j) to[4 * i + j] = static_cast<uint8_t>(whole[j]);
    }
}

inline Vec load_bytes(const uint8_t* from) {
    return each_lane([&](int i) { return static_cast<float>(from[i]); });
}

// sums += for each lane the products of four unsigned bytes of x and four signed bytes of w.
inline Words dot_bytes(Words sums, Words w, Words x) {
    return each_words([&](int i) {
        Integers out = bit_cast<Integers>(sums.part[i]);
        for (int byte = 0; byte < 4; ++byte) {
            const Integers weight = bit_cast<Integers>(w.part[i] << (24 - 8 * byte)) >> 24;
            const Integers input = bit_cast<Integers>((x.part[i] >> (8 * byte)) & 0xff);
            out += weight * input;
        }
        return bit_cast<Unsigned>(out);
    });
}

// A bfloat16 in each word: to the nearest, ties to even.
inline Unsigned bfloat16_words(Floats a) {
    const Unsigned bits = bit_cast<Unsigned>(a);
    return (bits + ((bits >> 16) & 1) + 0x7fff) >> 16;
}
inline void store_bfloat16(void* to, Vec a) {
    uint16_t* out = static_cast<uint16_t*>(to);
    for (int i = 0; i < PARTS; ++i) {
        const Unsigned words = bfloat16_words(a.part[i]);
        for (int j = 0; j < 4; ++j) out[4 * i + j] = static_cast<uint16_t>(words[j]);
    }
}
inline Vec dot_bfloat16(Vec sums, Words w, Words x) {
    const Vec low_w = each_part([&](int i) { return bit_cast<Floats>(w.part[i] << 16); });
    const Vec low_x = each_part([&](int i) { return bit_cast<Floats>(x.part[i] << 16); });
    const Vec high_w = each_part([&](int i) { return bit_cast<Floats>(w.part[i] & 0xffff0000u); });
    const Vec high_x = each_part([&](int i) { return bit_cast<Floats>(x.part[i] & 0xffff0000u); });
    return fma(high_w, high_x, fma(low_w, low_x, sums));
}

// A bfloat16 of `low` in the lower half of each word, one of `high` in the upper.
inline Words pair_bfloat16(Vec low, Vec high) {
    return each_words([&](int i) { return bfloat16_words(low.part[i]) | (bfloat16_words(high.part[i]) << 16); });
}

// `old` with one half of each word replaced by a bfloat16 of `a`; writing the lower one clears the upper.
inline Words replace_lower(Vec a) {
    return each_words([&](int i) { return bfloat16_words(a.part[i]); });
}
inline Words replace_upper(Words old, Vec a) {
    return each_words([&](int i) { return (old.part[i] & 0xffff) | (bfloat16_words(a.part[i]) << 16); });
}

}  // namespace NEUROQ_ISA
