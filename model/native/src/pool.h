// A few threads that wait for work together with their caller.
#pragma once

namespace neuroq {

class Pool {
public:
    // Starts num_threads - 1 threads: the caller of `run` is one of them. Throws std::bad_alloc or
    // std::system_error when there are none to be had.
    explicit Pool(int num_threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int num_threads() const { return num_threads_; }

    // Call task(context, 0) … task(context, num_threads - 1) at the same time; returns when all are done.
    void run(void (*task)(void* context, int thread), void* context);

private:
    struct Threads;

    int num_threads_;
    Threads* threads_;
};

}  // namespace neuroq
