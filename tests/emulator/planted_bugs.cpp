// Wrong kernels, each of which must be named: what is wrong, who, and both places.
#include <memory>

#include "emulator/emulator_test.h"
#include "emulator/kernels.h"

namespace {

using namespace emulator_test;
using fastattn::emulator::sees_bounds;
using fastattn::emulator::sees_races;

constexpr const char* kFile = "blocks.cu";

void sum_rows(Bug bug) {
  std::vector<float> x(300, 1.0f), out(2);
  run_row_sums(x.data(), out.data(), 2, 150, bug);
}

void named_barriers(Bug bug) {
  std::vector<float> x(200, 1.0f), out(200);
  run_named_barriers(x.data(), out.data(), 200, bug);
}

void hand_over(Bug bug) {
  std::vector<float> in(128, 1.0f), between(128), out(128);
  uint32_t flag = 0;
  run_hand_over(in.data(), between.data(), &flag, out.data(), 128, bug);
}

}  // namespace

EMULATOR_TEST(bug_missing_barrier) {
  if (!sees_races()) return;
  t.expect_report(
      "missing barrier", [] { sum_rows(Bug::kMissingBarrier); },
      {"race on shared memory sSums", "write by thread", "read by thread 0 of block",
       "at " + line_of(kFile, "write of the warp's sum"), "at " + line_of(kFile, "read of the warps' sums")});
}

EMULATOR_TEST(bug_divergent_shuffle) {
  t.expect_report("divergent shuffle", [] { sum_rows(Bug::kDivergentShuffle); },
                  {"divergent call: thread", "__shfl_xor_sync, mask 0xffffffff",
                   "at " + line_of(kFile, "divergent shuffle, low lanes"),
                   "at " + line_of(kFile, "divergent shuffle, high lanes")});
}

EMULATOR_TEST(bug_divergent_barrier) {
  t.expect_report("divergent barrier", [] { sum_rows(Bug::kDivergentBarrier); },
                  {"divergent __syncthreads", line_of(kFile, "divergent barrier, warp 0"),
                   line_of(kFile, "divergent barrier, others")});
}

EMULATOR_TEST(bug_exited_lane) {
  t.expect_report("exited lane in a mask", [] { sum_rows(Bug::kExitedLane); },
                  {"thread 5 of block|which has exited", "lane 5 of its warp|comes to the kernel's end",
                   "__shfl_xor_sync, mask 0xffffffff, at " + line_of(kFile, "shuffle of warp_sum")});
}

EMULATOR_TEST(bug_barrier_count) {
  t.expect_report("barrier count mismatch", [] { named_barriers(Bug::kBarrierCount); },
                  {"barrier 1: thread", "counts", "96", "128", "at " + line_of(kFile, "producer arrives"),
                   "at " + line_of(kFile, "consumer waits")});
}

EMULATOR_TEST(bug_deadlock) {
  t.expect_report("deadlock", [] { named_barriers(Bug::kDeadlock); },
                  {"deadlock: nobody can run",
                   "32 threads of block 0 wait at barrier 2 at " + line_of(kFile, "producer waits") +
                       ", where 32 of 128 have arrived",
                   "96 threads of block 0 wait at barrier 1 at " + line_of(kFile, "consumer waits") +
                       ", where 96 of 128 have arrived"});
}

EMULATOR_TEST(bug_livelock) {
  fastattn::emulator::options().poll_limit = 5000;
  t.expect_report("a flag that nobody sets", [] { hand_over(Bug::kSpin); },
                  {"no progress: thread 0 of block 1 polls at " + line_of(kFile, "poll of the flag"),
                   "1 thread of block 1 can run", "127 threads of block 1 wait at __syncthreads"});
  fastattn::emulator::options().poll_limit = fastattn::emulator::Options().poll_limit;
}

EMULATOR_TEST(bug_missing_syncwarp) {
  if (!sees_races()) return;
  std::vector<float> in(32, 1.0f), out(32);
  t.expect_report("shuffle taken for a barrier",
                  [&] { run_warp_reverse(in.data(), out.data(), Bug::kMissingSyncwarp); },
                  {"race on shared memory sRow", "at " + line_of(kFile, "lane's write"),
                   "at " + line_of(kFile, "other lane's read")});
}

