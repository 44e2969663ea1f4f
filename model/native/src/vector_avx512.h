// Sixteen lanes in one register: AVX-512 with VNNI, and BF16 where the processor has it.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace NEUROQ_ISA {

// Register tile of a matrix product: 24 sums, which leaves room for weights and an input.
constexpr int TILE_SUMS = 24;
constexpr int MAX_TILE_ROWS = 8;

struct Vec {
    __m512 v;
};

struct Words {
    __m512i v;
};

inline Vec load(const float* from) { return {_mm512_load_ps(from)}; }
inline void store(float* to, Vec a) { _mm512_store_ps(to, a.v); }
inline Vec broadcast(float a) { return {_mm512_set1_ps(a)}; }
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
inline Vec divide(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec reciprocal(Vec a) { return {_mm512_rcp14_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec times_two_to(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }
inline float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
inline float highest(Vec a) { return _mm512_reduce_max_ps(a.v); }

inline Vec first_lanes(Vec a, int count, Vec others) {
    return {_mm512_mask_mov_ps(others.v, static_cast<__mmask16>((1u << count) - 1), a.v)};
}

inline uint32_t bits_at_least(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
inline uint32_t bits_above(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }

inline Words load_words(const void* from) { return {_mm512_load_si512(from)}; }
inline void store_words(void* to, Words a) { _mm512_store_si512(to, a.v); }
inline Words broadcast_word(uint32_t a) { return {_mm512_set1_epi32(static_cast<int>(a))}; }
inline Vec to_float(Words a) { return {_mm512_cvtepi32_ps(a.v)}; }
inline Vec as_float(Words a) { return {_mm512_castsi512_ps(a.v)}; }
inline Words as_words(Vec a) { return {_mm512_castps_si512(a.v)}; }

// counts + 1 in the lanes where a > b (or a >= b).
inline Words count_above(Words counts, Vec a, Vec b) {
    return {_mm512_mask_add_epi32(counts.v, static_cast<__mmask16>(bits_above(a, b)), counts.v, _mm512_set1_epi32(1))};
}
inline Words count_at_least(Words counts, Vec a, Vec b) {
    return {
        _mm512_mask_add_epi32(counts.v, static_cast<__mmask16>(bits_at_least(a, b)), counts.v, _mm512_set1_epi32(1))};
}

// Sixteen bytes: each lane, between 0 and 255, rounded.
inline void store_bytes(uint8_t* to, Vec a) {
    _mm_store_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}

inline Vec load_bytes(const uint8_t* from) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(from))))};
}

// sums += for each lane the products of four unsigned bytes of x and four signed bytes of w.
inline Words dot_bytes(Words sums, Words w, Words x) {
#ifdef __clang__
    return {_mm512_dpbusd_epi32(sums.v, x.v, w.v)};
#else
    // GCC 12 copies the sums to another register and back around the intrinsic: a third of the product's time.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums.v) : "v"(x.v), "vm"(w.v));
    return sums;
#endif
}

#ifdef __AVX512BF16__

inline __m512i bfloat16_words(Vec a) {
    return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}
inline void store_bfloat16(void* to, Vec a) {
    _mm256_store_si256(static_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a.v)));
}
inline Vec dot_bfloat16(Vec sums, Words w, Words x) {
    return {_mm512_dpbf16_ps(sums.v, reinterpret_cast<__m512bh>(w.v), reinterpret_cast<__m512bh>(x.v))};
}

#else

// Rounds to the nearest, ties to even, as the instruction does.
inline __m512i bfloat16_words(Vec a) {
    const __m512i bits = _mm512_castps_si512(a.v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
}
inline void store_bfloat16(void* to, Vec a) {
    _mm256_store_si256(static_cast<__m256i*>(to), _mm512_cvtepi32_epi16(bfloat16_words(a)));
}
inline Vec dot_bfloat16(Vec sums, Words w, Words x) {
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    const Vec low = {_mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(w.v, 16)),
                                     _mm512_castsi512_ps(_mm512_slli_epi32(x.v, 16)), sums.v)};
    return {_mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(w.v, upper)),
                            _mm512_castsi512_ps(_mm512_and_si512(x.v, upper)), low.v)};
}

#endif

// A bfloat16 of `low` in the lower half of each word, one of `high` in the upper.
inline Words pair_bfloat16(Vec low, Vec high) {
    return {_mm512_or_si512(bfloat16_words(low), _mm512_slli_epi32(bfloat16_words(high), 16))};
}

// `old` with one half of each word replaced by a bfloat16 of `a`; writing the lower one clears the upper.
inline Words replace_lower(Vec a) { return {bfloat16_words(a)}; }
inline Words replace_upper(Words old, Vec a) {
    const __m512i lower = _mm512_and_si512(old.v, _mm512_set1_epi32(0xffff));
    return {_mm512_or_si512(lower, _mm512_slli_epi32(bfloat16_words(a), 16))};
}

}  // namespace NEUROQ_ISA
