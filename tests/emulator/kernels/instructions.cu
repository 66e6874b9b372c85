// Each wrapped instruction alone, by one warp: operands in from global memory, results out to it. On a machine with a
// GPU the same kernels give the vectors that these tests compare with.
#include "cuda/launch.h"
#include "cuda/ptx/cp_async.h"
#include "cuda/ptx/ldmatrix.h"
#include "cuda/ptx/math.h"
#include "cuda/ptx/mma.h"
#include "cuda/shared.h"
#include "cuda/types.h"
#include "emulator/kernels.h"

namespace emulator_test {
namespace {

using namespace fastattn::cuda;
using fastattn::bf16;
using fastattn::f16;

constexpr int kSharedWords = 512;

__global__ void shuffle_kernel(int kind, unsigned mask, int width, const int* argument, const uint64_t* in,
                               uint64_t* out) {
  const int lane = static_cast<int>(threadIdx.x);
  if ((mask >> lane & 1) == 0) return;
  const uint64_t x = in[lane];
  const int by = argument[lane];
  switch (kind) {
    case 0: out[lane] = __shfl_sync(mask, x, by, width); break;
    case 1: out[lane] = __shfl_up_sync(mask, x, by, width); break;
    case 2: out[lane] = __shfl_down_sync(mask, x, by, width); break;
    default: out[lane] = __shfl_xor_sync(mask, x, by, width); break;
  }
}

__global__ void votes_kernel(unsigned mask, const int* in, int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  if ((mask >> lane & 1) == 0) return;
  const int x = in[lane];
  const unsigned bits = static_cast<unsigned>(x);
  int* mine = out + 9 * lane;
  mine[0] = static_cast<int>(__ballot_sync(mask, x > 0));
  mine[1] = __any_sync(mask, x > 90);
  mine[2] = __all_sync(mask, x > -90);
  mine[3] = __reduce_add_sync(mask, x);
  mine[4] = __reduce_min_sync(mask, x);
  mine[5] = __reduce_max_sync(mask, x);
  mine[6] = static_cast<int>(__reduce_and_sync(mask, bits));
  mine[7] = static_cast<int>(__reduce_or_sync(mask, bits));
  mine[8] = static_cast<int>(__reduce_xor_sync(mask, bits));
}

template <int kMatrices, bool kTransposed>
__global__ void ldmatrix_kernel(const uint16_t* memory, const uint32_t* address, uint32_t* registers) {
  SHARED_ARRAY(uint32_t, sMemory, 16, kSharedWords);
  const uint32_t* words = reinterpret_cast<const uint32_t*>(memory);
  for (unsigned i = threadIdx.x; i < kSharedWords; i += 32) sMemory[i] = words[i];
  __syncthreads();
  uint32_t r[kMatrices];
  const uint32_t row = shared_address(sMemory) + address[threadIdx.x];
  if constexpr (kTransposed) {
    ptx::ldmatrix_trans(r, row);
  } else {
    ptx::ldmatrix(r, row);
  }
  for (int m = 0; m < kMatrices; ++m) registers[threadIdx.x * kMatrices + m] = r[m];
}

template <int kMatrices, bool kTransposed>
__global__ void stmatrix_kernel(uint16_t* memory, const uint32_t* address, const uint32_t* registers) {
  SHARED_ARRAY(uint32_t, sMemory, 16, kSharedWords);
  uint32_t* words = reinterpret_cast<uint32_t*>(memory);
  for (unsigned i = threadIdx.x; i < kSharedWords; i += 32) sMemory[i] = words[i];
  __syncthreads();
  uint32_t r[kMatrices];
  for (int m = 0; m < kMatrices; ++m) r[m] = registers[threadIdx.x * kMatrices + m];
  const uint32_t row = shared_address(sMemory) + address[threadIdx.x];
  if constexpr (kTransposed) {
    ptx::stmatrix_trans(row, r);
  } else {
    ptx::stmatrix(row, r);
  }
  __syncthreads();
  for (unsigned i = threadIdx.x; i < kSharedWords; i += 32) words[i] = sMemory[i];
}

template <MmaType kType>
__global__ void mma_kernel(const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  uint32_t rA[4], rB[2];
  float rC[4], rD[4];
  for (int i = 0; i < 4; ++i) rA[i] = a[threadIdx.x * 4 + i];
  for (int i = 0; i < 2; ++i) rB[i] = b[threadIdx.x * 2 + i];
  for (int i = 0; i < 4; ++i) rC[i] = c[threadIdx.x * 4 + i];
  if constexpr (kType == MmaType::kBf16) ptx::mma_m16n8k16<bf16>(rD, rA, rB, rC);
  if constexpr (kType == MmaType::kF16) ptx::mma_m16n8k16<f16>(rD, rA, rB, rC);
  if constexpr (kType == MmaType::kTf32) ptx::mma_m16n8k8_tf32(rD, rA, rB, rC);
  for (int i = 0; i < 4; ++i) d[threadIdx.x * 4 + i] = rD[i];
}

template <int kBytes>
__global__ void cp_async_kernel(const uint8_t* in, const int* source_bytes, uint8_t* out) {
  SHARED_ARRAY(uint8_t, sBytes, 16, 32 * kBytes);
  const int at = static_cast<int>(threadIdx.x) * kBytes;
  ptx::cp_async<kBytes>(shared_address(sBytes + at), in + at, source_bytes[threadIdx.x]);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncwarp();
  for (int i = static_cast<int>(threadIdx.x); i < 32 * kBytes; i += 32) out[i] = sBytes[i];
}

__global__ void convert_kernel(const float* x, Converted* out, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  Converted r;
  const bf16 as_bf16 = from_float<bf16>(x[i]);
  const f16 as_f16 = from_float<f16>(x[i]);
  r.bf16_bits = as_bf16.bits;
  r.f16_bits = as_f16.bits;
  r.bf16_value = to_float(as_bf16);
  r.f16_value = to_float(as_f16);
  r.bf16_pair = pack<bf16>(x[i], 1.0f);
  r.f16_pair = pack<f16>(x[i], 1.0f);
  r.tf32 = to_tf32(x[i]);
  r.exp2 = ptx::exp2_approx(x[i]);
  out[i] = r;
}

__global__ void half_values_kernel(float* bf16_values, float* f16_values) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  bf16_values[i] = to_float(bf16{static_cast<uint16_t>(i)});
  f16_values[i] = to_float(f16{static_cast<uint16_t>(i)});
}

const LaunchConfig kWarp{dim3(1), dim3(32)};

}  // namespace

