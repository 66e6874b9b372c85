#include "driver.h"

using namespace driver;

namespace {

const double kInf = std::numeric_limits<double>::infinity();

struct Axis {  // row-major position of element c of row (o, i): (o * length + c) * inner + i
  int64_t outer = 1, length, inner = 1;
  Axis(const Shape& s, int axis) : length(s[static_cast<size_t>(axis)]) {
    for (size_t d = 0; d < s.size(); ++d) {
      if (static_cast<int>(d) < axis) outer *= s[d];
      if (static_cast<int>(d) > axis) inner *= s[d];
    }
  }
  size_t at(int64_t o, int64_t c, int64_t i) const { return static_cast<size_t>((o * length + c) * inner + i); }
};

enum class MaskKind { kNone, kBool, kAdded };

template <class T>
void softmax_case(Test& t, const Shape& shape, int axis, Layout layout, MaskKind kind, bool log, bool in_place) {
  const std::string what = (log ? "log_softmax " : "softmax ") + text_of(shape) + " axis " + std::to_string(axis) +
                           " mask " + std::to_string(static_cast<int>(kind));
  Random r(11);
  Array<T> x(shape, layout), out = in_place ? x : Array<T>(shape);
  x.fill(r, 4);
  Array<uint8_t> keep;
  Array<T> added;
  fa_softmax_fwd_params p = {};
  if (kind == MaskKind::kBool) {  // broadcast over the first axis, where there is another
    keep = shape.size() > 1 ? Array<uint8_t>(shape, Layout::kContiguous, {0}) : Array<uint8_t>(shape);
    keep.fill([&] { return r.below(3) > 0; });
    p.mask = keep;
  } else if (kind == MaskKind::kAdded) {
    added = Array<T>(shape);
    added.fill([&] { return r.below(4) == 0 ? -kInf : r.symmetric(); });
    p.mask = added;
  }
  const Axis a(shape, axis);
  const double scale = 0.5;
  std::vector<double> expected(static_cast<size_t>(x.size())), sums;
  const auto xs = x.values();
  for (int64_t o = 0; o < a.outer; ++o) {
    for (int64_t i = 0; i < a.inner; ++i) {
      std::vector<double> s;
      double largest = -kInf, sum = 0;
      for (int64_t c = 0; c < a.length; ++c) {
        const auto at = static_cast<int64_t>(a.at(o, c, i));
        double v = scale * xs[static_cast<size_t>(at)];
        if (kind == MaskKind::kBool && !keep[at]) v = -kInf;
        if (kind == MaskKind::kAdded) v += static_cast<double>(added[at]);
        s.push_back(v);
        largest = std::max(largest, v);
      }
      for (double v : s) sum += largest == -kInf ? 0 : std::exp(v - largest);
      sums.push_back(largest == -kInf ? -kInf : largest + std::log(sum));
      for (int64_t c = 0; c < a.length; ++c) {
        const double v = s[static_cast<size_t>(c)];
        expected[a.at(o, c, i)] = log ? (largest == -kInf ? -kInf : v - largest - std::log(sum))
                                      : (largest == -kInf ? 0 : std::exp(v - largest) / sum);
      }
    }
  }
  p.x = x;
  p.scale = scale;
  p.axis = axis;
  p.form = FA_LOGSUMEXP;
  Shape one = shape;
  one[static_cast<size_t>(axis)] = 1;
  Array<T> lse(one, layout);
  p.out = lse;
  call_both(t, what + " logsumexp", table().softmax_fwd, p, {lse.storage()});
  close(t, what + " logsumexp", lse, sums, 16);
  p.out = out;
  p.form = log ? FA_LOG_SOFTMAX : FA_SOFTMAX;
  call_both(t, what, table().softmax_fwd, p, {out.storage()});
  close(t, what, out, expected, 16);

  Array<T> dout(shape, layout), dx = in_place ? dout : Array<T>(shape);
  dout.fill(r);
  const auto ys = out.values(), ds = dout.values();
  std::vector<double> gradient(ys.size());
  for (int64_t o = 0; o < a.outer; ++o) {
    for (int64_t i = 0; i < a.inner; ++i) {
      double sum = 0;
      bool hidden = true;
      for (int64_t c = 0; c < a.length; ++c) {
        const size_t at = a.at(o, c, i);
        sum += log ? ds[at] : ds[at] * ys[at];
        hidden &= ys[at] == (log ? -kInf : 0);
      }
      for (int64_t c = 0; c < a.length; ++c) {
        const size_t at = a.at(o, c, i);
        // Behind a mask (out -inf) the gradient of log_softmax is 0, as it is through a bool mask.
        const bool behind = hidden || (log && ys[at] == -kInf);
        gradient[at] = behind ? 0 : scale * (log ? ds[at] - std::exp(ys[at]) * sum : ys[at] * (ds[at] - sum));
      }
    }
  }
  const fa_softmax_bwd_params b = {out, dout, dx, scale, axis, p.form};
  call_both(t, what + " bwd", table().softmax_bwd, b, {dx.storage()});
  close(t, what + " bwd", dx, gradient, 64 + static_cast<double>(a.length));
}

template <class T>
void softmax(Test& t) {
  for (const Shape& s : {Shape{1}, Shape{37}, Shape{0}, Shape{3, 1}, Shape{5, 16}, Shape{7, 17}, Shape{4, 0},
                         Shape{3, 129}, Shape{2, 3, 33}, Shape{2, 1030}, Shape{64, 65}}) {
    for (int axis = 0; axis < static_cast<int>(s.size()); ++axis) {
      for (MaskKind kind : {MaskKind::kNone, MaskKind::kBool, MaskKind::kAdded}) {
        for (bool log : {false, true}) {
          const bool small = s.back() <= 33;
          for (Layout l : kLayouts) {
            if (small || l == Layout::kContiguous) softmax_case<T>(t, s, axis, l, kind, log, l == Layout::kRowGap);
          }
        }
      }
    }
  }
  softmax_case<T>(t, {2, 20011}, 1, Layout::kContiguous, MaskKind::kAdded, false, false);
}

}  // namespace

FASTATTN_TEST(softmax) {
  softmax<float>(t);
  softmax<double>(t);
  softmax<Bf16>(t);
}
