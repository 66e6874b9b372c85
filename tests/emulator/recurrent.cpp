// csrc/cuda/recurrent_fwd.cu and recurrent_bwd.cu: every cell, in both directions, with lengths (one out of range among
// them), against the steps in double; tiles of rows, units and K with rests, and more stages of K than are in flight.
#include "cuda/recurrent/recurrent.h"
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

constexpr int kGates[] = {1, 1, 4, 3}, kSlots[] = {1, 1, 4, 4};

struct Case {
  int mode;
  int64_t T, B, I, H;
  bool reverse, ragged, batch_first;
  int64_t rows() const { return kGates[mode] * H; }
};
using Values = std::vector<double>;
enum { kX, kWih, kWhh, kBih, kBhh, kH0, kC0, kNumArguments };

size_t at(int64_t i) { return static_cast<size_t>(i); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Row b in step t: the state before, the gates after their functions, s_n of GRU, and c.
struct Step {
  bool active;
  Values h, c, gates, s, next_c;
};

// The steps as they are defined, and back: results are output, h_n, c_n; gradients those of the arguments.
struct Reference {
  Case c;
  std::vector<int64_t> lengths;
  std::vector<Values> arguments, gradients;
  Values output, h, cell;
  std::vector<Step> steps;  // (T, B)

  Reference(const Case& c_, std::vector<int64_t> lengths_, std::vector<Values> arguments_)
      : c(c_),
        lengths(std::move(lengths_)),
        arguments(std::move(arguments_)),
        output(at(c.T * c.B * c.H)),
        h(arguments[kH0]),
        cell(arguments[kC0]),
        steps(at(c.T * c.B)) {
    for (int64_t i = 0; i < c.T; ++i) forward(c.reverse ? c.T - 1 - i : i);
  }

  double both(const Values& a, const Values& s, int64_t gate, int64_t u) const {
    return a[at(gate * c.H + u)] + s[at(gate * c.H + u)];
  }
  void forward(int64_t t) {
    for (int64_t b = 0; b < c.B; ++b) {
      Step& step = steps[at(t * c.B + b)];
      step.active = t < lengths[at(b)];
      if (!step.active) continue;
      step.h.assign(h.begin() + b * c.H, h.begin() + (b + 1) * c.H);
      step.c.assign(cell.begin() + b * c.H, cell.begin() + (b + 1) * c.H);
      Values a(at(c.rows()));
      step.s.resize(a.size());
      step.gates.resize(a.size());
      step.next_c.resize(at(c.H));
      for (int64_t j = 0; j < c.rows(); ++j) {
        a[at(j)] = arguments[kBih][at(j)];
        step.s[at(j)] = arguments[kBhh][at(j)];
        for (int64_t i = 0; i < c.I; ++i) {
          a[at(j)] += arguments[kX][at((t * c.B + b) * c.I + i)] * arguments[kWih][at(j * c.I + i)];
        }
        for (int64_t i = 0; i < c.H; ++i) step.s[at(j)] += step.h[at(i)] * arguments[kWhh][at(j * c.H + i)];
      }
      for (int64_t u = 0; u < c.H; ++u) {
        auto gate = [&](int64_t g) -> double& { return step.gates[at(g * c.H + u)]; };
        double& state = h[at(b * c.H + u)];
        if (c.mode == FA_RNN_TANH) state = gate(0) = std::tanh(both(a, step.s, 0, u));
        if (c.mode == FA_RNN_RELU) state = gate(0) = std::fmax(0.0, both(a, step.s, 0, u));
        if (c.mode == FA_LSTM) {
          for (int64_t g = 0; g < 4; ++g) {
            gate(g) = g == 2 ? std::tanh(both(a, step.s, g, u)) : sigmoid(both(a, step.s, g, u));
          }
          double& now = cell[at(b * c.H + u)];
          now = gate(1) * now + gate(0) * gate(2);
          step.next_c[at(u)] = now;
          state = gate(3) * std::tanh(now);
        }
        if (c.mode == FA_GRU) {
          gate(0) = sigmoid(both(a, step.s, 0, u));
          gate(1) = sigmoid(both(a, step.s, 1, u));
          gate(2) = std::tanh(a[at(2 * c.H + u)] + gate(0) * step.s[at(2 * c.H + u)]);
          state = (1 - gate(1)) * gate(2) + gate(1) * step.h[at(u)];
        }
        output[at((t * c.B + b) * c.H + u)] = state;
      }
    }
  }

  void backward(const Values& doutput, const Values& dh_n, const Values& dc_n) {
    for (const Values& a : arguments) gradients.emplace_back(a.size());
    gradients[kH0] = dh_n;
    gradients[kC0] = dc_n;
    for (int64_t i = c.T - 1; i >= 0; --i) {
      const int64_t t = c.reverse ? c.T - 1 - i : i;
      for (int64_t b = 0; b < c.B; ++b) {
        if (steps[at(t * c.B + b)].active) back(t, b, doutput);
      }
    }
  }
  void back(int64_t t, int64_t b, const Values& doutput) {
    const Step& step = steps[at(t * c.B + b)];
    Values da(at(c.rows())), ds(at(c.rows())), kept(at(c.H));
    for (int64_t u = 0; u < c.H; ++u) {
      auto gate = [&](int64_t g) { return step.gates[at(g * c.H + u)]; };
      auto set = [&](int64_t g, double of_a, double of_s) {
        da[at(g * c.H + u)] = of_a;
        ds[at(g * c.H + u)] = of_s;
      };
      const double g = gradients[kH0][at(b * c.H + u)] + doutput[at((t * c.B + b) * c.H + u)];
      if (c.mode == FA_RNN_TANH) set(0, g * (1 - gate(0) * gate(0)), g * (1 - gate(0) * gate(0)));
      if (c.mode == FA_RNN_RELU) set(0, gate(0) > 0 ? g : 0, gate(0) > 0 ? g : 0);
      if (c.mode == FA_LSTM) {
        double& dc = gradients[kC0][at(b * c.H + u)];
        const double tanh_c = std::tanh(step.next_c[at(u)]);
        dc += g * gate(3) * (1 - tanh_c * tanh_c);
        const double d[] = {dc * gate(2) * gate(0) * (1 - gate(0)), dc * step.c[at(u)] * gate(1) * (1 - gate(1)),
                            dc * gate(0) * (1 - gate(2) * gate(2)), g * tanh_c * gate(3) * (1 - gate(3))};
        for (int64_t k = 0; k < 4; ++k) set(k, d[k], d[k]);
        dc *= gate(1);
      }
      if (c.mode == FA_GRU) {
        const double dn = g * (1 - gate(1)) * (1 - gate(2) * gate(2));
        const double dr = dn * step.s[at(2 * c.H + u)] * gate(0) * (1 - gate(0));
        const double dz = g * (step.h[at(u)] - gate(2)) * gate(1) * (1 - gate(1));
        set(0, dr, dr);
        set(1, dz, dz);
        set(2, dn, dn * gate(0));
        kept[at(u)] = g * gate(1);
      }
    }
    for (int64_t j = 0; j < c.rows(); ++j) {
      gradients[kBih][at(j)] += da[at(j)];
      gradients[kBhh][at(j)] += ds[at(j)];
      for (int64_t i = 0; i < c.I; ++i) {
        const int64_t x = (t * c.B + b) * c.I + i, w = j * c.I + i;
        gradients[kX][at(x)] += da[at(j)] * arguments[kWih][at(w)];
        gradients[kWih][at(w)] += da[at(j)] * arguments[kX][at(x)];
      }
      for (int64_t u = 0; u < c.H; ++u) {
        kept[at(u)] += ds[at(j)] * arguments[kWhh][at(j * c.H + u)];
        gradients[kWhh][at(j * c.H + u)] += ds[at(j)] * step.h[at(u)];
      }
    }
    for (int64_t u = 0; u < c.H; ++u) gradients[kH0][at(b * c.H + u)] = kept[at(u)];
  }
};

// A contiguous array, of NaN until it is written.
template <class T>
struct Block {
  std::vector<int64_t> shape;
  Array<T> array;
  explicit Block(std::vector<int64_t> shape_) : shape(std::move(shape_)), array(1, count(), count()) {}
  int64_t count() const {
    int64_t n = 1;
    for (int64_t s : shape) n *= s;
    return n;
  }
  Block& fill(Random& random, float scale) {
    for (int64_t i = 0; i < count(); ++i) set(array.at(0, i), scale * random.symmetric());
    return *this;
  }
  Values values() {
    Values result;
    for (int64_t i = 0; i < count(); ++i) result.push_back(value(array.at(0, i)));
    return result;
  }
  fa_tensor view() {
    fa_tensor t = {array.block.get(), kDtype<T>, static_cast<int>(shape.size()), {}, {}};
    int64_t stride = 1;
    for (int d = t.ndim - 1; d >= 0; --d) {
      t.shape[d] = shape[at(d)];
      t.strides[d] = stride;
      stride *= t.shape[d];
    }
    return t;
  }
};

// Every element within `factor` roundings of the largest of the array.
template <class T>
void near(Test& t, const std::string& what, Block<T>& got, const Values& want, double factor) {
  double largest = 0;
  for (double w : want) largest = std::fmax(largest, std::fabs(w));
  const Values values = got.values();
  std::vector<float> floats(values.begin(), values.end());
  t.expect_near(what, floats, want, Values(want.size(), factor * kEps<T> * (largest + 1e-3)));
}

// What is left of a float where its product has to be of two terms in 16 bits.
template <class T>
constexpr double kStateEps = sizeof(T) == 4            ? 0x1p-23
                             : std::is_same_v<T, bf16> ? 0x1p-16
                                                       : 0x1p-21;

// The gates that the backward reads are float: they show what the state was kept in.
template <class T>
void check_gates(Test& t, const std::string& name, Reference& reference, Block<float>& gates) {
  const Case& c = reference.c;
  const int64_t slots = kSlots[c.mode], first = slots - kGates[c.mode];
  std::vector<float> got;
  Values want;
  for (int64_t row = 0; row < c.T * c.B; ++row) {
    const Step& step = reference.steps[at(row)];
    for (int64_t j = 0; step.active && j < slots * c.H; ++j) {
      got.push_back(gates.array.at(0, row * slots * c.H + j));
      want.push_back(j < first * c.H ? step.s[at(2 * c.H + j)] : step.gates[at(j - first * c.H)]);
    }
  }
  t.expect_near(name + "gates", got, want, Values(want.size(), 32 * kStateEps<T>));
}

template <class T>
void run(Test& t, fa_launch& launch, std::vector<char>& workspace, T&& call) {
  launch = {};
  launch.query = 1;
  t.expect(call() == FA_OK, launch.reason);
  workspace.assign(launch.workspace_bytes + 64, static_cast<char>(0xff));
  launch.query = 0;
  launch.workspace = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(workspace.data()) + 63) / 64 * 64);
  t.expect(call() == FA_OK, launch.reason);
}

