// Random numbers without state: each is a function of a seed and of what it is drawn for (model/draws.py).
#pragma once

#include <cmath>
#include <cstdint>

namespace NEUROQ_ISA {

constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15u;

// The finaliser of SplitMix64.
inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// The random numbers of one token of a sequence.
class Draws {
public:
    Draws(uint64_t seed, uint64_t index) : stream_(mix(seed + GOLDEN * (index + 1))) {}

    // In [0, 1); lane 0 draws the token.
    double uniform(uint64_t lane = 0) const { return static_cast<double>(mix(stream_ + GOLDEN * (lane + 1)) >> 11) * 0x1p-53; }

    // Standard normal value number i (Box and Muller 1958).
    float normal(uint64_t i) const {
        const double a = uniform(1 + 2 * i), b = uniform(2 + 2 * i);
        return static_cast<float>(std::sqrt(-2.0 * std::log(1.0 - a)) * std::cos(2.0 * 3.141592653589793 * b));
    }

private:
    uint64_t stream_;
};

}  // namespace NEUROQ_ISA
