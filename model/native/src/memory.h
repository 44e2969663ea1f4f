// Aligned, zeroed memory that is taken once and given back as a whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace NEUROQ_ISA {

// Hands out pieces of large blocks, one after the other: the weights lie in the order in which a step reads
// them. Blocks are aligned to huge pages and ask for them, as a step touches more 4 KiB pages than the
// processor keeps translations for.
class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    ~Memory() {
        while (last_ != nullptr) {
            Block* before = last_->before;
            std::free(last_);
            last_ = before;
        }
    }

    // `count` zeroed values, aligned to a cache line.
    template <class T>
    T* take(size_t count) {
        const size_t size = (count * sizeof(T) + LINE - 1) / LINE * LINE;
        if (last_ == nullptr || used_ + size > last_->size) add_block(size + LINE);
        T* piece = reinterpret_cast<T*>(reinterpret_cast<char*>(last_) + used_);
        used_ += size;
        return piece;
    }

private:
    static constexpr size_t LINE = 64;
    static constexpr size_t HUGE_PAGE = size_t{1} << 21;

    struct Block {
        Block* before;
        size_t size;
    };

    void add_block(size_t size) {
        size = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        void* start = nullptr;
        if (posix_memalign(&start, HUGE_PAGE, size) != 0) throw std::bad_alloc();
#ifdef __linux__
        madvise(start, size, MADV_HUGEPAGE);  // a wish: without it everything works, slower
#endif
        std::memset(start, 0, size);
        last_ = new (start) Block{last_, size};
        used_ = LINE;
    }

    Block* last_ = nullptr;
    size_t used_ = 0;
};

}  // namespace NEUROQ_ISA
