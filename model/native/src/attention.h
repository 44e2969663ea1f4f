// Causal attention of one query over its slot's cached positions.
#pragma once

#include <cmath>
#include <cstdint>

#include "cache.h"

namespace NEUROQ_ISA {

// What one query needs beside its result: for each head a row of scores, then of words, and what is known of
// the whole row.
struct AttentionScratch {
    AttentionScratch(Memory& memory, const Shape& shape)
        : stride(shape.padded_context()),
          scores(memory.take<float>(shape.num_heads * stride)),
          words(memory.take<uint32_t>(shape.num_heads * stride)),
          highest(memory.take<float>(shape.num_heads * LANES)),
          share(memory.take<float>(shape.num_heads)) {}

    size_t stride;
    float* scores;
    uint32_t* words;
    float* highest;  // of each lane
    float* share;
};

// Scores of PANELS · 16 positions, in units of ln 2. Two chains each, so that one does not wait for itself.
template <class F, int PANELS>
inline void score_panels(const uint32_t* keys, const uint32_t* query, int num_words, float* scores) {
    Vec even[PANELS], odd[PANELS];
    NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) even[p] = odd[p] = broadcast(0.0f);
    const size_t stride = static_cast<size_t>(num_words) * LANES;
    int i = 0;
    for (; i + 2 <= num_words; i += 2, keys += 2 * LANES) {
        const Words first = broadcast_word(query[i]), second = broadcast_word(query[i + 1]);
        NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
            even[p] = F::dot(even[p], load_words(keys + p * stride), first);
            odd[p] = F::dot(odd[p], load_words(keys + p * stride + LANES), second);
        }
    }
    NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
        if (i < num_words) even[p] = F::dot(even[p], load_words(keys + p * stride), broadcast_word(query[i]));
        store(scores + p * LANES, even[p] + odd[p]);
    }
}

// Scores of `count` positions and their highest in each lane.
template <class F>
inline Vec score(const uint32_t* keys, const uint32_t* query, int num_words, int count, float* scores) {
    const int panels = padded(count) / LANES;
    const size_t stride = static_cast<size_t>(num_words) * LANES;
    int panel = 0;
    for (; panel + 2 <= panels; panel += 2) {
        score_panels<F, 2>(keys + panel * stride, query, num_words, scores + panel * LANES);
    }
    if (panel < panels) score_panels<F, 1>(keys + panel * stride, query, num_words, scores + panel * LANES);

    Vec highest = broadcast(-INFINITY);
    for (int i = 0; i + LANES <= count; i += LANES) highest = max(load(scores + i), highest);
    const int rest = count % LANES;
    return rest == 0 ? highest : max(first_lanes(load(scores + count - rest), rest, highest), highest);
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

// Weighted sums of PANELS · 16 dimensions over all positions, in four chains each.
template <class F, int PANELS>
inline void weigh_panels(const uint32_t* values, size_t stride, const uint32_t* weights, int num_words, float share,
                         float* out) {
    Vec chain[4][PANELS];
    NEUROQ_UNROLL for (int j = 0; j < 4; ++j) {
        NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) chain[j][p] = broadcast(0.0f);
    }
    int i = 0;
    for (; i + 4 <= num_words; i += 4, values += 4 * stride) {
        NEUROQ_UNROLL for (int j = 0; j < 4; ++j) {
            const Words weight = broadcast_word(weights[i + j]);
            NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
                chain[j][p] = F::dot(chain[j][p], load_words(values + j * stride + p * LANES), weight);
            }
        }
    }
    NEUROQ_UNROLL for (int j = 0; j < 3; ++j) {
        if (i + j >= num_words) break;
        const Words weight = broadcast_word(weights[i + j]);
        NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
            chain[j][p] = F::dot(chain[j][p], load_words(values + j * stride + p * LANES), weight);
        }
    }
    NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
        store(out + p * LANES, ((chain[0][p] + chain[1][p]) + (chain[2][p] + chain[3][p])) * broadcast(share));
    }
}

// `query` holds the words of all heads, `out` gets the padded values of all heads. Step by step for all heads:
// the processor works on several of them at once.
template <class F>
inline void attend(const Cache<F>& cache, int layer, int slot, int position, const uint32_t* query, int num_heads,
                   const AttentionScratch& scratch, float* out) {
    const int count = position + 1;
    const int num_words = cache.num_key_words();
    for (int head = 0; head < num_heads; ++head) {
        const Vec highest = score<F>(cache.keys(layer, slot, head), query + static_cast<size_t>(head) * num_words,
                                     num_words, count, scratch.scores + head * scratch.stride);
        store(scratch.highest + head * LANES, highest);
    }
    for (int head = 0; head < num_heads; ++head) {
        float* scores = scratch.scores + head * scratch.stride;
        scratch.share[head] = 1.0f / exponentiate<F>(scores, count, load(scratch.highest + head * LANES));
        F::write_words(scratch.words + head * scratch.stride, scores, padded(count));
    }
    const int num_panels = cache.num_value_panels();
    const size_t stride = static_cast<size_t>(num_panels) * LANES;
    const int position_words = (count + F::GROUP - 1) / F::GROUP;
    for (int head = 0; head < num_heads; ++head) {
        const uint32_t* values = cache.values(layer, slot, head);
        const uint32_t* weights = scratch.words + head * scratch.stride;
        int panel = 0;
        for (; panel + 2 <= num_panels; panel += 2, out += 2 * LANES) {
            weigh_panels<F, 2>(values + panel * LANES, stride, weights, position_words, scratch.share[head], out);
        }
        if (panel == num_panels) continue;
        weigh_panels<F, 1>(values + panel * LANES, stride, weights, position_words, scratch.share[head], out);
        out += LANES;
    }
}

}  // namespace NEUROQ_ISA
