// Warps: collectives as rendezvous. A lane posts its call and waits; the last of the mask does the work for all.
#include <cstring>

#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

Lane* peer(const Lane& lane, int i) {
  const int index = lane.index / 32 * 32 + i;
  return index < lane.block->threads ? lane.block->lanes[index].get() : nullptr;
}

std::string call_text(const char* op, unsigned mask, Site site) {
  return std::string(op) + ", mask " + hex(mask) + ", at " + text_of(site);
}

[[noreturn]] void diverges(const Lane& lane, const std::string& here, const Lane& other, const std::string& there) {
  fail("divergent call: " + text_of(lane) + " comes to " + here + ", but " + text_of(other) + " of its warp waits " +
       there);
}

bool same_op(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }
bool in_call(const Lane& lane, const char* op, unsigned mask, Site site) {
  return same_op(lane.op, op) && lane.mask == mask && where_of(lane.site) == where_of(site);
}

std::string waits_in(const Lane& other) {
  if (other.wait == Lane::Wait::kWarp) return "in " + call_text(other.op, other.mask, other.site);
  return "at " + std::string(other.op ? other.op : "barrier " + std::to_string(other.barrier)) + " at " +
         text_of(other.site);
}

}  // namespace

// A lane of the warp that waits in a call which names this lane waits for exactly that call.
void check_not_awaited(Lane& lane, const char* op, Site site, bool same_call_allowed) {
  if (lane.warp().waiting == 0) return;
  for (int i = 0; i < 32; ++i) {
    const Lane* other = peer(lane, i);
    if (other == nullptr || other->wait != Lane::Wait::kWarp || (other->mask >> lane.lane() & 1) == 0) continue;
    if (same_call_allowed && same_op(other->op, op) && other->mask == lane.mask &&
        (where_of(other->site) == where_of(site) || same_op(op, "__syncwarp"))) {
      continue;
    }
    std::string here = op;
    if (same_call_allowed) {
      here = call_text(op, lane.mask, site);
    } else if (site.line > 0) {
      here += " at " + text_of(site);
    }
    diverges(lane, here, *other, waits_in(*other));
  }
}

namespace {
// The lanes of the mask that have come to the call, this one among them. Fails if one cannot come to it any more, or if
// one of the warp waits for this lane elsewhere.
unsigned arrived_at(Lane& lane, const char* op, unsigned mask, Site site) {
  const Warp& warp = lane.warp();
  if ((mask & warp.absent) == 0 && (warp.waiting == 0 || (warp.alike && in_call(*warp.first, op, mask, site)))) {
    return warp.waiting | lane.bit();
  }
  check_not_awaited(lane, op, site, true);
  unsigned arrived = lane.bit();
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) == 0 || i == lane.lane()) continue;
    const Lane* other = peer(lane, i);
    if (other == nullptr || other->state == Lane::State::kExited) {
      fail(call_text(op, mask, site) + ": " + text_of(lane) + " names lane " + std::to_string(i) +
           " of its warp, which " + (other == nullptr ? "the block does not have" : "has exited"));
    }
    if (other->wait == Lane::Wait::kBarrier) diverges(lane, call_text(op, mask, site), *other, waits_in(*other));
    if (other->wait == Lane::Wait::kWarp) {
      if (other->mask != mask) diverges(lane, call_text(op, mask, site), *other, waits_in(*other));
      arrived |= 1u << i;
    }
  }
  return arrived;
}
}  // namespace

void collective(const char* op, unsigned mask, void* operand, void (*work)(const WarpCall&), Site site) {
  Lane& lane = *current;
  lane.mask = mask;
  if ((mask & lane.bit()) == 0) fail(call_text(op, mask, site) + ": " + text_of(lane) + " is not in the mask");
  const unsigned arrived = arrived_at(lane, op, mask, site);
  lane.op = op;
  lane.site = site;
  lane.operand = operand;
  if (arrived != mask) {
    Warp& warp = lane.warp();
    if (warp.waiting == 0) warp.first = &lane;
    warp.alike = warp.alike && in_call(*warp.first, op, mask, site);
    warp.waiting |= lane.bit();
    lane.wait = Lane::Wait::kWarp;
    wait();
    return;
  }
  WarpCall call{mask, {}, op, site};
  for (int i = 0; i < 32; ++i) call.operands[i] = mask >> i & 1 ? peer(lane, i)->operand : nullptr;
  work(call);
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0 && i != lane.lane()) wake(*peer(lane, i));
  }
  yield_one_in(4);
}

