// csrc/cuda/softmax.cu and softmax_backward.cu against a reference in double: every form, dtype and configuration, rows
// that straddle them.
#include "cuda/entries.h"
#include "emulator/rows.h"
#include "formulas.h"

namespace {

using namespace emulator_test;

enum class Mask { kNone, kKeep, kKeepOfRow, kKeepOfAxis, kAdd, kAddOfAxis };  // Of...: broadcast along the other

template <class T>
void check(Test& t, int form, int64_t rows, int64_t C, int64_t gap, bool in_place, const char* config,
           Mask mask = Mask::kNone) {
  Random random(fastattn::emulator::options().seed + 31);
  Array<T> x(rows, C, C + gap), fresh(rows, form == FA_LOGSUMEXP ? 1 : C, (form == FA_LOGSUMEXP ? 1 : C) + gap);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      const bool hidden = r == 1 || random.below(9) == 0;  // row 1 has nothing to keep
      set(x.at(r, c), hidden ? -HUGE_VALF : 5 * random.symmetric() + (r == 2 ? 1e4f : 0.0f));
    }
  }
  const bool adds = mask == Mask::kAdd || mask == Mask::kAddOfAxis;
  const int64_t mask_row = mask == Mask::kKeep || mask == Mask::kAdd ? C : mask == Mask::kKeepOfRow ? 1 : 0;
  const int64_t mask_step = mask == Mask::kKeepOfRow ? 0 : 1;
  Array<uint8_t> keep(rows, C, C);
  Array<T> add(rows, C, C);
  std::vector<float> masks(static_cast<size_t>(rows * C));  // what is added to the score
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      const int64_t at = r * mask_row + c * mask_step;
      const bool hidden = mask != Mask::kNone && (at * 7 + at / 3) % 5 == 0;
      const float added = hidden ? -HUGE_VALF : adds ? static_cast<float>(at % 4) / 2 - 1 : 0.0f;
      masks[static_cast<size_t>(r * C + c)] = added;
      keep.block[static_cast<size_t>(at)] = !hidden;
      set(add.block[static_cast<size_t>(at)], added);
      if (hidden && c % 2) set(x.at(r, c), std::nanf(""));  // must not be seen
    }
  }
  const double scale = 0.75;
  auto score = [&](int64_t r, int64_t c) {
    const double added = masks[static_cast<size_t>(r * C + c)];
    return added == -HUGE_VAL ? added : scale * value(x.at(r, c)) + added;
  };
  std::vector<float> got;
  std::vector<double> want, bound;
  for (int64_t r = 0; r < rows; ++r) {
    const formulas::LogSum of(C, [&](int64_t c) { return score(r, c); });
    const double most = of.max, sum = of.sum;
    // The score's own rounding moves exp by |s| eps / 2 of itself; then the sum's, and that of the dtype.
    const double size = std::isfinite(most) ? std::abs(most) : 0, log_error = (size + 40) * 0x1p-23;
    for (int64_t c = 0; c < (form == FA_LOGSUMEXP ? 1 : C); ++c) {
      const double s = score(r, c), lse = of.lse();
      double y = sum == 0 ? -HUGE_VAL : form == FA_LOGSUMEXP ? lse : s - lse;
      double error = log_error + kEps<T> * std::abs(y);
      if (form == FA_SOFTMAX) {
        y = sum == 0 ? 0 : std::exp(s - most) / sum;
        error = (log_error + kEps<T>)*y + (std::is_same_v<T, f16> ? 0x1p-25 : 0x1p-126);
      }
      want.push_back(y);
      bound.push_back(std::isfinite(y) ? error : 0);
    }
  }
  Array<T>& out = in_place ? x : fresh;
  const bool split = rows % 2 == 0;
  fa_softmax_fwd_params p = {};
  p.x = x.view(split);
  p.out = out.view(split);
  if (mask != Mask::kNone) {
    p.mask = p.x;
    p.mask.data = adds ? static_cast<void*>(add.block.get()) : keep.block.get();
    p.mask.dtype = adds ? kDtype<T> : FA_BOOL;
    p.mask.strides[0] = split ? 2 * mask_row : mask_row;
    p.mask.strides[1] = split ? mask_row : mask_step;
    p.mask.strides[2] = mask_step;
  }
  p.scale = scale;
  p.axis = split ? 2 : 1;
  p.form = form;
  fa_launch launch = {};
  launch.size = sizeof launch;
  const std::string what = std::to_string(rows) + "x" + std::to_string(C) + " form " + std::to_string(form);
  if (!t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, what + ": " + launch.reason)) return;
  t.expect(std::string(launch.kernel).find(config) != std::string::npos, what + ": ran " + launch.kernel);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < out.C; ++c) got.push_back(value(out.at(r, c)));
  }
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i] == -HUGE_VAL && got[i] == -HUGE_VALF) want[i] = got[i] = 0;
  }
  t.expect_near(std::string(launch.kernel) + " " + what, got, want, bound);
}

}  // namespace

