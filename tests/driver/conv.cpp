// conv: forward, and the gradients of x, weight and bias, with channels first and last.
#include "driver.h"

using namespace driver;

namespace {

struct Geometry {
  int64_t batch, channels, outs, height, width, kernel_h, kernel_w;
  fa_conv_geometry g;
  int64_t positions(int axis) const {
    const int64_t length = axis == 0 ? height : width, taps = axis == 0 ? kernel_h : kernel_w;
    return (length + 2 * g.padding[axis] - g.dilation[axis] * (taps - 1) - 1) / g.stride[axis] + 1;
  }
};

// (N, C, H, W) of an array whose last axis is C.
fa_tensor channels_first(fa_tensor t) {
  const int from[] = {0, 3, 1, 2};
  fa_tensor r = t;
  for (int i = 0; i < 4; ++i) {
    r.shape[i] = t.shape[from[i]];
    r.strides[i] = t.strides[from[i]];
  }
  return r;
}

template <class T>
struct Images {
  Array<T> array;
  fa_tensor view;
  Images(int64_t n, int64_t c, int64_t h, int64_t w, bool last, Layout layout)
      : array(last ? Shape{n, h, w, c} : Shape{n, c, h, w}, layout), view(array.tensor()) {
    if (last) view = channels_first(view);
  }
  T& at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return static_cast<T*>(
        view.data)[n * view.strides[0] + c * view.strides[1] + h * view.strides[2] + w * view.strides[3]];
  }
};

template <class T>
void conv_case(Test& t, const Geometry& s, bool last, Layout layout) {
  const fa_conv_geometry& g = s.g;
  const int64_t P = s.positions(0), Q = s.positions(1), channels = s.channels / g.groups, outs = s.outs / g.groups;
  const std::string what = "conv " + text_of({s.batch, s.channels, s.outs, s.height, s.width, s.kernel_h, s.kernel_w}) +
                           (last ? " channels last" : "");
  Random r(31);
  Images<T> x(s.batch, s.channels, s.height, s.width, last, layout),
      dx(s.batch, s.channels, s.height, s.width, last, layout);
  Images<T> out(s.batch, s.outs, P, Q, last, layout), dout(s.batch, s.outs, P, Q, last, layout);
  Array<T> weight(Shape{s.outs, channels, s.kernel_h, s.kernel_w}, layout), bias(Shape{s.outs}, layout);
  Array<T> dweight(weight.shape(), layout), dbias(Shape{s.outs}, layout);
  x.array.fill(r);
  dout.array.fill(r);
  weight.fill(r);
  bias.fill(r);

  const auto index = [&](const Images<T>& of, int64_t n, int64_t c, int64_t h, int64_t w) {
    const Shape& shape = of.array.shape();
    return static_cast<size_t>(last ? ((n * shape[1] + h) * shape[2] + w) * shape[3] + c
                                    : ((n * shape[1] + c) * shape[2] + h) * shape[3] + w);
  };
  std::vector<double> outputs(static_cast<size_t>(out.array.size())), dxs(static_cast<size_t>(x.array.size()));
  std::vector<double> dweights(static_cast<size_t>(weight.size())), dbiases(static_cast<size_t>(s.outs));
  for (int64_t n = 0; n < s.batch; ++n) {
    for (int64_t o = 0; o < s.outs; ++o) {
      for (int64_t p = 0; p < P; ++p) {
        for (int64_t q = 0; q < Q; ++q) {
          double sum = static_cast<double>(bias[o]);
          const double gradient = static_cast<double>(dout.at(n, o, p, q));
          dbiases[static_cast<size_t>(o)] += gradient;
          for (int64_t k = 0; k < channels * s.kernel_h * s.kernel_w; ++k) {
            const int64_t c = k / (s.kernel_h * s.kernel_w), i = k / s.kernel_w % s.kernel_h, j = k % s.kernel_w;
            const int64_t h = p * g.stride[0] + i * g.dilation[0] - g.padding[0];
            const int64_t w = q * g.stride[1] + j * g.dilation[1] - g.padding[1];
            if (h < 0 || h >= s.height || w < 0 || w >= s.width) continue;
            const int64_t channel = o / outs * channels + c;
            const double a = static_cast<double>(x.at(n, channel, h, w)), b = static_cast<double>(weight(o, c, i, j));
            sum += a * b;
            dxs[index(x, n, channel, h, w)] += b * gradient;
            dweights[static_cast<size_t>(((o * channels + c) * s.kernel_h + i) * s.kernel_w + j)] += a * gradient;
          }
          outputs[index(out, n, o, p, q)] = sum;
        }
      }
    }
  }

  const double terms = static_cast<double>(channels * s.kernel_h * s.kernel_w),
               pixels = static_cast<double>(s.batch * P * Q);
  call_both(t, what, table().conv_fwd, fa_conv_fwd_params{x.view, weight, bias, out.view, g}, {out.array.storage()});
  close(t, what, out.array, outputs, 8, 4 * terms);
  call_both(t, what + " bwd_input", table().conv_bwd_input, fa_conv_bwd_input_params{weight, dout.view, dx.view, g},
            {dx.array.storage()});
  close(t, what + " bwd_input", dx.array, dxs, 8,
        4 * terms * static_cast<double>(outs) / static_cast<double>(channels));
  call_both(t, what + " bwd_weight", table().conv_bwd_weight,
            fa_conv_bwd_weight_params{x.view, dout.view, dweight, dbias, g}, {dweight.storage(), dbias.storage()});
  close(t, what + " bwd_weight", dweight, dweights, 8, 4 * pixels);
  close(t, what + " bwd_weight", dbias, dbiases, 8, 4 * pixels);
}

template <class T>
void conv(Test& t) {
  const fa_conv_geometry plain = {{1, 1}, {1, 1}, {1, 1}, 1};
  for (bool last : {false, true}) {
    for (Layout layout : kLayouts) conv_case<T>(t, {2, 3, 17, 5, 9, 3, 3, plain}, last, layout);
    conv_case<T>(t, {1, 1, 33, 20, 28, 5, 5, {{1, 1}, {2, 2}, {1, 1}, 1}}, last, Layout::kContiguous);
    conv_case<T>(t, {5, 16, 48, 4, 8, 1, 1, {{1, 1}, {0, 0}, {1, 1}, 1}}, last, Layout::kContiguous);
    conv_case<T>(t, {2, 6, 4, 13, 17, 3, 2, {{2, 3}, {1, 4}, {3, 2}, 2}}, last, Layout::kContiguous);
    conv_case<T>(t, {1, 130, 7, 3, 4, 3, 3, plain}, last, Layout::kContiguous);  // chunks of channels
    conv_case<T>(t, {9, 5, 10, 2, 3, 2, 2, {{1, 1}, {0, 0}, {1, 1}, 5}}, last, Layout::kContiguous);
    conv_case<T>(t, {1, 2, 3, 2, 1, 2, 1, {{1, 2}, {1, 3}, {3, 2}, 1}}, last,
                 Layout::kContiguous);  // phases without taps
    conv_case<T>(t, {0, 2, 3, 4, 4, 2, 2, plain}, last, Layout::kContiguous);
  }
}

}  // namespace

FASTATTN_TEST(conv) {
  conv<float>(t);
  conv<double>(t);
  conv<Bf16>(t);
}
