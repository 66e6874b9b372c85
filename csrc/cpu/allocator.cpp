// A training step asks for the same sizes again and again. Fresh memory from the system page-faults (0.25 microseconds
// a 4 KB page: more than the kernel that fills it), so blocks of 256 KB and more are kept for reuse.
//
// - Blocks tile an arena, a range of addresses that is reserved at once and gets memory as it is first written. Each
//   begins with a 64-byte header; neighbours that are free merge; a request takes the smallest free block that it fits,
//   the rest of which stays free. So gradients lie where the activations of their step lay, and a step that asks for
//   the same again gets the same addresses, whose memory is there.
// - Free blocks are listed by size, 16 lists to each power of two.
// - Bound: with what is handed out, the cache holds at most 64 MB and a sixteenth more than was ever handed out at
//   once. What came back first gives its memory to the system first, and keeps its addresses.
// - Arenas are marked for huge pages.
// - What is handed out begins half a page into its page. malloc's large blocks begin 16 to 64 bytes into theirs, and a
//   loop that reads such a one and writes 48 bytes further on in another page would wait at every load: a load waits
//   for an earlier store to the same place of its page (of numpy's arrays gelu took 1.6 times as long).
// - Small requests go to aligned_alloc.
// - After fork the child starts with an empty cache: its pages are the parent's copy-on-write, and would fault anyway.

#include "allocator.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
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
constexpr size_t kPage = 4096;
constexpr size_t kIntoPage = kPage / 2;  // where what is handed out begins
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kArena = size_t{1} << 40;  // addresses, not memory
constexpr size_t kLeastArena = size_t{256} << 20;
constexpr size_t kBaseBound = size_t{64} << 20;
constexpr int kStepBits = 4;
constexpr int kNumLists = 65 << kStepBits;

constexpr size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// kFree has memory, kBare has addresses alone.
enum class State : uint32_t { kSmall, kLive, kFree, kBare, kWall };

struct Header;
// A list takes no memory, so freeing and emptying cannot fail.
struct Links {
  Header *before, *after;
};
struct Header {
  size_t bytes;   // header included
  Header* below;  // the block that ends where this one begins, or nullptr
  State state;
  Links of_size, of_all;
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
using Lists = std::array<List<&Header::of_size>, kNumLists>;

// The list of free blocks of a size: those of list i are smaller than those of i + 1.
int list_of(size_t bytes) {
  const int top = std::bit_width(bytes) - 1;
  return (top << kStepBits) + static_cast<int>((bytes >> (top - kStepBits)) & ((1 << kStepBits) - 1));
}

Header* above(Header* h) { return reinterpret_cast<Header*>(reinterpret_cast<char*>(h) + h->bytes); }

class Cache {
 public:
  void* alloc(size_t bytes) {
    if (bytes > kArena) return nullptr;
    if (bytes + kHeader < kSmall) return alloc_small(bytes);
    All leaving;
    Header* h;
    {
      std::lock_guard lock(mutex_);
      h = place(round_up(bytes + kHeader, kPage));
      if (h == nullptr) return nullptr;
      count(h->bytes);
      trim(leaving);
    }
    give_back(leaving);
    return payload(h);
  }

  void release(void* ptr) {
    if (ptr == nullptr) return;
    auto* h = reinterpret_cast<Header*>(static_cast<char*>(ptr) - kHeader);
    const bool small = h->state == State::kSmall;
    All leaving;
    {
      std::lock_guard lock(mutex_);
      live_ -= h->bytes;
      if (!small) {
        put(h, State::kFree);
        trim(leaving);
      }
    }
    if (small) std::free(h);
    give_back(leaving);
  }