void run_shuffle(int kind, unsigned mask, int width, const int* argument, const uint64_t* in, uint64_t* out) {
  launch(shuffle_kernel, kWarp, kind, mask, width, argument, in, out);
}
void run_votes(unsigned mask, const int* in, int* out) { launch(votes_kernel, kWarp, mask, in, out); }

void run_ldmatrix(int matrices, bool transposed, const uint16_t* memory, const uint32_t* address, uint32_t* registers) {
  auto kernel = transposed ? ldmatrix_kernel<4, true> : ldmatrix_kernel<4, false>;
  if (matrices == 1) kernel = transposed ? ldmatrix_kernel<1, true> : ldmatrix_kernel<1, false>;
  if (matrices == 2) kernel = transposed ? ldmatrix_kernel<2, true> : ldmatrix_kernel<2, false>;
  launch(kernel, kWarp, memory, address, registers);
}
void run_stmatrix(int matrices, bool transposed, uint16_t* memory, const uint32_t* address, const uint32_t* registers) {
  auto kernel = transposed ? stmatrix_kernel<4, true> : stmatrix_kernel<4, false>;
  if (matrices == 1) kernel = transposed ? stmatrix_kernel<1, true> : stmatrix_kernel<1, false>;
  if (matrices == 2) kernel = transposed ? stmatrix_kernel<2, true> : stmatrix_kernel<2, false>;
  launch(kernel, kWarp, memory, address, registers);
}
void run_mma(MmaType type, const uint32_t* a, const uint32_t* b, const float* c, float* d) {
  auto kernel = mma_kernel<MmaType::kBf16>;
  if (type == MmaType::kF16) kernel = mma_kernel<MmaType::kF16>;
  if (type == MmaType::kTf32) kernel = mma_kernel<MmaType::kTf32>;
  launch(kernel, kWarp, a, b, c, d);
}
void run_cp_async(int bytes, const uint8_t* in, const int* source_bytes, uint8_t* out) {
  launch(bytes == 4   ? cp_async_kernel<4>
         : bytes == 8 ? cp_async_kernel<8>
                      : cp_async_kernel<16>,
         kWarp, in, source_bytes, out);
}
void run_convert(const float* x, Converted* out, int n) {
  launch(convert_kernel, {dim3(static_cast<unsigned>((n + 63) / 64)), dim3(64)}, x, out, n);
}
void run_half_values(float* bf16_values, float* f16_values) {
  launch(half_values_kernel, {dim3(65536 / 256), dim3(256)}, bf16_values, f16_values);
}

}  // namespace emulator_test
