// A bound that at least so many of many values reach, found in one pass.
#pragma once

#include <cfloat>
#include <cmath>

#include "memory.h"
#include "vector.h"

namespace NEUROQ_ISA {

class Threshold {
public:
    static constexpr int BLOCK_PANELS = 4;  // panels of sixteen values whose maxima are kept

    Threshold(Memory& memory, int num_values)
        : num_panels_(padded(num_values) / LANES),
          block_maxima_(memory.take<float>(padded(num_values) / BLOCK_PANELS + LANES)) {}

    // Whether `find` can be asked for so many.
    bool can_find(int count) const { return count <= NUM_GROUPS * LANES / 2 && num_panels_ >= NUM_GROUPS * BLOCK_PANELS; }

    // A value that at least `count` of the padded values reach, and few more. The values are dealt to 128 groups;
    // as many values as groups whose maximum reaches a bound reach it themselves, so it is enough to look for one
    // among the maxima.
    float find(const float* values, int count) {
        Vec groups[NUM_GROUPS];
        for (int g = 0; g < NUM_GROUPS; ++g) groups[g] = broadcast(-INFINITY);
        for (int panel = 0, block = 0; panel < num_panels_; panel += BLOCK_PANELS, ++block) {
            Vec most = load(values + panel * LANES);
            if (panel + BLOCK_PANELS <= num_panels_) {
                NEUROQ_UNROLL for (int i = 1; i < BLOCK_PANELS; ++i) most = max(load(values + (panel + i) * LANES), most);
            } else {
                for (int i = panel + 1; i < num_panels_; ++i) most = max(load(values + i * LANES), most);
            }
            store(block_maxima_ + block * LANES, most);
            groups[block % NUM_GROUPS] = max(most, groups[block % NUM_GROUPS]);
        }
        return bisect(groups, count);
    }

    // Whether any value of a block of the last `find` may reach a bound.
    bool may_reach(int block, Vec bound) const { return bits_at_least(load(block_maxima_ + block * LANES), bound) != 0; }

private:
    // Sixteen maxima each; so many that the bound lets few more than `count` through.
    static constexpr int NUM_GROUPS = 8;

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

    int num_panels_;
    float* block_maxima_;
};

}  // namespace NEUROQ_ISA