void collective_error(const WarpCall& call, int lane, const char* what) {
  fail(call_text(call.op, call.mask, call.site) + ": " + text_of(*peer(*current, lane)) + " " + what);
}

void warp_barrier(unsigned mask, Site site) {
  auto work = [](const WarpCall& call) {
    Clock all;
    for (int i = 0; i < 32; ++i) {
      if (call.mask >> i & 1) release(*peer(*current, i), all);
    }
    for (int i = 0; i < 32; ++i) {
      if (call.mask >> i & 1) acquire(*peer(*current, i), all);
    }
  };
  collective("__syncwarp", mask, nullptr, work, site);
}

namespace {
struct Shuffle {
  uint64_t bits, result;
  ShuffleKind kind;
  int argument, width;
};

// Which lane's value this one takes (PTX shfl.sync); its own where the source would leave the segment.
int source_lane(const Shuffle& s, int lane) {
  const int base = lane & ~(s.width - 1), last = base | (s.width - 1);
  switch (s.kind) {
    case ShuffleKind::kIndex: return base | (s.argument & (s.width - 1));
    case ShuffleKind::kUp: return lane - s.argument < base ? lane : lane - s.argument;
    case ShuffleKind::kDown: return lane + s.argument > last ? lane : lane + s.argument;
    case ShuffleKind::kXor: return (lane ^ s.argument) > last ? lane : lane ^ s.argument;
  }
  return lane;
}
}  // namespace

uint64_t warp_shuffle(const char* op, ShuffleKind kind, unsigned mask, uint64_t bits, int argument, int width,
                      Site site) {
  if (width <= 0 || width > 32 || (width & (width - 1)) != 0) {
    fail(std::string(op) + " at " + text_of(site) + ": a width of " + std::to_string(width));
  }
  if (kind != ShuffleKind::kIndex && (argument < 0 || argument > 31)) {
    fail(std::string(op) + " at " + text_of(site) + ": a distance of " + std::to_string(argument));
  }
  Shuffle mine{bits, 0, kind, argument, width};
  auto work = [](const WarpCall& call) {
    for (int lane = 0; lane < 32; ++lane) {
      if ((call.mask >> lane & 1) == 0) continue;
      auto* s = static_cast<Shuffle*>(call.operands[lane]);
      const int from = source_lane(*s, lane);
      if ((call.mask >> from & 1) == 0) {
        collective_error(call, lane, ("reads lane " + std::to_string(from) + ", which is not in the mask").c_str());
      }
      s->result = static_cast<Shuffle*>(call.operands[from])->bits;
    }
  };
  collective(op, mask, &mine, work, site);
  return mine.result;
}

namespace {
struct Gather {
  uint64_t bits;
  uint64_t* all;
};
}  // namespace

unsigned warp_gather(const char* op, unsigned mask, uint64_t bits, uint64_t (&all)[32], Site site) {
  Gather mine{bits, all};
  auto work = [](const WarpCall& call) {
    for (int to = 0; to < 32; ++to) {
      for (int from = 0; from < 32; ++from) {
        if ((call.mask >> to & call.mask >> from & 1) == 0) continue;
        static_cast<Gather*>(call.operands[to])->all[from] = static_cast<Gather*>(call.operands[from])->bits;
      }
    }
  };
  collective(op, mask, &mine, work, site);
  return mask;
}

unsigned warp_ballot(const char* op, unsigned mask, bool predicate, Site site) {
  uint64_t all[32];
  warp_gather(op, mask, predicate, all, site);
  unsigned ballot = 0;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1) != 0 && all[i] != 0) ballot |= 1u << i;
  }
  return ballot;
}

// What CUDA promises of it is only that the caller is in it; a kernel that believes more is wrong.
unsigned active_mask() { return 1u << current->lane(); }

}  // namespace fastattn::emulator
