// The one device of the emulator, whose memory is the host's.
#include "cuda/runtime.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator/emulator.h"

namespace fastattn::cuda {
namespace {

// A workspace with its size in front, so that what is out can be told.
constexpr size_t kAlign = 64;
std::atomic<size_t> live = 0;

int32_t threads = 1;

}  // namespace

const char* unavailable() { return nullptr; }
const char* device_unavailable(int32_t device) {
  return device == 0 ? nullptr : "the emulator has one device, number 0";
}
int32_t device_count() { return 1; }

fa_status device_info(int32_t device, fa_device_info* info) {
  if (device != 0) return FA_INVALID;
  *info = {};
  std::snprintf(info->name, sizeof info->name, "emulator");
  info->major = 8;
  info->num_multiprocessors = 1;
  return FA_OK;
}

const char* synchronize(int32_t device) { return device_unavailable(device); }

int32_t num_threads() { return threads; }
void set_num_threads(int32_t n) {
  const int32_t now = n > 0 ? n : 1;
  emulator::set_seed(emulator::options().seed + static_cast<uint64_t>(now) - static_cast<uint64_t>(threads));
  threads = now;
}

void* allocate(size_t bytes, int32_t, void*) {
  if (bytes > SIZE_MAX - 2 * kAlign) return nullptr;
  const size_t whole = (bytes + 2 * kAlign - 1) / kAlign * kAlign;
  char* memory = static_cast<char*>(std::aligned_alloc(kAlign, whole));
  if (memory == nullptr) return nullptr;
  std::memset(memory, 0xFF, whole);  // a kernel that reads what none has written reads NaN
  std::memcpy(memory, &whole, sizeof whole);
  live += whole;
  return memory + kAlign;
}

void release(void* pointer, int32_t, void*) {
  if (pointer == nullptr) return;
  char* memory = static_cast<char*>(pointer) - kAlign;
  size_t whole;
  std::memcpy(&whole, memory, sizeof whole);
  live -= whole;
  std::free(memory);
}

void empty_cache() {}
size_t cache_bytes() { return 0; }
size_t live_bytes() { return live; }

DeviceGuard::DeviceGuard(int32_t device) : before_(device) {}
DeviceGuard::~DeviceGuard() = default;

}  // namespace fastattn::cuda
