// Sixteen lanes of 32 bits, whatever the processor's own width is.
//
// Everything above this layer is written once. It is compiled once for each instruction set, with
// NEUROQ_ISA as the name of its namespace, so that no two instruction sets ever share a function.
// Each of the three files below defines the same names:
//
//   Vec     16 floats: load, store, broadcast, + - *, fma, min, max, divide, reciprocal (about 12 bits or
//           better), round, times_two_to, sum, highest, first_lanes, bits above/at_least
//   fma of three floats: the same rounding as in a lane
//   Words   16 words of 32 bits: load, store, broadcast
//   dot_bfloat16, dot_bytes   a step of a dot product in each lane: 2 bfloat16 or 4 bytes a word
#pragma once

// Sums must be in registers, so the loops over them must be gone before registers are given out.
#ifdef __clang__
#define NEUROQ_UNROLL _Pragma("unroll")
#else
#define NEUROQ_UNROLL _Pragma("GCC unroll 32")
#endif

namespace NEUROQ_ISA {

constexpr int LANES = 16;

constexpr int round_up(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }
constexpr int padded(int count) { return round_up(count, LANES); }

inline void prefetch(const void* address) { __builtin_prefetch(address); }

}  // namespace NEUROQ_ISA

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include "vector_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "vector_avx2.h"
#else
#include "vector_portable.h"
#endif
