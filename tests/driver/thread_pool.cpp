// The thread pool, on a copy of its own: its functions are not exported, so the source is compiled in here.
#include "cpu/thread_pool.cpp"

#include <sys/wait.h>

#include <thread>

#include "driver.h"

using driver::Test;
namespace pool = fastattn::cpu;

namespace {

template <class F>
void run(int64_t items, int threads, F f) {
  pool::run_parallel(
      items, threads, [](void* context, int64_t item, int worker) { (*static_cast<F*>(context))(item, worker); }, &f);
}

// Every item once, no two items on one worker at a time, and worker numbers below the number of threads.
bool covers(int64_t items, int threads) {
  std::vector<std::atomic<int>> count(static_cast<size_t>(items));
  std::atomic<int> busy[8] = {};
  std::atomic<bool> ok{true};
  run(items, threads, [&](int64_t item, int worker) {
    if (worker < 0 || worker >= std::max(threads, 1)) {
      ok = false;
      return;
    }
    if (busy[worker].fetch_add(1) != 0) ok = false;
    count[static_cast<size_t>(item)].fetch_add(1);
    busy[worker].fetch_sub(1);
  });
  for (auto& c : count) ok = ok && c.load() == 1;
  return ok;
}

}  // namespace

FASTATTN_ONCE(thread_pool) {
  for (int64_t items : {0, 1, 2, 3, 7, 64, 1000}) {
    for (int threads : {0, 1, 2, 3, 8}) {
      t.expect(covers(items, threads), "coverage of " + std::to_string(items));
    }
  }
  bool many = true;
  for (int i = 0; i < 5000; ++i) many = many && covers(3, 3);  // back to back: workers join and leave at every point
  t.expect(many, "many regions");
  for (int i = 0; i < 20; ++i) {  // workers asleep
    usleep(1500);
    many = many && covers(9, 3);
  }
  t.expect(many, "regions after sleep");

  std::atomic<int64_t> sum{0};
  run(8, 3, [&](int64_t i, int) {
    run(8, 3, [&](int64_t j, int worker) {
      if (worker != 0) sum += 1000000;
      sum += i * j;
    });
  });
  t.expect(sum == 28 * 28, "nested regions run inline");

  std::atomic<bool> ok{true};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        if (!covers(5, 3)) ok = false;
      }
    });
  }
  for (auto& c : callers) c.join();
  t.expect(ok, "concurrent callers");

  const unsigned csr = _mm_getcsr();
  _mm_setcsr(csr | 0x8040);  // flush to zero, denormals are zero
  run(64, 3, [&](int64_t, int) {
    if ((_mm_getcsr() & 0x8040) != 0x8040) ok = false;
    usleep(50);
  });
  _mm_setcsr(csr);
  t.expect(ok, "workers have the caller's MXCSR");
  run(64, 3, [&](int64_t, int) {
    if ((_mm_getcsr() & 0x8040) != (csr & 0x8040)) ok = false;
    usleep(50);
  });
  t.expect(ok, "workers get the caller's MXCSR again");

  pool::set_num_threads(3);
  t.expect(pool::num_threads() == 3, "set_num_threads(3)");
  pool::set_num_threads(0);
  t.expect(pool::num_threads() >= 1, "set_num_threads(0) is the default");

#if !defined(__SANITIZE_THREAD__)  // it refuses threads after a fork of a process with threads
  for (bool busy : {false, true}) {
    std::atomic<bool> stop{false};
    std::thread other([&] {  // holds the pool for most of the time
      while (busy && !stop) covers(50, 3);
    });
    const pid_t child = fork();
    if (child == 0) {
      bool fine = true;
      for (int i = 0; i < 20; ++i) fine = fine && covers(17, 3);
      _exit(fine ? 0 : 1);
    }
    int status = -1;
    waitpid(child, &status, 0);
    stop = true;
    other.join();
    t.expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, busy ? "fork of a busy pool" : "fork of an idle pool");
    t.expect(covers(17, 3), "the parent after fork");
  }
#endif
}