EMULATOR_TEST(bug_copy_without_barrier) {
  if (!sees_races()) return;
  std::vector<float> in(32, 1.0f), out(32);
  t.expect_report("memcpy without a barrier",
                  [&] { run_warp_reverse(in.data(), out.data(), Bug::kCopyWithoutBarrier); },
                  {"race on shared memory sRow", "at " + line_of(kFile, "lane's copy"),
                   "at " + line_of(kFile, "other lane's read")});
}

EMULATOR_TEST(bug_missing_fence) {
  if (!sees_races()) return;
  std::vector<float> x(500, 1.0f), parts(4), out(1);
  unsigned counter = 0;
  t.expect_report("missing fence between blocks",
                  [&] { run_grid_sum(x.data(), parts.data(), &counter, out.data(), 500, Bug::kMissingFence); },
                  {"race on global memory", "at " + line_of(kFile, "write of a block's part"),
                   "at " + line_of(kFile, "read of all parts")});
}

EMULATOR_TEST(bug_flag_set_too_early) {
  if (!sees_races()) return;
  t.expect_report("flag set before the others have written", [] { hand_over(Bug::kMissingBarrier); },
                  {"race on global memory", "at " + line_of(kFile, "write of what is handed over"),
                   "at " + line_of(kFile, "read of what is handed over")});
}

EMULATOR_TEST(bug_missing_acquire) {
  if (!sees_races()) return;
  t.expect_report("flag read by an atomic without a fence", [] { hand_over(Bug::kMissingAcquire); },
                  {"race on global memory", "at " + line_of(kFile, "write of what is handed over"),
                   "at " + line_of(kFile, "read of what is handed over")});
}

EMULATOR_TEST(bug_shared_out_of_bounds) {
  const std::string line = line_of(kFile, "write of the warp's sum");
  if (sees_bounds()) {
    t.expect_death("shared memory out of bounds", [] { sum_rows(Bug::kSharedOutOfBounds); },
                   {"AddressSanitizer", "WRITE of size 4", line});
  } else {
    t.expect_report("shared memory out of bounds", [] { sum_rows(Bug::kSharedOutOfBounds); },
                    {"write of 4 bytes at shared memory sSums + 16 of 16 bytes, out of bounds, by thread 96 of block",
                     "at " + line});
  }
}

EMULATOR_TEST(bug_unguarded_row) {
  if (!sees_bounds()) return;
  const int M = 31, N = 20, K = 19;  // one row is too many: what is read lies in the sanitizer's zone behind A
  auto run = [&] {
    const std::unique_ptr<float[]> a(new float[M * K]()), b(new float[K * N]()), c(new float[M * N]());
    run_matmul_tile(a.get(), b.get(), c.get(), M, N, K, Bug::kUnguardedRow);
  };
  t.expect_death(
      "unguarded tail row", run,
      {"AddressSanitizer", "heap-buffer-overflow", "READ of size 4", line_of("matmul_tile.cu", "read of A")});
}

EMULATOR_TEST(bug_copy_out_of_bounds) {
  if (!sees_bounds()) return;
  const std::unique_ptr<uint8_t[]> in(new uint8_t[31 * 16]());
  std::vector<uint8_t> out(32 * 16);
  std::vector<int> source(32, 16);
  t.expect_report("cp.async out of bounds", [&] { run_cp_async(16, in.get(), source.data(), out.data()); },
                  {"cp.async at tests/emulator/kernels/instructions.cu:", "thread 31 of block 0 reads global memory",
                   "out of bounds"});
}

EMULATOR_TEST(bug_misaligned_row) {
  std::vector<uint16_t> memory(1024);
  std::vector<uint32_t> address(32, 8), registers(32);
  t.expect_report("misaligned ldmatrix row",
                  [&] { run_ldmatrix(1, false, memory.data(), address.data(), registers.data()); },
                  {"ldmatrix at tests/emulator/kernels/instructions.cu:", "not a multiple of 16"});
}

EMULATOR_TEST(bug_lane_outside_mask) {
  std::vector<uint64_t> in(32), out(32);
  const std::vector<int> by(32, 16);
  t.expect_report(
      "shuffle from a lane outside the mask", [&] { run_shuffle(3, 0x0000ffff, 32, by.data(), in.data(), out.data()); },
      {"__shfl_xor_sync, mask 0xffff, at tests/emulator/kernels/instructions.cu:", "which is not in the mask"});
}
