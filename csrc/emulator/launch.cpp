// The scheduler: which blocks are resident, which lane runs.
#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <numeric>

#include "emulator/device.h"
#include "emulator/state.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace fastattn::emulator {

constinit Lane* current = nullptr;

Running the_running;

Options& options() {
  static Options o = [] {
    Options from_environment;
    if (const char* seed = std::getenv("FASTATTN_EMULATOR_SEED")) {
      from_environment.seed = std::strtoull(seed, nullptr, 10);
      from_environment.order = static_cast<LaneOrder>(from_environment.seed % 4);
    }
    return from_environment;
  }();
  return o;
}

void set_seed(uint64_t seed) {
  options().seed = seed;
  options().order = static_cast<LaneOrder>(seed % 4);
}

const char* name_of(LaneOrder order) {
  switch (order) {
    case LaneOrder::kRandom: return "random";
    case LaneOrder::kForward: return "forward";
    case LaneOrder::kBackward: return "backward";
    case LaneOrder::kLag: return "one warp lags";
  }
  return "?";
}

bool sees_races() { return kRaces; }

namespace {

void set_registers(const Lane& lane) {
  threadIdx = lane.thread;
  blockIdx = lane.block->index;
}

// A fiber's entry.
void run_lane() {
  current->fiber.arrive();
  Running& r = running();
  r.body(r.argument);
  Lane& lane = *current;
  check_not_awaited(lane, "the kernel's end", Site("", 0), false);
  check_copies_done(lane);
  lane.state = Lane::State::kExited;
  lane.warp().absent |= lane.bit();
  --lane.block->live;
  exit_leaves_barriers(lane);
  r.polls = 0;
  lane.fiber.returns();
  lane.fiber.switch_out(true);
}

// Of two ready lanes the one with the lower rank runs first, in most cases.
uint32_t rank_of(const Lane& lane) {
  const uint32_t place = lane.block->index.x * uint32_t{kMaxThreads} + static_cast<uint32_t>(lane.index);
  switch (running().options.order) {
    case LaneOrder::kForward: return place;
    case LaneOrder::kBackward: return ~place;
    case LaneOrder::kLag: return lane.index / 32 == lane.block->lagging_warp;
    case LaneOrder::kRandom: break;
  }
  return 0;
}

// The next lane to run, out of the ready ones. The bias of an order is by repeated draws, so that nobody starves.
Lane& take_ready() {
  Running& r = running();
  const auto n = static_cast<uint32_t>(r.ready.size());
  const int draws = r.options.order == LaneOrder::kRandom ? 1 : 6;
  uint32_t best = r.rng.below(n);
  for (int draw = 1; draw < draws; ++draw) {
    const uint32_t other = r.rng.below(n);
    best = r.ready[other].rank < r.ready[best].rank ? other : best;
  }
  Lane* lane = r.ready[best].lane;
  r.ready[best] = r.ready.back();
  r.ready.pop_back();
  return *lane;
}

void start_block(Block& block, uint32_t position) {
  Running& r = running();
  const dim3 grid = r.launch->grid, size = r.launch->block;
  const uint32_t linear = r.block_order[position];
  block.serial = r.first_serial + position;
  block.index = {linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y};
  block.threads = block.live = static_cast<int>(size.x * size.y * size.z);
  block.lagging_warp = static_cast<int>(r.rng.below(static_cast<uint32_t>(block.threads + 31) / 32));
  for (Barrier& barrier : block.barriers) barrier.clear();
  for (Warp& warp : block.warps) warp = Warp();
  reset_shared(block);
  while (block.lanes.size() < static_cast<size_t>(block.threads)) block.lanes.push_back(std::make_unique<Lane>());
  for (int i = 0; i < block.threads; ++i) {
    Lane& lane = *block.lanes[i];
    const auto u = static_cast<unsigned>(i);
    lane.block = &block;
    lane.index = i;
    lane.thread = {u % size.x, u / size.x % size.y, u / size.x / size.y};
    lane.state = Lane::State::kReady;
    lane.wait = Lane::Wait::kNothing;
    lane.rank = rank_of(lane);
    lane.copies.clear();
    lane.groups = 0;
    start_clock(lane);
    lane.warp().absent &= ~lane.bit();
    lane.fiber.reset(run_lane);
    make_ready(lane);
  }
}

void check_launch(const Launch& config) {
  const uint64_t threads = uint64_t{config.block.x} * config.block.y * config.block.z;
  const uint64_t blocks = uint64_t{config.grid.x} * config.grid.y * config.grid.z;
  constexpr uint64_t kMaxBlocks = 1 << 20;  // a test's limit, not CUDA's
  if (threads == 0 || threads > kMaxThreads || config.block.z > 64) {
    throw Error("launch: a block of " + std::to_string(threads) + " threads");
  }
  if (blocks == 0 || blocks > kMaxBlocks || config.grid.y > 65535 || config.grid.z > 65535) {
    throw Error("launch: a grid of " + std::to_string(blocks) + " blocks");
  }
  if (config.shared_bytes > kSharedBytes) {
    throw Error("launch: " + std::to_string(config.shared_bytes) + " bytes of dynamic shared memory");
  }
}

}  // namespace

