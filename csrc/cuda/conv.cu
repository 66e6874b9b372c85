// conv: convolution of two axes, its gradient of x, and those of weight and bias, as matrix products of matmul's kernel
// (matmul/kernel.h) whose tiles are gathered from the images.
//
//   forward         rows (n, p, q)   k (tap, c)       columns o     x by the weight
//   gradient of x   rows (n, h, w)   k (tap, o)       columns c     dout by the weight; a product for each phase
//   of the weight   rows (tap, c)    k (n, p, q)      columns o     x by dout
//
// There is no matrix of patches: a row and a k name an element of an image (conv/source.h), and where that is in the
// padding cp.async fills in zeros. Each group is a product of its own. The gradient of x has a phase for every
// remainder of a position modulo the stride, met by some of the taps: a dense product each, nothing is scattered.
// Tiles, stages, registers and the sharing out of K are matmul's; few columns have a tile of 128x32.
//
// Weights are packed before, into lines of columns. Of float32 the images are read where they lie, by elements, in any
// layout (for the gradient of the weight by packs, where four channels are one). 16-bit images need 8 channels in one
// 16-byte copy: channels-last ones whose C / groups is a multiple of 8 are read where they lie, others are copied to
// the workspace so, with zeros for the channels that are short of 8.
//
// Many groups of few channels (conv/direct.h: 4 at most, as in depthwise convolution) would leave a tile empty: a
// thread has an element of out or dx, and a sum of columns the weight's.
//
// Work 2 N P Q O (C / groups) KH KW flops, compulsory traffic x, weight and out; taps come from L2 again. The roofline
// is the FMA units' or the tensor cores' from some 100 channels on, below it is DRAM's. docs/kernels/conv.md counts.
//
// Bits: an element is the sum over chunks of 1024 k (matmul.cu; of few pixels 256), k in the order above, whatever the
// layout, the tile and the split; bias is added last. dbias is sum's over (n, p, q).
//
// Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning" (2014), section 3. Phases are derived.
// Not yet: an image's rows in shared memory over all taps; wgmma, and TMA's im2col mode.
#include "cuda/conv/run.h"

namespace fastattn::cuda {

fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch, const MatmulChoice& choice) {
  switch (p.x.dtype) {
    case FA_F32: return run_conv_fwd<float>(p, launch, choice);
    case FA_F16: return conv_fwd_f16(p, launch, choice);
    case FA_BF16: return conv_fwd_bf16(p, launch, choice);
    default: return fail(launch, FA_UNSUPPORTED, "the CUDA kernels take float32, float16 and bfloat16");
  }
}

fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch, const MatmulChoice& choice) {
  switch (p.dx.dtype) {
    case FA_F32: return run_conv_bwd_input<float>(p, launch, choice);
    case FA_F16: return conv_bwd_input_f16(p, launch, choice);
    case FA_BF16: return conv_bwd_input_bf16(p, launch, choice);
    default: return fail(launch, FA_UNSUPPORTED, "the CUDA kernels take float32, float16 and bfloat16");
  }
}

fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch, const MatmulChoice& choice) {
  switch (p.x.dtype) {
    case FA_F32: return run_conv_bwd_weight<float>(p, launch, choice);
    case FA_F16: return conv_bwd_weight_f16(p, launch, choice);
    case FA_BF16: return conv_bwd_weight_bf16(p, launch, choice);
    default: return fail(launch, FA_UNSUPPORTED, "the CUDA kernels take float32, float16 and bfloat16");
  }
}

fa_status conv_fwd(const fa_conv_fwd_params& p, fa_launch& launch) { return conv_fwd(p, launch, {}); }
fa_status conv_bwd_input(const fa_conv_bwd_input_params& p, fa_launch& launch) { return conv_bwd_input(p, launch, {}); }
fa_status conv_bwd_weight(const fa_conv_bwd_weight_params& p, fa_launch& launch) {
  return conv_bwd_weight(p, launch, {});
}

}  // namespace fastattn::cuda
