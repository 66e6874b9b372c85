// A fork-join pool for short regions.
//
// - The caller publishes a job and works on it; workers join while it is open. The caller waits only for workers
//   that have joined, never for one that has not woken up or has no CPU: more threads than CPUs cost only switches.
// - One region at a time. A second caller, and a call from inside a region, runs inline: the same items, the same bits.
// - Between regions workers spin for kSpinNanoseconds, the gaps of a training step, then sleep on a futex: waking one
//   costs 20 to 60 microseconds, and spinning longer steals time from whoever else has threads in this process.
// - Workers take on the caller's MXCSR (rounding, flush-to-zero), so that results do not depend on who ran an item.
// - After fork the child has no workers; its first region starts new ones.

#include "thread_pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>

namespace fastattn::cpu {
namespace {

constexpr int kMaxThreads = 256;
constexpr int64_t kSpinNanoseconds = 1'000'000;
constexpr int kPausesPerLook = 32;

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

// A job's gate: high 32 bits its number, then one bit for open, then the number of workers inside. Joining is one CAS,
// so a worker is either inside an open job, whose fields then stand still, or outside.
constexpr uint64_t kOpen = 1u << 16;
constexpr uint64_t kInsideMask = kOpen - 1;

struct Pool {
  std::mutex region;  // held by the caller of the running region
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<uint32_t> wakeups{0};
  std::atomic<int> sleepers{0};
  alignas(64) std::atomic<int64_t> next_item{0};

  // The open job. Written while the gate is closed and nobody is inside.
  TaskFn fn = nullptr;
  void* context = nullptr;
  int64_t num_items = 0;
  int max_workers = 0;
  unsigned mxcsr = 0;

  int started = 0;  // workers, the caller not counted
};

Pool* pool = new Pool;  // never destroyed: workers may still spin while statics are torn down
thread_local bool inside_region = false;
std::atomic<int> requested_threads{0};

void run_items(Pool& p, int worker) {
  inside_region = true;
  for (;;) {
    int64_t item = p.next_item.fetch_add(1, std::memory_order_relaxed);
    if (item >= p.num_items) break;
    p.fn(p.context, item, worker);
  }
  inside_region = false;
}

void* worker_main(void* arg) {
  const int worker = static_cast<int>(reinterpret_cast<intptr_t>(arg));
  Pool& p = *pool;
  uint64_t last_job = 0;
  int64_t idle_since = now_ns();
  for (unsigned looks = 1;; ++looks) {  // unsigned: it wraps after minutes of spinning
    uint64_t gate = p.gate.load(std::memory_order_acquire);
    uint64_t job = gate >> 32;
    if ((gate & kOpen) != 0 && job != last_job) {
      if (p.gate.compare_exchange_strong(gate, gate + 1, std::memory_order_acq_rel)) {
        last_job = job;
        if (worker < p.max_workers) {
          _mm_setcsr(p.mxcsr);
          run_items(p, worker);
        }
        p.gate.fetch_sub(1, std::memory_order_release);
        idle_since = now_ns();
      }
      continue;
    }
    _mm_pause();
    if (looks % kPausesPerLook != 0 || now_ns() - idle_since < kSpinNanoseconds) continue;
    uint32_t ticket = p.wakeups.load(std::memory_order_acquire);
    p.sleepers.fetch_add(1, std::memory_order_seq_cst);
    gate = p.gate.load(std::memory_order_seq_cst);
    if ((gate & kOpen) == 0 || (gate >> 32) == last_job) futex_wait(p.wakeups, ticket);
    p.sleepers.fetch_sub(1, std::memory_order_relaxed);
    idle_since = now_ns();
  }
  return nullptr;
}

void start_workers(Pool& p, int wanted) {
  while (p.started < wanted) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all, old;
    sigfillset(&all);  // signals, Ctrl-C among them, belong to the caller's threads
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = pthread_create(&thread, &attributes, worker_main,
                               reinterpret_cast<void*>(static_cast<intptr_t>(p.started + 1)));
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    pthread_attr_destroy(&attributes);
    if (error != 0) break;  // the region runs on the threads there are
    ++p.started;
  }
}

// CPUs that the cgroup's quota allows, or a large number.
int cgroup_cpus() {
  char quota[32];
  double period = 0;
  if (FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    int fields = std::fscanf(f, "%31s %lf", quota, &period);
    std::fclose(f);
    if (fields == 2 && std::strcmp(quota, "max") != 0 && period > 0) {
      return std::max(1, static_cast<int>(std::ceil(std::atof(quota) / period)));
    }
  }
  return kMaxThreads;
}

int default_threads() {
  for (const char* name : {"FASTATTN_NUM_THREADS", "OMP_NUM_THREADS"}) {
    if (const char* text = std::getenv(name)) {
      int n = std::atoi(text);
      if (n > 0) return std::min(n, kMaxThreads);
    }
  }
  cpu_set_t set;
  int cpus =
      sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  return std::clamp(std::min(cpus, cgroup_cpus()), 1, kMaxThreads);
}

const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
  pool = new Pool;  // the old one's workers and locks stayed in the parent
  inside_region = false;
});

}  // namespace

int num_threads() {
  int n = requested_threads.load(std::memory_order_relaxed);
  if (n == 0) {
    n = default_threads();
    requested_threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

void set_num_threads(int n) { requested_threads.store(std::clamp(n, 0, kMaxThreads), std::memory_order_relaxed); }

void run_parallel(int64_t num_items, int max_threads, TaskFn fn, void* context) {
  if (num_items <= 0) return;
  if (num_items == 1 || max_threads <= 1 || inside_region || !pool->region.try_lock()) {
    for (int64_t item = 0; item < num_items; ++item) fn(context, item, 0);
    return;
  }
  Pool& p = *pool;
  int workers = static_cast<int>(std::min<int64_t>(max_threads, num_items));
  start_workers(p, workers - 1);
  p.fn = fn;
  p.context = context;
  p.num_items = num_items;
  p.max_workers = workers;
  p.mxcsr = _mm_getcsr();
  p.next_item.store(0, std::memory_order_relaxed);
  uint64_t job = (p.gate.load(std::memory_order_relaxed) >> 32) + 1;
  p.gate.store(job << 32 | kOpen, std::memory_order_seq_cst);
  if (p.sleepers.load(std::memory_order_seq_cst) > 0) {
    p.wakeups.fetch_add(1, std::memory_order_release);
    futex_wake_all(p.wakeups);
  }
  run_items(p, 0);
  p.gate.fetch_and(~kOpen, std::memory_order_acq_rel);
  // Yield after a while: with more threads than CPUs, the one waited for may need this one.
  for (int spins = 0; (p.gate.load(std::memory_order_acquire) & kInsideMask) != 0; ++spins) {
    if (spins < 4096) {
      _mm_pause();
    } else {
      sched_yield();
    }
  }
  p.region.unlock();
}

}  // namespace fastattn::cpu
