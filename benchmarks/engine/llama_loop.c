// Generation with llama.cpp as its C users write it: one llama_decode a step for all sequences, one sampler
// chain a sequence. Python reads the result of whole generations only.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "llama.h"

typedef struct {
    struct llama_context *context;
    struct llama_batch batch;
    struct llama_sampler **samplers;
    int32_t num_sequences;
} generator;

static void print_errors(enum ggml_log_level level, const char *text, void *unused) {
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
}

static struct llama_sampler *new_sampler(int32_t top_k, float top_p, float temperature, uint32_t seed) {
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    llama_sampler_chain_add(chain, llama_sampler_init_top_k(top_k));
    llama_sampler_chain_add(chain, llama_sampler_init_top_p(top_p, 1));
    llama_sampler_chain_add(chain, llama_sampler_init_temp(temperature));
    llama_sampler_chain_add(chain, llama_sampler_init_dist(seed));
    return chain;
}

// Returns NULL when the model cannot be read.
generator *generator_open(const char *path, int32_t num_sequences, int32_t context_length,
                          int32_t prompt_length, int32_t top_k, float top_p, float temperature) {
    llama_log_set(print_errors, NULL);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(path, llama_model_default_params());
    if (!model) return NULL;

    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)(context_length * num_sequences);
    params.n_seq_max = (uint32_t)num_sequences;
    params.n_threads = params.n_threads_batch = 1;
    params.kv_unified = false;  // sequences that share nothing attend to their own keys only
    params.no_perf = true;

    generator *self = malloc(sizeof *self);
    self->context = llama_init_from_model(model, params);
    self->batch = llama_batch_init(num_sequences * prompt_length, 0, 1);
    self->samplers = malloc(sizeof *self->samplers * (size_t)num_sequences);
    self->num_sequences = num_sequences;
    for (int32_t i = 0; i < num_sequences; i++)
        self->samplers[i] = new_sampler(top_k, top_p, temperature, (uint32_t)i + 1);
    return self->context ? self : NULL;
}

static void add(struct llama_batch *batch, int32_t token, int32_t position, int32_t sequence, int8_t wanted) {
    int32_t i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = wanted;
}

// prompts (num_sequences, prompt_length) -> output (new_tokens, num_sequences); 0, or llama_decode's error.
int32_t generator_run(generator *self, const int32_t *prompts, int32_t prompt_length, int32_t new_tokens,
                      int32_t *output) {
    llama_memory_clear(llama_get_memory(self->context), false);
    self->batch.n_tokens = 0;
    for (int32_t i = 0; i < self->num_sequences; i++)
        for (int32_t t = 0; t < prompt_length; t++)
            add(&self->batch, *prompts++, t, i, t == prompt_length - 1);

    for (int32_t step = 0; step < new_tokens; step++, output += self->num_sequences) {
        int32_t error = llama_decode(self->context, self->batch);
        if (error) return error;
        int32_t tokens_a_sequence = self->batch.n_tokens / self->num_sequences;
        for (int32_t i = 0; i < self->num_sequences; i++) {
            int32_t last = (i + 1) * tokens_a_sequence - 1;
            output[i] = llama_sampler_sample(self->samplers[i], self->context, last);
        }
        self->batch.n_tokens = 0;
        for (int32_t i = 0; i < self->num_sequences; i++)
            add(&self->batch, output[i], prompt_length + step, i, 1);
    }
    return 0;
}
