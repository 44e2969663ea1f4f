// Causal attention of one query over its slot's cached positions.
#pragma once

#include <cstdint>

#include "cache.h"

namespace NEUROQ_ISA {

// Scores in units of ln 2 for sixteen positions. Two chains, so that one does not wait for itself.
template <class F>
inline Vec score_panel(const uint32_t* panel, const uint32_t* query, int num_words) {
    Vec even = broadcast(0.0f), odd = even;
    int i = 0;
    for (; i + 2 <= num_words; i += 2) {
        even = F::dot(even, load_words(panel + i * LANES), broadcast_word(query[i]));
        odd = F::dot(odd, load_words(panel + (i + 1) * LANES), broadcast_word(query[i + 1]));
    }
    if (i < num_words) even = F::dot(even, load_words(panel + i * LANES), broadcast_word(query[i]));
    return even + odd;
}

// Turn scores into 2^(score - highest), zero beyond `count`; returns their sum.
template <class F>
inline float exponentiate(float* scores, int count, Vec highest_lanes) {
    const Vec top = broadcast(highest(highest_lanes));
    Vec total = broadcast(0.0f);
    for (int i = 0; i < count; i += LANES) {
        Vec power = F::Math::power_of_two(load(scores + i) - top);
        if (i + LANES > count) power = first_lanes(power, count - i, broadcast(0.0f));
        store(scores + i, power);
        total = total + power;
    }
    return sum(total);
}

// Weighted sum of sixteen dimensions over all positions, in four chains.
template <class F>
inline Vec weigh_panel(const uint32_t* values, int stride, const uint32_t* weights, int num_words) {
    Vec chain[4] = {broadcast(0.0f), broadcast(0.0f), broadcast(0.0f), broadcast(0.0f)};
    int i = 0;
    for (; i + 4 <= num_words; i += 4) {
        for (int j = 0; j < 4; ++j) {
            const uint32_t* at = values + static_cast<size_t>(i + j) * stride;
            chain[j] = F::dot(chain[j], load_words(at), broadcast_word(weights[i + j]));
        }
    }
    for (int j = 0; i + j < num_words; ++j) {
        const uint32_t* at = values + static_cast<size_t>(i + j) * stride;
        chain[j] = F::dot(chain[j], load_words(at), broadcast_word(weights[i + j]));
    }
    return (chain[0] + chain[1]) + (chain[2] + chain[3]);
}

// What one query needs beside its result.
struct AttentionScratch {
    AttentionScratch(Memory& memory, const Shape& shape)
        : scores(memory.take<float>(shape.padded_context())),
          words(memory.take<uint32_t>(shape.padded_context())) {}

    float* scores;
    uint32_t* words;
};

// `query` holds the words of all heads, `out` gets the padded values of all heads.
template <class F>
inline void attend(const Cache<F>& cache, int layer, int slot, int position, const uint32_t* query, int num_heads,
                   const AttentionScratch& scratch, float* out) {
    const int count = position + 1;
    const int num_words = cache.num_key_words();
    const int num_panels = cache.num_value_panels();
    for (int head = 0; head < num_heads; ++head, query += num_words) {
        const uint32_t* keys = cache.keys(layer, slot, head);
        Vec best = broadcast(-INFINITY);
        for (int i = 0; i < count; i += LANES) {
            const Vec scores = score_panel<F>(keys + static_cast<size_t>(i) * num_words, query, num_words);
            store(scratch.scores + i, scores);
            best = max(best, i + LANES > count ? first_lanes(scores, count - i, best) : scores);
        }
        const Vec share = broadcast(1.0f / exponentiate<F>(scratch.scores, count, best));
        F::write_words(scratch.words, scratch.scores, padded(count));
        const uint32_t* values = cache.values(layer, slot, head);
        for (int panel = 0; panel < num_panels; ++panel, out += LANES) {
            const int words = (count + F::GROUP - 1) / F::GROUP;
            store(out, weigh_panel<F>(values + panel * LANES, num_panels * LANES, scratch.words, words) * share);
        }
    }
}

}  // namespace NEUROQ_ISA