EMULATOR_TEST(softmax) {
  for (const int form : {FA_SOFTMAX, FA_LOG_SOFTMAX, FA_LOGSUMEXP}) {
    const bool whole = form != FA_LOGSUMEXP;
    check<float>(t, form, 5, 1, 0, false, "f32_warp8_sm80");
    check<float>(t, form, 6, 7, 1, whole, "f32_warp8");
    check<float>(t, form, 3, 256, 0, false, "f32_warp8");
    check<float>(t, form, 3, 257, 3, whole, "f32_warp32");
    check<float>(t, form, 4, 1025, 0, false, "f32_block128");
    check<float>(t, form, 3, 4100, 0, whole, "f32_block512");
    check<bf16>(t, form, 5, 250, 6, whole, "bf16_warp8");
    check<bf16>(t, form, 3, 1031, 0, false, "bf16_block128");
    check<f16>(t, form, 9, 100, 4, false, "f16_warp8");
    check<f16>(t, form, 3, 1000, 0, whole, "f16_warp32");
    check<float>(t, form, 4, 30, 0, whole, "f32_warp8", Mask::kKeep);
    check<float>(t, form, 7, 50, 2, false, "f32_warp8", Mask::kKeepOfRow);
    check<bf16>(t, form, 4, 300, 4, whole, "bf16_warp32", Mask::kKeepOfAxis);
    check<f16>(t, form, 3, 77, 0, false, "f16_warp8", Mask::kAdd);
    check<float>(t, form, 2, 1030, 2, whole, "f32_block128", Mask::kAddOfAxis);
  }
}

// Long rows, once each: they take most of the time.
EMULATOR_TEST(softmax_long) {
  const int form = static_cast<int>(fastattn::emulator::options().seed % 3);
  check<float>(t, form, 1, 16388, 0, false, "f32_block1024");
  check<float>(t, form, 1, 32768, 0, false, "f32_block1024");
  check<float>(t, form, 2, 16385, 0, false, "f32_block1024");
  check<bf16>(t, form, 2, 32776, 0, form != FA_LOGSUMEXP, "bf16_online");
  check<f16>(t, form, 1, 32770, 0, false, "f16_online", Mask::kAdd);
}

// Rows in another order than out's, and along the first axis: what is one axis for contiguous rows is two.
EMULATOR_TEST(softmax_strides) {
  Random random(fastattn::emulator::options().seed + 32);
  const int64_t A = 3, B = 4, C = 40;
  const std::vector<float> x = random_floats(random, A * B * C);  // lies as (B, A, C)
  for (const bool first : {false, true}) {
    std::vector<float> out(A * B * C, kUnwritten);  // lies as (A, B, C)
    fa_softmax_fwd_params p = {};
    p.x = {const_cast<float*>(x.data()), FA_F32, 3, {A, B, C}, {C, A * C, 1}};
    p.out = {out.data(), FA_F32, 3, {A, B, C}, {B * C, C, 1}};
    if (first) {
      p.x = {const_cast<float*>(x.data()), FA_F32, 3, {C, A, B}, {1, C, A * C}};
      p.out = {out.data(), FA_F32, 3, {C, A, B}, {1, B * C, C}};
    }
    p.scale = 1;
    p.axis = first ? 0 : 2;
    fa_launch launch = {};
    t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, "runs");
    std::vector<double> want, bound;
    for (int64_t a = 0; a < A; ++a) {
      for (int64_t b = 0; b < B; ++b) {
        const float* row = x.data() + (b * A + a) * C;
        const double lse = formulas::LogSum(C, [&](int64_t c) -> double { return row[c]; }).lse();
        for (int64_t c = 0; c < C; ++c) {
          want.push_back(std::exp(row[c] - lse));
          bound.push_back(40 * 0x1p-23 * want.back());
        }
      }
    }
    t.expect_near("strided rows", out, want, bound);
  }
}