  void empty() {
    All leaving;
    {
      std::lock_guard lock(mutex_);
      peak_ = live_;
      while (all_.last != nullptr) leave(leaving);
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
  Lists& lists(State state) { return state == State::kFree ? free_ : bare_; }
  static void* payload(Header* h) { return reinterpret_cast<char*>(h) + kHeader; }

  void* alloc_small(size_t bytes) {
    const size_t whole = round_up(bytes + kHeader, kHeader);
    void* base = std::aligned_alloc(kHeader, whole);
    if (base == nullptr) return nullptr;
    auto* h = new (base) Header{whole, nullptr, State::kSmall, {}, {}};
    std::lock_guard lock(mutex_);
    count(whole);
    return payload(h);
  }

  // A block of so many bytes, or nullptr where the system has no addresses left.
  Header* place(size_t bytes) {
    for (State state : {State::kFree, State::kBare}) {
      if (Header* h = smallest(lists(state), bytes); h != nullptr) {
        take(h);
        split(h, bytes, state);
        return h;
      }
    }
    return grow(bytes);
  }

  static Header* smallest(const Lists& lists, size_t bytes) {
    for (int i = list_of(bytes); i < kNumLists; ++i) {
      Header* best = nullptr;
      for (Header* h = lists[static_cast<size_t>(i)].first; h != nullptr; h = h->of_size.after) {
        if (h->bytes >= bytes && (best == nullptr || h->bytes < best->bytes)) best = h;
      }
      if (best != nullptr) return best;
    }
    return nullptr;
  }

  // Moves the wall of the arena so that the block below it, if that is nobody's, else a new one, has so many bytes.
  Header* grow(size_t bytes) {
    if (wall_ == nullptr || static_cast<size_t>(end_ - reinterpret_cast<char*>(wall_)) < bytes + kHeader) {
      if (!reserve(bytes + kHugePage)) return nullptr;
    }
    Header* h = wall_->below;
    if (h != nullptr && (h->state == State::kFree || h->state == State::kBare)) {
      take(h);
      h->bytes = bytes;
    } else {
      h = new (wall_) Header{bytes, h, State::kLive, {}, {}};
    }
    wall_ = new (above(h)) Header{0, h, State::kWall, {}, {}};
    return h;
  }

  // Begins an arena, of at least so many bytes.
  bool reserve(size_t bytes) {
    rlimit limit{};
    const bool limited = getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur != RLIM_INFINITY;
    for (const size_t size : {limited ? size_t{0} : kArena, std::max(bytes, kLeastArena), bytes}) {
      if (size < bytes) continue;
      const size_t whole = round_up(size, kHugePage);
      void* base = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (base == MAP_FAILED) continue;
      end_ = static_cast<char*>(base) + whole;
      auto* begin = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(base), kHugePage));
      madvise(begin, static_cast<size_t>(end_ - begin), MADV_HUGEPAGE);
      wall_ = new (begin + kIntoPage - kHeader) Header{0, nullptr, State::kWall, {}, {}};
      return true;
    }
    return false;
  }

  // Of a block that was taken, what exceeds `bytes` goes back.
  void split(Header* h, size_t bytes, State state) {
    if (h->bytes == bytes) return;
    auto* rest = new (reinterpret_cast<char*>(h) + bytes) Header{h->bytes - bytes, h, State::kLive, {}, {}};
    h->bytes = bytes;
    put(rest, state);
  }

  // Makes a block nobody's, one with its neighbours of that state; a free one is the last to come back.
  void put(Header* h, State state) {
    if (Header* next = above(h); next->state == state) {
      take(next);
      h->bytes += next->bytes;
    }
    if (Header* next = h->below; next != nullptr && next->state == state) {
      take(next);
      next->bytes += h->bytes;
      h = next;
    }
    above(h)->below = h;
    h->state = state;
    lists(state)[static_cast<size_t>(list_of(h->bytes))].push(h);
    if (state == State::kFree) {
      all_.push(h);
      cached_ += h->bytes;
    }
  }

  void take(Header* h) {
    lists(h->state)[static_cast<size_t>(list_of(h->bytes))].remove(h);
    if (h->state == State::kFree) {
      all_.remove(h);
      cached_ -= h->bytes;
    }
    h->state = State::kLive;
  }

  void count(size_t bytes) {
    live_ += bytes;
    peak_ = std::max(peak_, live_);
  }

  // Those whose memory goes: they are nobody's until give_back, which runs outside of the lock.
  void trim(All& leaving) {
    while (live_ + cached_ > peak_ + peak_ / 16 + kBaseBound) leave(leaving);
  }
  void leave(All& leaving) {
    Header* oldest = all_.last;
    take(oldest);
    leaving.push(oldest);
  }

  void give_back(const All& leaving) {
    for (Header *h = leaving.first, *after; h != nullptr; h = after) {
      after = h->of_all.after;
      // All but the pages with its own header and the next one's.
      char* begin = reinterpret_cast<char*>(h) + kPage - (kIntoPage - kHeader);
      if (h->bytes > kPage) madvise(begin, h->bytes - kPage, MADV_DONTNEED);
      std::lock_guard lock(mutex_);
      put(h, State::kBare);
    }
  }

  std::mutex mutex_;
  Lists free_{}, bare_{};
  All all_;                 // free ones, the last to come back in front
  Header* wall_ = nullptr;  // the end of what is in use of the newest arena
  char* end_ = nullptr;     // of its addresses
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
