// The decode loop and all below it, compiled once for each instruction set.
//
// Nothing in here may be shared with another instruction set's build by the linker: all of it is inside of
// NEUROQ_ISA, and the standard library's templates are used with types from there only.
#include <cstdint>
#include <cstring>

#include "decoder.h"
#include "memory.h"
#include "network.h"
#include "sampler.h"
#include "shape.h"

namespace NEUROQ_ISA {

// A sequence on its way through one call.
struct Running {
    neuroq_row* row;
    Recent recent;
    Position next;  // the id whose logits come next
};

template <class F>
class RowDecoder final : public neuroq::Decoder {
public:
    RowDecoder(const neuroq_config& config, const neuroq_weights& weights, neuroq::Pool& pool)
        : shape_(config),
          network_(memory_, shape_, weights),
          cache_(memory_, shape_, config.num_slots),
          pool_(pool),
          workers_(memory_.take<Worker>(pool.num_threads())),
          is_end_(memory_.take<bool>(shape_.vocab_size)) {
        for (int i = 0; i < config.num_end_ids; ++i) is_end_[config.end_ids[i]] = true;
        for (int i = 0; i < pool.num_threads(); ++i) new (workers_ + i) Worker(memory_, shape_, config);
    }

    // Each thread decodes whole rows: what a row brings does not depend on which thread has it.
    void decode(neuroq_row* rows, int num_rows) override {
        for (int i = 0; i < pool_.num_threads(); ++i) workers_[i].clear();
        for (int i = 0; i < num_rows; ++i) {
            Worker* least = workers_;
            for (int t = 1; t < pool_.num_threads(); ++t) {
                if (workers_[t].load < least->load) least = workers_ + t;
            }
            least->add(rows[i]);
        }
        const auto task = [](void* self, int thread) { static_cast<RowDecoder*>(self)->run_worker(thread); };
        pool_.run(task, this);
    }

    void logits(const int32_t* ids, int num_ids, float* out) override {
        Worker& worker = workers_[0];
        for (int first = 0; first < num_ids; first += MAX_ROWS) {
            const int count = std::min(MAX_ROWS, num_ids - first);
            for (int r = 0; r < count; ++r) worker.batch[r] = {ids[first + r], 0, first + r};
            network_.run(worker.workspace, cache_, worker.batch, count);
            const Wanted all[MAX_ROWS] = {};
            const float* logits = network_.logits(worker.workspace, all, count);
            for (int r = 0; r < count; ++r, out += shape_.vocab_size) {
                std::memcpy(out, logits + static_cast<size_t>(r) * network_.logits_stride(),
                            sizeof(float) * shape_.vocab_size);
            }
        }
    }

private:
    struct Worker {
        Worker(Memory& memory, const Shape& shape, const neuroq_config& config)
            : workspace(memory, shape),
              sampler(memory, shape.vocab_size, config.fluctuation),
              running(memory.take<Running>(config.num_slots)),
              batch(memory.take<Position>(MAX_ROWS)) {}

        void clear() { num_running = load = 0; }

        void add(neuroq_row& row) {
            Running& each = running[num_running++];
            each.row = &row;
            each.recent.start(row.recent, row.num_recent);
            const int last = row.num_pending - 1;
            each.next = {row.pending[last], row.slot, row.position + last};
            row.num_ids = 0;
            load += row.num_pending + row.limit;
        }

        Workspace<F> workspace;
        Sampler sampler;
        Running* running;
        Position* batch;
        int num_running = 0;
        int load = 0;
    };

    void run_worker(int thread) {
        Worker& worker = workers_[thread];
        run_all_but_last(worker);
        while (worker.num_running > 0) {
            for (int first = 0; first < worker.num_running; first += MAX_ROWS) {
                advance(worker, worker.running + first, std::min(MAX_ROWS, worker.num_running - first));
            }
            drop_finished(worker);
        }
    }

    // Bring every row's cache up to its last pending id, whose logits are the first that matter.
    void run_all_but_last(Worker& worker) {
        int count = 0;
        for (int i = 0; i < worker.num_running; ++i) {
            const neuroq_row& row = *worker.running[i].row;
            for (int j = 0; j + 1 < row.num_pending; ++j) {
                worker.batch[count++] = {row.pending[j], row.slot, row.position + j};
                if (count < MAX_ROWS) continue;
                network_.run(worker.workspace, cache_, worker.batch, count);
                count = 0;
            }
        }
        if (count > 0) network_.run(worker.workspace, cache_, worker.batch, count);
    }

    // One token more for a few rows.
    void advance(Worker& worker, Running* running, int count) {
        Wanted wanted[MAX_ROWS];
        for (int r = 0; r < count; ++r) {
            worker.batch[r] = running[r].next;
            wanted[r] = worker.sampler.wanted(*running[r].row, running[r].recent);
        }
        network_.run(worker.workspace, cache_, worker.batch, count);
        float* logits = network_.logits(worker.workspace, wanted, count);
        for (int r = 0; r < count; ++r, logits += network_.logits_stride()) {
            Running& each = running[r];
            each.next.id = worker.sampler.sample(logits, *each.row, each.recent);
            each.next.position += 1;
            each.recent.add(each.next.id);
        }
    }

    void drop_finished(Worker& worker) {
        int kept = 0;
        for (int i = 0; i < worker.num_running; ++i) {
            const Running& each = worker.running[i];
            if (each.row->num_ids < each.row->limit && !is_end_[each.next.id]) worker.running[kept++] = each;
        }
        worker.num_running = kept;
    }

    Memory memory_;
    Shape shape_;
    Network<F> network_;
    Cache<typename F::Cache> cache_;
    neuroq::Pool& pool_;
    Worker* workers_;
    bool* is_end_;
};

neuroq::Decoder* open_decoder(const neuroq_config& config, const neuroq_weights& weights, neuroq::Pool& pool) {
    switch (config.precision) {
        case NEUROQ_BFLOAT16:
            return new RowDecoder<Bfloat16>(config, weights, pool);
        case NEUROQ_INT8:
            return new RowDecoder<Int8>(config, weights, pool);
        default:
            return new RowDecoder<Float32>(config, weights, pool);
    }
}

}  // namespace NEUROQ_ISA
