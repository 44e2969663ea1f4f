// One pass of the network over a few positions of any sequences.
#pragma once

#include <cmath>

#include "attention.h"
#include "cache.h"
#include "head.h"
#include "matrix.h"
#include "memory.h"
#include "shape.h"

namespace NEUROQ_ISA {

// Positions of one pass: their activations stay in the second level cache, and each weight that is read
// serves all of them.
constexpr int MAX_ROWS = 16;

// A token id at its place in a slot.
struct Position {
    int32_t id, slot, position;
};

// A QBNN layer without its input projection, which is part of a larger product.
template <class F>
struct Neurons {
    Matrix<F> drive, entangle, out;
};

template <class F>
struct Layer {
    Matrix<F> attention_in, attention_out, mlp_in, mlp_out;
    Neurons<F> attention_neurons, mlp_neurons;
};

// What one thread works in.
template <class F>
struct Workspace {
    Workspace(Memory& memory, const Shape& shape)
        : residual(memory.take<float>(MAX_ROWS * padded(shape.width))),
          normed(memory.take<float>(padded(shape.width))),
          attention(memory.take<float>(MAX_ROWS * shape.attention_width())),
          attended(memory.take<float>(shape.values_width())),
          hidden(memory.take<float>(MAX_ROWS * shape.mlp_width())),
          gates(memory.take<float>(2 * MAX_ROWS * padded(2 * shape.num_neurons))),
          logits(memory.take<float>(static_cast<size_t>(MAX_ROWS) * padded(shape.vocab_size))),
          query(memory.take<uint32_t>(shape.query_width())),
          key(memory.take<uint32_t>(shape.query_width())),
          inputs(Inputs::take(memory, MAX_ROWS, shape.width)),
          values(Inputs::take(memory, MAX_ROWS, shape.values_width())),
          activated(Inputs::take(memory, MAX_ROWS, shape.hidden_dim())),
          states(Inputs::take(memory, 2 * MAX_ROWS, 2 * shape.num_neurons)),
          entangled(Inputs::take(memory, 2 * MAX_ROWS, 2 * shape.num_neurons)),
          scratch(memory, shape),
          head(memory, shape.vocab_size, MAX_ROWS, shape.width) {}

    float *residual, *normed, *attention, *attended, *hidden, *gates, *logits;
    uint32_t *query, *key;
    Inputs inputs, values, activated, states, entangled;
    AttentionScratch scratch;
    HeadScratch head;
};

template <class F>
class Network {
public:
    Network(Memory& memory, const Shape& shape, const neuroq_weights& weights) : shape_(shape) {
        const int width = shape.width;
        token_embedding_ = copy_rows(memory, weights.token_embedding, shape.vocab_size, width);
        position_embedding_ = copy_rows(memory, weights.position_embedding, shape.context_length, width);
        cosines_ = copy_rows(memory, weights.cosines, shape.context_length, shape.half);
        sines_ = copy_rows(memory, weights.sines, shape.context_length, shape.half);
        layers_ = memory.take<Layer<F>>(shape.num_layers);
        for (int i = 0; i < shape.num_layers; ++i) pack_layer(memory, *new (layers_ + i) Layer<F>, weights.layers[i]);
        head_.pack(memory, weights.head, weights.head_bias, shape.vocab_size, width);
    }

    // Writes each position's keys and values; positions of one slot must be in ascending order.
    void run(Workspace<F>& work, Cache<typename F::Cache>& cache, const Position* positions, int count) const {
        fill(work, cache, positions, count);
        attend_block(work, cache, shape_.num_layers - 1, positions, count);
        mlp_block(work, layers_[shape_.num_layers - 1], count);
    }

    // The same for positions whose logits nobody wants: of the last layer they need keys and values only.
    void run_unread(Workspace<F>& work, Cache<typename F::Cache>& cache, const Position* positions, int count) const {
        fill(work, cache, positions, count);
        write_keys_and_values(work, cache, shape_.num_layers - 1, positions, count);
    }

