// Barriers of a block: __syncthreads and its votes, and the sixteen named ones (PTX barrier.cta / bar, 0 to 15).
#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

std::string name_of_barrier(const char* op, int id) { return op ? op : "barrier " + std::to_string(id); }

void complete(Block& block, int id) {
  Barrier& done = block.barriers[id];
  for (Lane* lane : done.waiting) {
    lane->votes = {done.votes, done.arrived};
    acquire(*lane, done.clock);
    if (lane != current) wake(*lane);
  }
  done.clear();
}

void check_same(const Lane& lane, const Barrier& barrier, const char* op, int id, int threads, Site site) {
  auto first = [&] { return lane_text(lane.block->serial, barrier.first_lane); };
  if ((op == nullptr) != (barrier.op == nullptr)) {
    fail(name_of_barrier(nullptr, id) + " is used by __syncthreads and by name: " + text_of(lane) + " at " +
         text_of(site) + ", " + first() + " at " + text_of(barrier.first_site));
  }
  if (op != nullptr && where_of(site) != where_of(barrier.first_site)) {
    fail(std::string("divergent ") + op + ": " + text_of(lane) + " comes to the one at " + text_of(site) + ", but " +
         first() + " to the one at " + text_of(barrier.first_site));
  }
  if (op == nullptr && threads != barrier.threads) {
    fail(name_of_barrier(op, id) + ": " + text_of(lane) + " counts " + std::to_string(threads) + " threads at " +
         text_of(site) + ", but " + first() + " counted " + std::to_string(barrier.threads) + " at " +
         text_of(barrier.first_site));
  }
  if (barrier.who.test(static_cast<size_t>(lane.index))) {
    fail(name_of_barrier(op, id) + ": " + text_of(lane) + " arrives at " + text_of(site) +
         " for a second time before the barrier completes");
  }
}

Votes arrive(const char* op, int id, int threads, bool predicate, bool waits, Site site) {
  Lane& lane = *current;
  Block& block = *lane.block;
  if (id < 0 || id >= kBarriers) fail("barrier " + std::to_string(id) + " at " + text_of(site) + ": they are 0 to 15");
  if (op == nullptr && (threads <= 0 || threads % 32 != 0)) {
    fail(name_of_barrier(op, id) + " at " + text_of(site) + ": " + std::to_string(threads) +
         " threads, not a multiple of the warp's 32");
  }
  if (waits) check_not_awaited(lane, op ? op : "barrier.sync", site, false);
  Barrier& barrier = block.barriers[id];
  if (barrier.arrived > 0) {
    check_same(lane, barrier, op, id, threads, site);
  } else {
    barrier.op = op;
    barrier.threads = threads;
    barrier.first_lane = lane.index;
    barrier.first_site = site;
  }
  barrier.who.set(static_cast<size_t>(lane.index));
  ++barrier.arrived;
  barrier.votes += predicate;
  release(lane, barrier.clock);
  if (waits) barrier.waiting.push_back(&lane);
  if (barrier.arrived == (op ? block.live : threads)) {
    complete(block, id);
    yield_one_in(2);
  } else if (waits) {
    lane.wait = Lane::Wait::kBarrier;
    lane.warp().absent |= lane.bit();
    lane.op = op;
    lane.barrier = id;
    lane.site = site;
    wait();
  }
  return lane.votes;
}

}  // namespace

Votes block_barrier(const char* op, bool predicate, Site site) { return arrive(op, 0, 0, predicate, true, site); }
void named_barrier_sync(int id, int threads, Site site) { arrive(nullptr, id, threads, false, true, site); }
void named_barrier_arrive(int id, int threads, Site site) { arrive(nullptr, id, threads, false, false, site); }

void exit_leaves_barriers(Lane& lane) {
  Block& block = *lane.block;
  Barrier& barrier = block.barriers[0];
  if (barrier.op != nullptr && barrier.arrived > 0 && barrier.arrived == block.live) complete(block, 0);
}

}  // namespace fastattn::emulator
