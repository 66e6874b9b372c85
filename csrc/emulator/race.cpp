// The race detector: two accesses to the same bytes, one of them a write and not both atomic, of which neither comes
// before the other by the barriers, __syncwarp, fences and atomics that the program ran. As it judges by order and not
// by what happened to be read, it finds a missing barrier in every schedule.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <unordered_map>

#include "emulator/cell.h"
#include "emulator/sanitizer.h"
#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

// Places by their number: a table of what was met so far, by hash.
Where places[1 << kPlaceBits];
uint32_t number_of(Where where) {
  constexpr uint32_t kMask = (1 << kPlaceBits) - 1;
  auto slot = static_cast<uint32_t>(static_cast<uint64_t>(where) * 0x9E3779B97F4A7C15u >> (64 - kPlaceBits));
  while (places[slot] != where) {
    if (places[slot] == Where::kNowhere)
      places[slot] = where;  // kernels have far fewer places than the table
    else
      slot = (slot + 1) & kMask;
  }
  return slot;
}

constexpr size_t kPageBytes = 4096, kPageCells = kPageBytes / kCellBytes;
struct Page {
  Cell cells[kPageCells];
};
// The cells of global memory, and what was released through the atomic at an address.
struct Shadow {
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
  std::unordered_map<const void*, Clock> atomics;
  struct {
    uintptr_t number = 0;
    Page* page = nullptr;
  } recent[64];
} shadow;

Page& page_of(uintptr_t number) {
  auto& recent = shadow.recent[number % std::size(shadow.recent)];
  if (recent.page == nullptr || recent.number != number) {
    auto& slot = shadow.pages[number];
    if (!slot) slot = std::make_unique<Page>();
    recent = {number, slot.get()};
  }
  return *recent.page;
}

// What orders another's event before the lane's next one.
bool before_from_another_block(const Lane& lane, const Event& event) {
  if (lane.clock.foreign.empty()) return false;
  const auto it = lane.clock.foreign.find(event.block);
  return it != lane.clock.foreign.end() && it->second[static_cast<size_t>(event.lane())] >= event.moment;
}

const char* verb(Access kind) {
  switch (kind) {
    case Access::kRead: return "read";
    case Access::kWrite: return "write";
    case Access::kAtomicRead: return "atomic read";
    case Access::kAtomicWrite: return "atomic update";
  }
  return "?";
}

[[noreturn]] void race(const Lane& lane, const void* p, Access kind, Where where, const char* other,
                       const Event& event) {
  fail("race on " + memory_text(p) + "\n  " + verb(kind) + " by " + text_of(lane) + " at " + text_of(where) + "\n  " +
       ((event.tag & Event::kAtomic) != 0 ? "atomic " : "") + other + " by " + lane_text(event.block, event.lane()) +
       " at " + text_of(places[event.place()]) + ", which nothing orders before it");
}

[[noreturn]] void in_flight(const Lane& lane, const void* p, const char* what, Where where, const Event& copy) {
  fail("race on " + memory_text(p) + "\n  " + what + " by " + text_of(lane) + " at " + text_of(where) +
       "\n  cp.async by " + lane_text(copy.block, copy.lane()) + " at " + text_of(places[copy.place()]) +
       ", which has not been waited for");
}

// Calls f(first cell, how many, which bytes of the first and of the last, their index in shared memory) for each run of
// cells of [p, p + n): one in shared memory, one a page in global memory.
template <class F>
[[gnu::always_inline]] inline void for_cells(const Block& block, const void* p, size_t n, const F& f) {
  auto begin = reinterpret_cast<uintptr_t>(p);
  const uintptr_t end = begin + n, arena = reinterpret_cast<uintptr_t>(block.arena);
  const bool shared = block.holds(p);
  while (begin < end) {  // one call of f, which is then part of the loop
    const uintptr_t stop = shared ? end : std::min(end, (begin / kPageBytes + 1) * kPageBytes);
    const size_t index = (shared ? begin - arena : begin % kPageBytes) / kCellBytes;
    Cell* cells = shared ? block.cells.get() : page_of(begin / kPageBytes).cells;
    f(cells + index, index, (stop - 1) / kCellBytes - begin / kCellBytes + 1, begin % kCellBytes ? 2u : 3u,
      stop % kCellBytes ? 1u : 3u);
    begin = stop;
  }
}
// Which bytes of cell i of a run.
inline uint32_t bytes_of(size_t i, size_t cells, uint32_t first, uint32_t last) {
  return (i == 0 ? first : 3u) & (i + 1 == cells ? last : 3u);
}

// Events of earlier launches, and of earlier blocks in the same shared memory, are none.
uint32_t oldest(const Lane& lane, const void* p) {
  return lane.block->holds(p) ? lane.block->serial : running().first_serial;
}

}  // namespace

