// The largest of many logits, in order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "memory.h"
#include "threshold.h"
#include "vector.h"

namespace NEUROQ_ISA {

struct Candidate {
    float value;
    int32_t id;
};

inline bool operator<(const Candidate& a, const Candidate& b) {
    return a.value > b.value || (a.value == b.value && a.id < b.id);
}

// Finds the `count` largest of padded logits (those beyond the vocabulary are -inf): largest first, the lower id
// first among equals. A NaN is never among them.
class Candidates {
public:
    Candidates(Memory& memory, int vocab_size)
        : vocab_size_(vocab_size),
          values_(memory.take<float>(padded(vocab_size) + LANES)),
          threshold_(memory, vocab_size),
          ids_(memory.take<int32_t>(padded(vocab_size) + LANES)),
          sorted_(memory.take<Candidate>(vocab_size)) {}

    const Candidate* begin() const { return sorted_; }
    int count() const { return count_; }

    void find(const float* logits, int count) {
        if (!threshold_.can_find(count)) return sort_all(logits, count);
        collect(logits, threshold_.find(logits, count));
        if (num_found_ <= MOST_BY_RANK) {
            sort_by_rank(count);
        } else {
            sort_found(count);
        }
    }

private:
    static constexpr int MOST_BY_RANK = 160;

    void collect(const float* logits, float bound) {
        constexpr int BLOCK_PANELS = Threshold::BLOCK_PANELS;
        const int panels = padded(vocab_size_) / LANES;
        const Vec bounds = broadcast(bound);
        num_found_ = 0;
        for (int first = 0, block = 0; first < panels; first += BLOCK_PANELS, ++block) {
            if (!threshold_.may_reach(block, bounds)) continue;
            for (int panel = first; panel < std::min(first + BLOCK_PANELS, panels); ++panel) {
                uint32_t bits = bits_at_least(load(logits + panel * LANES), bounds);
                for (; bits != 0; bits &= bits - 1) keep(logits, panel * LANES + __builtin_ctz(bits));
            }
        }
    }

    void keep(const float* logits, int id) {
        values_[num_found_] = logits[id];
        ids_[num_found_++] = id;
    }

    // Each candidate's place is the number of those before it: with a few dozen of them faster than any sort.
    void sort_by_rank(int count) {
        for (int i = num_found_; i < padded(num_found_); ++i) values_[i] = -INFINITY;
        count_ = std::min(count, num_found_);
        alignas(64) int32_t ranks[LANES];
        for (int first = 0; first < num_found_; first += LANES) {
            store_words(ranks, count_before(first));
            for (int i = first; i < std::min(first + LANES, num_found_); ++i) {
                if (ranks[i - first] < count_) sorted_[ranks[i - first]] = {values_[i], ids_[i]};
            }
        }
    }

    // For sixteen candidates how many come before them; an equal one does if it was found earlier.
    Words count_before(int first) const {
        const Vec own = load(values_ + first);
        Words before = broadcast_word(0);
        int i = 0;
        for (; i < first; ++i) before = count_at_least(before, broadcast(values_[i]), own);
        for (; i < first + LANES; ++i) {
            const Vec other = broadcast(values_[i]);
            const Vec above = as_float(count_above(before, other, own));
            before = as_words(first_lanes(above, i - first + 1, as_float(count_at_least(before, other, own))));
        }
        for (; i < num_found_; ++i) before = count_above(before, broadcast(values_[i]), own);
        return before;
    }

    void sort_found(int count) {
        count_ = std::min(count, num_found_);
        for (int i = 0; i < num_found_; ++i) sorted_[i] = {values_[i], ids_[i]};
        std::partial_sort(sorted_, sorted_ + count_, sorted_ + num_found_);
    }

    void sort_all(const float* logits, int count) {
        num_found_ = 0;
        for (int id = 0; id < vocab_size_; ++id) {
            if (!std::isnan(logits[id])) keep(logits, id);
        }
        sort_found(count);
    }

    int vocab_size_;
    float* values_;
    Threshold threshold_;
    int32_t* ids_;
    Candidate* sorted_;
    int num_found_ = 0;
    int count_ = 0;
};

// The id of the largest logit, the lowest among equals; 0 when all are NaN.
inline int32_t arg_max(const float* logits, int vocab_size) {
    Vec most = load(logits);
    for (int i = LANES; i < vocab_size; i += LANES) most = max(load(logits + i), most);
    const Vec best = broadcast(highest(most));
    for (int i = 0; i < vocab_size; i += LANES) {
        const uint32_t bits = bits_at_least(load(logits + i), best);
        if (bits != 0) return i + __builtin_ctz(bits);
    }
    return 0;
}

}  // namespace NEUROQ_ISA
