#include "driver.h"

using namespace driver;

namespace {

template <class T>
void batch_norm_case(Test& t, const Shape& shape, Layout layout, bool training, bool affine) {
  const std::string what = "batch_norm " + text_of(shape) + (training ? " training" : "");
  const int64_t N = shape[0], C = shape[1], S1 = shape[2], S2 = shape[3], M = N * S1 * S2;
  using A = Accumulator<T>;
  Random r(17);
  Array<T> x(shape, layout), out(shape, Layout::kRowGap), dout(shape, layout), dx(shape, Layout::kRowGap);
  Array<T> weight(Shape{C}), bias(Shape{C}, Layout::kStep), dweight(Shape{C}), dbias(Shape{C});
  Array<A> mean(Shape{C}), rstd(Shape{C}), running_mean(Shape{C}), running_var(Shape{C});
  x.fill([&] { return 3 + r.symmetric(); });
  dout.fill(r);
  weight.fill(r);
  bias.fill(r);
  running_mean.fill(r);
  running_var.fill([&] { return 0.5 + r.uniform(); });
  const std::vector<double> old_mean = running_mean.values(), old_var = running_var.values();
  fa_batch_norm_fwd_params p = {};
  p.x = x;
  p.out = out;
  p.mean = mean;
  p.rstd = rstd;
  p.running_mean = running_mean;
  p.running_var = running_var;
  p.momentum = 0.25;
  p.eps = 1e-2;
  p.training = training;
  fa_batch_norm_bwd_params q = {};
  q.x = x;
  q.mean = mean;
  q.rstd = rstd;
  q.dout = dout;
  q.dx = dx;
  q.training = training;
  if (affine) {
    p.weight = q.weight = weight;
    p.bias = bias;
    q.dweight = dweight;
    q.dbias = dbias;
  }
  call_both(t, what, table().batch_norm_fwd, p,
            {out.storage(), mean.storage(), rstd.storage(), running_mean.storage(), running_var.storage()});
  call_both(t, what + " bwd", table().batch_norm_bwd, q, {dx.storage(), dweight.storage(), dbias.storage()});

  std::vector<double> outs(static_cast<size_t>(N * C * S1 * S2)), dxs = outs, means, rstds, new_mean, new_var, dws, dbs;
  const auto count = static_cast<double>(M);
  for (int64_t c = 0; c < C; ++c) {
    const auto channel = static_cast<size_t>(c);
    auto each = [&](auto&& f) {
      for (int64_t i = 0; i < M; ++i) f((i / (S1 * S2) * C + c) * S1 * S2 + i % (S1 * S2));
    };
    double m = old_mean[channel], v = old_var[channel];
    new_mean.push_back(m);
    new_var.push_back(v);
    if (training && M > 0) {
      m = v = 0;
      each([&](int64_t i) { m += x[i] / count; });
      each([&](int64_t i) { v += (x[i] - m) * (x[i] - m) / count; });
      new_mean.back() = 0.75 * new_mean.back() + 0.25 * m;
      new_var.back() = 0.75 * new_var.back() + 0.25 * v * count / std::max(1.0, count - 1);
    }
    const double s = 1 / std::sqrt(v + p.eps), scale = affine ? double(weight[c]) : 1;
    means.push_back(m);
    rstds.push_back(s);
    double dw = 0, db = 0;
    each([&](int64_t i) {
      outs[static_cast<size_t>(i)] = (x[i] - m) * s * scale + (affine ? double(bias[c]) : 0);
      dw += dout[i] * (x[i] - m) * s;
      db += dout[i];
    });
    dws.push_back(dw);
    dbs.push_back(db);
    each([&](int64_t i) {
      const double h = (x[i] - m) * s, g = training ? dout[i] - db / count - h * dw / count : double(dout[i]);
      dxs[static_cast<size_t>(i)] = g * s * scale;
    });
  }
  if (M == 0) return;
  close(t, what, out, outs, 64);
  close(t, what + " mean", mean, means, 32);
  close(t, what + " rstd", rstd, rstds, 64);
  close(t, what + " running mean", running_mean, new_mean, 32);
  close(t, what + " running variance", running_var, new_var, 64);
  close(t, what + " dx", dx, dxs, 128);
  if (!affine) return;
  close(t, what + " dweight", dweight, dws, 256, std::sqrt(count));
  close(t, what + " dbias", dbias, dbs, 64, std::sqrt(count));
}

template <class T>
void batch_norm(Test& t) {
  // Channels across vectors and tiles, positions across the blocks of both loops, and across vectors.
  const Shape shapes[] = {{2, 1, 1, 3},   {3, 5, 1, 7}, {300, 17, 1, 1}, {2, 67, 5, 6},
                          {2, 3, 40, 65}, {0, 3, 2, 2}, {5, 2, 3, 333},  {1, 1, 1, 9000}};
  for (const Shape& shape : shapes) {
    for (Layout layout : kLayouts) {
      for (int flags = 0; flags < 4; ++flags) batch_norm_case<T>(t, shape, layout, flags & 1, flags & 2);
    }
  }
}

}  // namespace

FASTATTN_TEST(batch_norm) {
  batch_norm<float>(t);
  batch_norm<double>(t);
  batch_norm<Bf16>(t);
}
