// cp.async. From its issue to the wait that covers it the destination is NaN: the copy lands at the last moment that it
// may, or now and then (by seed) at once, and whatever was read or written meanwhile shows.
#include <cstring>

#include "emulator/sanitizer.h"
#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

void land(const Copy& copy) {
  std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.source_bytes));
  std::memset(copy.to + copy.source_bytes, 0, static_cast<size_t>(copy.bytes - copy.source_bytes));
}

}  // namespace

void cp_async(uint32_t to, const void* from, int bytes, int source_bytes, Site site) {
  Lane& lane = *current;
  Running& r = running();
  const auto size = static_cast<size_t>(bytes);
  char* destination = static_cast<char*>(shared_pointer(to, size, size, "cp.async", site));
  if (source_bytes < 0 || source_bytes > bytes) {
    fail("cp.async at " + text_of(site) + ": " + std::to_string(source_bytes) + " of " + std::to_string(bytes) +
         " bytes");
  }
  if (reinterpret_cast<uintptr_t>(from) % size != 0) {
    fail("cp.async at " + text_of(site) + ": " + text_of(lane) + " reads " + memory_text(from) +
         ", not aligned to its " + std::to_string(bytes) + " bytes");
  }
  if (const void* bad = asan::first_poisoned(from, static_cast<size_t>(source_bytes)); source_bytes > 0 && bad) {
    fail("cp.async at " + text_of(site) + ": " + text_of(lane) + " reads " + memory_text(bad) + ", out of bounds");
  }
  Copy copy{destination, static_cast<const char*>(from), bytes, source_bytes, lane.groups, false, site};
  copy_issued(lane, copy);
  std::memset(destination, 0xFF, size);
  if (r.rng.one_in(r.options.land_early_one_in)) {
    land(copy);
    copy.landed = true;
  }
  lane.copies.push_back(copy);
  yield_one_in(r.options.yield_one_in);
}

void cp_async_commit() { ++current->groups; }

void cp_async_wait(int groups_left, Site site) {
  Lane& lane = *current;
  if (groups_left < 0) fail("cp.async.wait_group at " + text_of(site) + ": " + std::to_string(groups_left) + " groups");
  auto done = lane.copies.begin();
  for (; done != lane.copies.end() && done->group + groups_left < lane.groups; ++done) {
    if (!done->landed) land(*done);
    copy_landed(lane, *done);
  }
  lane.copies.erase(lane.copies.begin(), done);
  yield_one_in(4);
}

void check_copies_done(Lane& lane) {
  if (lane.copies.empty()) return;
  fail(text_of(lane) + " exits before the copy that it issued at " + text_of(lane.copies.front().site) +
       " has been waited for");
}

}  // namespace fastattn::emulator
