// The one thread pool of the CPU backend. Work is a number of independent items; threads claim them one by one, so what
// an item computes never depends on how many threads there are. See thread_pool.cpp for the promises.
#pragma once

#include <cstdint>

namespace fastattn::cpu {

// fn(context, item, worker): 0 <= item < num_items, each once; 0 <= worker < the number of threads, and no two items
// run on one worker at the same time.
using TaskFn = void (*)(void* context, int64_t item, int worker);

// Runs all items on at most max_threads threads, the caller's among them, and returns when they are done. A call from
// inside a region, or while another thread holds the pool, runs its items inline, as worker 0.
void run_parallel(int64_t num_items, int max_threads, TaskFn fn, void* context);

int num_threads();
void set_num_threads(int n);  // 0: FASTATTN_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs this process may use

}  // namespace fastattn::cpu