void wake(Lane& lane) {
  lane.state = Lane::State::kReady;
  Warp& warp = lane.warp();
  if (lane.wait == Lane::Wait::kBarrier) warp.absent &= ~lane.bit();
  if (lane.wait == Lane::Wait::kWarp) {
    warp.waiting &= ~lane.bit();
    if (warp.waiting == 0) warp.alike = true;
  }
  lane.wait = Lane::Wait::kNothing;
  make_ready(lane);
  running().polls = 0;
}

void wait() {
  current->state = Lane::State::kWaiting;
  current->fiber.switch_out(false);
}

void yield() {
  make_ready(*current);
  current->fiber.switch_out(false);
}

void yield_one_in(int n) {
  if (running().rng.one_in(n)) yield();
}

void poll(Site site) {
  Running& r = running();
  if (++r.polls > r.options.poll_limit) {
    fail("no progress: " + text_of(*current) + " polls at " + text_of(site) + ", and nothing else has happened for " +
         std::to_string(r.options.poll_limit) + " polls" + who_waits());
  }
  yield();
}

void launch(const Launch& config, void (*body)(void*), void* argument) {
  if (current != nullptr) throw Error("launch: from inside a kernel");
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  check_launch(config);
  Running& r = running();
  r.options = options();
  r.rng = Rng(r.options.seed);
  r.launch = &config;
  r.body = body;
  r.argument = argument;
  r.ready.clear();
  r.polls = 0;
  r.error.clear();
  gridDim = config.grid;
  blockDim = config.block;

  const uint32_t blocks = config.grid.x * config.grid.y * config.grid.z;
  r.block_order.resize(blocks);
  std::iota(r.block_order.begin(), r.block_order.end(), 0u);
  for (uint32_t i = blocks; i > 1; --i) std::swap(r.block_order[i - 1], r.block_order[r.rng.below(i)]);
  const uint32_t resident = std::min(blocks, static_cast<uint32_t>(std::max(r.options.resident_blocks, 1)));
  while (r.slots.size() < resident) r.slots.push_back(std::make_unique<Block>());
  uint32_t started = 0, ended = 0;
  for (; started < resident; ++started) start_block(*r.slots[started], started);

  while (ended < blocks) {
    if (r.ready.empty()) {
      try {
        fail("deadlock: nobody can run" + who_waits());
      } catch (const Error& error) {
        r.error = error.what();
      }
      break;
    }
    Lane& lane = take_ready();
    current = &lane;
    set_registers(lane);
    lane.fiber.switch_in();
    current = nullptr;
    if (!r.error.empty()) break;
    if (lane.state == Lane::State::kExited && lane.block->live == 0) {
      ++ended;
      if (started < blocks) start_block(*lane.block, started++);
    }
  }
  r.first_serial += blocks;
  r.ready.clear();
  forget_cells();
  r.launch = nullptr;
  if (!r.error.empty()) throw Error(r.error);
}

}  // namespace fastattn::emulator
