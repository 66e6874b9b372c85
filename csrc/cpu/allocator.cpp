// A training step asks for the same sizes again and again. Fresh memory from the system page-faults (0.25 microseconds
// a 4 KB page: more than the kernel that fills it), so blocks of 256 KB and more are kept for reuse.
//
// - Size classes: 8 steps to each power of two (at most 12.5 % waste), a free list per class: a
//   block can serve any request of its class.
// - Bound: at most half of what is handed out at peak, plus 256 MB, stays cached; what would exceed that is returned to
//   the system at once.
// - Blocks come from mmap, aligned to 2 MB where they are that large, and marked for huge pages.
// - Small requests go to aligned_alloc. A 64-byte header in front of every block says which it is.
// - After fork the child starts with an empty cache: its pages are the parent's copy-on-write, and would fault anyway.

#include "allocator.h"

#include <pthread.h>
#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

namespace fastattn::cpu {
namespace {

constexpr size_t kHeader = 64;
constexpr size_t kSmall = size_t{1} << 18;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kBaseBound = size_t{256} << 20;
constexpr int kStepBits = 3;
constexpr int kNumClasses = 64 << kStepBits;

struct Header {
  void* base;      // what to unmap or free
  size_t bytes;    // of the whole block, header and alignment included
  int size_class;  // -1: from aligned_alloc
  Header* next;    // in a free list; the lists take no memory, so freeing and emptying cannot fail
};
static_assert(sizeof(Header) <= kHeader);

int class_of(size_t bytes) {
  int top = std::bit_width(bytes - 1) - 1;  // 2^top < bytes <= 2^(top + 1)
  size_t step = size_t{1} << (top - kStepBits);
  size_t steps = (bytes - (size_t{1} << top) + step - 1) / step;
  return (top << kStepBits) + static_cast<int>(steps);
}
size_t class_bytes(int c) {
  int top = c >> kStepBits;
  size_t steps = static_cast<size_t>(c & ((1 << kStepBits) - 1));
  return (size_t{1} << top) + (steps << (top - kStepBits));
}

class Cache {
 public:
  void* alloc(size_t bytes) {
    if (bytes > PTRDIFF_MAX - 2 * kHugePage) return nullptr;
    if (bytes + kHeader < kSmall) return alloc_small(bytes);
    int c = class_of(bytes + kHeader);
    if (class_bytes(c) < bytes + kHeader) ++c;
    {
      std::lock_guard lock(mutex_);
      auto& list = free_[static_cast<size_t>(c)];
      if (Header* h = list; h != nullptr) {
        list = h->next;
        cached_ -= h->bytes;
        count(h->bytes);
        return payload(h);
      }
    }
    Header* h = map(c);
    if (h == nullptr) {
      empty();
      h = map(c);
    }
    if (h == nullptr) return nullptr;
    std::lock_guard lock(mutex_);
    count(h->bytes);
    return payload(h);
  }

  void release(void* ptr) {
    if (ptr == nullptr) return;
    auto* h = reinterpret_cast<Header*>(static_cast<char*>(ptr) - kHeader);
    {
      std::lock_guard lock(mutex_);
      live_ -= h->bytes;
      if (h->size_class >= 0 && cached_ + h->bytes <= kBaseBound + peak_ / 2) {
        Header*& list = free_[static_cast<size_t>(h->size_class)];
        h->next = list;
        list = h;
        cached_ += h->bytes;
        return;
      }
    }
    give_back(h);
  }

  void empty() {
    std::array<Header*, kNumClasses> lists;
    {
      std::lock_guard lock(mutex_);
      lists = free_;
      free_.fill(nullptr);
      cached_ = 0;
      peak_ = live_;
    }
    for (Header* h : lists) {
      while (h != nullptr) {
        Header* next = h->next;
        give_back(h);
        h = next;
      }
    }
  }

  size_t cached() {
    std::lock_guard lock(mutex_);
    return cached_;
  }
  size_t live() {
    std::lock_guard lock(mutex_);
    return live_;
  }

  void before_fork() { mutex_.lock(); }
  void after_fork() { mutex_.unlock(); }

 private:
  static void* payload(Header* h) { return reinterpret_cast<char*>(h) + kHeader; }

  void* alloc_small(size_t bytes) {
    size_t whole = (bytes + kHeader + 63) / 64 * 64;
    void* base = std::aligned_alloc(64, whole);
    if (base == nullptr) return nullptr;
    auto* h = new (base) Header{base, whole, -1, nullptr};
    std::lock_guard lock(mutex_);
    count(whole);
    return payload(h);
  }

  void count(size_t bytes) {
    live_ += bytes;
    if (live_ > peak_) peak_ = live_;
  }

  static Header* map(int c) {
    size_t bytes = (class_bytes(c) + 4095) / 4096 * 4096;
    size_t slack = bytes >= kHugePage ? kHugePage : 0;
    void* base = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return nullptr;
    auto address = reinterpret_cast<uintptr_t>(base);
    if (slack != 0) {  // keep the aligned part only
      uintptr_t start = (address + kHugePage - 1) / kHugePage * kHugePage;
      if (start > address) munmap(base, start - address);
      uintptr_t end = start + bytes;
      if (address + bytes + slack > end) munmap(reinterpret_cast<void*>(end), address + bytes + slack - end);
      base = reinterpret_cast<void*>(start);
      madvise(base, bytes, MADV_HUGEPAGE);
    }
    return new (base) Header{base, bytes, c, nullptr};
  }

  static void give_back(Header* h) {
    if (h->size_class < 0) {
      std::free(h->base);
    } else {
      munmap(h->base, h->bytes);
    }
  }

  std::mutex mutex_;
  std::array<Header*, kNumClasses> free_{};
  size_t cached_ = 0;
  size_t live_ = 0;
  size_t peak_ = 0;
};

// Never destroyed: arrays may outlive static destruction.
Cache& cache() {
  static Cache* instance = [] {
    auto* c = new Cache;
    pthread_atfork([] { cache().before_fork(); }, [] { cache().after_fork(); },
                   [] {
                     cache().after_fork();
                     cache().empty();
                   });
    return c;
  }();
  return *instance;
}

}  // namespace

void* cached_alloc(size_t bytes) { return cache().alloc(bytes); }
void cached_free(void* ptr) { cache().release(ptr); }
void empty_cache() { cache().empty(); }
size_t cache_bytes() { return cache().cached(); }
size_t live_bytes() { return cache().live(); }

}  // namespace fastattn::cpu
