// The C interface: picks the instruction set when the library is loaded.
#include "api.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>

#include "decoder.h"

// Each of these is kernels.cpp, compiled for that instruction set; build.py says which of them there are.
#define NEUROQ_DECLARE(isa)                                                                                  \
    namespace isa {                                                                                          \
    neuroq::Decoder* open_decoder(const neuroq_config& config, const neuroq_weights& weights, neuroq::Pool& pool); \
    }
NEUROQ_DECLARE(avx512bf16)
NEUROQ_DECLARE(avx512)
NEUROQ_DECLARE(avx2)
NEUROQ_DECLARE(portable)

namespace {

struct Isa {
    const char* name;
    neuroq::OpenDecoder open_decoder;
    bool has_bfloat16;
};

#ifdef NEUROQ_HAS_avx512bf16
bool runs_avx512bf16() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#endif
#ifdef NEUROQ_HAS_avx512
bool runs_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif
#ifdef NEUROQ_HAS_avx2
bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

// The best that the processor can do, or what NEUROQ_NATIVE_ISA allows at most: its name and those below it.
Isa choose_isa() {
    const char* highest = std::getenv("NEUROQ_NATIVE_ISA");
    bool allowed = highest == nullptr || *highest == 0;
    const auto allows = [&](const char* name) { return allowed = allowed || std::strcmp(highest, name) == 0; };
#ifdef NEUROQ_HAS_avx512bf16
    if (allows("avx512bf16") && runs_avx512bf16()) return {"avx512bf16", avx512bf16::open_decoder, true};
#endif
#ifdef NEUROQ_HAS_avx512
    if (allows("avx512") && runs_avx512()) return {"avx512", avx512::open_decoder, false};
#endif
#ifdef NEUROQ_HAS_avx2
    if (allows("avx2") && runs_avx2()) return {"avx2", avx2::open_decoder, false};
#endif
    (void)allows;
    return {"portable", portable::open_decoder, false};
}

const Isa& isa() {
    static const Isa chosen = choose_isa();
    return chosen;
}

struct Handle {
    Handle(const neuroq_config& config, const neuroq_weights& weights)
        : pool(config.threads), decoder(isa().open_decoder(config, weights, pool)) {}

    neuroq::Pool pool;
    std::unique_ptr<neuroq::Decoder> decoder;
};

}  // namespace

const char* neuroq_isa(void) { return isa().name; }

int32_t neuroq_has_bfloat16(void) { return isa().has_bfloat16; }

void* neuroq_open(const neuroq_config* config, const neuroq_weights* weights) {
    try {
        return new Handle(*config, *weights);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void neuroq_close(void* decoder) { delete static_cast<Handle*>(decoder); }

void neuroq_decode(void* decoder, neuroq_row* rows, int32_t num_rows) {
    static_cast<Handle*>(decoder)->decoder->decode(rows, num_rows);
}

void neuroq_logits(void* decoder, const int32_t* ids, int32_t num_ids, float* logits) {
    static_cast<Handle*>(decoder)->decoder->logits(ids, num_ids, logits);
}
