// csrc/cuda/conv.cu against its formula in double: forward and both gradients, in every layout, over strides, padding,
// dilation and groups; and that layout, tile and split change no bit.
#include "cuda/conv/conv.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;
using fastattn::cuda::kLargeTile;
using fastattn::cuda::kTallTile;
using fastattn::cuda::MatmulChoice;

enum class Lie { kChannelsFirst, kChannelsLast, kStrided };

// Images (N, C, H, W), or weights (O, C, KH, KW), in a block of exactly their size, NaN where there is no element.
template <class T>
struct Images {
  int64_t shape[4], strides[4];
  std::vector<T> block;

  Images(int64_t n, int64_t c, int64_t h, int64_t w, Lie lie = Lie::kChannelsFirst) : shape{n, c, h, w} {
    int64_t step = lie == Lie::kStrided ? 3 : 1;
    const int order[2][4] = {{3, 2, 1, 0}, {1, 3, 2, 0}};
    for (const int d : order[lie == Lie::kChannelsLast]) {
      strides[d] = step;
      step *= shape[d];
    }
    block.resize(static_cast<size_t>(step + 1));
    std::memset(static_cast<void*>(block.data()), 0xff, sizeof(T) * block.size());
  }
  T& at(int64_t n, int64_t c, int64_t h, int64_t w) {
    return block[static_cast<size_t>(n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3])];
  }
  template <class F>
  void each(F&& f) {
    for (int64_t n = 0; n < shape[0]; ++n) {
      for (int64_t c = 0; c < shape[1]; ++c) {
        for (int64_t h = 0; h < shape[2]; ++h) {
          for (int64_t w = 0; w < shape[3]; ++w) f(n, c, h, w);
        }
      }
    }
  }
  void fill(Random& random) {
    each([&](int64_t n, int64_t c, int64_t h, int64_t w) { set(at(n, c, h, w), random.symmetric()); });
  }
  std::vector<float> values() {
    std::vector<float> all;
    each([&](int64_t n, int64_t c, int64_t h, int64_t w) { all.push_back(value(at(n, c, h, w))); });
    return all;
  }
  fa_tensor view() {
    return {block.data(),
            kDtype<T>,
            4,
            {shape[0], shape[1], shape[2], shape[3]},
            {strides[0], strides[1], strides[2], strides[3]}};
  }
};

struct Case {
  int64_t N, C, H, W, O, KH, KW;
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1}, groups = 1;
  Lie lie = Lie::kChannelsFirst, weight = Lie::kChannelsFirst;
  MatmulChoice choice = {};
  const char* tile = "";  // part of the forward's kernel's name
};

// Sums in double, and of their sizes, in the order of Images::each.
struct Sums {
  std::vector<double> sum, size;
  explicit Sums(size_t n) : sum(n), size(n) {}
  void add(int64_t i, double x) {
    sum[static_cast<size_t>(i)] += x;
    size[static_cast<size_t>(i)] += std::abs(x);
  }
  template <class T>
  std::vector<double> bound(double terms) const {
    std::vector<double> all;
    for (size_t i = 0; i < sum.size(); ++i) all.push_back((terms + 2) * 0x1p-24 * size[i] + kEps<T> * std::abs(sum[i]));
    return all;
  }
};

template <class Params>
void run(Test& t, const char* what, fa_status (*entry)(const Params&, fa_launch&, const MatmulChoice&), const Params& p,
         const MatmulChoice& choice, const char* tile) {
  fa_launch launch = {};
  launch.size = sizeof launch;
  launch.query = 1;
  t.expect(entry(p, launch, choice) == FA_OK, std::string(what) + ": the query");
  const size_t bytes = (launch.workspace_bytes + 255) / 256 * 256;
  std::unique_ptr<void, decltype(&std::free)> workspace(std::aligned_alloc(256, bytes + 256), &std::free);
  std::memset(workspace.get(), 0xff, bytes);
  launch.query = 0;
  launch.workspace = workspace.get();
  t.expect(entry(p, launch, choice) == FA_OK, std::string(what) + ": " + launch.reason);
  t.expect(std::string(launch.kernel).find(tile) != std::string::npos, std::string(what) + ": ran " + launch.kernel);
}

