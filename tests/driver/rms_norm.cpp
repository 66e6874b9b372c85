#include "driver.h"

using namespace driver;

namespace {

template <class T>
void rms_norm_case(Test& t, int64_t rows, int64_t n, Layout layout, bool affine) {
  const std::string what = "rms_norm " + text_of({rows, n});
  Random r(13);
  Array<T> x(Shape{rows, n}, layout), out(Shape{rows, n}, Layout::kRowGap), weight(Shape{n});
  Array<Accumulator<T>> rstd(Shape{rows});
  x.fill([&] { return 1 + r.symmetric(); });
  weight.fill(r);
  fa_rms_norm_fwd_params p = {};
  p.x = x;
  p.out = out;
  if (affine) p.weight = weight;
  p.rstd = rstd;
  p.eps = 1e-3;
  call_both(t, what, table().rms_norm_fwd, p, {out.storage(), rstd.storage()});
  const double count = static_cast<double>(n);
  std::vector<double> expected, rstds;
  for (int64_t i = 0; i < rows; ++i) {
    double square = 0;
    for (int64_t c = 0; c < n; ++c) square += static_cast<double>(x(i, c)) * x(i, c) / count;
    rstds.push_back(1 / std::sqrt(square + p.eps));
    for (int64_t c = 0; c < n; ++c) expected.push_back(x(i, c) * rstds.back() * (affine ? double(weight[c]) : 1));
  }
  close(t, what, out, expected, 32);
  close(t, what + " rstd", rstd, rstds, 32);

  Array<T> dout(Shape{rows, n}, layout), dx(Shape{rows, n}, Layout::kRowGap), dweight(Shape{n});
  dout.fill(r);
  std::vector<double> dxs, dws(static_cast<size_t>(n));
  for (int64_t i = 0; i < rows; ++i) {
    const double s = rstd[i];
    double along = 0;
    for (int64_t c = 0; c < n; ++c) {
      const double g = dout(i, c) * (affine ? double(weight[c]) : 1), h = x(i, c) * s;
      along += g * h / count;
      dws[static_cast<size_t>(c)] += dout(i, c) * h;
    }
    for (int64_t c = 0; c < n; ++c) {
      const double g = dout(i, c) * (affine ? double(weight[c]) : 1), h = x(i, c) * s;
      dxs.push_back(s * (g - h * along));
    }
  }
  fa_rms_norm_bwd_params q = {};
  q.x = x;
  q.rstd = rstd;
  q.dout = dout;
  q.dx = dx;
  if (affine) {
    q.weight = weight;
    q.dweight = dweight;
  }
  call_both(t, what + " bwd", table().rms_norm_bwd, q, {dx.storage(), dweight.storage()});
  close(t, what + " dx", dx, dxs, 256);
  if (affine) close(t, what + " dweight", dweight, dws, 64, static_cast<double>(rows));
}

template <class T>
void all(Test& t) {
  for (int64_t rows : {0, 1, 5, 37}) {
    for (int64_t n : {1, 2, 7, 16, 17, 64, 100, 131}) {
      for (Layout l : {Layout::kContiguous, Layout::kRowGap}) {
        for (bool affine : {false, true}) rms_norm_case<T>(t, rows, n, l, affine);
      }
    }
  }
  rms_norm_case<T>(t, 300, 257, Layout::kContiguous, true);
  rms_norm_case<T>(t, 3, 5000, Layout::kContiguous, true);
}

}  // namespace

FASTATTN_TEST(rms_norm) {
  all<float>(t);
  all<double>(t);
  all<Bf16>(t);
}
