// The decode loop and all below it, compiled once for each instruction set.
//
// Nothing in here may be shared with another instruction set's build by the linker: all of it is inside of
// NEUROQ_ISA, and the standard library's templates are used with types from there only.
#include <algorithm>
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

// A row that waits for a thread.
struct Task {
    neuroq_row* row;
    int num_tokens;
};

inline bool operator<(const Task& a, const Task& b) { return a.num_tokens > b.num_tokens; }

template <class F>
class RowDecoder final : public neuroq::Decoder {
public:
    RowDecoder(const neuroq_config& config, const neuroq_weights& weights, neuroq::Pool& pool)
        : shape_(config),
          network_(memory_, shape_, weights),
          cache_(memory_, shape_, config.num_slots),
          pool_(pool),
          workers_(memory_.take<Worker>(pool.num_threads())),
          tasks_(memory_.take<Task>(config.num_slots)),
          is_end_(memory_.take<bool>(shape_.vocab_size)) {
        for (int i = 0; i < config.num_end_ids; ++i) is_end_[config.end_ids[i]] = true;
        for (int i = 0; i < pool.num_threads(); ++i) new (workers_ + i) Worker(memory_, shape_, config);
    }

    // Rows go to the threads in groups, the longest work first: a thread that is held up takes fewer of them.
    // What a row brings does not depend on who has it.
    void decode(neuroq_row* rows, int num_rows) override {
        for (int i = 0; i < num_rows; ++i) tasks_[i] = {rows + i, rows[i].num_pending + rows[i].limit};
        std::sort(tasks_, tasks_ + num_rows);
        num_tasks_ = num_rows;
        group_size_ = group_size(num_rows, pool_.num_threads());
        next_task_ = 0;
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
              running(memory.take<Running>(MAX_ROWS)),
              batch(memory.take<Position>(MAX_ROWS)) {}

        void add(neuroq_row& row) {
            Running& each = running[num_running++];
            each.row = &row;
            each.recent.start(row.recent, row.num_recent);
            const int last = row.num_pending - 1;
            each.next = {row.pending[last], row.slot, row.position + last};
            row.num_ids = 0;
        }

        Workspace<F> workspace;
        Sampler sampler;
        Running* running;
        Position* batch;
        int num_running = 0;
    };

    // Small enough to share the work, large enough that a weight which is read serves many rows.
    static int group_size(int num_rows, int num_threads) {
        if (num_threads == 1) return MAX_ROWS;
        const int even = (num_rows + 2 * num_threads - 1) / (2 * num_threads);
        return std::min(std::max(even, MAX_ROWS / 4), MAX_ROWS);
    }

    void run_worker(int thread) {
        Worker& worker = workers_[thread];
        for (;;) {
            const int first = __atomic_fetch_add(&next_task_, group_size_, __ATOMIC_RELAXED);
            if (first >= num_tasks_) return;
            for (int i = first; i < std::min(first + group_size_, num_tasks_); ++i) worker.add(*tasks_[i].row);
            run_all_but_last(worker);
            while (worker.num_running > 0) {
                advance(worker);
                drop_finished(worker);
            }
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
                network_.run_unread(worker.workspace, cache_, worker.batch, count);
                count = 0;
            }
        }
        if (count > 0) network_.run_unread(worker.workspace, cache_, worker.batch, count);
    }

    // One token more for each row.
    void advance(Worker& worker) {
        Running* running = worker.running;
        const int count = worker.num_running;
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
    Task* tasks_;  // of this call, the longest first
    int num_tasks_ = 0, group_size_ = 0, next_task_ = 0;
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
