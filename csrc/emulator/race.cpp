// The race detector: two accesses to the same bytes, one of them a write and not both atomic, of which neither comes
// before the other by the barriers, __syncwarp, fences and atomics that the program ran. As it judges by order and not
// by what happened to be read, it finds a missing barrier in every schedule.
#include <cstring>
#include <unordered_map>

#include "emulator/cell.h"
#include "emulator/sanitizer.h"
#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

void join_own(std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  if (a.size() < b.size()) a.resize(b.size());
  for (size_t i = 0; i < b.size(); ++i) a[i] = a[i] < b[i] ? b[i] : a[i];
}

constexpr size_t kPageBytes = 4096;
struct Page {
  Cell cells[kPageBytes / kCellBytes];
};
struct Shadow {
  std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
  std::unordered_map<const void*, Clock> atomics;  // what was released through the atomic at this address
  uintptr_t last = 0;
  Page* last_page = nullptr;
};
Shadow& shadow() {
  static Shadow s;
  return s;
}

Cell* global_cells(uintptr_t address) {
  Shadow& s = shadow();
  const uintptr_t page = address / kPageBytes;
  if (s.last_page == nullptr || s.last != page) {
    auto& slot = s.pages[page];
    if (!slot) slot = std::make_unique<Page>();
    s.last = page;
    s.last_page = slot.get();
  }
  return s.last_page->cells + address % kPageBytes / kCellBytes;
}

bool before(const Lane& lane, const Event& event) {
  if (event.block == lane.block->serial) return lane.clock.own[event.lane] >= event.clock;
  const auto it = lane.clock.foreign.find(event.block);
  return it != lane.clock.foreign.end() && event.lane < it->second.size() && it->second[event.lane] >= event.clock;
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
       (event.atomic ? "atomic " : "") + other + " by " + lane_text(event.block, event.lane) + " at " +
       text_of(event.where) + ", which nothing orders before it");
}

[[noreturn]] void in_flight(const Lane& lane, const void* p, const char* what, Where where, const Event& copy) {
  fail("race on " + memory_text(p) + "\n  " + what + " by " + text_of(lane) + " at " + text_of(where) +
       "\n  cp.async by " + lane_text(copy.block, copy.lane) + " at " + text_of(copy.where) +
       ", which has not been waited for");
}

// Calls f(cell, which bytes of it, address) for the cells of [p, p + n).
template <class F>
void for_cells(Lane& lane, const void* p, size_t n, const F& f) {
  const char* begin = static_cast<const char*>(p);
  Block& block = *lane.block;
  const bool shared = block.holds(begin);
  for (const char* a = begin; a < begin + n;) {
    const auto address = reinterpret_cast<uintptr_t>(a);
    Cell* cell = shared ? &block.cells[static_cast<size_t>(a - block.arena) / kCellBytes] : global_cells(address);
    const bool odd = address % kCellBytes != 0, both = !odd && a + 1 < begin + n;
    f(*cell, static_cast<uint8_t>(both ? 3 : odd ? 2 : 1), a);
    a += both ? 2 : 1;
  }
}

// Events of earlier launches, and of earlier blocks in the same shared memory, are none.
uint32_t oldest(const Lane& lane, const void* p) {
  return lane.block->holds(p) ? lane.block->serial : running().first_serial;
}

}  // namespace

void Clock::join(const Clock& other) {
  join_own(own, other.own);
  for (const auto& [block, clock] : other.foreign) join_own(foreign[block], clock);
}

void start_clock(Lane& lane) {
  if (!kRaces) return;
  lane.clock = lane.fenced = lane.observed = Clock();
  lane.clock.own.assign(static_cast<size_t>(lane.block->threads), 0);
  lane.clock.own[static_cast<size_t>(lane.index)] = 1;
}

void release(Lane& lane, Clock& to) {
  if (!kRaces) return;
  to.join(lane.clock);
  ++lane.clock.own[static_cast<size_t>(lane.index)];
}

void acquire(Lane& lane, const Clock& from) {
  if (kRaces) lane.clock.join(from);
}

void forget_cells() {
  constexpr size_t kKept = 512;  // 2 MB of watched memory, 75 MB of cells; those of an old launch are recognised as old
  Shadow& s = shadow();
  s.atomics.clear();
  s.last_page = nullptr;
  if (s.pages.size() > kKept) s.pages.clear();
}

void access(Lane& lane, const void* p, size_t bytes, Access kind, Where where) {
  const bool write = kind == Access::kWrite || kind == Access::kAtomicWrite;
  const bool atomic = kind == Access::kAtomicRead || kind == Access::kAtomicWrite;
  const uint32_t since = oldest(lane, p);
  const Event now{lane.block->serial,
                  lane.clock.own[static_cast<size_t>(lane.index)],
                  where,
                  static_cast<uint16_t>(lane.index),
                  0,
                  atomic};
  for_cells(lane, p, bytes, [&](Cell& cell, uint8_t which, const char* a) {
    auto conflicts = [&](const Event& e) {
      return e.block >= since && (e.bytes & which) != 0 && !(atomic && e.atomic) && !before(lane, e);
    };
    if (cell.copy.block >= since && (cell.copy.bytes & which) != 0) in_flight(lane, a, verb(kind), where, cell.copy);
    if (conflicts(cell.write)) race(lane, a, kind, where, "write", cell.write);
    if (write && conflicts(cell.read)) race(lane, a, kind, where, "read", cell.read);
    // Of reads that are not ordered only one is kept: now this, now that.
    Event& mine = write ? cell.write : cell.read;
    if (!write && conflicts(cell.read) && running().rng.one_in(2)) return;
    mine = now;
    mine.bytes = which;
  });
}

void copy_issued(Lane& lane, const Copy& copy) {
  if (!kRaces) return;
  const Where where = where_of(copy.site);
  access(lane, copy.from, static_cast<size_t>(copy.source_bytes), Access::kRead, where);
  access(lane, copy.to, static_cast<size_t>(copy.bytes), Access::kWrite, where);
  const Event now{lane.block->serial, 0, where, static_cast<uint16_t>(lane.index), 0, false};
  for_cells(lane, copy.to, static_cast<size_t>(copy.bytes), [&](Cell& cell, uint8_t which, const char*) {
    cell.copy = now;
    cell.copy.bytes = which;
  });
}

void copy_landed(Lane& lane, const Copy& copy) {
  if (!kRaces) return;
  const Where where = where_of(copy.site);
  for_cells(lane, copy.to, static_cast<size_t>(copy.bytes),
            [](Cell& cell, uint8_t, const char*) { cell.copy = Event(); });
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
  ++lane.clock.own[static_cast<size_t>(lane.index)];
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
  Clock& at = shadow().atomics[p];
  if (kind != AtomicKind::kStore) {
    for (const auto& [block, clock] : at.foreign) {
      join_own(block == lane.block->serial ? lane.observed.own : lane.observed.foreign[block], clock);
    }
    if (order == Order::kAcquire) lane.clock.join(lane.observed);
  }
  if (kind != AtomicKind::kLoad) {
    if (kind == AtomicKind::kStore) at = Clock();
    at.join(order == Order::kRelease ? publish(lane) : lane.fenced);
  }
}

}  // namespace fastattn::emulator
