// Every instruction wrapper against a definition written here, from the PTX manual's formulas and not from the
// emulator.
#include "emulator/emulator_test.h"
#include "emulator/kernels.h"

namespace {

using namespace emulator_test;

// cvt.rn of a double to a format with so many bits of mantissa and a least exponent: by arithmetic, not by bits.
double rounded(double x, int mantissa_bits, int least_exponent, double largest) {
  if (x == 0 || !std::isfinite(x)) return x;
  int exponent;
  std::frexp(x, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 1, least_exponent) - mantissa_bits);
  const double r = std::nearbyint(x / unit) * unit;
  return std::abs(r) > largest ? std::copysign(HUGE_VAL, x) : r;
}
double to_bf16(double x) { return rounded(x, 7, -126, 0x1.FEp127); }
double to_f16(double x) { return rounded(x, 10, -14, 65504); }

uint16_t bf16_of(float x) {  // x is a bf16 value
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}
uint16_t f16_of(float x) {  // x is an f16 value
  const auto half = static_cast<_Float16>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}

uint32_t word_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

}  // namespace

EMULATOR_TEST(conversions) {
  Random random(fastattn::emulator::options().seed + 1);
  std::vector<float> x = {
      0.0f,        -0.0f,          1.0f,           -1.0f,    65504.0f,  65519.99f,       65520.0f,
      1e6f,        -1e6f,          3.4e38f,        0x1p-24f, 0x1p-25f,  0x1.000002p-25f, 0x1.8p-24f,
      -0x1.8p-24f, 0x1p-14f,       0x1.ffep-15f,   1e-40f,   HUGE_VALF, -HUGE_VALF,      1.00390625f,
      1.01171875f, 1.00048828125f, 1.00146484375f, -126.5f};
  for (int i = 0; i < 400; ++i) x.push_back(std::ldexp(random.symmetric(), random.below(60) - 30));
  std::vector<Converted> y(x.size());
  run_convert(x.data(), y.data(), static_cast<int>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const std::string what = std::to_string(x[i]);
    t.expect(static_cast<double>(y[i].bf16_value) == to_bf16(x[i]), "bf16 of " + what);
    t.expect(static_cast<double>(y[i].f16_value) == to_f16(x[i]), "f16 of " + what);
    t.expect(y[i].bf16_pair == (y[i].bf16_bits | 0x3f80u << 16), "pair of bf16 of " + what);
    t.expect(y[i].f16_pair == (y[i].f16_bits | 0x3c00u << 16), "pair of f16 of " + what);
    const double wanted = std::exp2(static_cast<double>(x[i]));
    t.expect(wanted > 1e38 || std::abs(y[i].exp2 - wanted) <= 0x1p-22 * wanted + 0x1p-126, "exp2 of " + what);
    if (std::isfinite(x[i]) && std::abs(x[i]) < 1e38f && std::abs(x[i]) > 1e-30f) {
      float tf32;
      std::memcpy(&tf32, &y[i].tf32, sizeof tf32);
      int exponent;
      std::frexp(x[i], &exponent);
      const double unit = std::ldexp(1.0, exponent - 11);
      t.expect(tf32 == std::round(x[i] / unit) * unit && (y[i].tf32 & 0x1fff) == 0, "tf32 of " + what);
    }
  }
  const float nan = std::nanf("");
  run_convert(&nan, y.data(), 1);
  t.expect(y[0].bf16_bits == 0x7fff && y[0].f16_bits == 0x7fff && y[0].exp2 != y[0].exp2, "NaN");
}

EMULATOR_TEST(half_values) {
  std::vector<float> bf16_values(65536), f16_values(65536);
  run_half_values(bf16_values.data(), f16_values.data());
  for (unsigned i = 0; i < 65536; ++i) {
    const unsigned sign = i >> 15, e8 = i >> 7 & 255, m7 = i & 127, e5 = i >> 10 & 31, m10 = i & 1023;
    auto value = [&](unsigned e, unsigned m, int bits, int bias, unsigned top) -> double {
      if (e == top) return m ? std::nan("") : HUGE_VAL;
      const double mantissa = std::ldexp(m, -bits) + (e > 0 ? 1 : 0);
      return std::ldexp(mantissa, static_cast<int>(std::max(e, 1u)) - bias);
    };
    auto same = [&](float got, double want) {
      if (sign) want = -want;
      return want != want ? got != got : got == want && std::signbit(got) == std::signbit(want);
    };
    t.expect(same(bf16_values[i], value(e8, m7, 7, 127, 255)), "bf16 " + std::to_string(i));
    t.expect(same(f16_values[i], value(e5, m10, 10, 15, 31)), "f16 " + std::to_string(i));
  }
}

