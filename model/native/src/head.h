// The output head: from a position's last activations to the logits of the whole vocabulary.
#pragma once

#include <cmath>
#include <cstdint>

#include "matrix.h"
#include "memory.h"
#include "threshold.h"

namespace NEUROQ_ISA {

// Which logits of a row the sampler looks at: the `count` largest and those of some ids, or all (0).
struct Wanted {
    int count;
    const int32_t* ids;
    int num_ids;
};

// What one thread needs to find the wanted ones.
struct HeadScratch {
    HeadScratch(Memory& memory, int vocab_size, int max_rows, int width)
        : threshold(memory, vocab_size),
          rough(Inputs::take(memory, max_rows, width)),
          found(memory.take<int32_t>(MOST_FOUND + LANES)) {}

    static constexpr int MOST_FOUND = 512;  // beyond that the whole product is as fast

    Threshold threshold;
    Inputs rough;
    int32_t* found;
};

template <class F>
class Head {
public:
    void pack(Memory& memory, const float* weights, const float* bias, int vocab_size, int width) {
        const Part part[] = {{weights, bias, vocab_size}};
        all_.pack(memory, part, 1, width);
        all_.fill_padding(vocab_size, -INFINITY);
    }

    // Write (count, padded vocab_size) logits, -inf beyond the vocabulary. In every format the wanted ones are
    // what the whole product gives, bit for bit, and no other is above them if it is not wanted, too.
    void multiply(const Inputs& in, int count, const Wanted*, HeadScratch&, Rows logits) const {
        all_.multiply(in, count, {logits, Finish::STORE, {}});
    }

private:
    Matrix<F> all_;
};

// In float32 the head is half of all weights that a step reads. So bytes come first: they tell each logit up to
// an error that is bounded, and only those that may be among the wanted are computed from the floats.
//
// With w ≈ v and x ≈ y in bytes, w·x = v·y + (w - v)·x + v·(x - y), and by Cauchy and Schwarz the last two are at
// most ‖w - v‖ ‖x‖ + ‖v‖ ‖x - y‖.
template <>
class Head<Float32> {
public:
    void pack(Memory& memory, const float* weights, const float* bias, int vocab_size, int width) {
        vocab_size_ = vocab_size;
        width_ = width;
        const Part part[] = {{weights, bias, vocab_size}};
        bytes_.pack(memory, part, 1, width);
        bytes_.fill_padding(vocab_size, -INFINITY);
        weight_errors_ = memory.take<float>(padded(vocab_size));
        byte_norms_ = memory.take<float>(padded(vocab_size));
        for (int i = 0; i < vocab_size; ++i) measure(i, weights + static_cast<size_t>(i) * width, bias[i]);
        floats_ = memory.take<float>(static_cast<size_t>(vocab_size) * width);
        std::memcpy(floats_, weights, sizeof(float) * vocab_size * width);
        bias_ = memory.take<float>(vocab_size);
        std::memcpy(bias_, bias, sizeof(float) * vocab_size);
        all_.pack(memory, part, 1, width);
        all_.fill_padding(vocab_size, -INFINITY);
    }

    void multiply(const Inputs& in, int count, const Wanted* wanted, HeadScratch& scratch, Rows logits) const {
        for (int r = 0; r < count; ++r) {
            if (wanted[r].count == 0 || !scratch.threshold.can_find(wanted[r].count)) {
                return all_.multiply(in, count, {logits, Finish::STORE, {}});
            }
        }
        for (int r = 0; r < count; ++r) {
            scratch.rough.scales[r] = Int8::write_words(scratch.rough.row(r), floats(in, r), padded(width_));
        }
        bytes_.multiply(scratch.rough, count, {logits, Finish::STORE, {}});
        for (int r = 0; r < count; ++r) {
            const int found = find(in, r, wanted[r], scratch, logits.row(r));
            if (found < 0) {
                const Inputs row = {in.row(r), in.scales + r, in.stride};
                all_.multiply(row, 1, {rows_of(logits.row(r), 0), Finish::STORE, {}});
            } else {
                multiply_some(floats(in, r), scratch.found, found, logits.row(r));
            }
        }
    }

private:
    static constexpr int CHAINS = 8;  // products at once: each waits for its own last sum

    static const float* floats(const Inputs& in, int r) { return reinterpret_cast<const float*>(in.row(r)); }