// Its vector, of at least so many lanes, for writing.
Moments::Vector& Moments::own(size_t size) {
  if (!known_) {
    known_ = std::make_shared<Vector>();
  } else if (known_.use_count() > 1) {
    within_ = known_;
    known_ = std::make_shared<Vector>(*within_);
  }
  if (known_->size() < size) known_->resize(size);
  return *known_;
}

void Moments::join(const Moments& other) {
  if (!other.known_ || other.known_ == known_ || other.known_ == within_) return;
  bool less = false, more = false;
  const size_t sizes = std::max(known_ ? known_->size() : 0, other.known_->size());
  if (known_ && other.within_ != known_) {
    for (size_t i = 0; i < sizes; ++i) {
      less |= (*this)[i] < other[i];
      more |= (*this)[i] > other[i];
    }
    if (!less) {
      within_ = other.known_;
      return;
    }
  }
  if (!more) {
    *this = other;
    return;
  }
  Vector& mine = own(sizes);
  for (size_t i = 0; i < other.known_->size(); ++i) mine[i] = std::max(mine[i], (*other.known_)[i]);
  within_ = other.known_;
}

void Moments::set(size_t lane, uint32_t moment) { own(lane + 1)[lane] = moment; }

void Clock::join(const Clock& other) {
  own.join(other.own);
  for (const auto& [block, clock] : other.foreign) foreign[block].join(clock);
}

void start_clock(Lane& lane) {
  lane.moment = 1;
  lane.clock = lane.fenced = lane.observed = Clock();
}

void release(Lane& lane, Clock& to) {
  if (!kRaces) return;
  to.join(lane.clock);
  to.own.set(static_cast<size_t>(lane.index), lane.moment++);
}

void acquire(Lane& lane, const Clock& from) {
  if (kRaces) lane.clock.join(from);
}

void forget_cells() {
  constexpr size_t kKept = 512;  // 2 MB of watched memory, 24 MB of cells; those of an old launch are recognised as old
  shadow.atomics.clear();
  if (shadow.pages.size() <= kKept) return;
  shadow.pages.clear();
  for (auto& recent : shadow.recent) recent = {};
}

namespace {
Event event_of(const Lane& lane, Where where, bool atomic) {
  return {lane.block->serial, lane.moment, Event::tag_of(lane.index, number_of(where), atomic)};
}
void mark_copy(Block& block, const Copy& copy, const Event& event) {
  std::fill_n(&block.copies[static_cast<size_t>(copy.to - block.arena) / kCopyBytes],
              static_cast<size_t>(copy.bytes) / kCopyBytes, event);
}

// A cell that is as the one before it has become what that one has: most accesses have more than two bytes, and most
// neighbours one history.
template <bool kWrite>
void access_by(Lane& lane, const void* p, size_t bytes, Access kind, Where where) {
  const bool atomic = kind == Access::kAtomicRead || kind == Access::kAtomicWrite;
  const Block& block = *lane.block;
  const bool copies = block.copies_in_flight > 0 && block.holds(p);
  const uint32_t since = oldest(lane, p), atomic_bit = atomic ? Event::kAtomic : 0;
  Event now = event_of(lane, where, atomic);
  const uint32_t tag = now.tag;
  const Moments::View own = lane.clock.own.view();
  for_cells(
      block, p, bytes,
      [&](Cell * cells, size_t index, size_t count, uint32_t first, uint32_t last) __attribute__((always_inline)) {
        Cell before, after;
        uint32_t which_before = 0;
        for (size_t i = 0; i < count; ++i) {
          Cell& cell = cells[i];
          const uint32_t which = bytes_of(i, count, first, last);
          now.tag = tag | which;
          auto conflicts = [&](const Event& e) {
            if (e.block < since || (e.tag & which) == 0 || (e.tag & atomic_bit) != 0) return false;
            if (e.block != now.block) return !before_from_another_block(lane, e);
            return e.lane() != lane.index && own[static_cast<size_t>(e.lane())] < e.moment;
          };
          auto address = [&] { return static_cast<const char*>(p) + (i > 0 ? i * kCellBytes - (first == 2) : 0); };
          if (copies) {
            const Event& copy = block.copies[(index + i) * kCellBytes / kCopyBytes];
            if (copy.block >= since) in_flight(lane, address(), verb(kind), where, copy);
          }
          if (which == which_before && cell == before) {
            cell = after;
            continue;
          }
          before = cell;
          which_before = which;
          Event& mine = kWrite ? cell.write : cell.read;
          if (mine != now) {  // else nothing that was not looked at then can have come between
            if (conflicts(cell.write)) race(lane, address(), kind, where, "write", cell.write);
            const bool unordered = conflicts(cell.read);
            if (kWrite && unordered) race(lane, address(), kind, where, "read", cell.read);
            // Of reads that are not ordered only one is kept: now this, now that.
            if (!unordered || running().rng.one_in(2)) mine = now;
          }
          after = cell;
        }
      });
}
}  // namespace

