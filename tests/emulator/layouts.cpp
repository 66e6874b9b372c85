// The bitwise rule over layouts: softmax, the norms and rope give the bits of aligned contiguous rows for rows that
// begin anywhere, have a stride, or lie side by side.
#include "cuda/entries.h"
#include "emulator/rows.h"

namespace {

using namespace emulator_test;

// Where element c of row r lies: offset + r * row + c * step.
struct Layout {
  const char* name;
  int64_t offset, row, step;
};

std::vector<Layout> layouts(int64_t rows, int64_t C) {
  const int64_t even = (C + 7) / 8 * 8;
  return {{"aligned", 0, even, 1},          {"offset", 1, even, 1},      {"odd rows", 0, even + 1, 1},
          {"stride", 0, 3 * C, 3},          {"backwards", C - 1, C, -1}, {"across", 0, 1, rows},
          {"across, apart", 3, 1, rows + 1}};
}

template <class T>
struct Placed {
  Layout layout;
  std::vector<T> block;
  Placed(const Layout& l, int64_t rows, int64_t C) : layout(l) {
    const int64_t last = l.offset + (rows - 1) * l.row + (l.step > 0 ? (C - 1) * l.step : 0);
    block.resize(static_cast<size_t>(last + 1));
  }
  T& at(int64_t r, int64_t c) { return block[static_cast<size_t>(layout.offset + r * layout.row + c * layout.step)]; }
  fa_tensor view(int64_t rows, int64_t C, int dtype) {
    return {block.data() + layout.offset, dtype, 2, {rows, C}, {layout.row, layout.step}};
  }
};

// A number of row r and column c, the same in every layout.
float number(uint64_t salt, int64_t r, int64_t c) {
  Random random(fastattn::emulator::options().seed + salt * 100003 + static_cast<uint64_t>(r * 65537 + c));
  random.next();
  return random.symmetric();
}

template <class T>
Placed<T> place(const Layout& l, int64_t rows, int64_t C, uint64_t salt, float scale = 1) {
  Placed<T> a(l, rows, C);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) set(a.at(r, c), scale * number(salt, r, c));
  }
  return a;
}

template <class T>
std::vector<float> values_of(Placed<T>& a, int64_t rows, int64_t C) {
  std::vector<float> result;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) result.push_back(value(a.at(r, c)));
  }
  return result;
}

void expect_same(Test& t, const std::string& what, const std::vector<float>& got, const std::vector<float>& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0) {
      t.expect(false, what + ": element " + std::to_string(i) + " has other bits: " + std::to_string(got[i]) +
                          ", not " + std::to_string(want[i]));
      return;
    }
  }
  t.expect(true, what);
}

bool across(const Layout& l) { return std::strncmp(l.name, "across", 6) == 0; }

template <class T>
std::vector<float> softmax(Test& t, const Layout& l, int form, int64_t rows, int64_t C, int mask_dtype) {
  auto x = place<T>(l, rows, C, 1, 5);
  const bool whole = form != FA_LOGSUMEXP, in_place = whole && C % 2 == 0;
  const int64_t outs = whole ? C : 1;
  Placed<T> out(l, rows, outs);
  Placed<uint8_t> keep(l, rows, C);
  auto add = place<T>(l, rows, C, 2);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      keep.at(r, c) = r != 1 && number(3, r, c) > -0.8f;
      if (!keep.at(r, c)) set(add.at(r, c), -HUGE_VALF);
    }
  }
  fa_softmax_fwd_params p = {};
  p.x = x.view(rows, C, kDtype<T>);
  p.out = (in_place ? x : out).view(rows, outs, kDtype<T>);
  if (mask_dtype == FA_BOOL) p.mask = keep.view(rows, C, FA_BOOL);
  if (mask_dtype == kDtype<T>) p.mask = add.view(rows, C, kDtype<T>);
  p.scale = 0.7;
  p.axis = 1;
  p.form = form;
  fa_launch launch = {};
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, launch.reason);
  t.expect((std::strstr(launch.kernel, "columns") != nullptr) == across(l), std::string(l.name) + launch.kernel);
  return values_of(in_place ? x : out, rows, outs);
}