    // Logits (count, padded vocab_size) of the positions of the last run: those that are wanted (head.h).
    float* logits(Workspace<F>& work, const Wanted* wanted, int count) const {
        normalise(work, count);
        head_.multiply(work.inputs, count, wanted, work.head, rows_of(work.logits, logits_stride()));
        return work.logits;
    }

    int logits_stride() const { return padded(shape_.vocab_size); }

private:
    // All layers but the last.
    void fill(Workspace<F>& work, Cache<typename F::Cache>& cache, const Position* positions, int count) const {
        embed(work, positions, count);
        for (int i = 0; i + 1 < shape_.num_layers; ++i) {
            attend_block(work, cache, i, positions, count);
            mlp_block(work, layers_[i], count);
        }
    }

    static float* copy_rows(Memory& memory, const float* from, int rows, int columns) {
        if (from == nullptr) return nullptr;
        float* to = memory.take<float>(static_cast<size_t>(rows) * padded(columns));
        for (int r = 0; r < rows; ++r) {
            std::memcpy(to + static_cast<size_t>(r) * padded(columns), from + static_cast<size_t>(r) * columns,
                        sizeof(float) * columns);
        }
        return to;
    }

    void pack_layer(Memory& memory, Layer<F>& layer, const neuroq_layer_weights& w) {
        const int width = shape_.width, half = shape_.half, neurons = shape_.num_neurons;
        const size_t second_rows = static_cast<size_t>(half) * width;
        const Part attention_in[] = {
            {w.query, w.query_bias, half},
            {w.query + second_rows, w.query_bias + half, half},
            {w.query_neurons, w.query_neurons_bias, neurons},
            {w.key, w.key_bias, half},
            {w.key + second_rows, w.key_bias + half, half},
            {w.key_neurons, w.key_neurons_bias, neurons},
            {w.value, w.value_bias, shape_.values_width()},
        };
        layer.attention_in.pack(memory, attention_in, 7, width);
        pack_one(memory, layer.attention_neurons.drive, w.attention_drive, nullptr, neurons, neurons);
        pack_one(memory, layer.attention_neurons.entangle, w.attention_entangle, nullptr, neurons, neurons);
        const Part attention_neurons_out[] = {
            {w.attention_out, nullptr, half},
            {w.attention_out + static_cast<size_t>(half) * neurons, nullptr, half},
        };
        layer.attention_neurons.out.pack(memory, attention_neurons_out, 2, neurons);
        pack_one(memory, layer.attention_out, w.out, w.out_bias, width, shape_.values_width());
        const Part mlp_in[] = {
            {w.up, w.up_bias, shape_.hidden_dim()},
            {w.neurons, w.neurons_bias, 2 * neurons},
        };
        layer.mlp_in.pack(memory, mlp_in, 2, width);
        pack_one(memory, layer.mlp_out, w.down, w.down_bias, width, shape_.hidden_dim());
        pack_one(memory, layer.mlp_neurons.drive, w.drive, nullptr, 2 * neurons, 2 * neurons);
        pack_one(memory, layer.mlp_neurons.entangle, w.entangle, nullptr, 2 * neurons, 2 * neurons);
        pack_one(memory, layer.mlp_neurons.out, w.neurons_out, nullptr, width, 2 * neurons);
    }

    static void pack_one(Memory& memory, Matrix<F>& matrix, const float* weights, const float* bias, int outputs,
                         int inputs) {
        const Part part[] = {{weights, bias, outputs}};
        matrix.pack(memory, part, 1, inputs);
    }

