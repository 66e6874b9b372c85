// csrc/cuda/pool.cu: both modes, by threads and by warps, in both layouts, with ties, NaN and windows at the edges.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

struct Case {
  int64_t N, C, H, W, kernel, stride, padding, dilation, OH, OW;
  bool adaptive, channels_last;
};

// N * C planes of H x W, in order, or with the channels last.
template <class T>
struct Planes {
  int64_t N, C, H, W;
  bool channels_last;
  Array<T> block;
  Planes(int64_t n, int64_t c, int64_t h, int64_t w, bool last)
      : N(n), C(c), H(h), W(w), channels_last(last), block(1, n * c * h * w, n * c * h * w) {}
  T& at(int64_t plane, int64_t h, int64_t w) {
    const int64_t n = plane / C, c = plane % C;
    return block.at(0, channels_last ? ((n * H + h) * W + w) * C + c : (plane * H + h) * W + w);
  }
  fa_tensor view() {
    if (channels_last) return {&block.at(0, 0), kDtype<T>, 4, {N, C, H, W}, {H * W * C, 1, W * C, C}};
    return {&block.at(0, 0), kDtype<T>, 4, {N, C, H, W}, {C * H * W, H * W, W, 1}};
  }
};

// The elements of window o of an axis, and the taps with the padding.
std::vector<int64_t> window(const Case& c, int64_t in, int64_t out, int64_t o, int64_t& padded) {
  std::vector<int64_t> inside;
  padded = 0;
  if (c.adaptive) {
    for (int64_t i = o * in / out; i * out < (o + 1) * in; ++i) inside.push_back(i);
    padded = static_cast<int64_t>(inside.size());
    return inside;
  }
  for (int64_t k = 0; k < c.kernel; ++k) {
    const int64_t i = o * c.stride - c.padding + k * c.dilation;
    if (i >= 0 && i < in) inside.push_back(i);
    if (i < in + c.padding) ++padded;
  }
  return inside;
}

template <class T>
void check(Test& t, const Case& c, int mode, bool include_pad) {
  Random random(fastattn::emulator::options().seed + 5);
  const bool max = mode == FA_POOL_MAX;
  Planes<T> x(c.N, c.C, c.H, c.W, c.channels_last), dx = Planes<T>(c.N, c.C, c.H, c.W, c.channels_last);
  Planes<T> out(c.N, c.C, c.OH, c.OW, c.channels_last), dout(c.N, c.C, c.OH, c.OW, c.channels_last);
  for (int64_t i = 0; i < x.block.C; ++i) set(x.block.at(0, i), static_cast<float>(random.below(9)) - 4);
  for (int64_t i = 0; i < out.block.C; ++i) set(dout.block.at(0, i), random.symmetric());
  if (max) set(x.at(0, c.H / 2, c.W / 2), __builtin_nanf(""));
  std::vector<uint8_t> bytes(static_cast<size_t>(out.block.C), 0xff);
  std::vector<int64_t> positions(static_cast<size_t>(out.block.C), -7);
  fa_pool_window w = {{c.kernel, c.kernel},
                      {c.stride, c.stride},
                      {c.padding, c.padding},
                      {c.dilation, c.dilation},
                      0,
                      c.adaptive,
                      include_pad,
                      mode};
  fa_tensor index = out.view();
  for (bool wide : {false, true}) {
    if (!max && wide) continue;
    index.dtype = wide ? FA_I64 : FA_U8;
    index.data = !max ? nullptr : wide ? static_cast<void*>(positions.data()) : bytes.data();
    fa_launch launch = {};
    t.expect(fastattn::cuda::pool_fwd({x.view(), out.view(), index, w}, launch) == FA_OK, launch.reason);
    t.expect(fastattn::cuda::pool_bwd({dout.view(), index, dx.view(), w}, launch) == FA_OK, launch.reason);
    std::vector<double> sums(static_cast<size_t>(c.N * c.C * c.H * c.W));
    for (int64_t plane = 0; plane < c.N * c.C; ++plane) {
      for (int64_t oh = 0; oh < c.OH; ++oh) {
        for (int64_t ow = 0; ow < c.OW; ++ow) {
          int64_t tall, broad, best = -1;
          const auto rows = window(c, c.H, c.OH, oh, tall), columns = window(c, c.W, c.OW, ow, broad);
          double sum = 0, most = 0;
          for (int64_t h : rows) {
            for (int64_t v : columns) {
              const double value_here = value(x.at(plane, h, v));
              sum += value_here;
              if (best < 0 || value_here > most || std::isnan(value_here)) {
                most = value_here;
                best = h * c.W + v;
              }
            }
          }
          const double got = value(out.at(plane, oh, ow)), g = value(dout.at(plane, oh, ow));
          if (max) {
            t.expect(got == most || (std::isnan(got) && std::isnan(most)), "a maximum");
            const size_t at = static_cast<size_t>(&out.at(plane, oh, ow) - &out.block.at(0, 0));
            t.expect(!wide || positions[at] == best, "a position");
            sums[static_cast<size_t>(plane * c.H * c.W + best)] += g;
            continue;
          }
          const auto count = static_cast<double>(rows.size() * columns.size());
          const double by = include_pad && !c.adaptive ? static_cast<double>(tall * broad) : count;
          t.expect(std::fabs(got - sum / by) <= 8 * kEps<T>, "an average");
          for (int64_t h : rows) {
            for (int64_t v : columns) sums[static_cast<size_t>(plane * c.H * c.W + h * c.W + v)] += g / by;
          }
        }
      }
    }
    for (int64_t i = 0; i < c.N * c.C * c.H * c.W; ++i) {
      const double got = value(dx.at(i / (c.H * c.W), i / c.W % c.H, i % c.W));
      t.expect(std::fabs(got - sums[static_cast<size_t>(i)]) <= 32 * kEps<T>, "a gradient");
    }
  }
}

template <class T>
void check_all(Test& t) {
  for (bool last : {false, true}) {
    const Case cases[] = {
        {2, 3, 6, 8, 2, 2, 0, 1, 3, 4, false, last}, {1, 17, 5, 6, 3, 2, 1, 1, 3, 3, false, last},
        {1, 2, 9, 9, 2, 1, 1, 3, 8, 8, false, last}, {1, 2, 12, 11, 6, 5, 3, 1, 3, 3, false, last},
        {2, 3, 7, 9, 9, 1, 0, 1, 1, 1, true, last},  {1, 3, 5, 7, 5, 1, 0, 1, 2, 3, true, last},
    };
    for (const Case& c : cases) {
      check<T>(t, c, FA_POOL_MAX, false);
      if (c.dilation > 1) continue;
      check<T>(t, c, FA_POOL_AVG, true);
      check<T>(t, c, FA_POOL_AVG, false);
    }
  }
}

}  // namespace

EMULATOR_TEST(pool) {
  check_all<float>(t);
  check_all<bf16>(t);
}
