// The emulator's own structures: lanes (threads of a block), blocks, and what is running.
#pragma once

#include <bitset>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/core.h"
#include "emulator/emulator.h"
#include "emulator/fiber.h"

namespace fastattn::emulator {

#ifdef FASTATTN_EMULATOR_RACES
inline constexpr bool kRaces = true;
#else
inline constexpr bool kRaces = false;
#endif

inline constexpr int kMaxThreads = 1024;
inline constexpr int kBarriers = 16;

// A place in the code, in one word: a call site (file and line) or, from a hook, an instruction's address.
enum class Where : uint64_t { kNowhere = 0 };
inline constexpr uint64_t kSiteBit = uint64_t{1} << 63;
inline constexpr int kLineShift = 47;  // pointers of user space end below it
inline Where where_of(Site site) {
  return static_cast<Where>(kSiteBit | static_cast<uint64_t>(site.line) << kLineShift |
                            reinterpret_cast<uint64_t>(site.file));
}
inline Where where_of(const void* return_address) {
  return static_cast<Where>(reinterpret_cast<uint64_t>(return_address) - 1);  // inside the call
}
std::string text_of(Where where);  // FILE:LINE
std::string text_of(Site site);

// Moments of the lanes of a block; 0 of whom nothing is known. Lanes that a barrier brought to the same knowledge share
// it until one learns more: a barrier of n lanes costs n pointers, where vectors of their own would cost n * n numbers.
class Moments {
 public:
  struct View {  // until the next change
    const uint32_t* moments;
    size_t size;
    uint32_t operator[](size_t lane) const { return lane < size ? moments[lane] : 0; }
  };
  View view() const { return known_ ? View{known_->data(), known_->size()} : View{nullptr, 0}; }
  uint32_t operator[](size_t lane) const { return view()[lane]; }
  void join(const Moments& other);
  void set(size_t lane, uint32_t moment);

 private:
  using Vector = std::vector<uint32_t>;
  Vector& own(size_t size);
  std::shared_ptr<Vector> known_;
  std::shared_ptr<Vector> within_;  // another vector of which known_ is known to have all
};

// What a lane knows of the others. own[i]: the last moment of lane i of its block that comes before what it does next;
// foreign: the same of other blocks, by serial, as learnt through atomics and fences.
struct Clock {
  Moments own;
  std::map<uint32_t, Moments> foreign;
  void join(const Clock& other);
};

struct Copy {  // one cp.async
  char* to;
  const char* from;
  int bytes, source_bytes;
  int group;  // which commit of its lane covers it
  bool landed;
  Site site;
};

struct Block;
struct Lane;

// The lanes of a warp by what they do, so that one that comes to a call need not look at each.
struct Warp {
  unsigned waiting = 0;         // in a call of the warp
  unsigned absent = ~0u;        // at a barrier, exited, or beyond the block
  const Lane* first = nullptr;  // of those that wait
  bool alike = true;            // all of those wait in the same call
};

struct Lane {
  enum class State : uint8_t { kReady, kWaiting, kExited };
  // Where a waiting lane waits: in a call of its warp, or at a barrier of the block.
  enum class Wait : uint8_t { kNothing, kWarp, kBarrier };

  Fiber fiber;
  Block* block = nullptr;
  int index = 0;      // in the block
  uint32_t rank = 0;  // among the ready
  uint3 thread;
  State state = State::kExited;
  Wait wait = Wait::kNothing;
  const char* op = nullptr;  // what it waits in, and where
  Site site{nullptr, 0};
  unsigned mask = 0;
  void* operand = nullptr;
  int barrier = 0;
  Votes votes{0, 0};

  uint32_t moment = 1;  // its own; a release opens the next
  Clock clock;
  Clock fenced;              // what an atomic store after the last fence passes on
  Clock observed;            // what atomic loads saw, known for good after the next fence
  std::vector<Copy> copies;  // that have not been waited for, as they were issued
  int groups = 0;            // commits so far

  int lane() const { return index % 32; }
  unsigned bit() const { return 1u << lane(); }
  Warp& warp() const;
};

struct Barrier {
  const char* op = nullptr;  // __syncthreads..., or nullptr for a named one
  int threads = 0;           // how many it waits for; of __syncthreads all that have not exited
  int arrived = 0, votes = 0;
  int first_lane = 0;
  Site first_site{nullptr, 0};
  std::bitset<kMaxThreads> who;
  std::vector<Lane*> waiting;
  Clock clock;