// out, dx, dweight and dbias.
template <class T>
std::vector<std::vector<float>> check(Test& t, const Case& c) {
  Random random(fastattn::emulator::options().seed + 61);
  auto length = [&](int axis, int64_t in, int64_t taps) {
    return (in + 2 * c.padding[axis] - c.dilation[axis] * (taps - 1) - 1) / c.stride[axis] + 1;
  };
  const int64_t P = length(0, c.H, c.KH), Q = length(1, c.W, c.KW), K = c.C / c.groups, columns = c.O / c.groups;
  Images<T> x(c.N, c.C, c.H, c.W, c.lie), dx(c.N, c.C, c.H, c.W, c.lie), out(c.N, c.O, P, Q, c.lie);
  Images<T> dout(c.N, c.O, P, Q, c.lie), weight(c.O, K, c.KH, c.KW, c.weight), dweight(c.O, K, c.KH, c.KW, c.weight);
  Images<T> bias(1, c.O, 1, 1), dbias(1, c.O, 1, 1);
  for (Images<T>* images : {&x, &dout, &weight, &bias}) images->fill(random);
  Sums to_out(static_cast<size_t>(c.N * c.O * P * Q)), to_dx(static_cast<size_t>(c.N * c.C * c.H * c.W));
  Sums to_dweight(static_cast<size_t>(c.O * K * c.KH * c.KW)), to_dbias(static_cast<size_t>(c.O));
  int64_t at_out = 0;
  out.each([&](int64_t n, int64_t o, int64_t p, int64_t q) {
    const double g = value(dout.at(n, o, p, q));
    to_out.add(at_out, value(bias.at(0, o, 0, 0)));
    to_dbias.add(o, g);
    for (int64_t k = 0; k < K; ++k) {
      for (int64_t i = 0; i < c.KH; ++i) {
        for (int64_t j = 0; j < c.KW; ++j) {
          const int64_t h = p * c.stride[0] + i * c.dilation[0] - c.padding[0];
          const int64_t w = q * c.stride[1] + j * c.dilation[1] - c.padding[1], ch = o / columns * K + k;
          if (h < 0 || h >= c.H || w < 0 || w >= c.W) continue;
          const double v = value(x.at(n, ch, h, w)), u = value(weight.at(o, k, i, j));
          to_out.add(at_out, u * v);
          to_dx.add(((n * c.C + ch) * c.H + h) * c.W + w, u * g);
          to_dweight.add(((o * K + k) * c.KH + i) * c.KW + j, v * g);
        }
      }
    }
    ++at_out;
  });
  const fa_conv_geometry geometry = {
      {c.stride[0], c.stride[1]}, {c.padding[0], c.padding[1]}, {c.dilation[0], c.dilation[1]}, c.groups};
  auto row = [](fa_tensor v) {
    v.ndim = 1;
    v.shape[0] = v.shape[1];
    v.strides[0] = v.strides[1];
    return v;
  };
  const std::string what = std::to_string(c.N) + "x" + std::to_string(c.C) + "x" + std::to_string(c.H) + "x" +
                           std::to_string(c.W) + " to " + std::to_string(c.O) + ", lies " +
                           std::to_string(static_cast<int>(c.lie));
  run<fa_conv_fwd_params>(t, "fwd", fastattn::cuda::conv_fwd,
                          {x.view(), weight.view(), row(bias.view()), out.view(), geometry}, c.choice, c.tile);
  run<fa_conv_bwd_input_params>(t, "bwd_input", fastattn::cuda::conv_bwd_input,
                                {weight.view(), dout.view(), dx.view(), geometry}, c.choice, "");
  run<fa_conv_bwd_weight_params>(t, "bwd_weight", fastattn::cuda::conv_bwd_weight,
                                 {x.view(), dout.view(), dweight.view(), row(dbias.view()), geometry}, c.choice, "");
  const auto taps = static_cast<double>(c.KH * c.KW), pixels = static_cast<double>(c.N * P * Q);
  std::vector<std::vector<float>> found = {out.values(), dx.values(), dweight.values(), dbias.values()};
  t.expect_near("out " + what, found[0], to_out.sum, to_out.bound<T>(taps * static_cast<double>(K)));
  t.expect_near("dx " + what, found[1], to_dx.sum, to_dx.bound<T>(taps * static_cast<double>(columns)));
  t.expect_near("dweight " + what, found[2], to_dweight.sum, to_dweight.bound<T>(pixels));
  t.expect_near("dbias " + what, found[3], to_dbias.sum, to_dbias.bound<T>(pixels));
  return found;
}

// One layout after the other, which must give the same bits.
template <class T>
void layouts(Test& t, Case c) {
  std::vector<std::vector<float>> expected;
  for (const Lie lie : {Lie::kChannelsFirst, Lie::kChannelsLast, Lie::kStrided}) {
    c.lie = lie;
    c.weight = lie == Lie::kChannelsLast ? Lie::kStrided : Lie::kChannelsLast;
    const auto found = check<T>(t, c);
    if (expected.empty()) expected = found;
    t.expect(found == expected, "another layout: the same bits");
  }
}

