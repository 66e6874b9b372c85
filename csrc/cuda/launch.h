// The one place that launches a kernel.
#pragma once

#include <type_traits>

#include "cuda/platform.h"

namespace fastattn::cuda {

struct LaunchConfig {
  dim3 grid, block;
  size_t shared_bytes = 0;  // dynamic shared memory
  void* stream = nullptr;   // a cudaStream_t
};

// Puts kernel(args...) on the stream, and neither waits nor allocates. Returns nullptr, or what CUDA says is wrong with
// the launch. The emulator runs the grid to its end and throws what it finds.
template <class... Params>
const char* launch(void (*kernel)(Params...), const LaunchConfig& config, std::type_identity_t<Params>... args) {
#ifdef __CUDACC__
  constexpr size_t kWithoutAsking = 48 << 10;
  if (config.shared_bytes > kWithoutAsking) {
    const cudaError_t status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    static_cast<int>(config.shared_bytes));
    if (status != cudaSuccess) return cudaGetErrorString(status);
  }
  kernel<<<config.grid, config.block, config.shared_bytes, static_cast<cudaStream_t>(config.stream)>>>(args...);
  const cudaError_t status = cudaGetLastError();
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
#else
  auto thread = [&] { kernel(args...); };
  emulator::Launch launch{config.grid, config.block, config.shared_bytes, reinterpret_cast<const void*>(kernel)};
  (launch.add_parameter(&args, sizeof args), ...);
  emulator::launch(launch, [](void* run) { (*static_cast<decltype(thread)*>(run))(); }, &thread);
  return nullptr;
#endif
}

}  // namespace fastattn::cuda
