// A packed weight matrix and its product with a few rows of inputs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format.h"
#include "memory.h"

namespace NEUROQ_ISA {

// Part of a matrix: `outputs` rows of `inputs` weights and a bias each (or null). Each part's outputs start at
// a multiple of sixteen.
struct Part {
    const float* weights;
    const float* bias;
    int outputs;
};

// Rows of inputs in a format's words, with what each row's products must be multiplied by.
struct Inputs {
    uint32_t* words;
    float* scales;
    ptrdiff_t stride;  // words of a row

    static Inputs take(Memory& memory, int rows, int count) {
        // An odd number of cache lines: rows do not compete for the same sets of the cache.
        const ptrdiff_t stride = (padded(count) / LANES | 1) * LANES;
        return {memory.take<uint32_t>(static_cast<size_t>(rows) * stride), memory.take<float>(rows), stride};
    }
    uint32_t* row(int r) const { return words + r * stride; }
};

// Float rows in memory. Rows 2i and 2i + 1 are `second` apart, pairs of rows `pair`: so the query's and the
// key's parts of a row can be seen as two rows.
struct Rows {
    float* first;
    ptrdiff_t second;
    ptrdiff_t pair;

    float* row(int r) const { return first + (r >> 1) * pair + (r & 1) * second; }
};

inline Rows rows_of(float* first, ptrdiff_t stride) { return {first, stride, 2 * stride}; }

enum class Finish {
    STORE,     // out = sums + bias
    ADD,       // out += sums + bias
    ENTANGLE,  // out = tanh(out + (sums + bias) · gate)
};

struct Target {
    Rows out;
    Finish finish;
    Rows gate;
};

template <class F>
class Matrix {
public:
    void pack(Memory& memory, const Part* parts, int num_parts, int num_inputs) {
        num_words_ = (num_inputs + F::GROUP - 1) / F::GROUP;
        num_panels_ = 0;
        for (int i = 0; i < num_parts; ++i) num_panels_ += padded(parts[i].outputs) / LANES;
        weights_ = memory.take<typename F::Weight>(panel_size() * num_panels_);
        bias_ = memory.take<float>(num_panels_ * LANES);
        scales_ = memory.take<float>(num_panels_ * LANES);
        starts_ = memory.take<int32_t>(num_panels_ * LANES);
        int output = 0;
        for (int i = 0; i < num_parts; ++i) {
            for (int j = 0; j < parts[i].outputs; ++j) {
                const float bias = parts[i].bias == nullptr ? 0.0f : parts[i].bias[j];
                pack_output(output + j, parts[i].weights + static_cast<size_t>(j) * num_inputs, bias, num_inputs);
            }
            output += padded(parts[i].outputs);
        }
    }

    // Give the outputs that only pad the last panel a value of their own.
    void fill_padding(int num_outputs, float value) {
        for (int i = num_outputs; i < num_panels_ * LANES; ++i) bias_[i] = value;
    }

    // Each output of each row is summed in the order of the inputs, whatever the tile: a row's result does
    // not depend on the rows beside it.
    void multiply(const Inputs& in, int num_rows, const Target& target) const {
        const int num_tiles = (num_rows + MAX_TILE_ROWS - 1) / MAX_TILE_ROWS;
        // With several tiles of rows, weights are read again for each of them: from the first level cache.
        const int block = num_tiles == 1 ? num_panels_ : PANEL_BLOCK;
        for (int panel = 0; panel < num_panels_; panel += block) {
            const int end = panel + block < num_panels_ ? panel + block : num_panels_;
            int row = 0;
            for (int tile = num_tiles; tile > 0; --tile) {
                const int rows = (num_rows - row + tile - 1) / tile;
                with_rows<MAX_TILE_ROWS>(in, row, rows, panel, end, target);
                row += rows;
            }
        }
    }

private:
    // The vectors of eight panels for one word lie side by side: a single row reads straight on.
    static constexpr int GROUP_PANELS = 8;
    static constexpr int PANEL_BLOCK = 3 * GROUP_PANELS;

    size_t panel_size() const { return static_cast<size_t>(num_words_) * F::GROUP * LANES; }

    int panels_of_group(int panel) const {
        const int left = num_panels_ - panel / GROUP_PANELS * GROUP_PANELS;
        return left < GROUP_PANELS ? left : GROUP_PANELS;
    }

    // Where the panel's first vector is.
    size_t first_weight(int panel) const {
        const int within = panel % GROUP_PANELS;
        return panel_size() * (panel - within) + static_cast<size_t>(within) * F::GROUP * LANES;
    }

    void pack_output(int output, const float* row, float bias, int num_inputs) {
        const float scale = F::weight_scale(row, num_inputs);
        typename F::Weight* panel = weights_ + first_weight(output / LANES);
        const int stride = panels_of_group(output / LANES) * LANES * F::GROUP;
        const int lane = output % LANES;
        int32_t total = 0;
        for (int k = 0; k < num_inputs; ++k) {
            const typename F::Weight weight = F::weight(row[k], scale);
            panel[static_cast<size_t>(k / F::GROUP) * stride + lane * F::GROUP + k % F::GROUP] = weight;
            if constexpr (F::GROUP == Int8::GROUP) total += weight;
        }
        bias_[output] = bias;
        scales_[output] = scale;
        starts_[output] = -Int8::ZERO_POINT * total;
    }