void access(Lane& lane, const void* p, size_t bytes, Access kind, Where where) {
  const bool write = kind == Access::kWrite || kind == Access::kAtomicWrite;
  write ? access_by<true>(lane, p, bytes, kind, where) : access_by<false>(lane, p, bytes, kind, where);
}

void copy_issued(Lane& lane, const Copy& copy) {
  if (!kRaces) return;
  const Where where = where_of(copy.site);
  access(lane, copy.from, static_cast<size_t>(copy.source_bytes), Access::kRead, where);
  access(lane, copy.to, static_cast<size_t>(copy.bytes), Access::kWrite, where);
  mark_copy(*lane.block, copy, event_of(lane, where, false));
  ++lane.block->copies_in_flight;
}

void copy_landed(Lane& lane, const Copy& copy) {
  if (!kRaces) return;
  const Where where = where_of(copy.site);
  --lane.block->copies_in_flight;
  mark_copy(*lane.block, copy, Event());
  // It may have read and written at any time up to now.
  access(lane, copy.from, static_cast<size_t>(copy.source_bytes), Access::kRead, where);
  access(lane, copy.to, static_cast<size_t>(copy.bytes), Access::kWrite, where);
}

namespace {
void note(Lane& lane, const void* p, size_t bytes, Access kind, const char* op, Site site) {
  const bool outside = lane.block->holds(p) && lane.block->array_at(p, bytes) == nullptr;
  if (const void* bad = outside ? p : asan::first_poisoned(p, bytes)) {
    fail(std::string(op) + " at " + text_of(site) + ": " + text_of(lane) + " touches " + memory_text(bad) +
         ", out of bounds");
  }
  if (kRaces) access(lane, p, bytes, kind, where_of(site));
}
Lane& lane_of_warp(int lane) { return *current->block->lanes[static_cast<size_t>(current->index / 32 * 32 + lane)]; }
}  // namespace

void note_read(const void* p, size_t bytes, const char* op, Site site) {
  note(*current, p, bytes, Access::kRead, op, site);
}
void note_write(const void* p, size_t bytes, const char* op, Site site) {
  note(*current, p, bytes, Access::kWrite, op, site);
}
void note_read_by(int lane, const void* p, size_t bytes, Site site) {
  if (kRaces) access(lane_of_warp(lane), p, bytes, Access::kRead, where_of(site));
}
void note_write_by(int lane, const void* p, size_t bytes, Site site) {
  if (kRaces) access(lane_of_warp(lane), p, bytes, Access::kWrite, where_of(site));
}
void raw_copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

namespace {
// What lane knows, as lanes of any block can take it: its own block's part by serial too. Opens its next moment.
Clock publish(Lane& lane) {
  Clock known;
  known.foreign = lane.clock.foreign;
  known.foreign[lane.block->serial] = lane.clock.own;
  known.foreign[lane.block->serial].set(static_cast<size_t>(lane.index), lane.moment++);
  return known;
}
}  // namespace

// C++'s rules for relaxed atomics and fences: what came before a fence that came before an atomic store is known after
// a fence that comes after an atomic load of it.
void fence(Site) {
  if (!kRaces) return;
  Lane& lane = *current;
  lane.clock.join(lane.observed);
  lane.fenced = publish(lane);
}

void atomic_begin(void* p, size_t bytes, AtomicKind kind, Order order, Site site) {
  if (kind == AtomicKind::kLoad || running().rng.one_in(4)) poll(site);
  if (kind == AtomicKind::kStore) running().polls = 0;
  Lane& lane = *current;
  note(lane, p, bytes, kind == AtomicKind::kLoad ? Access::kAtomicRead : Access::kAtomicWrite, "atomic", site);
  if (!kRaces) return;
  Clock& at = shadow.atomics[p];
  if (kind != AtomicKind::kStore) {
    for (const auto& [block, clock] : at.foreign) {
      (block == lane.block->serial ? lane.observed.own : lane.observed.foreign[block]).join(clock);
    }
    if (order == Order::kAcquire) lane.clock.join(lane.observed);
  }
  if (kind != AtomicKind::kLoad) {
    if (kind == AtomicKind::kStore) at = Clock();
    at.join(order == Order::kRelease ? publish(lane) : lane.fenced);
  }
}

}  // namespace fastattn::emulator
