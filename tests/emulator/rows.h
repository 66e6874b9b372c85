// Arrays of rows for the tests of kernels that take them, and what a dtype can hold.
#pragma once

#include <memory>

#include "emulator/emulator_test.h"
#include "emulator/number.h"
#include "ops/types.h"

namespace emulator_test {

using fastattn::bf16;
using fastattn::f16;

template <class T>
constexpr int kDtype = sizeof(T) == 4            ? FA_F32
                       : std::is_same_v<T, bf16> ? FA_BF16
                                                 : FA_F16;
template <class T>
constexpr double kEps = sizeof(T) == 4            ? 0x1p-23
                        : std::is_same_v<T, bf16> ? 0x1p-7
                                                  : 0x1p-10;

inline float value(float x) { return x; }
inline float value(bf16 x) { return fastattn::emulator::bf16_value(x.bits); }
inline float value(f16 x) { return fastattn::emulator::f16_value(x.bits); }
inline void set(float& x, float v) { x = v; }
inline void set(bf16& x, float v) { x.bits = fastattn::emulator::bf16_bits(v); }
inline void set(f16& x, float v) { x.bits = fastattn::emulator::f16_bits(v); }

// rows x C elements, rows `stride` apart, in a heap block that ends with the last element.
template <class T>
struct Array {
  int64_t rows, C, stride;
  std::unique_ptr<T[]> block;
  Array(int64_t rows_, int64_t C_, int64_t stride_) : rows(rows_), C(C_), stride(stride_) {
    block.reset(new T[static_cast<size_t>((rows - 1) * stride + C)]);
    std::memset(static_cast<void*>(block.get()), 0xff, sizeof(T) * static_cast<size_t>((rows - 1) * stride + C));
  }
  T& at(int64_t r, int64_t c) { return block[static_cast<size_t>(r * stride + c)]; }
  fa_tensor view(bool split) {  // split: the rows as two axes
    fa_tensor t = {block.get(), kDtype<T>, 2, {rows, C}, {stride, 1}};
    if (split) t = {block.get(), kDtype<T>, 3, {rows / 2, 2, C}, {2 * stride, stride, 1}};
    return t;
  }
};

template <class T>
std::vector<float> values(Array<T>& a) {
  std::vector<float> result;
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.C; ++c) result.push_back(value(a.at(r, c)));
  }
  return result;
}

}  // namespace emulator_test