template <class T>
void check_all(Test& t) {
  layouts<T>(t, {.N = 2, .C = 8, .H = 5, .W = 6, .O = 16, .KH = 3, .KW = 3, .padding = {1, 1}});
  layouts<T>(t, {.N = 1, .C = 3, .H = 7, .W = 9, .O = 5, .KH = 3, .KW = 2, .stride = {2, 3}, .padding = {2, 1}});
  check<T>(t, {.N = 1, .C = 1, .H = 1, .W = 1, .O = 1, .KH = 1, .KW = 1});
  // Phases without a tap, and with fewer than others.
  check<T>(t, {.N = 2, .C = 2, .H = 7, .W = 8, .O = 3, .KH = 1, .KW = 2, .stride = {3, 4}});
  check<T>(t, {.N = 1,
               .C = 3,
               .H = 9,
               .W = 11,
               .O = 4,
               .KH = 3,
               .KW = 3,
               .stride = {2, 3},
               .padding = {1, 5},
               .dilation = {4, 2}});
  check<T>(t, {.N = 2, .C = 6, .H = 4, .W = 5, .O = 9, .KH = 3, .KW = 3, .padding = {1, 1}, .groups = 3});
  check<T>(t, {.N = 1, .C = 16, .H = 4, .W = 3, .O = 16, .KH = 2, .KW = 2, .groups = 2, .lie = Lie::kChannelsLast});
  check<T>(t, {.N = 1,
               .C = 5,
               .H = 4,
               .W = 5,
               .O = 10,
               .KH = 3,
               .KW = 3,
               .stride = {1, 2},
               .padding = {1, 1},
               .groups = 5,
               .lie = Lie::kChannelsLast});
  check<T>(t, {.N = 1, .C = 2, .H = 3, .W = 4, .O = 3, .KH = 2, .KW = 2, .padding = {4, 3}});
  // Without tiles, the weight in three parts.
  check<T>(t, {.N = 2, .C = 2, .H = 20, .W = 26, .O = 4, .KH = 1, .KW = 2, .groups = 2, .tile = "direct"});
}

}  // namespace

EMULATOR_TEST(conv_f32) { check_all<float>(t); }
EMULATOR_TEST(conv_bf16) { check_all<bf16>(t); }
EMULATOR_TEST(conv_f16) {
  layouts<f16>(t, {.N = 1, .C = 11, .H = 5, .W = 6, .O = 9, .KH = 2, .KW = 3, .stride = {1, 2}, .padding = {1, 1}});
}

EMULATOR_TEST(conv_tiles) {
  auto same = [&]<class T>(T) {
    Case c = {.N = 2, .C = 8, .H = 8, .W = 9, .O = 34, .KH = 3, .KW = 3, .padding = {1, 1}, .lie = Lie::kChannelsLast};
    c.tile = "64x64";
    const auto expected = check<T>(t, c);
    for (const int tile : {kLargeTile, kTallTile}) {
      c.choice.tile = tile;
      c.tile = tile == kTallTile ? "128x32" : "128x128";
      t.expect(check<T>(t, c) == expected, "another tile: the same bits");
    }
  };
  fastattn::emulator::options().seed % 2 ? same(float{}) : same(bf16{});
}

// Two chunks of k: forward, in the larger phases of the gradient of x, and in the gradient of the weight.
EMULATOR_TEST(conv_bits) {
  auto same = [&]<class T>(T) {
    Case forward = {.N = 1, .C = 116, .H = 2, .W = 2, .O = 3, .KH = 3, .KW = 3, .padding = {1, 1}};
    Case backward = {.N = 1, .C = 3, .H = 2, .W = 3, .O = 176, .KH = 3, .KW = 3, .stride = {1, 2}, .padding = {1, 1}};
    Case weight = {.N = 2, .C = 1, .H = 11, .W = 14, .O = 3, .KH = 1, .KW = 2, .padding = {0, 1}};
    for (Case* test : {&forward, &backward, &weight}) {
      test->choice.split = 0;
      const auto expected = check<T>(t, *test);
      for (const MatmulChoice choice : {MatmulChoice{}, {.split = 1, .pieces = 1}, {.split = 1, .pieces = 2}}) {
        test->choice = choice;
        t.expect(check<T>(t, *test) == expected, "K shared out: the same bits");
      }
    }
  };
  fastattn::emulator::options().seed % 2 ? same(float{}) : same(bf16{});
}
