// A training step asks for the same sizes again and again. Fresh memory from the system page-faults (0.25 microseconds
// a 4 KB page: more than the kernel that fills it), so blocks of 256 KB and more are kept for reuse.
//
// - Size classes: 16 steps to each power of two (at most 6 % waste), a free list per class: a block can serve any
//   request of its class.
// - Bound: with what is handed out, the cache holds at most 64 MB more than was ever handed out at once. Where a new
//   block would exceed that, one of up to twice the size does: gradients lie where the activations of their step lay.
//   Otherwise what came back first leaves first, so that a process that goes on to other sizes keeps those.
// - Blocks come from mmap, aligned to 2 MB where they are that large, and marked for huge pages.
// - Small requests go to aligned_alloc. A 64-byte header in front of every block says which it is.
// - After fork the child starts with an empty cache: its pages are the parent's copy-on-write, and would fault anyway.

#include "allocator.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

namespace fastattn::cpu {
namespace {

constexpr size_t kHeader = 64;
constexpr size_t kSmall = size_t{1} << 18;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kBaseBound = size_t{64} << 20;
constexpr int kStepBits = 4;
constexpr int kNumClasses = 65 << kStepBits;

struct Header;
// A list takes no memory, so freeing and emptying cannot fail.
struct Links {
  Header *before, *after;
};
struct Header {
  void* base;      // what to unmap or free
  size_t bytes;    // of the whole block, header and alignment included
  int size_class;  // -1: from aligned_alloc
  Links of_class, of_all;
};
static_assert(sizeof(Header) <= kHeader);

template <Links Header::*kLinks>
struct List {
  Header *first = nullptr, *last = nullptr;
  void push(Header* h) {  // in front
    h->*kLinks = {nullptr, first};
    (first != nullptr ? (first->*kLinks).before : last) = h;
    first = h;
  }
  void remove(Header* h) {
    const Links links = h->*kLinks;
    (links.before != nullptr ? (links.before->*kLinks).after : first) = links.after;
    (links.after != nullptr ? (links.after->*kLinks).before : last) = links.before;
  }
};
using All = List<&Header::of_all>;

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
      if (Header* h = find(c); h != nullptr) {
        take(h);
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
    All leaving;
    {
      std::lock_guard lock(mutex_);
      count(h->bytes);
      trim(leaving);
    }
    give_back(leaving);
    return payload(h);
  }

  void release(void* ptr) {
    if (ptr == nullptr) return;
    auto* h = reinterpret_cast<Header*>(static_cast<char*>(ptr) - kHeader);
    All leaving;
    {
      std::lock_guard lock(mutex_);
      live_ -= h->bytes;
      if (h->size_class < 0) {
        leaving.push(h);
      } else {
        free_[static_cast<size_t>(h->size_class)].push(h);
        all_.push(h);
        cached_ += h->bytes;
        trim(leaving);
      }
    }
    give_back(leaving);
  }

  void empty() {
    All leaving;
    {
      std::lock_guard lock(mutex_);
      std::swap(leaving, all_);
      free_.fill({});
      cached_ = 0;
      peak_ = live_;
    }
    give_back(leaving);
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
    auto* h = new (base) Header{base, whole, -1, {}, {}};
    std::lock_guard lock(mutex_);
    count(whole);
    return payload(h);
  }

  Header* find(int c) const {
    const size_t most = std::max(peak_, live_ + class_bytes(c)) + kBaseBound;
    const bool exceeds = live_ + cached_ + class_bytes(c) > most;
    for (int i = c; i <= (exceeds ? c + (1 << kStepBits) : c); ++i) {
      if (Header* h = free_[static_cast<size_t>(i)].first; h != nullptr) return h;
    }
    return nullptr;
  }

  void trim(All& leaving) {
    while (live_ + cached_ > peak_ + kBaseBound) {
      Header* oldest = all_.last;
      take(oldest);
      leaving.push(oldest);
    }
  }

  void take(Header* h) {  // out of the cache
    free_[static_cast<size_t>(h->size_class)].remove(h);
    all_.remove(h);
    cached_ -= h->bytes;
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
    return new (base) Header{base, bytes, c, {}, {}};
  }

  static void give_back(const All& blocks) {
    for (Header *h = blocks.first, *after; h != nullptr; h = after) {
      after = h->of_all.after;
      if (h->size_class < 0) {
        std::free(h->base);
      } else {
        munmap(h->base, h->bytes);
      }
    }
  }

  std::mutex mutex_;
  std::array<List<&Header::of_class>, kNumClasses> free_{};
  All all_;  // the last to come back in front
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