    // What the bound leaves out is the rounding of float32: of the exact sum and of the one in bytes, at most
    // width · 2^-24 · ‖w‖ ‖x‖ each, and that of the bias.
    void measure(int output, const float* row, float bias) {
        const float scale = Int8::weight_scale(row, width_);
        double error = 0.0, norm = 0.0;
        for (int k = 0; k < width_; ++k) {
            const double byte = static_cast<double>(scale) * Int8::weight(row[k], scale);
            error += (row[k] - byte) * (row[k] - byte);
            norm += byte * byte;
        }
        const double rounding = 4.0 * width_ * std::ldexp(1.0, -24) * std::sqrt(norm) + std::ldexp(std::fabs(bias), -20);
        weight_errors_[output] = static_cast<float>(1.001 * std::sqrt(error) + rounding);
        byte_norms_[output] = static_cast<float>(1.001 * std::sqrt(norm));
    }

    // Leave in scratch.found the ids whose logits may be wanted, and in `logits`, where the rough ones are, for
    // all others something that is not above them. Returns their number, -1 for too many or too few.
    int find(const Inputs& in, int r, const Wanted& wanted, HeadScratch& scratch, float* logits) const {
        const Vec input_norm = broadcast(1.001f * norm_of(floats(in, r)) + 1.0f / 16);
        const Vec input_error = broadcast(1.001f * error_of(floats(in, r), scratch.rough, r));
        const auto error = [&](int i) {
            return fma(load(weight_errors_ + i), input_norm, load(byte_norms_ + i) * input_error);
        };
        const int end = padded(vocab_size_);
        for (int i = 0; i < end; i += LANES) store(logits + i, load(logits + i) - error(i));
        for (int i = 0; i < wanted.num_ids; ++i) logits[wanted.ids[i]] = -INFINITY;
        const Vec bound = broadcast(scratch.threshold.find(logits, wanted.count));
        for (int i = 0; i < wanted.num_ids; ++i) logits[wanted.ids[i]] = INFINITY;
        const Vec two = broadcast(2.0f);
        int found = 0;
        for (int i = 0; i < end; i += LANES) {
            uint32_t bits = bits_at_least(fma(two, error(i), load(logits + i)), bound);
            for (; bits != 0; bits &= bits - 1) scratch.found[found++] = i + __builtin_ctz(bits);
            if (found > HeadScratch::MOST_FOUND) return -1;
        }
        return found < wanted.count ? -1 : found;
    }

    float norm_of(const float* x) const {
        Vec squares = broadcast(0.0f);
        for (int i = 0; i < padded(width_); i += LANES) squares = fma(load(x + i), load(x + i), squares);
        return std::sqrt(sum(squares));
    }

    float error_of(const float* x, const Inputs& rough, int r) const {
        const uint8_t* bytes = reinterpret_cast<const uint8_t*>(rough.row(r));
        const Vec scale = broadcast(rough.scales[r]), zero_point = broadcast(Int8::ZERO_POINT);
        Vec squares = broadcast(0.0f);
        for (int i = 0; i < padded(width_); i += LANES) {
            const Vec error = load(x + i) - (load_bytes(bytes + i) - zero_point) * scale;
            squares = fma(error, error, squares);
        }
        return std::sqrt(sum(squares));
    }

    // Each in the order of the whole product.
    void multiply_some(const float* x, const int32_t* ids, int count, float* logits) const {
        int i = 0;
        for (; i + CHAINS <= count; i += CHAINS) multiply_chains<CHAINS>(x, ids + i, logits);
        for (; i < count; ++i) multiply_chains<1>(x, ids + i, logits);
    }

    template <int COUNT>
    void multiply_chains(const float* x, const int32_t* ids, float* logits) const {
        const float* rows[COUNT];
        float sums[COUNT] = {};
        NEUROQ_UNROLL for (int c = 0; c < COUNT; ++c) rows[c] = floats_ + static_cast<size_t>(ids[c]) * width_;
        for (int k = 0; k < width_; ++k) {
            NEUROQ_UNROLL for (int c = 0; c < COUNT; ++c) sums[c] = fma(rows[c][k], x[k], sums[c]);
        }
        NEUROQ_UNROLL for (int c = 0; c < COUNT; ++c) logits[ids[c]] = sums[c] + bias_[ids[c]];
    }

    int vocab_size_ = 0, width_ = 0;
    Matrix<Int8> bytes_;
    float* weight_errors_ = nullptr;  // ‖w - v‖ of each output
    float* byte_norms_ = nullptr;     // ‖v‖
    float* floats_ = nullptr;         // (vocab_size, width)
    float* bias_ = nullptr;
    Matrix<Float32> all_;
};

}  // namespace NEUROQ_ISA
