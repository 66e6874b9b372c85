// matmul: out = activation(a @ b + bias) + residual
//
//   a (M, K)   b (K, N)   out (M, N)   bias (N)   residual, preact (M, N), each with batch axes before them
//
// A block has a tile of out (matmul/config.h). Stages of block_k columns of a and rows of b come to shared memory by
// cp.async (load.h), some of them ahead, and are multiplied from there into registers (sums.h): of 16 bits by
// mma.sync.m16n8k16 out of ldmatrix, of float by FMAs, so that float is float, or on request by mma.sync.m16n8k8 of
// tf32. Any of a and b may be transposed: by ldmatrix.trans, and of float by the copy. Operands without 16-byte packs
// come by elements into the same tile. Sums then go through shared memory, so that a warp reads and writes out,
// residual and preact row by row (epilogue.h).
//
// Work 2 M N K flops, traffic M K + K N + M N elements: the roofline is the tensor cores', or the FMA units', from some
// hundred rows on; for few rows, which have a tile of their own, it is the reading of b.
//
// Bits: an element is the sum over chunks of 1024 k, each summed in order from 0, added in order; batch axes that are
// summed into out are more chunks. Where tiles are too few for the device, a block has one chunk, whose sums meet in
// the workspace. So neither the tile, nor the split, nor what else is in the call changes an element's bits.
//
// Source: Hong and Kung, "I/O complexity" (1981), for what a tile saves; NVIDIA, PTX ISA, for the fragments.
// Not yet: wgmma.
#include "cuda/entries.h"
#include "cuda/matmul/run.h"

namespace fastattn::cuda {

fa_status matmul(const fa_matmul_params& p, fa_launch& launch, const MatmulChoice& choice) {
  switch (p.a.dtype) {
    case FA_F32:
      return p.precision == FA_PRECISION_HIGHEST ? run_matmul<float>(p, launch, choice)
                                                 : matmul_tf32(p, launch, choice);
    case FA_F16: return matmul_f16(p, launch, choice);
    case FA_BF16: return matmul_bf16(p, launch, choice);
    default: return fail(launch, FA_UNSUPPORTED, "the CUDA kernels take float32, float16 and bfloat16");
  }
}

fa_status matmul(const fa_matmul_params& p, fa_launch& launch) { return matmul(p, launch, MatmulChoice{}); }

}  // namespace fastattn::cuda