template <class T>
void check_backward(Test& t, bool log, int64_t rows, int64_t C, int64_t gap, bool in_place, const char* config) {
  Random random(fastattn::emulator::options().seed + 33);
  Array<T> out(rows, C, C + gap), dout(rows, C, C + gap), fresh(rows, C, C + gap);
  const double scale = 0.75;
  std::vector<double> want, bound;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < C; ++c) {
      const float y = (random.symmetric() + 1) / static_cast<float>(C);  // roughly what a softmax gives
      set(out.at(r, c), r == 1 ? (log ? -HUGE_VALF : 0.0f) : log ? std::log(y + 0.01f / static_cast<float>(C)) : y);
      set(dout.at(r, c), random.symmetric());
    }
    double sum = 0, size = 0;
    for (int64_t c = 0; c < C; ++c) {
      const double term = value(dout.at(r, c)) * (log ? 1 : double{value(out.at(r, c))});
      sum += term;
      size += std::abs(term);
    }
    for (int64_t c = 0; c < C; ++c) {
      const double y = value(out.at(r, c)), d = value(dout.at(r, c)), weight = log ? std::exp(y) : y;
      const double dx = r == 1 ? 0 : log ? scale * (d - weight * sum) : scale * y * (d - sum);
      want.push_back(dx);
      bound.push_back(kEps<T> * std::abs(dx) + 40 * 0x1p-23 * (std::abs(d) + weight * size) +
                      (std::is_same_v<T, f16> ? 0x1p-25 : 0));
    }
  }
  Array<T>& dx = in_place ? dout : fresh;
  const bool split = rows % 2 == 0;
  fa_softmax_bwd_params p = {out.view(split), dout.view(split), dx.view(split), scale, split ? 2 : 1, log};
  fa_launch launch = {};
  t.expect(fastattn::cuda::softmax_bwd(p, launch) == FA_OK, launch.reason);
  t.expect(std::strstr(launch.kernel, config) != nullptr, std::string(launch.kernel) + ": expected " + config);
  t.expect_near(launch.kernel, values(dx), want, bound);
}

EMULATOR_TEST(softmax_backward) {
  for (const bool log : {false, true}) {
    check_backward<float>(t, log, 5, 1, 0, false, "softmax_bwd_f32_warp8_sm80");
    check_backward<float>(t, log, 6, 7, 1, true, "f32_warp8");
    check_backward<float>(t, log, 3, 256, 0, false, "f32_warp8");
    check_backward<bf16>(t, log, 4, 257, 3, true, "bf16_warp16");
    check_backward<f16>(t, log, 3, 1000, 0, true, "f16_block128");
    check_backward<float>(t, log, 3, 2100, 4, false, "f32_block512");
    check_backward<bf16>(t, log, 2, 8200, 0, false, "bf16_block1024");
    check_backward<float>(t, log, 2, 8201, 0, true, "f32_block1024");
    check_backward<float>(t, log, 2, 16388, 0, true, "f32_reread");
  }
}

EMULATOR_TEST(softmax_edges) {
  std::vector<float> x = {1, HUGE_VALF, 2, 1, std::nanf(""), 2}, out(6, 5.0f);
  fa_softmax_fwd_params p = {};
  p.x = {x.data(), FA_F32, 2, {2, 3}, {3, 1}};
  p.out = {out.data(), FA_F32, 2, {2, 3}, {3, 1}};
  p.scale = 1;
  p.axis = 1;
  fa_launch launch = {};
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, "runs");
  for (const float y : out) t.expect(y != y, "a row with inf or NaN is NaN");
  p.form = FA_LOGSUMEXP;
  p.out.shape[1] = 1;
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, "runs");
  t.expect(out[0] == HUGE_VALF && out[3] != out[3], "logsumexp with inf, with NaN");
  p.x.shape[1] = 0;
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK && out[0] == -HUGE_VALF && out[3] == -HUGE_VALF,
           "logsumexp of nothing");
  p.x.shape[1] = 3;

  p.x.shape[0] = p.out.shape[0] = 0;
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, "no rows");
  launch.query = 1;
  p.x.shape[0] = p.out.shape[0] = 2;
  p.out.data = p.x.data = nullptr;
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK && launch.bytes == 32 && launch.workspace_bytes == 0,
           "query");
  p.x.dtype = FA_F64;
  t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_UNSUPPORTED && std::strstr(launch.reason, "float32"),
           "float64");
}

// Row 0 has inf, row 1 inf and NaN; each way of reading a row.
EMULATOR_TEST(logsumexp_infinities) {
  for (const int64_t C : {3, 300, 33000}) {
    for (const bool across : {false, true}) {
      std::vector<float> x(static_cast<size_t>(2 * C), 1.0f), out(2, 5.0f);
      const int64_t row = across ? 1 : C, step = across ? 2 : 1;
      x[0] = x[static_cast<size_t>(row)] = HUGE_VALF;
      x[static_cast<size_t>(row + 2 * step)] = std::nanf("");
      fa_softmax_fwd_params p = {};
      p.x = {x.data(), FA_F32, 2, {2, C}, {row, step}};
      p.out = {out.data(), FA_F32, 2, {2, 1}, {1, 1}};
      p.scale = 1;
      p.axis = 1;
      p.form = FA_LOGSUMEXP;
      fa_launch launch = {};
      t.expect(fastattn::cuda::softmax_fwd(p, launch) == FA_OK, launch.reason);
      t.expect(out[0] == HUGE_VALF && std::isnan(out[1]), launch.kernel);
    }
  }
}
