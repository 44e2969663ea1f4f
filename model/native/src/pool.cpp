#include "pool.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace neuroq {

// Idle threads sleep: a call decodes many tokens, beside which waking up costs nothing.
struct Pool::Threads {
    std::mutex mutex;
    std::condition_variable work_came, work_done;
    void (*task)(void*, int) = nullptr;
    void* context = nullptr;
    unsigned call = 0;
    int num_busy = 0;
    bool closing = false;
    std::vector<std::thread> threads;

    explicit Threads(int count) {
        try {
            for (int i = 1; i <= count; ++i) threads.emplace_back([this, i] { work(i); });
        } catch (...) {
            close();
            throw;
        }
    }

    ~Threads() { close(); }

    void close() {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            closing = true;
        }
        work_came.notify_all();
        for (std::thread& thread : threads) thread.join();
        threads.clear();
    }

    void work(int number) {
        unsigned seen = 0;
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            work_came.wait(lock, [&] { return closing || call != seen; });
            if (closing) return;
            seen = call;
            lock.unlock();
            task(context, number);
            lock.lock();
            if (--num_busy == 0) work_done.notify_one();
        }
    }

    void start(void (*new_task)(void*, int), void* new_context) {
        const std::lock_guard<std::mutex> lock(mutex);
        task = new_task;
        context = new_context;
        num_busy = static_cast<int>(threads.size());
        ++call;
        work_came.notify_all();
    }

    void finish() {
        std::unique_lock<std::mutex> lock(mutex);
        work_done.wait(lock, [&] { return num_busy == 0; });
    }
};

Pool::Pool(int num_threads)
    : num_threads_(num_threads), threads_(num_threads > 1 ? new Threads(num_threads - 1) : nullptr) {}

Pool::~Pool() { delete threads_; }

void Pool::run(void (*task)(void* context, int thread), void* context) {
    if (threads_ != nullptr) threads_->start(task, context);
    task(context, 0);
    if (threads_ != nullptr) threads_->finish();
}

}  // namespace neuroq