EMULATOR_TEST(shuffles) {
  Random random(fastattn::emulator::options().seed + 2);
  for (int kind = 0; kind < 4; ++kind) {
    for (const int width : {32, 16, 8, 1}) {
      std::vector<uint64_t> in(32), out(32, 7);
      std::vector<int> by(32);
      const int all_by = random.below(32);
      for (int i = 0; i < 32; ++i) {
        in[i] = static_cast<uint64_t>(random.next()) << 32 | random.next();
        by[i] = kind == 0 ? random.below(64) : all_by;
      }
      run_shuffle(kind, 0xffffffff, width, by.data(), in.data(), out.data());
      for (int i = 0; i < 32; ++i) {
        const int segment = i / width * width, place = i % width;
        int from = i;
        if (kind == 0) from = segment + by[i] % width;
        if (kind == 1 && place >= by[i]) from = i - by[i];
        if (kind == 2 && place + by[i] < width) from = i + by[i];
        if (kind == 3 && (i ^ by[i]) < segment + width) from = i ^ by[i];
        t.expect(out[i] == in[from], "shuffle " + std::to_string(kind) + " width " + std::to_string(width));
      }
    }
  }
  // Half a warp: the others are not there and not asked.
  std::vector<uint64_t> in(32), out(32, 7);
  std::vector<int> by(32, 3);
  for (int i = 0; i < 32; ++i) in[i] = static_cast<uint64_t>(i);
  run_shuffle(3, 0x0000ffff, 16, by.data(), in.data(), out.data());
  for (int i = 0; i < 32; ++i) t.expect(out[i] == (i < 16 ? static_cast<uint64_t>(i ^ 3) : 7), "half a warp");
}

EMULATOR_TEST(votes) {
  Random random(fastattn::emulator::options().seed + 3);
  for (const unsigned mask : {0xffffffffu, 0x00ff00f1u, 0x80000000u}) {
    std::vector<int> in(32), out(32 * 9, -1);
    for (int& x : in) x = random.below(200) - 100;
    run_votes(mask, in.data(), out.data());
    unsigned ballot = 0, all_and = ~0u, all_or = 0, all_xor = 0;
    int any = 0, all = 1, sum = 0, least = 1000, most = -1000;
    for (int i = 0; i < 32; ++i) {
      if ((mask >> i & 1) == 0) continue;
      const auto bits = static_cast<unsigned>(in[i]);
      ballot |= static_cast<unsigned>(in[i] > 0) << i;
      any |= in[i] > 90;
      all &= in[i] > -90;
      sum += in[i];
      least = std::min(least, in[i]);
      most = std::max(most, in[i]);
      all_and &= bits;
      all_or |= bits;
      all_xor ^= bits;
    }
    const int wanted[9] = {
        static_cast<int>(ballot), any, all, sum, least, most, static_cast<int>(all_and), static_cast<int>(all_or),
        static_cast<int>(all_xor)};
    for (int i = 0; i < 32 * 9; ++i) {
      const bool takes_part = mask >> i / 9 & 1;
      t.expect(out[i] == (takes_part ? wanted[i % 9] : -1), "vote " + std::to_string(i % 9));
    }
  }
}

EMULATOR_TEST(matrix_moves) {
  Random random(fastattn::emulator::options().seed + 4);
  for (const int matrices : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      // Rows at random places that do not overlap: two 16-byte rows apart at least.
      std::vector<uint16_t> memory(1024);
      std::vector<uint32_t> places(64), address(32);
      for (uint32_t i = 0; i < 64; ++i) places[i] = i * 32;
      for (int i = 63; i > 0; --i) std::swap(places[i], places[random.below(i + 1)]);
      for (int i = 0; i < 32; ++i) address[i] = places[i];
      for (uint16_t& x : memory) x = static_cast<uint16_t>(random.next());
      std::vector<uint32_t> registers(32 * matrices);
      run_ldmatrix(matrices, transposed, memory.data(), address.data(), registers.data());
      for (int lane = 0; lane < 32; ++lane) {
        for (int m = 0; m < matrices; ++m) {
          for (int h = 0; h < 2; ++h) {
            int row = lane / 4, column = lane % 4 * 2 + h;
            if (transposed) std::swap(row, column);
            const uint16_t want = memory[address[m * 8 + row] / 2 + column];
            const auto got = static_cast<uint16_t>(registers[lane * matrices + m] >> 16 * h);
            t.expect(got == want, "ldmatrix x" + std::to_string(matrices) + (transposed ? " trans" : ""));
          }
        }
      }
      for (uint32_t& r : registers) r = random.next();
      std::vector<uint16_t> stored = memory, wanted = memory;
      run_stmatrix(matrices, transposed, stored.data(), address.data(), registers.data());
      for (int m = 0; m < matrices; ++m) {
        for (int row = 0; row < 8; ++row) {
          for (int column = 0; column < 8; ++column) {
            const int r = transposed ? column : row, c = transposed ? row : column;
            wanted[address[m * 8 + row] / 2 + column] =
                static_cast<uint16_t>(registers[(r * 4 + c / 2) * matrices + m] >> 16 * (c % 2));
          }
        }
      }
      t.expect(stored == wanted, "stmatrix x" + std::to_string(matrices) + (transposed ? " trans" : ""));
    }
  }
}