  void clear() {  // and keeps the memory
    std::vector<Lane*> kept = std::move(waiting);
    kept.clear();
    *this = Barrier();
    waiting = std::move(kept);
  }
};

struct SharedArray {
  const void* tag;
  size_t offset, bytes;
  const char* name;
};

struct Cell;
struct Event;

// A place for a resident block: lanes and memory are kept from block to block.
struct Block {
  Block();
  ~Block();
  uint32_t serial = 0;  // unique in the process: what an older block left in the detector's cells is recognised by it
  uint3 index;
  int threads = 0, live = 0;
  int lagging_warp = 0;
  std::vector<std::unique_ptr<Lane>> lanes;
  Warp warps[kMaxThreads / 32];
  Barrier barriers[kBarriers];

  char* arena;  // shared memory
  size_t used = 0, static_bytes = 0, total_bytes = 0;
  std::vector<SharedArray> arrays;
  std::unique_ptr<Cell[]> cells;
  std::unique_ptr<Event[]> copies;  // by kCopyBytes: an asynchronous copy to there that has not been waited for
  int copies_in_flight = 0;

  bool holds(const void* p) const;                                 // in its arena
  const SharedArray* array_at(const void* p, size_t bytes) const;  // the one that has all of it, or nullptr
};
inline Warp& Lane::warp() const { return block->warps[index / 32]; }
// Addresses start above 0, so that an unset one is never right; the rest is room for red zones.
inline constexpr size_t kArenaStart = 1024;
inline constexpr size_t kArenaBytes = kSharedBytes + (93 << 10);
inline constexpr size_t kRedZone = 64;
inline bool Block::holds(const void* p) const {
  const char* a = static_cast<const char*>(p);
  return a >= arena && a < arena + kArenaStart + kArenaBytes;
}

class Rng {
 public:
  explicit Rng(uint64_t seed = 0) : state_(seed * 0x9E3779B97F4A7C15u + 0x632BE59BD9B4E019u) {}
  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ * 0x2545F4914F6CDD1Du >> 32);
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(uint64_t{next()} * n >> 32); }
  bool one_in(int n) { return n > 0 && below(static_cast<uint32_t>(n)) == 0; }

 private:
  uint64_t state_;
};

struct Running {
  Options options;
  Rng rng;
  const Launch* launch = nullptr;
  void (*body)(void*) = nullptr;
  void* argument = nullptr;
  std::vector<uint32_t> block_order;  // linear block index of serial first_serial + i
  uint32_t first_serial = 1;
  std::vector<std::unique_ptr<Block>> slots;
  struct Ready {
    Lane* lane;
    uint32_t rank;  // the lane's, where choosing one finds it
  };
  std::vector<Ready> ready;
  uint64_t polls = 0;
  std::string error;
};
extern Running the_running;
inline Running& running() { return the_running; }
inline void make_ready(Lane& lane) { running().ready.push_back({&lane, lane.rank}); }

extern constinit Lane* current;  // the lane that runs; nullptr outside of one

// ---- scheduler (launch.cpp)
void wake(Lane& lane);
void wait();  // until woken; the caller has filled in what it waits for
void yield();
void yield_one_in(int n);

// ---- reports (report.cpp)
[[noreturn]] void fail(const std::string& what);
std::string text_of(const Lane& lane);
std::string lane_text(uint32_t serial, int index);
std::string memory_text(const void* p);
std::string who_waits();  // of all resident blocks, grouped, one line each
std::string hex(unsigned value);

// ---- what an exit means to the others (warp.cpp, barrier.cpp, async.cpp)
void check_not_awaited(Lane& lane, const char* op, Site site, bool same_call_allowed);
void exit_leaves_barriers(Lane& lane);
void check_copies_done(Lane& lane);

// ---- shared memory (shared.cpp)
void reset_shared(Block& block);

// ---- race detector (race.cpp)
enum class Access { kRead, kWrite, kAtomicRead, kAtomicWrite };
void access(Lane& lane, const void* p, size_t bytes, Access kind, Where where);
void copy_issued(Lane& lane, const Copy& copy);
void copy_landed(Lane& lane, const Copy& copy);
void start_clock(Lane& lane);
void release(Lane& lane, Clock& to);  // what lane did comes before whoever acquires `to`
void acquire(Lane& lane, const Clock& from);
void forget_cells();  // between launches

}  // namespace fastattn::emulator
