#include "driver.h"

using namespace driver;

namespace {

constexpr int kGates[] = {1, 1, 4, 3}, kSlots[] = {1, 1, 4, 4};

struct Sizes {
  int64_t T, B, I, H;
};
using Values = std::vector<double>;
enum { kX, kWih, kWhh, kBih, kBhh, kH0, kC0, kNumArguments };

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// output, h_n and c_n in a row, as they are defined, in double.
Values reference(int mode, const Sizes& n, bool reverse, const std::vector<int64_t>& lengths,
                 const std::vector<Values>& arguments) {
  const int64_t H = n.H, gates = kGates[mode];
  auto at = [](int64_t i) { return static_cast<size_t>(i); };
  Values h = arguments[kH0], c = arguments[kC0], results(at(n.T * n.B * H));
  for (int64_t s = 0; s < n.T; ++s) {
    const int64_t t = reverse ? n.T - 1 - s : s;
    const Values before = h;
    for (int64_t b = 0; b < n.B; ++b) {
      if (t >= lengths[at(b)]) continue;
      Values a(at(gates * H)), g(at(gates * H));
      for (int64_t j = 0; j < gates * H; ++j) {
        a[at(j)] = arguments[kBih][at(j)];
        g[at(j)] = arguments[kBhh][at(j)];
        for (int64_t i = 0; i < n.I; ++i) {
          a[at(j)] += arguments[kX][at((t * n.B + b) * n.I + i)] * arguments[kWih][at(j * n.I + i)];
        }
        for (int64_t i = 0; i < H; ++i) g[at(j)] += before[at(b * H + i)] * arguments[kWhh][at(j * H + i)];
      }
      for (int64_t u = 0; u < H; ++u) {
        auto both = [&](int64_t gate) { return a[at(gate * H + u)] + g[at(gate * H + u)]; };
        double& state = h[at(b * H + u)];
        if (mode == FA_RNN_TANH) state = std::tanh(both(0));
        if (mode == FA_RNN_RELU) state = std::max(0.0, both(0));
        if (mode == FA_LSTM) {
          double& cell = c[at(b * H + u)];
          cell = sigmoid(both(1)) * cell + sigmoid(both(0)) * std::tanh(both(2));
          state = sigmoid(both(3)) * std::tanh(cell);
        }
        if (mode == FA_GRU) {
          const double z = sigmoid(both(1));
          const double news = std::tanh(a[at(2 * H + u)] + sigmoid(both(0)) * g[at(2 * H + u)]);
          state = (1 - z) * news + z * before[at(b * H + u)];
        }
        results[at((t * n.B + b) * H + u)] = state;
      }
    }
  }
  results.insert(results.end(), h.begin(), h.end());
  results.insert(results.end(), c.begin(), c.end());
  return results;
}

template <class T>
void recurrent_case(Test& t, int mode, const Sizes& n, bool reverse, Layout layout) {
  const std::string what = "recurrent " + std::to_string(mode) + " " + text_of({n.T, n.B, n.I, n.H});
  using A = Accumulator<T>;
  const int64_t rows = kGates[mode] * n.H;
  const Shape shapes[] = {{n.T, n.B, n.I}, {rows, n.I}, {rows, n.H}, {rows}, {rows}, {n.B, n.H}, {n.B, n.H}};
  Random r(21);
  std::vector<Array<T>> arguments, gradients;
  std::vector<Values> values;
  for (const Shape& shape : shapes) {
    arguments.emplace_back(shape, layout);
    arguments.back().fill(r, shape == shapes[kWhh] ? 0.5 / std::sqrt(static_cast<double>(n.H)) : 0.5);
    gradients.emplace_back(shape);
    values.push_back(arguments.back().values());
  }
  Array<int64_t> lengths(Shape{n.B});
  lengths.fill([&] { return static_cast<double>(r.below(n.T + 1)); });
  std::vector<int64_t> ends;
  for (int64_t b = 0; b < n.B; ++b) ends.push_back(lengths[b]);

  Array<T> output(Shape{n.T, n.B, n.H}), h_n(Shape{n.B, n.H}), c_n(Shape{n.B, n.H});
  Array<A> gates(Shape{n.T, n.B, kSlots[mode], n.H}), cells(Shape{n.T, n.B, n.H});
  const bool lstm = mode == FA_LSTM;
  fa_recurrent_fwd_params p = {};
  p.x = arguments[kX];
  p.w_ih = arguments[kWih];
  p.w_hh = arguments[kWhh];
  p.b_ih = arguments[kBih];
  p.b_hh = arguments[kBhh];
  p.h0 = arguments[kH0];
  p.lengths = lengths;
  p.output = output;
  p.h_n = h_n;
  p.gates = gates;
  if (lstm) {
    p.c0 = arguments[kC0];
    p.c_n = c_n;
    p.cells = cells;
  }
  p.mode = mode;
  p.reverse = reverse;
  call_both(t, what, table().recurrent_fwd, p, {output.storage(), h_n.storage(), c_n.storage(), gates.storage()});
  const Values expected = reference(mode, n, reverse, ends, values);
  const auto steps = static_cast<ptrdiff_t>(n.T * n.B * n.H), state = static_cast<ptrdiff_t>(n.B * n.H);
  const double factor = 16 + 4 * static_cast<double>(n.T);
  close(t, what, output, Values(expected.begin(), expected.begin() + steps), factor);
  close(t, what + " h_n", h_n, Values(expected.begin() + steps, expected.begin() + steps + state), factor);
  if (lstm) close(t, what + " c_n", c_n, Values(expected.end() - state, expected.end()), factor);

  Array<T> doutput(output.shape()), dh_n(h_n.shape()), dc_n(c_n.shape());
  fa_recurrent_bwd_params q = {};
  q.x = p.x;
  q.w_ih = p.w_ih;
  q.w_hh = p.w_hh;
  q.h0 = p.h0;
  q.c0 = p.c0;
  q.lengths = p.lengths;
  q.output = p.output;
  q.gates = p.gates;
  q.cells = p.cells;
  q.doutput = doutput.fill(r);
  q.dh_n = dh_n.fill(r);
  if (lstm) q.dc_n = dc_n.fill(r);
  fa_tensor* const targets[] = {&q.dx, &q.dw_ih, &q.dw_hh, &q.db_ih, &q.db_hh, &q.dh0, &q.dc0};
  std::vector<Storage> written;
  for (int i = 0; i < (lstm ? kNumArguments : kC0); ++i) {
    *targets[i] = gradients[static_cast<size_t>(i)];
    written.push_back(gradients[static_cast<size_t>(i)].storage());
  }
  q.mode = mode;
  q.reverse = reverse;
  call_both(t, what + " bwd", table().recurrent_bwd, q, written);

  // Along a random direction of each argument: the slope of the double reference.
  Values weights = doutput.values();
  for (double w : dh_n.values()) weights.push_back(w);
  for (double w : lstm ? dc_n.values() : Values(static_cast<size_t>(state))) weights.push_back(w);
  for (size_t i = 0; i < written.size(); ++i) {
    Values direction, sides[2];
    double slope = 0, size = 1;
    for (int64_t k = 0; k < arguments[i].size(); ++k) {
      direction.push_back(r.symmetric());
      slope += direction.back() * static_cast<double>(gradients[i][k]);
      size += std::fabs(direction.back() * static_cast<double>(gradients[i][k]));
    }
    constexpr double kStep = 1e-5;
    double loss[2] = {};
    for (int side = 0; side < 2; ++side) {
      std::vector<Values> moved = values;
      for (size_t k = 0; k < direction.size(); ++k) moved[i][k] += (side == 0 ? kStep : -kStep) * direction[k];
      const Values results = reference(mode, n, reverse, ends, moved);
      for (size_t k = 0; k < results.size(); ++k) loss[side] += results[k] * weights[k];
    }
    const double numeric = (loss[0] - loss[1]) / (2 * kStep);
    const double allowed = (1e-8 + 16 * epsilon<T>()) * (size + std::fabs(loss[0]));
    t.expect(std::fabs(numeric - slope) <= allowed, what + " bwd: argument " + std::to_string(i) + " has slope " +
                                                        std::to_string(slope) + ", expected " +
                                                        std::to_string(numeric));
  }
}

template <class T>
void recurrent(Test& t) {
  for (int mode : {FA_RNN_TANH, FA_LSTM, FA_GRU}) {
    for (Layout layout : kLayouts) recurrent_case<T>(t, mode, {4, 3, 5, 17}, layout == Layout::kRowGap, layout);
    for (bool reverse : {false, true}) {
      recurrent_case<T>(t, mode, {3, 35, 2, 20}, reverse, Layout::kContiguous);
      recurrent_case<T>(t, mode, {2, 1, 1, 1}, reverse, Layout::kContiguous);
      recurrent_case<T>(t, mode, {2, 2, 3, 97}, reverse, Layout::kContiguous);
    }
    recurrent_case<T>(t, mode, {0, 2, 3, 4}, false, Layout::kContiguous);
    recurrent_case<T>(t, mode, {2, 0, 3, 4}, true, Layout::kContiguous);
    recurrent_case<T>(t, mode, {2, 2, 0, 4}, false, Layout::kContiguous);
  }

  Array<T> x(Shape{2, 2, 3}), w_ih(Shape{4, 3}), w_hh(Shape{4, 4}), output(Shape{2, 2, 4}), h_n(Shape{2, 4});
  x.fill([] { return 1; });
  w_ih.fill([] { return 1; });
  w_hh.fill([] { return 1; });
  Array<int64_t> lengths(Shape{2});
  lengths.fill([] { return 1; });
  lengths[1] = 3;
  fa_recurrent_fwd_params p = {};
  p.x = x;
  p.w_ih = w_ih;
  p.w_hh = w_hh;
  p.lengths = lengths;
  p.output = output;
  p.h_n = h_n;
  p.mode = FA_RNN_RELU;
  expect_invalid(t, "length 3", table().recurrent_fwd, p, output.storage(), "a length is negative or more than");
}

}  // namespace

FASTATTN_TEST(recurrent) {
  recurrent<float>(t);
  recurrent<double>(t);
  recurrent<Bf16>(t);
}
