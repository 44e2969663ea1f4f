// The sizes of a network, with the padded ones that follow from them.
#pragma once

#include "api.h"
#include "vector.h"

namespace NEUROQ_ISA {

struct Shape {
    explicit Shape(const neuroq_config& config)
        : vocab_size(config.vocab_size),
          width(config.embed_dim),
          num_heads(config.num_heads),
          num_layers(config.num_layers),
          num_neurons(config.num_neurons),
          num_steps(config.num_steps),
          context_length(config.context_length),
          head_dim(width / num_heads),
          half(num_heads * ((head_dim + 1) / 2)),
          value_dim(padded(head_dim)) {}

    int query_width() const { return 2 * padded(half); }
    int part_width() const { return query_width() + padded(num_neurons); }  // query or key, and its neurons
    int values_width() const { return num_heads * value_dim; }
    int attention_width() const { return 2 * part_width() + values_width(); }
    int hidden_dim() const { return 4 * width; }
    int mlp_width() const { return padded(hidden_dim()) + padded(2 * num_neurons); }
    int padded_context() const { return padded(context_length); }

    int vocab_size, width, num_heads, num_layers, num_neurons, num_steps, context_length;
    int head_dim;
    int half;       // first halves of all heads' dimensions; an odd head_dim counts as one more
    int value_dim;  // a head's values, padded
};

}  // namespace NEUROQ_ISA