template <class T>
std::vector<float> softmax_bwd(Test& t, const Layout& l, bool log, int64_t rows, int64_t C) {
  auto out = place<T>(l, rows, C, 4), dout = place<T>(l, rows, C, 5);
  for (int64_t c = 0; c < C; ++c) set(out.at(1, c), log ? -HUGE_VALF : 0.0f);
  Placed<T> fresh(l, rows, C);
  Placed<T>& dx = C % 2 == 0 ? dout : fresh;
  const fa_softmax_bwd_params p = {
      out.view(rows, C, kDtype<T>), dout.view(rows, C, kDtype<T>), dx.view(rows, C, kDtype<T>), 0.7, 1, log};
  fa_launch launch = {};
  t.expect(fastattn::cuda::softmax_bwd(p, launch) == FA_OK, launch.reason);
  t.expect((std::strstr(launch.kernel, "columns") != nullptr) == across(l), std::string(l.name) + launch.kernel);
  return values_of(dx, rows, C);
}

template <class T>
void check_softmax(Test& t, int64_t rows, int64_t C, int form, int mask_dtype) {
  const auto all = layouts(rows, C);
  const auto want = softmax<T>(t, all[0], form, rows, C, mask_dtype);
  const auto want_bwd = softmax_bwd<T>(t, all[0], form == FA_LOG_SOFTMAX, rows, C);
  for (size_t i = 1; i < all.size(); ++i) {
    const std::string what = std::string(all[i].name) + " " + std::to_string(C);
    expect_same(t, "softmax " + what, softmax<T>(t, all[i], form, rows, C, mask_dtype), want);
    expect_same(t, "its gradient " + what, softmax_bwd<T>(t, all[i], form == FA_LOG_SOFTMAX, rows, C), want_bwd);
  }
}

// out and dx of both norms.
template <class T>
std::vector<float> norms(Test& t, const Layout& l, int64_t rows, int64_t C) {
  auto x = place<T>(l, rows, C, 6), dout = place<T>(l, rows, C, 7), weight = place<T>(l, 1, C, 8),
       bias = place<T>(l, 1, C, 9);
  Placed<T> out(l, rows, C), dx(l, rows, C);
  std::vector<float> mean(static_cast<size_t>(rows)), rstd(mean);
  auto whole = [&](Placed<T>& a) { return a.view(rows, C, kDtype<T>); };
  auto flat = [&](Placed<T>& a) { return fa_tensor{a.block.data() + l.offset, kDtype<T>, 1, {C}, {1}}; };
  auto kept = [&](std::vector<float>& a) { return fa_tensor{a.data(), FA_F32, 1, {rows}, {1}}; };
  fa_launch launch = {};
  std::vector<float> result;
  auto take = [&](Placed<T>& a) {
    for (const float v : values_of(a, rows, C)) result.push_back(v);
  };
  const fa_layer_norm_fwd_params f = {whole(x), flat(weight), flat(bias), whole(out), kept(mean), kept(rstd), 1e-5};
  t.expect(fastattn::cuda::layer_norm_fwd(f, launch) == FA_OK, launch.reason);
  take(out);
  const fa_layer_norm_bwd_params b = {whole(x), flat(weight), kept(mean), kept(rstd), whole(dout), whole(dx), {}, {}};
  t.expect(fastattn::cuda::layer_norm_bwd(b, launch) == FA_OK, launch.reason);
  take(dx);
  const fa_rms_norm_fwd_params rf = {whole(x), flat(weight), whole(out), kept(rstd), 1e-5};
  t.expect(fastattn::cuda::rms_norm_fwd(rf, launch) == FA_OK, launch.reason);
  take(out);
  const fa_rms_norm_bwd_params rb = {whole(x), flat(weight), kept(rstd), whole(dout), whole(dx), {}};
  t.expect(fastattn::cuda::rms_norm_bwd(rb, launch) == FA_OK, launch.reason);
  take(dx);
  return result;
}

