// Devices and their memory, by CUDA's runtime, which is linked in statically and looks for the driver when it is first
// called: this library loads where there is none.
//
// Workspaces come from a memory pool of our own for each device, so that PyTorch's and CuPy's settings of the default
// pool are left alone. A pool keeps what is freed, for the next call on the stream, until empty_cache.
#include "cuda/runtime.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdio>
#include <mutex>

namespace fastattn::cuda {
namespace {

constexpr int kMaxDevices = 64;
constexpr int kOldest = 8;  // the compute capability that kernels need at least

struct Device {
  char reason[FA_REASON_SIZE] = {};  // empty: kernels run on it
  cudaDeviceProp properties = {};
  std::atomic<cudaMemPool_t> pool = nullptr;  // made by the first allocation: it opens a context on the device
};

// Asked once: a driver does not come or go while a process runs.
struct Devices {
  char reason[FA_REASON_SIZE] = {};
  int count = 0;
  Device device[kMaxDevices];

  Devices() {
    int driver = 0;
    // 0 where there is no driver; where it is older than this runtime, the count fails.
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
      std::snprintf(reason, sizeof reason, "no CUDA driver is installed on this machine");
      return;
    }
    const cudaError_t status = cudaGetDeviceCount(&count);
    if (status == cudaErrorInsufficientDriver) {
      std::snprintf(reason, sizeof reason, "the CUDA driver is for CUDA %d.%d and this build needs %d.%d; update it",
                    driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    } else if (status != cudaSuccess) {
      std::snprintf(reason, sizeof reason, "CUDA finds no GPU: %s", cudaGetErrorString(status));
    }
    if (status != cudaSuccess) {
      cudaGetLastError();  // takes the error back: it is not the next caller's
      count = 0;
      return;
    }
    if (count > kMaxDevices) count = kMaxDevices;
    for (int i = 0; i < count; ++i) open(device[i], i);
  }

  static void open(Device& d, int number) {
    const cudaError_t status = cudaGetDeviceProperties(&d.properties, number);
    if (status == cudaSuccess && d.properties.major < kOldest) {
      std::snprintf(d.reason, sizeof d.reason, "cuda:%d (%.64s) has compute capability %d.%d; the kernels need 8.0",
                    number, d.properties.name, d.properties.major, d.properties.minor);
      return;
    }
    if (status != cudaSuccess) {
      std::snprintf(d.reason, sizeof d.reason, "cuda:%d cannot be used: %s", number, cudaGetErrorString(status));
      cudaGetLastError();
    }
  }
};

Devices& devices() {
  static Devices found;
  return found;
}

cudaMemPool_t pool_of(Device& d, int32_t number) {
  static std::mutex making;
  if (cudaMemPool_t pool = d.pool) return pool;
  const std::lock_guard lock(making);
  if (cudaMemPool_t pool = d.pool) return pool;
  cudaMemPoolProps props = {};
  props.allocType = cudaMemAllocationTypePinned;
  props.location.type = cudaMemLocationTypeDevice;
  props.location.id = number;
  cudaMemPool_t pool = nullptr;
  uint64_t keep = UINT64_MAX;
  if (cudaMemPoolCreate(&pool, &props) != cudaSuccess ||
      cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  d.pool = pool;
  return pool;
}

size_t sum_of(cudaMemPoolAttr attribute) {
  uint64_t sum = 0, value = 0;
  for (int i = 0; i < devices().count; ++i) {
    cudaMemPool_t pool = devices().device[i].pool;
    if (pool != nullptr && cudaMemPoolGetAttribute(pool, attribute, &value) == cudaSuccess) sum += value;
  }
  return static_cast<size_t>(sum);
}

}  // namespace

const char* unavailable() {
  const Devices& found = devices();
  if (found.reason[0] != 0) return found.reason;
  for (int i = 0; i < found.count; ++i) {
    if (found.device[i].reason[0] == 0) return nullptr;
  }
  return found.device[0].reason;
}

const char* device_unavailable(int32_t device) {
  const Devices& found = devices();
  if (found.reason[0] != 0) return found.reason;
  if (device < 0 || device >= found.count) return "there is no GPU of that number";
  return found.device[device].reason[0] != 0 ? found.device[device].reason : nullptr;
}

int32_t device_count() { return devices().count; }

fa_status device_info(int32_t device, fa_device_info* info) {
  if (device_unavailable(device) != nullptr) return FA_INVALID;
  const cudaDeviceProp& p = devices().device[device].properties;
  *info = {};
  std::snprintf(info->name, sizeof info->name, "%s", p.name);
  info->major = p.major;
  info->minor = p.minor;
  info->num_multiprocessors = p.multiProcessorCount;
  const DeviceGuard guard(device);
  return cudaMemGetInfo(&info->free_bytes, &info->total_bytes) == cudaSuccess ? FA_OK : FA_INVALID;
}

const char* synchronize(int32_t device) {
  if (const char* why = device_unavailable(device)) return why;
  const DeviceGuard guard(device);
  const cudaError_t status = cudaDeviceSynchronize();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

int32_t num_threads() { return 1; }
void set_num_threads(int32_t) {}

void* allocate(size_t bytes, int32_t device, void* stream) {
  if (device_unavailable(device) != nullptr) return nullptr;
  cudaMemPool_t pool = pool_of(devices().device[device], device);
  void* pointer = nullptr;
  if (pool == nullptr) return nullptr;
  if (cudaMallocFromPoolAsync(&pointer, bytes, pool, static_cast<cudaStream_t>(stream)) == cudaSuccess) return pointer;
  cudaGetLastError();
  return nullptr;
}

void release(void* pointer, int32_t, void* stream) {
  if (pointer != nullptr) cudaFreeAsync(pointer, static_cast<cudaStream_t>(stream));
}

void empty_cache() {
  for (int i = 0; i < devices().count; ++i) {
    if (cudaMemPool_t pool = devices().device[i].pool) cudaMemPoolTrimTo(pool, 0);
  }
}

size_t cache_bytes() { return sum_of(cudaMemPoolAttrReservedMemCurrent) - sum_of(cudaMemPoolAttrUsedMemCurrent); }
size_t live_bytes() { return sum_of(cudaMemPoolAttrUsedMemCurrent); }

DeviceGuard::DeviceGuard(int32_t device) : before_(device) {
  cudaGetDevice(&before_);
  if (before_ != device)
    cudaSetDevice(device);
  else
    before_ = -1;
}

DeviceGuard::~DeviceGuard() {
  if (before_ >= 0) cudaSetDevice(before_);
}

}  // namespace fastattn::cuda