template <class T>
void check(Test& t, const Case& c) {
  Random random(fastattn::emulator::options().seed + 9);
  const std::string name = "mode " + std::to_string(c.mode) + " H " + std::to_string(c.H) + ": ";
  const int64_t T_ = c.T, B = c.B, H = c.H, rows = c.rows();
  const std::vector<int64_t> shapes[] = {{T_, B, c.I}, {rows, c.I}, {rows, H}, {rows}, {rows}, {B, H}, {B, H}};
  std::vector<Block<T>> arguments, gradients;
  std::vector<Values> values;
  for (const auto& shape : shapes) {
    const bool recurs = values.size() == kWhh;
    arguments.emplace_back(shape).fill(random, recurs ? 1.5f / std::sqrt(static_cast<float>(H)) : 0.7f);
    gradients.emplace_back(shape);
    values.push_back(arguments.back().values());
  }
  std::vector<int64_t> lengths(at(B), T_);
  if (c.ragged) {
    for (int64_t& n : lengths) n = random.below(static_cast<int>(T_) + 1);
  }
  fa_tensor x = arguments[kX].view();
  Block<T> batch_first({B, T_, c.I});
  if (c.batch_first) {
    for (int64_t i = 0; i < x.shape[0] * B * c.I; ++i) {
      batch_first.array.at(0, (i / c.I % B * T_ + i / c.I / B) * c.I + i % c.I) = arguments[kX].array.at(0, i);
    }
    x = {batch_first.array.block.get(), kDtype<T>, 3, {T_, B, c.I}, {c.I, T_ * c.I, 1}};
  }
  Block<T> output({T_, B, H}), h_n({B, H}), c_n({B, H}), doutput({T_, B, H}), dh_n({B, H}), dc_n({B, H});
  Block<float> gates({T_, B, kSlots[c.mode], H}), cells({T_, B, H});
  const bool lstm = c.mode == FA_LSTM;
  const fa_tensor of_lengths = {c.ragged ? lengths.data() : nullptr, FA_I64, 1, {B}, {1}}, none = {};
  fa_recurrent_fwd_params p = {x,
                               arguments[kWih].view(),
                               arguments[kWhh].view(),
                               arguments[kBih].view(),
                               arguments[kBhh].view(),
                               arguments[kH0].view(),
                               lstm ? arguments[kC0].view() : none,
                               of_lengths,
                               output.view(),
                               h_n.view(),
                               lstm ? c_n.view() : none,
                               none,
                               none,
                               c.mode,
                               c.reverse};
  Reference reference(c, lengths, values);
  fa_launch launch;
  std::vector<char> workspace;
  const double factor = 16.0 + 2.0 * static_cast<double>(T_);
  for (bool saves : {false, true}) {
    if (saves) p.gates = gates.view();
    if (saves && lstm) p.cells = cells.view();
    run(t, launch, workspace, [&] { return fastattn::cuda::recurrent_fwd(p, launch); });
    near(t, name + "output", output, reference.output, factor);
    near(t, name + "h_n", h_n, reference.h, factor);
    if (lstm) near(t, name + "c_n", c_n, reference.cell, factor);
    if (saves) check_gates<T>(t, name, reference, gates);
  }

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
  q.doutput = doutput.fill(random, 1).view();
  q.dh_n = dh_n.fill(random, 1).view();
  if (lstm) q.dc_n = dc_n.fill(random, 1).view();
  fa_tensor* const targets[] = {&q.dx, &q.dw_ih, &q.dw_hh, &q.db_ih, &q.db_hh, &q.dh0, &q.dc0};
  const int count = lstm ? kNumArguments : kC0;
  for (int i = 0; i < count; ++i) *targets[i] = gradients[at(i)].view();
  q.mode = c.mode;
  q.reverse = c.reverse;
  reference.backward(doutput.values(), dh_n.values(), lstm ? dc_n.values() : Values(at(B * H)));
  const char* const names[] = {"dx", "dw_ih", "dw_hh", "db_ih", "db_hh", "dh0", "dc0"};
  std::vector<Values> found;
  for (int units : {16, 32}) {
    if (units == 32 && sizeof(T) == 4) continue;
    run(t, launch, workspace, [&] { return fastattn::cuda::recurrent_bwd(q, launch, units); });
    for (int i = 0; i < count; ++i) {
      near(t, name + names[i], gradients[at(i)], reference.gradients[at(i)], 2 * factor);
      if (units == 16) found.push_back(gradients[at(i)].values());
      t.expect(found[at(i)] == gradients[at(i)].values(), name + names[i] + ": bits");
    }
  }

  if (!c.ragged || T_ == 0) return;
  // A length that is none: its row has NaN for results and gives no gradient.
  lengths[0] = T_ + 1;
  run(t, launch, workspace, [&] { return fastattn::cuda::recurrent_fwd(p, launch); });
  run(t, launch, workspace, [&] { return fastattn::cuda::recurrent_bwd(q, launch); });
  for (int64_t u = 0; u < H; ++u) {
    t.expect(std::isnan(value(h_n.array.at(0, u))) && std::isnan(value(output.array.at(0, u))), name + "NaN");
    t.expect(value(gradients[kH0].array.at(0, u)) == 0, name + "no gradient");
  }
  for (int64_t i = 0; i < c.I; ++i) t.expect(value(gradients[kX].array.at(0, i)) == 0, name + "no gradient of x");
  for (double w : gradients[kWhh].values()) t.expect(std::isfinite(w), name + "a finite dw_hh");
}

template <class T>
void check_all(Test& t) {
  for (int mode : {FA_RNN_TANH, FA_RNN_RELU, FA_LSTM, FA_GRU}) {
    const bool gated = mode >= FA_LSTM;
    check<T>(t, {mode, 2, 35, 3, 18, mode % 2 == 0, true, false});
    check<T>(t, {mode, 2, 2, 5, gated ? 70 : 270, mode % 2 == 1, false, true});
    check<T>(t, {mode, 0, 2, 3, 4, false, true, false});
  }
}

}  // namespace

EMULATOR_TEST(recurrent) {
  check_all<float>(t);
  check_all<bf16>(t);
  check<f16>(t, {FA_LSTM, 2, 35, 3, 18, true, true, false});
}
