// The largest of many logits, in order.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "memory.h"
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
          block_maxima_(memory.take<float>(padded(vocab_size) / BLOCK_PANELS + LANES)),
          ids_(memory.take<int32_t>(padded(vocab_size) + LANES)),
          sorted_(memory.take<Candidate>(vocab_size)) {}

    const Candidate* begin() const { return sorted_; }
    int count() const { return count_; }

    void find(const float* logits, int count) {
        const int panels = padded(vocab_size_) / LANES;
        if (count > MOST_BY_THRESHOLD || panels < NUM_GROUPS * BLOCK_PANELS) return sort_all(logits, count);
        collect(logits, panels, threshold(logits, panels, count));
        if (num_found_ <= MOST_BY_RANK) {
            sort_by_rank(count);
        } else {
            sort_found(count);
        }
    }

private:
    // Sixteen maxima each; so many that the threshold lets few more than `count` through.
    static constexpr int NUM_GROUPS = 8;
    static constexpr int BLOCK_PANELS = 4;
    static constexpr int MOST_BY_THRESHOLD = NUM_GROUPS * LANES / 2;
    static constexpr int MOST_BY_RANK = 160;

    // A value that at least `count` logits reach. The logits are dealt to 128 groups; as many logits as groups
    // whose maximum reaches a value reach it themselves, so it is enough to look for one among the maxima.
    // Keeps the maxima of each block of panels for `collect`.
    float threshold(const float* logits, int panels, int count) {
        Vec groups[NUM_GROUPS];
        for (int g = 0; g < NUM_GROUPS; ++g) groups[g] = broadcast(-INFINITY);
        for (int panel = 0, block = 0; panel < panels; panel += BLOCK_PANELS, ++block) {
            Vec most = load(logits + panel * LANES);
            if (panel + BLOCK_PANELS <= panels) {
                NEUROQ_UNROLL for (int i = 1; i < BLOCK_PANELS; ++i) most = max(load(logits + (panel + i) * LANES), most);
            } else {
                for (int i = panel + 1; i < panels; ++i) most = max(load(logits + i * LANES), most);
            }
            store(block_maxima_ + block * LANES, most);
            groups[block % NUM_GROUPS] = max(most, groups[block % NUM_GROUPS]);
        }
        return bisect(groups, count);
    }

    // All maxima reach `low`, few reach `high`; stops when few more than `count` reach `low`.
    static float bisect(const Vec* groups, int count) {
        Vec most = groups[0], least = groups[0];
        for (int g = 1; g < NUM_GROUPS; ++g) {
            most = max(groups[g], most);
            least = min(groups[g], least);
        }
        float high = highest(most);
        float low = -highest(broadcast(0.0f) - least);
        if (!(low > -FLT_MAX)) low = -FLT_MAX;
        for (;;) {
            const float middle = 0.5f * low + 0.5f * high;
            if (!(middle > low && middle < high)) return low;
            const int reached = reaching(groups, middle);
            if (reached < count) {
                high = middle;
                continue;
            }
            low = middle;
            if (reached <= count + count / 8) return low;
        }
    }

    static int reaching(const Vec* groups, float value) {
        const Vec bound = broadcast(value);
        int reached = 0;
        for (int g = 0; g < NUM_GROUPS; ++g) reached += __builtin_popcount(bits_at_least(groups[g], bound));
        return reached;
    }

    void collect(const float* logits, int panels, float bound) {
        const Vec bounds = broadcast(bound);
        num_found_ = 0;
        for (int first = 0, block = 0; first < panels; first += BLOCK_PANELS, ++block) {
            if (bits_at_least(load(block_maxima_ + block * LANES), bounds) == 0) continue;
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
    float* block_maxima_;
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
