// Sixteen lanes in two registers: AVX2 with FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace NEUROQ_ISA {

// Sixteen registers hold four sums of sixteen lanes beside weights, input and what widening them takes.
constexpr int TILE_SUMS = 4;
constexpr int MAX_TILE_ROWS = 4;

struct Vec {
    __m256 low, high;
};

struct Words {
    __m256i low, high;
};

inline Vec load(const float* from) { return {_mm256_load_ps(from), _mm256_load_ps(from + 8)}; }
inline void store(float* to, Vec a) {
    _mm256_store_ps(to, a.low);
    _mm256_store_ps(to + 8, a.high);
}
inline Vec broadcast(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
inline Vec fma(Vec a, Vec b, Vec c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Vec abs(Vec a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
inline Vec divide(Vec a, Vec b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
inline Vec reciprocal(Vec a) { return {_mm256_rcp_ps(a.low), _mm256_rcp_ps(a.high)}; }
inline Vec round(Vec a) {
    constexpr int nearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return {_mm256_round_ps(a.low, nearest), _mm256_round_ps(a.high, nearest)};
}

inline __m256 times_two_to(__m256 a, __m256 n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
}
inline Vec times_two_to(Vec a, Vec n) { return {times_two_to(a.low, n.low), times_two_to(a.high, n.high)}; }

inline float sum(Vec a) {
    const __m256 eight = _mm256_add_ps(a.low, a.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
inline float highest(Vec a) {
    const __m256 eight = _mm256_max_ps(a.low, a.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

inline Vec first_lanes(Vec a, int count, Vec others) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i low = _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes);
    const __m256i high = _mm256_cmpgt_epi32(_mm256_set1_epi32(count - 8), lanes);
    return {_mm256_blendv_ps(others.low, a.low, _mm256_castsi256_ps(low)),
            _mm256_blendv_ps(others.high, a.high, _mm256_castsi256_ps(high))};
}

template <int COMPARISON>
inline Vec compare(Vec a, Vec b) {
    return {_mm256_cmp_ps(a.low, b.low, COMPARISON), _mm256_cmp_ps(a.high, b.high, COMPARISON)};
}
inline uint32_t bits(Vec mask) {
    return static_cast<uint32_t>(_mm256_movemask_ps(mask.low)) |
           static_cast<uint32_t>(_mm256_movemask_ps(mask.high)) << 8;
}
inline uint32_t bits_at_least(Vec a, Vec b) { return bits(compare<_CMP_GE_OQ>(a, b)); }
inline uint32_t bits_above(Vec a, Vec b) { return bits(compare<_CMP_GT_OQ>(a, b)); }

inline Words load_words(const void* from) {
    const __m256i* at = static_cast<const __m256i*>(from);
    return {_mm256_load_si256(at), _mm256_load_si256(at + 1)};
}
inline void store_words(void* to, Words a) {
    __m256i* at = static_cast<__m256i*>(to);
    _mm256_store_si256(at, a.low);
    _mm256_store_si256(at + 1, a.high);
}
inline Words broadcast_word(uint32_t a) {
    const __m256i all = _mm256_set1_epi32(static_cast<int>(a));
    return {all, all};
}
inline Vec to_float(Words a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
inline Vec as_float(Words a) { return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)}; }
inline Words as_words(Vec a) { return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)}; }

// counts + 1 in the lanes where a > b (or a >= b): a comparison's result is -1.
inline Words minus_mask(Words counts, Vec mask) {
    return {_mm256_sub_epi32(counts.low, _mm256_castps_si256(mask.low)),
            _mm256_sub_epi32(counts.high, _mm256_castps_si256(mask.high))};
}
inline Words count_above(Words counts, Vec a, Vec b) { return minus_mask(counts, compare<_CMP_GT_OQ>(a, b)); }
inline Words count_at_least(Words counts, Vec a, Vec b) { return minus_mask(counts, compare<_CMP_GE_OQ>(a, b)); }

// Sixteen 16-bit numbers of two registers of 32-bit ones, in order.
inline __m256i narrow(__m256i low, __m256i high) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
}

// Sixteen bytes: each lane, between 0 and 255, rounded.
inline void store_bytes(uint8_t* to, Vec a) {
    const __m256i words = narrow(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
    const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_store_si128(reinterpret_cast<__m128i*>(to), bytes);
}

// Without VNNI: widened to 16 bits, so that no sum of two products can saturate.
inline __m256i dot_bytes(__m256i sums, __m256i w, __m256i even_x, __m256i odd_x) {
    const __m256i even_w = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8);
    const __m256i odd_w = _mm256_srai_epi16(w, 8);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even_w, even_x));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(odd_w, odd_x));
}
inline Vec load_bytes(const uint8_t* from) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(from));
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}

// sums += for each lane the products of four unsigned bytes of x and four signed bytes of w; x is a broadcast.
inline Words dot_bytes(Words sums, Words w, Words x) {
    const __m256i even_x = _mm256_and_si256(x.low, _mm256_set1_epi16(0xff));
    const __m256i odd_x = _mm256_srli_epi16(x.low, 8);
    return {dot_bytes(sums.low, w.low, even_x, odd_x), dot_bytes(sums.high, w.high, even_x, odd_x)};
}

// A bfloat16 in each word: to the nearest, ties to even.
inline __m256i bfloat16_words(__m256 a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
}
inline void store_bfloat16(void* to, Vec a) {
    _mm256_store_si256(static_cast<__m256i*>(to), narrow(bfloat16_words(a.low), bfloat16_words(a.high)));
}

inline __m256 dot_bfloat16(__m256 sums, __m256i w, __m256i x) {
    const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    sums = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(w, 16)),
                           _mm256_castsi256_ps(_mm256_slli_epi32(x, 16)), sums);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(w, upper)),
                           _mm256_castsi256_ps(_mm256_and_si256(x, upper)), sums);
}
inline Vec dot_bfloat16(Vec sums, Words w, Words x) {
    return {dot_bfloat16(sums.low, w.low, x.low), dot_bfloat16(sums.high, w.high, x.high)};
}

// A bfloat16 of `low` in the lower half of each word, one of `high` in the upper.
inline Words pair_bfloat16(Vec low, Vec high) {
    return {_mm256_or_si256(bfloat16_words(low.low), _mm256_slli_epi32(bfloat16_words(high.low), 16)),
            _mm256_or_si256(bfloat16_words(low.high), _mm256_slli_epi32(bfloat16_words(high.high), 16))};
}

// `old` with one half of each word replaced by a bfloat16 of `a`; writing the lower one clears the upper.
inline Words replace_lower(Vec a) { return {bfloat16_words(a.low), bfloat16_words(a.high)}; }
inline __m256i replace_upper(__m256i old, __m256 a) {
    const __m256i lower = _mm256_and_si256(old, _mm256_set1_epi32(0xffff));
    return _mm256_or_si256(lower, _mm256_slli_epi32(bfloat16_words(a), 16));
}
inline Words replace_upper(Words old, Vec a) {
    return {replace_upper(old.low, a.low), replace_upper(old.high, a.high)};
}

}  // namespace NEUROQ_ISA
