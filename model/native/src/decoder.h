// What each instruction set's build offers to the C interface.
#pragma once

#include "api.h"
#include "pool.h"

namespace neuroq {

class Decoder {
public:
    virtual ~Decoder() = default;
    virtual void decode(neuroq_row* rows, int num_rows) = 0;
    virtual void logits(const int32_t* ids, int num_ids, float* out) = 0;
};

using OpenDecoder = Decoder* (*)(const neuroq_config& config, const neuroq_weights& weights, Pool& pool);

}  // namespace neuroq
