// What the table needs of a device besides kernels. runtime.cpp has it from CUDA's runtime, emulator/runtime.cpp plays
// it on the host.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/types.h"

namespace fastattn::cuda {

// nullptr, or in one line why kernels cannot run: on any device, or on this one.
const char* unavailable();
const char* device_unavailable(int32_t device);

int32_t device_count();
fa_status device_info(int32_t device, fa_device_info* info);
const char* synchronize(int32_t device);  // nullptr, or what went wrong

// Threads of the host, of which a kernel needs one; on the emulator each number of them is a schedule of its own, so
// that what must be the same for any number of threads is tested to be the same in any order.
int32_t num_threads();
void set_num_threads(int32_t n);

// Memory of a device, usable and freed in the order of a stream; nullptr where there is none left.
void* allocate(size_t bytes, int32_t device, void* stream);
void release(void* pointer, int32_t device, void* stream);
void empty_cache();
size_t cache_bytes();
size_t live_bytes();

// Makes `device` the current one of this thread, and the one before current again.
class DeviceGuard {
 public:
  explicit DeviceGuard(int32_t device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;

 private:
  int32_t before_;
};

}  // namespace fastattn::cuda
