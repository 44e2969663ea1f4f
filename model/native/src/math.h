// tanh, GELU and 2^x, sixteen at a time, in two grades.
//
// The coefficients are least maximum error fits of P(x²)/Q(x²), written for this file; the errors named are
// the largest over all arguments, the arithmetic's own rounding included.
#pragma once

#include "vector.h"

namespace NEUROQ_ISA {

// c[0] + c[1] x + c[2] x² + …
template <int COUNT>
inline Vec polynomial(Vec x, const float (&c)[COUNT]) {
    Vec value = broadcast(c[COUNT - 1]);
    for (int i = COUNT - 2; i >= 0; --i) value = fma(value, x, broadcast(c[i]));
    return value;
}

inline Vec clamp(Vec x, float bound) { return min(max(x, broadcast(-bound)), broadcast(bound)); }

// For float32: as exact as the sums around them.
struct Exact {
    // Relative error 3.3e-7; 1 - tanh(9) is below half a unit in the last place.
    static Vec tanh(Vec x) {
        static constexpr float P[] = {1.0f, 0.13381025195121765f, 0.0034955875016748905f, 2.06090717256302e-05f,
                                      1.3354647165897404e-08f};
        static constexpr float Q[] = {1.0f, 0.4671434164047241f, 0.025876980274915695f, 0.0003285633574705571f,
                                      7.776552024552075e-07f};
        x = clamp(x, 9.0f);
        const Vec square = x * x;
        return divide(x * polynomial(square, P), polynomial(square, Q));
    }

    // x Φ(x), Φ the normal distribution function with an absolute error of 1e-7.
    static Vec gelu(Vec x) {
        static constexpr float P[] = {0.398942232131958f,      0.03437593951821327f,   0.004707248881459236f,
                                      0.00017384903912898153f, 6.356521225825418e-06f, 2.2145441036514057e-08f};
        static constexpr float Q[] = {1.0f,
                                      0.25283342599868774f,
                                      0.0289399903267622f,
                                      0.0019129683496430516f,
                                      7.51013940316625e-05f,
                                      1.1802150083894958e-06f};
        const Vec bounded = clamp(x, 5.6f);
        const Vec square = bounded * bounded;
        const Vec phi = divide(bounded * polynomial(square, P), polynomial(square, Q));
        return fma(x, phi, x * broadcast(0.5f));
    }

    // 2^x for x <= 0, relative error 2e-7; Taylor's series of e^(r ln 2) for |r| <= 1/2.
    static Vec power_of_two(Vec x) {
        static constexpr float C[] = {1.0f,
                                      0.693147181f,
                                      0.240226507f,
                                      0.0555041087f,
                                      0.00961812911f,
                                      0.00133335581f,
                                      0.000154035304f};
        x = max(x, broadcast(-126.0f));
        const Vec whole = round(x);
        return times_two_to(polynomial(x - whole, C), whole);
    }
};

// For bfloat16 and int8, whose own rounding is 10 to 100 times coarser.
struct Fast {
    // Relative error 2.5e-4, at the bound.
    static Vec tanh(Vec x) {
        static constexpr float P[] = {0.9999719262123108f, 0.10391772538423538f, 0.0007195331854745746f};
        static constexpr float Q[] = {1.0f, 0.4370625913143158f, 0.01329052448272705f};
        x = clamp(x, 4.5f);
        const Vec square = x * x;
        return x * polynomial(square, P) * reciprocal(polynomial(square, Q));
    }

    // Φ with an absolute error of 3e-5 before the reciprocal's.
    static Vec gelu(Vec x) {
        static constexpr float P[] = {0.39883214235305786f, 0.036462247371673584f, 0.0019586649723351f,
                                      -2.0598798073478974e-05f};
        static constexpr float Q[] = {1.0f, 0.25706660747528076f, 0.023759160190820694f};
        const Vec bounded = clamp(x, 4.0f);
        const Vec square = bounded * bounded;
        const Vec phi = bounded * polynomial(square, P) * reciprocal(polynomial(square, Q));
        return fma(x, phi, x * broadcast(0.5f));
    }

    // 2^x for x <= 0, relative error 1e-4.
    static Vec power_of_two(Vec x) {
        static constexpr float C[] = {1.0f, 0.69314718f, 0.24015361f, 0.05583000f};
        x = max(x, broadcast(-126.0f));
        const Vec whole = round(x);
        return times_two_to(polynomial(x - whole, C), whole);
    }
};

}  // namespace NEUROQ_ISA
