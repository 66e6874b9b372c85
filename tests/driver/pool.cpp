#include "driver.h"

using namespace driver;

namespace {

struct Case {
  Shape x;
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  int64_t out[2];
  bool adaptive = false;
};

fa_pool_window window_of(const Case& c, int mode, bool include_pad, int64_t divisor) {
  fa_pool_window w = {};
  for (int i = 0; i < 2; ++i) {
    w.kernel[i] = c.kernel[i];
    w.stride[i] = c.stride[i];
    w.padding[i] = c.padding[i];
    w.dilation[i] = mode == FA_POOL_MAX ? c.dilation[i] : 1;
  }
  w.mode = mode;
  w.adaptive = c.adaptive;
  w.count_include_pad = include_pad;
  w.divisor = divisor;
  return w;
}

// The elements of window o of an axis, and how many there are with the padding.
std::vector<int64_t> taps(const Case& c, const fa_pool_window& w, int axis, int64_t o, int64_t& padded) {
  const int64_t in = c.x[static_cast<size_t>(2 + axis)];
  std::vector<int64_t> inside;
  padded = 0;
  if (c.adaptive) {
    for (int64_t i = o * in / c.out[axis]; i * c.out[axis] < (o + 1) * in; ++i) inside.push_back(i);
    padded = static_cast<int64_t>(inside.size());
    return inside;
  }
  for (int64_t k = 0; k < w.kernel[axis]; ++k) {
    const int64_t i = o * w.stride[axis] - w.padding[axis] + k * w.dilation[axis];
    if (i >= 0 && i < in) inside.push_back(i);
    if (i < in + w.padding[axis]) ++padded;
  }
  return inside;
}

template <class T, class I>
void pool_case(Test& t, const Case& c, Layout layout, int mode, bool include_pad, int64_t divisor) {
  const std::string what = (mode == FA_POOL_MAX ? "max_pool " : "avg_pool ") + text_of(c.x);
  const int64_t N = c.x[0], C = c.x[1], H = c.x[2], W = c.x[3], OH = c.out[0], OW = c.out[1];
  const fa_pool_window w = window_of(c, mode, include_pad, divisor);
  Random r(5);
  Array<T> x(c.x, layout), out(Shape{N, C, OH, OW}, Layout::kRowGap), dx(c.x, layout),
      dout(Shape{N, C, OH, OW}, layout);
  Array<I> index(Shape{N, C, OH, OW}, layout);
  x.fill([&] { return static_cast<double>(r.below(7)) - 3; });  // many are equal
  dout.fill(r);
  fa_pool_fwd_params p = {};
  p.x = x;
  p.out = out;
  p.window = w;
  fa_pool_bwd_params q = {};
  q.dout = dout;
  q.dx = dx;
  q.window = w;
  if (mode == FA_POOL_MAX) p.index = q.index = index;
  if (sizeof(I) == 1) p.index.dtype = q.index.dtype = FA_U8;  // Array says bool of a byte
  call_both(t, what, table().pool_fwd, p, {out.storage(), index.storage()});
  call_both(t, what + " bwd", table().pool_bwd, q, {dx.storage()});

  std::vector<double> outs, dxs(static_cast<size_t>(N * C * H * W)), indices;
  for (int64_t plane = 0; plane < N * C; ++plane) {
    for (int64_t oh = 0; oh < OH; ++oh) {
      for (int64_t ow = 0; ow < OW; ++ow) {
        int64_t tall, wide, best = -1;
        const auto rows = taps(c, w, 0, oh, tall), cols = taps(c, w, 1, ow, wide);
        double sum = 0, most = -std::numeric_limits<double>::infinity();
        for (int64_t h : rows) {
          for (int64_t v : cols) {
            const double value = x[plane * H * W + h * W + v];
            sum += value;
            if (best < 0 || value > most) {
              most = value;
              best = h * W + v;
            }
          }
        }
        const double g = dout(plane / C, plane % C, oh, ow);
        if (mode == FA_POOL_MAX) {
          outs.push_back(most);
          indices.push_back(static_cast<double>(best));
          if (best >= 0) dxs[static_cast<size_t>(plane * H * W + best)] += g;
          continue;
        }
        const auto count = static_cast<double>(rows.size() * cols.size());
        const double by = divisor != 0                 ? static_cast<double>(divisor)
                          : include_pad && !c.adaptive ? static_cast<double>(tall * wide)
                                                       : std::max(count, 1.0);
        outs.push_back(sum / by);
        for (int64_t h : rows) {
          for (int64_t v : cols) dxs[static_cast<size_t>(plane * H * W + h * W + v)] += g / by;
        }
      }
    }
  }
  close(t, what, out, outs, mode == FA_POOL_MAX ? 0 : 64);
  close(t, what + " bwd", dx, dxs, 64);
  if (mode != FA_POOL_MAX || sizeof(I) == 1) return;
  bool same = true;
  for (int64_t i = 0; i < index.size(); ++i) same = same && double(index[i]) == indices[static_cast<size_t>(i)];
  t.expect(same, what + " index");
}

template <class T>
void pool(Test& t) {
  const Case cases[] = {
      {{2, 3, 7, 9}, {2, 2}, {2, 2}, {0, 0}, {1, 1}, {3, 4}},
      {{1, 37, 5, 6}, {3, 3}, {2, 1}, {1, 1}, {1, 1}, {3, 6}},
      {{1, 2, 6, 300}, {3, 2}, {1, 1}, {1, 0}, {1, 1}, {6, 299}},
      {{2, 1, 9, 8}, {2, 3}, {2, 3}, {0, 1}, {1, 1}, {5, 3}},  // the last windows reach behind the end
      {{0, 2, 4, 4}, {2, 2}, {2, 2}, {0, 0}, {1, 1}, {2, 2}},
      {{1, 1, 1, 1}, {1, 1}, {1, 1}, {0, 0}, {1, 1}, {1, 1}},
      {{2, 3, 7, 9}, {4, 4}, {1, 1}, {0, 0}, {1, 1}, {3, 4}, true},
      {{1, 2, 5, 600}, {5, 300}, {1, 1}, {0, 0}, {1, 1}, {1, 2}, true},
      {{1, 37, 2, 3}, {2, 2}, {1, 1}, {0, 0}, {1, 1}, {3, 4}, true},
  };
  for (const Case& c : cases) {
    for (Layout layout : kLayouts) {
      if (c.kernel[0] * c.kernel[1] <= 256) pool_case<T, uint8_t>(t, c, layout, FA_POOL_MAX, false, 0);
      pool_case<T, int64_t>(t, c, layout, FA_POOL_MAX, false, 0);
      for (bool include_pad : {false, true}) pool_case<T, int64_t>(t, c, layout, FA_POOL_AVG, include_pad, 0);
      pool_case<T, int64_t>(t, c, layout, FA_POOL_AVG, true, 5);
    }
  }
  Case dilated = {{1, 20, 9, 11}, {2, 3}, {1, 2}, {1, 2}, {3, 2}, {8, 6}};
  for (Layout layout : kLayouts) {
    pool_case<T, uint8_t>(t, dilated, layout, FA_POOL_MAX, false, 0);
    pool_case<T, int64_t>(t, dilated, layout, FA_POOL_MAX, false, 0);
  }
}

}  // namespace

FASTATTN_TEST(pool) {
  pool<float>(t);
  pool<double>(t);
  pool<Bf16>(t);
}