EMULATOR_TEST(mma) {
  Random random(fastattn::emulator::options().seed + 5);
  for (const MmaType type : {MmaType::kBf16, MmaType::kF16, MmaType::kTf32}) {
    const bool tf32 = type == MmaType::kTf32;
    const int K = tf32 ? 8 : 16;
    std::vector<float> a(16 * K), b(K * 8), c(16 * 8);
    auto representable = [&](float x) {
      if (type == MmaType::kBf16) return static_cast<float>(to_bf16(x));
      return static_cast<float>(rounded(x, 10, -14, 65504));  // tf32's mantissa has as many bits as f16's
    };
    for (float& x : a) x = representable(random.symmetric());
    for (float& x : b) x = representable(random.symmetric());
    for (float& x : c) x = random.symmetric();
    auto half = [&](float x) { return type == MmaType::kBf16 ? bf16_of(x) : f16_of(x); };
    // Element by element of the matrices, which lane and register it goes to.
    std::vector<uint32_t> rA(32 * 4), rB(32 * 2);
    std::vector<float> rC(32 * 4), rD(32 * 4, kUnwritten);
    for (int row = 0; row < 16; ++row) {
      for (int k = 0; k < K; ++k) {
        if (tf32) {  // the 13 low bits do not count
          rA[(row % 8 * 4 + k % 4) * 4 + row / 8 + k / 4 * 2] = word_of(a[row * K + k]) | (random.next() & 0x1fff);
        } else {
          rA[(row % 8 * 4 + k % 8 / 2) * 4 + row / 8 + k / 8 * 2] |= static_cast<uint32_t>(half(a[row * K + k]))
                                                                     << 16 * (k % 2);
        }
      }
    }
    for (int k = 0; k < K; ++k) {
      for (int n = 0; n < 8; ++n) {
        if (tf32) {
          rB[(n * 4 + k % 4) * 2 + k / 4] = word_of(b[k * 8 + n]);
        } else {
          rB[(n * 4 + k % 8 / 2) * 2 + k / 8] |= static_cast<uint32_t>(half(b[k * 8 + n])) << 16 * (k % 2);
        }
      }
    }
    auto place = [](int row, int n) { return (row % 8 * 4 + n / 2) * 4 + row / 8 * 2 + n % 2; };
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) rC[place(row, n)] = c[row * 8 + n];
    }
    run_mma(type, rA.data(), rB.data(), rC.data(), rD.data());
    for (int row = 0; row < 16; ++row) {
      for (int n = 0; n < 8; ++n) {
        double want = c[row * 8 + n], size = std::abs(want);
        for (int k = 0; k < K; ++k) {
          want += static_cast<double>(a[row * K + k]) * b[k * 8 + n];
          size += std::abs(static_cast<double>(a[row * K + k]) * b[k * 8 + n]);
        }
        t.expect(std::abs(rD[place(row, n)] - want) <= (K + 1) * 0x1p-24 * size, "mma, type " + std::to_string(K));
      }
    }
  }
}

EMULATOR_TEST(cp_async) {
  Random random(fastattn::emulator::options().seed + 6);
  for (const int bytes : {4, 8, 16}) {
    std::vector<uint64_t> storage(32 * static_cast<size_t>(bytes) / 8);  // aligned to 16
    auto* in = reinterpret_cast<uint8_t*>(storage.data());
    std::vector<uint8_t> out(32 * static_cast<size_t>(bytes), 77);
    std::vector<int> source(32);
    for (int i = 0; i < 32 * bytes; ++i) in[i] = static_cast<uint8_t>(random.next());
    for (int& n : source) n = random.below(bytes + 1);
    run_cp_async(bytes, in, source.data(), out.data());
    for (int i = 0; i < 32 * bytes; ++i) {
      t.expect(out[i] == (i % bytes < source[i / bytes] ? in[i] : 0), "cp.async of " + std::to_string(bytes));
    }
  }
}
