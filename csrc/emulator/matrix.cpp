// mma.sync, ldmatrix and stmatrix. The last lane of the warp to come does the work of all 32.
#include <cstring>

#include "emulator/number.h"
#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

constexpr unsigned kWarp = 0xffffffff;

struct Mma {
  MatrixType type;
  float* d;
  const uint32_t *a, *b;
  const float* c;
};

float half_of(MatrixType type, uint32_t word, int which) {
  const auto bits = static_cast<uint16_t>(word >> 16 * which);
  return type == MatrixType::kBf16 ? bf16_value(bits) : f16_value(bits);
}

// The tensor core drops the 13 low bits of a tf32 operand.
float tf32_of(uint32_t word) {
  word &= ~0x1fffu;
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}

// PTX ISA 9.7.14, "Matrix Fragments for mma.m16n8k16" and ".m16n8k8": with group = lane / 4 and t = lane % 4,
//   A, 16-bit: register r holds row group + 8 (r & 1), columns 2t + 8 (r >> 1) and the next; tf32: column t + 4 (r >>
//   1) B, 16-bit: register r holds column group, rows 2t + 8 r and the next;                    tf32: row t + 4 r C and
//   D:   register r holds row group + 8 (r >> 1), column 2t + (r & 1)
void mma_warp(const WarpCall& call) {
  const MatrixType type = static_cast<Mma*>(call.operands[0])->type;
  const bool tf32 = type == MatrixType::kTf32;
  const int depth = tf32 ? 8 : 16;
  float a[16][16], b[16][8], c[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const Mma& m = *static_cast<Mma*>(call.operands[lane]);
    const int group = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      const int row = group + 8 * (r & 1);
      if (tf32) {
        a[row][t + 4 * (r >> 1)] = tf32_of(m.a[r]);
      } else {
        for (int h = 0; h < 2; ++h) a[row][2 * t + 8 * (r >> 1) + h] = half_of(type, m.a[r], h);
      }
    }
    for (int r = 0; r < 2; ++r) {
      if (tf32) {
        b[t + 4 * r][group] = tf32_of(m.b[r]);
      } else {
        for (int h = 0; h < 2; ++h) b[2 * t + 8 * r + h][group] = half_of(type, m.b[r], h);
      }
    }
    for (int r = 0; r < 4; ++r) {
      uint32_t bits;
      std::memcpy(&bits, &m.c[r], sizeof bits);
      if (bits == 0xffffffff) collective_error(call, lane, "passes an accumulator that nothing has been written to");
      c[group + 8 * (r >> 1)][2 * t + (r & 1)] = m.c[r];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int r = 0; r < 4; ++r) {
      const int row = lane / 4 + 8 * (r >> 1), column = 2 * (lane % 4) + (r & 1);
      double sum = c[row][column];
      for (int k = 0; k < depth; ++k) sum += static_cast<double>(a[row][k]) * b[k][column];
      static_cast<Mma*>(call.operands[lane])->d[r] = static_cast<float>(sum);
    }
  }
}

struct Matrix {
  int matrices;
  bool transposed;
  uint32_t* r;
  uint32_t address;
};

// Lane i of each eight gives the address of a row (8 elements of 16 bits) of matrix i / 8. Lane l holds of each matrix
// row l / 4, columns 2 (l % 4) and the next; transposed, column l / 4 and those two rows. move(lane, memory, register
// half, bytes) is called for each piece.
template <class Move>
void for_pieces(const WarpCall& call, const Move& move) {
  const Matrix& first = *static_cast<Matrix*>(call.operands[0]);
  for (int m = 0; m < first.matrices; ++m) {
    char* rows[8];
    for (int i = 0; i < 8; ++i) {
      const Matrix& giver = *static_cast<Matrix*>(call.operands[8 * m + i]);
      rows[i] = static_cast<char*>(shared_pointer(giver.address, 16, 16, call.op, call.site));
    }
    for (int lane = 0; lane < 32; ++lane) {
      auto* half = reinterpret_cast<char*>(static_cast<Matrix*>(call.operands[lane])->r + m);
      const int across = lane / 4, along = 2 * (lane % 4);
      if (first.transposed) {
        for (int h = 0; h < 2; ++h) move(lane, rows[along + h] + 2 * across, half + 2 * h, 2);
      } else {
        move(lane, rows[across] + 2 * along, half, 4);
      }
    }
  }
}

}  // namespace

void mma(MatrixType type, float* d, const uint32_t* a, const uint32_t* b, const float* c, Site site) {
  Mma mine{type, d, a, b, c};
  collective("mma.sync", kWarp, &mine, mma_warp, site);
}

void ldmatrix(int matrices, bool transposed, uint32_t* r, uint32_t address, Site site) {
  Matrix mine{matrices, transposed, r, address};
  auto work = [](const WarpCall& call) {
    for_pieces(call, [&](int lane, char* memory, char* half, size_t bytes) {
      note_read_by(lane, memory, bytes, call.site);
      std::memcpy(half, memory, bytes);
    });
  };
  collective("ldmatrix", kWarp, &mine, work, site);
}

void stmatrix(int matrices, bool transposed, const uint32_t* r, uint32_t address, Site site) {
  Matrix mine{matrices, transposed, const_cast<uint32_t*>(r), address};
  auto work = [](const WarpCall& call) {
    for_pieces(call, [&](int lane, char* memory, const char* half, size_t bytes) {
      note_write_by(lane, memory, bytes, call.site);
      std::memcpy(memory, half, bytes);
    });
  };
  collective("stmatrix", kWarp, &mine, work, site);
}

}  // namespace fastattn::emulator
