// The C interface: what model/native/library.py binds.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum neuroq_precision { NEUROQ_FLOAT32 = 0, NEUROQ_BFLOAT16 = 1, NEUROQ_INT8 = 2 };

typedef struct {
    int32_t vocab_size, embed_dim, num_heads, num_layers, num_neurons, num_steps, context_length;
    int32_t precision;
    int32_t num_slots;
    int32_t threads;
    int32_t num_end_ids;
    const int32_t* end_ids;
    double fluctuation;  // what a standard normal value is multiplied by to become noise of a logit
} neuroq_config;

// Row-major float32, one row for each output. Layer norms are folded into what follows them, the blend factors
// into the layers that they weigh. H heads of D dimensions, half = H · ceil(D / 2), N neurons, W = embed_dim:
// queries and keys hold first the first halves of all heads' dimensions, then the second halves.
typedef struct {
    const float *query, *query_bias;                 // (2 half, W)
    const float *query_neurons, *query_neurons_bias; // (N, W): the QBNN's input projection of the query
    const float *key, *key_bias;                     // (2 half, W)
    const float *key_neurons, *key_neurons_bias;     // (N, W)
    const float *value, *value_bias;                 // (H · D padded to 16, W)
    const float *attention_drive, *attention_entangle; // (N, N)
    const float *attention_out;                      // (2 half, N); its bias is part of the query's and key's
    const float *out, *out_bias;                     // (W, H · D padded to 16)
    const float *up, *up_bias;                       // (4 W, W)
    const float *neurons, *neurons_bias;             // (2 N, W)
    const float *drive, *entangle;                   // (2 N, 2 N)
    const float *down, *down_bias;                   // (W, 4 W)
    const float *neurons_out;                        // (W, 2 N); its bias is part of down_bias
} neuroq_layer_weights;

typedef struct {
    const float* token_embedding;     // (vocab_size, W)
    const float* position_embedding;  // (context_length, W), or null
    const float *cosines, *sines;     // (context_length, half), or null
    const float *head, *head_bias;    // (vocab_size, W)
    const neuroq_layer_weights* layers;
} neuroq_weights;

// One sequence of a decode call; see model/decoder.py.
typedef struct {
    int32_t slot, position;
    int32_t num_pending, num_recent;  // recent: the last ids of the output, for the repetition penalty
    int32_t index;                    // of the next random draw
    int32_t limit;
    int32_t top_k;
    int32_t num_logprobs;  // -1: none
    int32_t quantum_noise;
    float repetition_penalty;
    double temperature, top_p;
    uint64_t seed;
    const int32_t *pending, *recent;
    // Results; room for `limit` ids and log probabilities, and for limit · num_logprobs of the top ones.
    int32_t num_ids;
    int32_t* ids;
    float* logprobs;
    int32_t* top_ids;
    float* top_logprobs;
} neuroq_row;

// The instruction set in use: "avx512bf16", "avx512", "avx2" or "portable".
__attribute__((visibility("default"))) const char* neuroq_isa(void);
// 1 when the instruction set in use multiplies bfloat16 numbers itself.
__attribute__((visibility("default"))) int32_t neuroq_has_bfloat16(void);

// Null when memory or threads are missing. The weights are copied.
__attribute__((visibility("default"))) void* neuroq_open(const neuroq_config* config, const neuroq_weights* weights);
__attribute__((visibility("default"))) void neuroq_close(void* decoder);

// One call at a time; arguments are checked by the caller (model/native/decoder.py).
__attribute__((visibility("default"))) void neuroq_decode(void* decoder, neuroq_row* rows, int32_t num_rows);
// Logits (num_ids, vocab_size) of a text, through slot 0.
__attribute__((visibility("default"))) void neuroq_logits(void* decoder, const int32_t* ids, int32_t num_ids,
                                                          float* logits);

#ifdef __cplusplus
}
#endif