    void embed(Workspace<F>& work, const Position* positions, int count) const {
        const int width = padded(shape_.width);
        for (int r = 0; r < count; ++r) {
            const float* token = token_embedding_ + static_cast<size_t>(positions[r].id) * width;
            float* out = work.residual + r * width;
            std::memcpy(out, token, sizeof(float) * width);
            if (position_embedding_ == nullptr) continue;
            const float* place = position_embedding_ + static_cast<size_t>(positions[r].position) * width;
            for (int i = 0; i < width; i += LANES) store(out + i, load(out + i) + load(place + i));
        }
    }

    // LayerNorm without its affine part, into work.inputs.
    void normalise(Workspace<F>& work, int count) const {
        const int width = padded(shape_.width);
        const int in_last = shape_.width - (width - LANES);
        for (int r = 0; r < count; ++r) {
            const float* x = work.residual + r * width;
            Vec total = load(x);
            for (int i = LANES; i < width; i += LANES) total = total + load(x + i);
            const Vec mean = broadcast(sum(total) / shape_.width);
            Vec squares = broadcast(0.0f);
            for (int i = 0; i < width; i += LANES) {
                Vec centred = load(x + i) - mean;
                if (i + LANES == width) centred = first_lanes(centred, in_last, broadcast(0.0f));
                squares = fma(centred, centred, squares);
                store(work.normed + i, centred);
            }
            const Vec scale = broadcast(1.0f / std::sqrt(sum(squares) / shape_.width + NORM_EPSILON));
            for (int i = 0; i < width; i += LANES) store(work.normed + i, load(work.normed + i) * scale);
            work.inputs.scales[r] = F::write_words(work.inputs.row(r), work.normed, width);
        }
    }

    void attend_block(Workspace<F>& work, Cache<typename F::Cache>& cache, int index, const Position* positions,
                      int count) const {
        const int stride = shape_.attention_width();
        project(work, index, count);
        // Queries and keys are two rows of one QBNN layer.
        run_attention_neurons(work, index, {work.attention, shape_.part_width(), stride}, 2 * count);
        // Row by row: those of one slot are in order, so a row finds the keys and values of all before it.
        for (int r = 0; r < count; ++r) {
            if (r + 1 < count) cache.prefetch_slot(index, positions[r + 1].slot, positions[r + 1].position);
            float* row = work.attention + r * stride;
            keep(work, cache, index, positions[r], row);
            attend_row(work, cache, index, positions[r], row);
            work.values.scales[r] = F::write_words(work.values.row(r), work.attended, shape_.values_width());
        }
        layers_[index].attention_out.multiply(work.values, count, residual_target(work));
    }

    void write_keys_and_values(Workspace<F>& work, Cache<typename F::Cache>& cache, int index,
                               const Position* positions, int count) const {
        const int stride = shape_.attention_width();
        project(work, index, count);
        run_attention_neurons(work, index, rows_of(work.attention + shape_.part_width(), stride), count);
        for (int r = 0; r < count; ++r) keep(work, cache, index, positions[r], work.attention + r * stride);
    }

    // Rows of query, neurons, key, neurons, value: to work.attention.
    void project(Workspace<F>& work, int index, int count) const {
        normalise(work, count);
        const Rows out = rows_of(work.attention, shape_.attention_width());
        layers_[index].attention_in.multiply(work.inputs, count, {out, Finish::STORE, {}});
    }

    // `parts` are queries or keys, each with its neurons behind it.
    void run_attention_neurons(Workspace<F>& work, int index, const Rows& parts, int count) const {
        const Rows neurons = {parts.first + shape_.query_width(), parts.second, parts.pair};
        run_neurons(work, layers_[index].attention_neurons, neurons, count, padded(shape_.num_neurons), parts);
    }

    void keep(Workspace<F>& work, Cache<typename F::Cache>& cache, int index, const Position& at, float* row) const {
        const int half = padded(shape_.half);
        float* key = row + shape_.part_width();
        rotate(key, at.position, 1.0f);
        F::Cache::write_pairs(work.key, key, key + half, half);
        cache.write(index, at.slot, at.position, work.key, row + 2 * shape_.part_width());
    }

