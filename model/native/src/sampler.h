// From logits to the next token of one sequence, as model/sampling.py does it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "api.h"
#include "candidates.h"
#include "draws.h"
#include "head.h"
#include "memory.h"

namespace NEUROQ_ISA {

// The last ids of a sequence's output, in no order.
class Recent {
public:
    void start(const int32_t* ids, int count) {
        num_added_ = 0;
        for (int i = 0; i < count; ++i) add(ids[i]);
    }
    void add(int32_t id) { ids_[num_added_++ % WINDOW] = id; }
    const int32_t* begin() const { return ids_; }
    int count() const { return std::min(num_added_, WINDOW); }

    // Divide positive and multiply negative logits of these ids, each once.
    void penalise(float* logits, float penalty) const {
        float values[WINDOW];
        for (int i = 0; i < count(); ++i) values[i] = logits[ids_[i]];
        for (int i = 0; i < count(); ++i) {
            logits[ids_[i]] = values[i] > 0.0f ? values[i] / penalty : values[i] * penalty;
        }
    }

private:
    static constexpr int WINDOW = 20;

    int32_t ids_[WINDOW];
    int num_added_ = 0;
};

class Sampler {
public:
    Sampler(Memory& memory, int vocab_size, double fluctuation)
        : vocab_size_(vocab_size),
          fluctuation_(fluctuation),
          candidates_(memory, vocab_size),
          weights_(memory.take<double>(vocab_size)),
          raw_(memory.take<float>(padded(vocab_size))) {}

    // The logits that `sample` looks at.
    static Wanted wanted(const neuroq_row& row, const Recent& recent) {
        if (row.num_logprobs >= 0) return {};
        if (row.temperature > 0.0 && (row.quantum_noise || row.top_k == 0)) return {};
        return {row.temperature > 0.0 ? row.top_k : 1, recent.begin(), recent.count()};
    }

    // Draw the row's next token and write it behind its last one, with log probabilities if asked for.
    // Changes the logits.
    int32_t sample(float* logits, neuroq_row& row, const Recent& recent) {
        if (row.num_logprobs >= 0) std::memcpy(raw_, logits, sizeof(float) * padded(vocab_size_));
        const int32_t id = draw(logits, row, recent);
        if (row.num_logprobs >= 0) write_logprobs(row, id);
        row.ids[row.num_ids++] = id;
        return id;
    }

private:
    int32_t draw(float* logits, const neuroq_row& row, const Recent& recent) {
        const Draws draws(row.seed, static_cast<uint64_t>(row.index) + row.num_ids);
        recent.penalise(logits, row.repetition_penalty);
        if (row.temperature <= 0.0) return arg_max(logits, vocab_size_);
        if (row.quantum_noise) add_noise(logits, draws);
        if (row.top_k == 1) return arg_max(logits, vocab_size_);
        candidates_.find(logits, row.top_k == 0 ? vocab_size_ : std::min(row.top_k, vocab_size_));
        return candidates_.count() == 0 ? 0 : pick(row.temperature, row.top_p, draws.uniform());
    }

    void add_noise(float* logits, const Draws& draws) const {
        const float scale = static_cast<float>(fluctuation_);
        for (int i = 0; i < vocab_size_; ++i) logits[i] = std::fma(scale, draws.normal(i), logits[i]);
    }

    // Of the candidates keep the nucleus: those that follow less than top_p of the probability. Then invert
    // the distribution at `uniform`.
    int32_t pick(double temperature, double top_p, double uniform) {
        const Candidate* candidates = candidates_.begin();
        const int count = candidates_.count();
        double total = 0.0;
        for (int i = 0; i < count; ++i) {
            weights_[i] = std::exp((static_cast<double>(candidates[i].value) - candidates[0].value) / temperature);
            total += weights_[i];
        }
        double kept = weights_[0];
        int num_kept = 1;
        while (num_kept < count && kept < top_p * total) kept += weights_[num_kept++];
        const double point = uniform * kept;
        double passed = 0.0;
        for (int i = 0; i < num_kept; ++i) {
            passed += weights_[i];
            if (passed > point) return candidates[i].id;
        }
        return candidates[num_kept - 1].id;
    }

    // Of the network's own distribution: the softmax of the raw logits.
    void write_logprobs(neuroq_row& row, int32_t id) {
        const double top = raw_[arg_max(raw_, vocab_size_)];
        double total = 0.0;
        for (int i = 0; i < vocab_size_; ++i) total += std::exp(raw_[i] - top);
        const double log_total = top + std::log(total);
        row.logprobs[row.num_ids] = static_cast<float>(raw_[id] - log_total);
        if (row.num_logprobs == 0) return;
        candidates_.find(raw_, row.num_logprobs);
        const size_t first = static_cast<size_t>(row.num_ids) * row.num_logprobs;
        for (int i = 0; i < candidates_.count(); ++i) {
            row.top_ids[first + i] = candidates_.begin()[i].id;
            row.top_logprobs[first + i] = static_cast<float>(candidates_.begin()[i].value - log_total);
        }
    }

    int vocab_size_;
    double fluctuation_;
    Candidates candidates_;
    double* weights_;
    float* raw_;
};

}  // namespace NEUROQ_ISA