template <class T>
void check_norms(Test& t, int64_t rows, int64_t C) {
  const auto all = layouts(rows, C);
  const auto want = norms<T>(t, all[0], rows, C);
  for (const Layout& l : {all[1], all[2]}) {
    expect_same(t, std::string(l.name) + " " + std::to_string(C), norms<T>(t, l, rows, C), want);
  }
}

template <class T>
std::vector<float> rope(Test& t, const Layout& l, int64_t rows, int64_t D, int64_t pairs, bool interleaved) {
  const auto even = layouts(rows, pairs)[0];
  auto x = place<T>(l, rows, D, 10);
  auto cos = place<float>(even, rows, pairs, 11), sin = place<float>(even, rows, pairs, 12);
  Placed<T> fresh(l, rows, D);
  Placed<T>& out = interleaved ? x : fresh;
  const fa_rope_params p = {x.view(rows, D, kDtype<T>),
                            cos.view(rows, pairs, FA_F32),
                            sin.view(rows, pairs, FA_F32),
                            out.view(rows, D, kDtype<T>),
                            interleaved,
                            0};
  fa_launch launch = {};
  t.expect(fastattn::cuda::rope(p, launch) == FA_OK, launch.reason);
  return values_of(out, rows, D);
}

template <class T>
void check_rope(Test& t, int64_t rows, int64_t D, int64_t pairs) {
  for (const bool interleaved : {false, true}) {
    const auto all = layouts(rows, D);
    const auto want = rope<T>(t, all[0], rows, D, pairs, interleaved);
    for (size_t i = 1; i < all.size(); ++i) {
      expect_same(t, std::string("rope ") + all[i].name, rope<T>(t, all[i], rows, D, pairs, interleaved), want);
    }
  }
}

}  // namespace

EMULATOR_TEST(layouts_of_rope) {
  check_rope<float>(t, 5, 64, 32);
  check_rope<bf16>(t, 7, 64, 32);
  check_rope<f16>(t, 3, 40, 16);
}

EMULATOR_TEST(layouts_of_softmax) {
  check_softmax<float>(t, 11, 7, FA_SOFTMAX, FA_BOOL);
  check_softmax<float>(t, 9, 250, FA_LOG_SOFTMAX, FA_F32);
  check_softmax<bf16>(t, 19, 90, FA_LOGSUMEXP, FA_BF16);
  check_softmax<f16>(t, 3, 600, FA_SOFTMAX, -1);
  check_softmax<float>(t, 2, 1030, FA_LOG_SOFTMAX, FA_BOOL);
  check_softmax<bf16>(t, 3, 2100, FA_SOFTMAX, FA_BF16);
}

// Long rows, one length for each seed.
EMULATOR_TEST(layouts_of_long_softmax) {
  switch (fastattn::emulator::options().seed % 4) {
    case 0: return check_softmax<float>(t, 2, 4100, FA_SOFTMAX, -1);
    case 1: return check_softmax<bf16>(t, 2, 8201, FA_LOG_SOFTMAX, FA_BOOL);
    case 2: return check_softmax<float>(t, 2, 16385, FA_SOFTMAX, -1);
    default: return check_softmax<bf16>(t, 2, 32769, FA_SOFTMAX, -1);
  }
}

EMULATOR_TEST(layouts_of_norms) {
  check_norms<float>(t, 5, 37);
  check_norms<bf16>(t, 3, 300);
  check_norms<f16>(t, 3, 1000);
  check_norms<float>(t, 2, 2100);
}

EMULATOR_TEST(layouts_of_long_norms) {
  switch (fastattn::emulator::options().seed % 2) {
    case 0: return check_norms<float>(t, 1, 8201);
    default: return check_norms<bf16>(t, 1, 16385);
  }
}
