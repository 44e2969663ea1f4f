// The key/value cache: fixed slots, one sequence a slot.
//
// Keys are panels of sixteen positions and values panels of sixteen dimensions, in the layout of matrix.h: the
// scores of sixteen positions come from one chain of products, and so do sixteen dimensions of the result.
// A slot needs no clearing: a position is read only after it was written.
#pragma once

#include <cstdint>

#include "format.h"
#include "memory.h"
#include "shape.h"

namespace NEUROQ_ISA {

template <class F>
class Cache {
public:
    Cache(Memory& memory, const Shape& shape, int num_slots)
        : num_slots_(num_slots),
          num_heads_(shape.num_heads),
          key_words_(2 * shape.half / shape.num_heads / F::GROUP),
          value_panels_(shape.value_dim / LANES),
          keys_of_head_(odd_lines(static_cast<size_t>(shape.padded_context()) * key_words_)),
          values_of_head_(odd_lines(static_cast<size_t>(shape.padded_context()) / F::GROUP * shape.value_dim)) {
        const size_t heads = static_cast<size_t>(shape.num_layers) * num_slots * num_heads_;
        keys_ = memory.take<uint32_t>(heads * keys_of_head_);
        values_ = memory.take<uint32_t>(heads * values_of_head_);
    }

    int num_key_words() const { return key_words_; }        // of one head
    int num_value_panels() const { return value_panels_; }  // of one head

    // Panels of sixteen positions, each of num_key_words() vectors.
    const uint32_t* keys(int layer, int slot, int head) const { return keys_ + number(layer, slot, head) * keys_of_head_; }
    // One vector for each panel, for each word of positions.
    const uint32_t* values(int layer, int slot, int head) const {
        return values_ + number(layer, slot, head) * values_of_head_;
    }

    // Keep the key words of all heads and the padded values of all heads for one position.
    void write(int layer, int slot, int position, const uint32_t* key_words, const float* value) {
        for (int head = 0; head < num_heads_; ++head) {
            const size_t at = number(layer, slot, head);
            uint32_t* panel = keys_ + at * keys_of_head_ + static_cast<size_t>(position / LANES) * key_words_ * LANES;
            for (int i = 0; i < key_words_; ++i) panel[i * LANES + position % LANES] = *key_words++;
            uint32_t* word = values_ + at * values_of_head_ +
                             static_cast<size_t>(position / F::GROUP) * value_panels_ * LANES;
            for (int i = 0; i < value_panels_; ++i, value += LANES) F::write_column(word + i * LANES, value, position);
        }
    }

    // Call what attention will read up to a position into the processor's cache.
    void prefetch_slot(int layer, int slot, int position) const {
        const int key_lines = (position / LANES + 1) * key_words_;
        const int value_lines = (position / F::GROUP + 1) * value_panels_;
        for (int head = 0; head < num_heads_; ++head) {
            const uint32_t* keys = this->keys(layer, slot, head);
            const uint32_t* values = this->values(layer, slot, head);
            for (int i = 0; i < key_lines; ++i) prefetch(keys + static_cast<size_t>(i) * LANES);
            for (int i = 0; i < value_lines; ++i) prefetch(values + static_cast<size_t>(i) * LANES);
        }
    }

private:
    // Sizes are powers of two as a rule, and then all heads would compete for the same sets of the cache.
    static size_t odd_lines(size_t words) { return (words / LANES | 1) * LANES; }

    size_t number(int layer, int slot, int head) const {
        return (static_cast<size_t>(layer) * num_slots_ + slot) * num_heads_ + head;
    }

    int num_slots_, num_heads_, key_words_, value_panels_;
    size_t keys_of_head_, values_of_head_;
    uint32_t* keys_;
    uint32_t* values_;
};

}  // namespace NEUROQ_ISA