    // The result goes to work.attended.
    void attend_row(Workspace<F>& work, const Cache<typename F::Cache>& cache, int index, const Position& at,
                    float* row) const {
        const int half = padded(shape_.half);
        // In units of ln 2, so that the softmax takes powers of two.
        rotate(row, at.position, 1.44269504f / std::sqrt(static_cast<float>(shape_.head_dim)));
        F::Cache::write_pairs(work.query, row, row + half, half);
        attend(cache, index, at.slot, at.position, work.query, shape_.num_heads, work.scratch, work.attended);
    }

    // RoPE on a query or key, (first halves, second halves) of all heads, times `scale`.
    void rotate(float* x, int position, float scale) const {
        const int half = padded(shape_.half);
        const Vec factor = broadcast(scale);
        for (int i = 0; i < half; i += LANES) {
            const Vec a = load(x + i) * factor, b = load(x + half + i) * factor;
            if (cosines_ == nullptr) {
                store(x + i, a);
                store(x + half + i, b);
                continue;
            }
            const Vec cosine = load(cosines_ + static_cast<size_t>(position) * half + i);
            const Vec sine = load(sines_ + static_cast<size_t>(position) * half + i);
            store(x + i, a * cosine - b * sine);
            store(x + half + i, fma(a, sine, b * cosine));
        }
    }

    void mlp_block(Workspace<F>& work, const Layer<F>& layer, int count) const {
        const int stride = shape_.mlp_width(), hidden = padded(shape_.hidden_dim());
        normalise(work, count);
        layer.mlp_in.multiply(work.inputs, count, {rows_of(work.hidden, stride), Finish::STORE, {}});
        for (int r = 0; r < count; ++r) {
            float* row = work.hidden + r * stride;
            for (int i = 0; i < hidden; i += LANES) store(row + i, F::Math::gelu(load(row + i)));
            work.activated.scales[r] = F::write_words(work.activated.row(r), row, hidden);
        }
        layer.mlp_out.multiply(work.activated, count, residual_target(work));
        const Rows neurons = rows_of(work.hidden + hidden, stride);
        run_neurons(work, layer.mlp_neurons, neurons, count, padded(2 * shape_.num_neurons),
                    residual_target(work).out);
    }

    // state = tanh(state W + (u J) ∘ u), u = tanh(state), num_steps times in place; then out += P_out state.
    void run_neurons(Workspace<F>& work, const Neurons<F>& neurons, const Rows& states, int count, int width,
                     const Rows& out) const {
        const Rows gates = rows_of(work.gates, width);
        for (int step = 0; step < shape_.num_steps; ++step) {
            for (int r = 0; r < count; ++r) {
                const float* state = states.row(r);
                float* gate = gates.row(r);
                for (int i = 0; i < width; i += LANES) store(gate + i, F::Math::tanh(load(state + i)));
                work.states.scales[r] = F::write_words(work.states.row(r), state, width);
                work.entangled.scales[r] = F::write_words(work.entangled.row(r), gate, width);
            }
            neurons.drive.multiply(work.states, count, {states, Finish::STORE, {}});
            neurons.entangle.multiply(work.entangled, count, {states, Finish::ENTANGLE, gates});
        }
        for (int r = 0; r < count; ++r) {
            work.states.scales[r] = F::write_words(work.states.row(r), states.row(r), width);
        }
        neurons.out.multiply(work.states, count, {out, Finish::ADD, {}});
    }

    Target residual_target(Workspace<F>& work) const {
        return {rows_of(work.residual, padded(shape_.width)), Finish::ADD, {}};
    }

    static constexpr float NORM_EPSILON = 1e-5f;

    Shape shape_;
    float *token_embedding_, *position_embedding_, *cosines_, *sines_;
    Layer<F>* layers_;
    Head<F> head_;
};

}  // namespace NEUROQ_ISA
