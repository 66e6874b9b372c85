#include "driver.h"

using namespace driver;

namespace {

template <class T>
void layer_norm_case(Test& t, int64_t rows, int64_t n, Layout layout, bool affine, bool statistics) {
  const std::string what = "layer_norm " + text_of({rows, n});
  Random r(13);
  Array<T> x(Shape{rows, n}, layout), out(Shape{rows, n}, Layout::kRowGap), weight(Shape{n}), bias(Shape{n});
  Array<Accumulator<T>> mean(Shape{rows}), rstd(Shape{rows});
  x.fill([&] { return 3 + r.symmetric(); });
  weight.fill(r);
  bias.fill(r);
  fa_layer_norm_fwd_params p = {};
  p.x = x;
  p.out = out;
  if (affine) {
    p.weight = weight;
    p.bias = bias;
  }
  if (statistics) {
    p.mean = mean;
    p.rstd = rstd;
  }
  p.eps = 1e-5;
  call_both(t, what, table().layer_norm_fwd, p, {out.storage(), mean.storage(), rstd.storage()});
  std::vector<double> expected, means, rstds;
  const double count = static_cast<double>(n);
  for (int64_t i = 0; i < rows; ++i) {
    double m = 0, v = 0;
    for (int64_t c = 0; c < n; ++c) m += x(i, c) / count;
    for (int64_t c = 0; c < n; ++c) v += (x(i, c) - m) * (x(i, c) - m) / count;
    const double s = 1 / std::sqrt(v + p.eps);
    means.push_back(m);
    rstds.push_back(s);
    for (int64_t c = 0; c < n; ++c) {
      expected.push_back((x(i, c) - m) * s * (affine ? double(weight[c]) : 1) + (affine ? double(bias[c]) : 0));
    }
  }
  // A row of one element is all rounding: (x - mean) may be an ulp of x, times rstd = 1 / sqrt(eps).
  const double spread = n <= 2 ? 4000 : 64;
  close(t, what, out, expected, spread);
  if (!statistics || n == 0) return;
  close(t, what + " mean", mean, means, 16);
  close(t, what + " rstd", rstd, rstds, spread);

  Array<T> dout(Shape{rows, n}, layout), dx(Shape{rows, n}, Layout::kRowGap), dweight(Shape{n}), dbias(Shape{n});
  dout.fill(r);
  std::vector<double> dxs, dws(static_cast<size_t>(n)), dbs(static_cast<size_t>(n));
  for (int64_t i = 0; i < rows; ++i) {
    const double m = mean[i], s = rstd[i];
    double a = 0, b = 0;
    for (int64_t c = 0; c < n; ++c) {
      const double g = dout(i, c) * (affine ? double(weight[c]) : 1), h = (x(i, c) - m) * s;
      a += g / count;
      b += g * h / count;
      dws[static_cast<size_t>(c)] += dout(i, c) * h;
      dbs[static_cast<size_t>(c)] += dout(i, c);
    }
    for (int64_t c = 0; c < n; ++c) {
      const double g = dout(i, c) * (affine ? double(weight[c]) : 1), h = (x(i, c) - m) * s;
      dxs.push_back(s * (g - a - h * b));
    }
  }
  fa_layer_norm_bwd_params q = {};
  q.x = x;
  q.mean = mean;
  q.rstd = rstd;
  q.dout = dout;
  q.dx = dx;
  if (affine) {
    q.weight = weight;
    q.dweight = dweight;
    q.dbias = dbias;
  }
  call_both(t, what + " bwd", table().layer_norm_bwd, q, {dx.storage(), dweight.storage(), dbias.storage()});
  close(t, what + " dx", dx, dxs, 4 * spread);
  if (!affine) return;
  const double terms = static_cast<double>(rows);
  close(t, what + " dweight", dweight, dws, 4 * spread, terms);
  close(t, what + " dbias", dbias, dbs, 16, terms);
}

template <class T>
void layer_norm(Test& t) {
  for (int64_t rows : {0, 1, 5, 37}) {
    for (int64_t n : {1, 2, 7, 16, 17, 64, 100, 131}) {
      for (Layout l : {Layout::kContiguous, Layout::kRowGap}) {
        for (int flags = 0; flags < 4; ++flags) layer_norm_case<T>(t, rows, n, l, flags & 1, flags & 2);
      }
    }
  }
  layer_norm_case<T>(t, 300, 257, Layout::kContiguous, true, true);
  layer_norm_case<T>(t, 3, 5000, Layout::kContiguous, true, true);
}

}  // namespace

FASTATTN_TEST(layer_norm) {
  layer_norm<float>(t);
  layer_norm<double>(t);
  layer_norm<Bf16>(t);
}