    // Turn a number of rows into a constant.
    template <int ROWS>
    void with_rows(const Inputs& in, int row, int rows, int panel, int end, const Target& target) const {
        if constexpr (ROWS > 1) {
            if (rows < ROWS) return with_rows<ROWS - 1>(in, row, rows, panel, end, target);
        }
        constexpr int most = TILE_SUMS / ROWS < 1 ? 1 : TILE_SUMS / ROWS;
        constexpr int panels = most < GROUP_PANELS ? most : GROUP_PANELS;
        for (int group = panel; group < end; group += GROUP_PANELS) {
            const int group_end = group + panels_of_group(group);
            for (panel = group; panel + panels <= group_end; panel += panels) {
                tile<panels, ROWS>(in, row, panel, target);
            }
            if (panel < group_end) with_panels<panels, ROWS>(in, row, panel, group_end - panel, target);
        }
    }

    // Turn a number of panels into a constant.
    template <int PANELS, int ROWS>
    void with_panels(const Inputs& in, int row, int panel, int panels, const Target& target) const {
        if constexpr (PANELS > 1) {
            if (panels < PANELS) return with_panels<PANELS - 1, ROWS>(in, row, panel, panels, target);
        }
        tile<PANELS, ROWS>(in, row, panel, target);
    }

    template <int PANELS, int ROWS>
    void tile(const Inputs& in, int row, int panel, const Target& target) const {
        const size_t stride = panels_of_group(panel) * sizeof(Words);
        const char* weights = reinterpret_cast<const char*>(weights_ + first_weight(panel));
        const size_t group_bytes = panel_size() * GROUP_PANELS * sizeof(typename F::Weight);
        const uint32_t* words = in.row(row);
        typename F::Sums sums[ROWS][PANELS];
        NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
            NEUROQ_UNROLL for (int r = 0; r < ROWS; ++r) start(sums[r][p], panel + p);
        }
        for (const uint32_t* end = words + num_words_; words != end; ++words, weights += stride) {
            Words w[PANELS];
            NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
                w[p] = load_words(weights + sizeof(Words) * p);
                // The same lines of the next group. One row reads all lines in order, which the processor sees.
                if (ROWS > 1) prefetch(weights + sizeof(Words) * p + group_bytes);
            }
            NEUROQ_UNROLL for (int r = 0; r < ROWS; ++r) {
                const Words x = broadcast_word(words[r * in.stride]);
                NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) sums[r][p] = F::dot(sums[r][p], w[p], x);
            }
        }
        switch (target.finish) {
            case Finish::STORE:
                return finish<Finish::STORE>(sums, in.scales + row, row, panel, target);
            case Finish::ADD:
                return finish<Finish::ADD>(sums, in.scales + row, row, panel, target);
            case Finish::ENTANGLE:
                return finish<Finish::ENTANGLE>(sums, in.scales + row, row, panel, target);
        }
    }

    void start(Vec& sums, int) const { sums = broadcast(0.0f); }
    void start(Words& sums, int panel) const { sums = load_words(starts_ + panel * LANES); }

    template <Finish FINISH, int PANELS, int ROWS>
    inline void finish(const typename F::Sums (&sums)[ROWS][PANELS], const float* row_scales, int row, int panel,
                       const Target& target) const {
        Vec scales[PANELS], biases[PANELS];
        NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
            scales[p] = load(scales_ + (panel + p) * LANES);
            biases[p] = load(bias_ + (panel + p) * LANES);
        }
        NEUROQ_UNROLL for (int r = 0; r < ROWS; ++r) {
            const Vec row_scale = broadcast(row_scales[r]);
            float* out = target.out.row(row + r) + panel * LANES;
            const float* gate = FINISH == Finish::ENTANGLE ? target.gate.row(row + r) + panel * LANES : nullptr;
            NEUROQ_UNROLL for (int p = 0; p < PANELS; ++p) {
                Vec value = scaled(sums[r][p], row_scale, scales[p], biases[p]);
                if (FINISH == Finish::ADD) value = load(out + p * LANES) + value;
                if (FINISH == Finish::ENTANGLE) {
                    value = F::Math::tanh(fma(value, load(gate + p * LANES), load(out + p * LANES)));
                }
                store(out + p * LANES, value);
            }
        }
    }

    static Vec scaled(Vec sums, Vec, Vec, Vec bias) { return sums + bias; }
    static Vec scaled(Words sums, Vec row_scale, Vec scale, Vec bias) {
        return fma(to_float(sums), row_scale * scale, bias);
    }

    typename F::Weight* weights_ = nullptr;
    float* bias_ = nullptr;
    float* scales_ = nullptr;
    int32_t* starts_ = nullptr;
    int num_words_ = 0;
    int num_panels_ = 0;
};

}  // namespace NEUROQ_ISA
