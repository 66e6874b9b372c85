// linear_cross_entropy: the cross-entropy of input @ weight^T + bias, and its gradients, a chunk of rows at a time.
//
//   input (N, D), N any number of axes   weight (V, D)   bias (V)   target (N)
//   chunk of R rows:  x = its rows, 0 where they do not count                          (R, D)
//                     logits = x weight^T + bias                                       (R, V)   a product
//                     row by row: loss, and dlogits = g (exp(logits - lse) sum(q) - q) (R, V)   in place, if float
//                     dx = dlogits weight   (R, D);   dweight += dlogits^T x   (V, D);   dbias += 1^T dlogits   (V)
//
// The products are matmul.cu's: three of 2 R V D flops, which are the roofline as long as R is some hundreds; weight
// and dweight pass by once a chunk. A row of logits belongs to a block, which reads it twice and writes it once, 12 V
// bytes. Of 16-bit arrays logits and gradients are in float, and dlogits, which the products read in 16 bits, get the
// factor 1 / N of a mean only afterwards: f16 would lose it to underflow.
//
// The host knows no target: rows that are ignored are computed as rows of 0 and give nothing, and how many count is
// counted on the device. A class id out of range makes the loss of its row NaN and adds nothing to a gradient.
//
// Bits: chunks follow from the shapes; losses and counts are summed by one block in a fixed order.
// Source: Hsu et al., "Liger kernel: efficient Triton kernels for LLM training" (2024), section 3.2.
#include "cuda/entries.h"
#include "cuda/launch.h"
#include "cuda/linear_cross_entropy.h"
#include "cuda/shared.h"
#include "cuda/tile/reduce.h"
#include "cuda/tile/row.h"
#include "cuda/tile/softmax_state.h"
#include "cuda/workspace.h"

namespace fastattn::cuda {
namespace {

// Logits of a vocabulary of 50 thousand: a thousand rows, so that what passes by once a chunk is hidden.
constexpr int64_t kChunkBytes = int64_t{256} << 20;
constexpr int kThreads = 256, kSumThreads = 1024;
constexpr int64_t kWarpColumns = 256;  // up to here a row is a warp's: more threads would have nothing to add up

template <class T>
constexpr int32_t kDtypeOf = sizeof(T) == 4       ? FA_F32
                             : __is_same(T, bf16) ? FA_BF16
                                                  : FA_F16;

struct Targets {
  const void* ids;
  bool wide;  // of 64 bits
  int64_t V, ignore_index;
  Rows<1> rows;

  __device__ int64_t at(int64_t i) const {
    int64_t offset[1];
    row_offsets(rows, i, offset);
    return wide ? static_cast<const int64_t*>(ids)[offset[0]] : static_cast<const int32_t*>(ids)[offset[0]];
  }
  __device__ bool in_range(int64_t id) const { return id >= 0 && id < V; }
};

// A chunk: m rows from row `begin` of the call on.
template <class T>
struct Chunk {
  int64_t begin, m, D, V;
  int64_t x_line, line;  // elements from row to row of x, and of logits and dlogits
  const T* input;
  int64_t input_step;  // along D
  Rows<1> input_rows;
  Targets targets;
  T* x;                // (m, D)
  T* ones;             // (m)
  float* logits;       // (m, V)
  T* dlogits;          // (m, V): logits itself where T is float; nullptr: no gradients
  float* losses;       // (N)
  const float* dloss;  // (N) or nullptr
  Rows<1> dloss_rows;
  const float* share;  // or nullptr: of a row, where there is no dloss
  float at_id, everywhere, smoothing;
};

template <class T>
__global__ void __launch_bounds__(kThreads) gather_kernel(Chunk<T> c) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < c.m) c.ones[i] = from_float<T>(1.0f);
  if (i >= c.m * c.D) return;
  const int64_t row = i / c.D, d = i % c.D, id = c.targets.at(c.begin + row);
  int64_t at[1];
  row_offsets(c.input_rows, c.begin + row, at);
  const bool counts = id != c.targets.ignore_index && c.targets.in_range(id);
  c.x[row * c.x_line + d] = counts ? c.input[at[0] + d * c.input_step] : T{};
}

// A block to a row: its loss, and its gradient in the place of its logits.
template <class T, int kRowThreads>
__global__ void __launch_bounds__(kRowThreads) loss_rows_kernel(Chunk<T> c) {
  SHARED_ARRAY(float, sMax, 16, 32);
  SHARED_ARRAY(float, sSum, 16, 32);
  SHARED_ARRAY(float, sSoft, 16, 32);
  const int64_t row = blockIdx.x, id = c.targets.at(c.begin + row);
  const int thread = static_cast<int>(threadIdx.x);
  const float* logits = c.logits + row * c.line;
  T* dlogits = c.dlogits == nullptr ? nullptr : c.dlogits + row * c.line;
  if (id == c.targets.ignore_index || !c.targets.in_range(id)) {
    if (thread == 0) c.losses[c.begin + row] = id == c.targets.ignore_index ? 0.0f : __builtin_nanf("");
    for (int64_t i = thread; dlogits != nullptr && i < c.V; i += kRowThreads) dlogits[i] = T{};
    return;
  }
  const float first = logits[0], reference = fabsf(first) < kInf ? first : 0.0f, of_id = logits[id];
  SoftmaxState state = SoftmaxState::init();
  float soft = 0.0f;  // sum of reference - x: relative to a logit of the row, so that large ones cost no digits
  for (int64_t i = thread; i < c.V; i += kRowThreads) {
    const float x[] = {logits[i]};
    state.update(x);
    soft += reference - x[0];
  }
  state.rescale_to(reduce_threads<kRowThreads>(state.row_max, MaxOp(), sMax));
  state.row_sum = reduce_threads<kRowThreads>(state.row_sum, SumOp(), sSum);
  if (c.everywhere != 0.0f) soft = reduce_threads<kRowThreads>(soft, SumOp(), sSoft);

  // The large base cancels before the logarithm is added.
  const float base = state.base(), log_sum = logf(state.row_sum);
  if (thread == 0) {
    float loss = c.at_id == 0.0f ? 0.0f : c.at_id * ((base - of_id) + log_sum);
    if (c.everywhere != 0.0f) loss += c.smoothing * ((base - reference) + log_sum) + c.everywhere * soft;
    c.losses[c.begin + row] = loss;
  }
  if (dlogits == nullptr) return;
  float g = c.share == nullptr ? 1.0f : *c.share;
  if (c.dloss != nullptr) {
    int64_t at[1];
    row_offsets(c.dloss_rows, c.begin + row, at);
    g = c.dloss[at[0]];
  }
  __syncthreads();  // the first logit and that of the id have been read by all: dlogits may be logits
  const float lse = base + log_sum, total = c.everywhere == 0.0f ? 0.0f : c.smoothing;
  for (int64_t i = thread; i < c.V; i += kRowThreads) {
    const float weight = expf(logits[i] - lse);
    const float of_label = i == id ? c.at_id * (weight - 1.0f) : c.at_id * weight;
    dlogits[i] = from_float<T>(g * (of_label + (total * weight - c.everywhere)));
  }
}

// share = 1 / the number of rows that count, or 0; count is that number.
__global__ void __launch_bounds__(kSumThreads)
    count_rows_kernel(Targets targets, int64_t N, float* count, float* share) {
  SHARED_ARRAY(int64_t, sCounts, 16, kSumThreads);
  int64_t n = 0;
  for (int64_t i = threadIdx.x; i < N; i += kSumThreads) n += targets.at(i) != targets.ignore_index;
  sCounts[threadIdx.x] = n;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kSumThreads; ++i) n += sCounts[i];
  *count = static_cast<float>(n);
  *share = n > 0 ? 1.0f / static_cast<float>(n) : 0.0f;
}

// loss = sum of losses, over count where there is one.
__global__ void __launch_bounds__(kSumThreads)
    sum_losses_kernel(const float* losses, int64_t N, const float* count, float* loss) {
  SHARED_ARRAY(float, sSum, 16, 32);
  float sum = 0.0f;
  for (int64_t i = threadIdx.x; i < N; i += kSumThreads) sum += losses[i];
  sum = reduce_threads<kSumThreads>(sum, SumOp(), sSum);
  if (threadIdx.x == 0) *loss = count == nullptr ? sum : sum / *count;
}

__global__ void __launch_bounds__(kThreads) copy_losses_kernel(const float* losses, float* loss, Rows<1> rows) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= rows.size) return;
  int64_t at[1];
  row_offsets(rows, i, at);
  loss[at[0]] = losses[i];
}

// to = from times *factor, n of them; factor nullptr: 1.
template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(const float* from, const float* factor, T* to, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) to[i] = from_float<T>(factor == nullptr ? from[i] : from[i] * *factor);
}

// An absent tensor's axes are not set.
Rows<1> rows_of(const fa_tensor& t) {
  const fa_tensor none = {};
  return Rows<1>({t.data == nullptr ? &none : &t}, -1);
}

LaunchConfig over(int64_t n, void* stream) {
  return {dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)), dim3(kThreads), 0, stream};
}

template <class T>
fa_tensor matrix(T* data, int64_t rows, int64_t columns, int64_t line) {
  return {data, kDtypeOf<T>, 2, {rows, columns}, {line, 1}};
}
fa_tensor transposed(const fa_tensor& t) {
  return {t.data, t.dtype, 2, {t.shape[1], t.shape[0]}, {t.strides[1], t.strides[0]}};
}

template <class T>
struct LinearCrossEntropy {
  const fa_linear_cross_entropy_params& p;
  Chunk<T> c;
  int64_t N, rows;  // of a chunk
  bool gradients;
  float *count, *share;
  void* product = nullptr;  // matmul's workspace
  size_t bytes = 0;         // of what lies before it

  LinearCrossEntropy(const fa_linear_cross_entropy_params& params, void* workspace, int64_t most_rows)
      : p(params),
        c{0,
          0,
          params.input.shape[params.input.ndim - 1],
          params.weight.shape[0],
          0,
          0,
          static_cast<const T*>(params.input.data),
          params.input.strides[params.input.ndim - 1],
          Rows<1>({&params.input}, params.input.ndim - 1),
          {params.target.data, params.target.dtype == FA_I64, params.weight.shape[0], params.ignore_index,
           Rows<1>({&params.target}, -1)},
          nullptr,
          nullptr,
          nullptr,
          nullptr,
          nullptr,
          static_cast<const float*>(params.dloss.data),
          rows_of(params.dloss),
          nullptr,
          static_cast<float>(1 - params.label_smoothing),
          params.weight.shape[0] > 0
              ? static_cast<float>(params.label_smoothing / static_cast<double>(params.weight.shape[0]))
              : 0.0f,
          static_cast<float>(params.label_smoothing)},
        N(c.input_rows.size),
        gradients(params.dinput.data != nullptr || params.dweight.data != nullptr || params.dbias.data != nullptr) {
    c.x_line = round_up(c.D, 8);  // packs of 16 bytes
    c.line = round_up(c.V, 8);
    constexpr bool kHalf = sizeof(T) != 4;
    const int64_t row_bytes = 1 + c.line * int64_t{sizeof(float) + (kHalf ? sizeof(T) : 0)};
    if (most_rows <= 0) most_rows = kChunkBytes / row_bytes > 1 ? kChunkBytes / row_bytes : 1;
    const int64_t chunks = (N + most_rows - 1) / most_rows;  // as even as whole tiles of rows allow
    rows = chunks == 0 ? 0 : round_up((N + chunks - 1) / chunks, 64);
    rows = rows > most_rows ? most_rows : rows > N ? N : rows;

    Carver carver(workspace);
    auto take = [&]<class E>(E*& array, int64_t n) { array = carver.take<E>(n); };
    take(count, 1);
    take(share, 1);
    take(c.losses, N);
    take(c.x, rows * c.x_line);
    take(c.ones, rows);
    take(c.logits, rows * c.line);
    if constexpr (kHalf) {
      if (gradients) take(c.dlogits, rows * c.line);
    } else {
      if (gradients) c.dlogits = c.logits;
    }
    bytes = carver.bytes;
    product = carver.rest();
  }

  bool mean() const { return p.dloss.data == nullptr && p.reduction == FA_REDUCE_MEAN; }

  template <class F>
  void logits_product(F&& f) const {
    fa_matmul_params q = {};
    q.a = matrix(c.x, c.m, c.D, c.x_line);
    q.b = transposed(p.weight);
    q.bias = p.bias;
    q.out = matrix(c.logits, c.m, c.V, c.line);
    f(q);
  }
  template <class F>
  void gradient_products(F&& f) const {
    const fa_tensor dlogits = matrix(c.dlogits, c.m, c.V, c.line);
    fa_matmul_params q = {};
    if (p.dinput.data != nullptr) {
      q.a = dlogits;
      q.b = p.weight;
      q.out = matrix(static_cast<float*>(p.dinput.data) + c.begin * c.D, c.m, c.D, c.D);
      f(q);
    }
    q.accumulate = c.begin > 0;
    if (p.dweight.data != nullptr) {
      q.a = transposed(dlogits);
      q.b = matrix(c.x, c.m, c.D, c.x_line);
      q.out = p.dweight;
      f(q);
    }
    if (p.dbias.data != nullptr) {
      q.a = matrix(c.ones, 1, c.m, c.m);
      q.b = dlogits;
      q.out = matrix(static_cast<float*>(p.dbias.data), 1, c.V, c.V);
      f(q);
    }
  }

  // f() for every chunk, and once where there is no row: a product of no rows makes gradients 0.
  template <class F>
  fa_status for_chunks(F&& f) {
    c.begin = 0;
    do {
      c.m = N - c.begin < rows ? N - c.begin : rows;
      const fa_status status = f();
      if (status != FA_OK) return status;
      c.begin += c.m;
    } while (c.begin < N);
    return FA_OK;
  }

  void query(fa_launch& launch) {
    size_t most = 0;
    auto ask = [&](const fa_matmul_params& q) {
      fa_launch product_launch = launch;
      matmul(q, product_launch);
      if (product_launch.workspace_bytes > most) most = product_launch.workspace_bytes;
    };
    for_chunks([&] {
      logits_product(ask);
      if (gradients) gradient_products(ask);
      return FA_OK;
    });
    const double n = static_cast<double>(N), table = static_cast<double>(c.V) * static_cast<double>(c.D);
    const double products = 1 + (p.dinput.data != nullptr) + (p.dweight.data != nullptr);
    launch.workspace_bytes = bytes + most;
    launch.flops = 2 * products * n * table;
    launch.bytes = sizeof(T) * (table + n * static_cast<double>(c.D)) +
                   sizeof(float) * (p.dweight.data != nullptr ? table : 0) +
                   sizeof(float) * (p.dinput.data != nullptr ? n * static_cast<double>(c.D) : 0);
  }

  fa_status run_chunk(fa_launch& launch) const {
    fa_status status = FA_OK;
    auto multiply = [&](const fa_matmul_params& q) {
      fa_launch product_launch = launch;
      product_launch.workspace = product;
      if (status == FA_OK) status = matmul(q, product_launch);
      if (status != FA_OK) fail(launch, status, product_launch.reason);
    };
    const char* error = nullptr;
    if (c.m > 0) {
      error = cuda::launch(gather_kernel<T>, over(c.m * (c.D > 1 ? c.D : 1), launch.stream), c);
      if (error) return fail(launch, FA_UNSUPPORTED, error);
      logits_product(multiply);
      if (status != FA_OK) return status;
      const bool few = c.V <= kWarpColumns;
      error = cuda::launch(few ? loss_rows_kernel<T, 32> : loss_rows_kernel<T, kThreads>,
                           {dim3(static_cast<unsigned>(c.m)), dim3(few ? 32 : kThreads), 0, launch.stream}, c);
      if (error) return fail(launch, FA_UNSUPPORTED, error);
    }
    if (gradients) gradient_products(multiply);
    return status;
  }

  // What is left when all chunks are done. Returns what is wrong.
  const char* finish(void* stream) const {
    const char* error = nullptr;
    if (sizeof(T) != 4 && mean()) {
      const fa_tensor* const all[] = {&p.dinput, &p.dweight, &p.dbias};
      for (const fa_tensor* t : all) {
        const int64_t n = t->data == nullptr ? 0 : count_elements(*t);
        float* gradient = static_cast<float*>(t->data);
        if (n > 0 && !error) error = cuda::launch(scale_kernel<float>, over(n, stream), gradient, share, gradient, n);
      }
    }
    if (error || p.loss.data == nullptr) return error;
    float* loss = static_cast<float*>(p.loss.data);
    if (p.reduction == FA_REDUCE_NONE) {
      return N == 0 ? nullptr
                    : cuda::launch(copy_losses_kernel, over(N, stream), c.losses, loss, Rows<1>({&p.loss}, -1));
    }
    return cuda::launch(sum_losses_kernel, {dim3(1), dim3(kSumThreads), 0, stream}, c.losses, N,
                        p.reduction == FA_REDUCE_MEAN ? count : nullptr, loss);
  }

  fa_status run(fa_launch& launch) {
    if (sizeof(T) == 4 && mean()) c.share = share;
    const char* error =
        cuda::launch(count_rows_kernel, {dim3(1), dim3(kSumThreads), 0, launch.stream}, c.targets, N, count, share);
    if (error) return fail(launch, FA_UNSUPPORTED, error);
    const fa_status status = for_chunks([&] { return run_chunk(launch); });
    if (status != FA_OK) return status;
    error = finish(launch.stream);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  }
};

template <class T>
constexpr KernelName kForwardName{"linear_cross_entropy", kTypeName<T>};
template <class T>
constexpr KernelName kBackwardName{"linear_cross_entropy_bwd", kTypeName<T>};

}  // namespace

fa_status linear_cross_entropy(const fa_linear_cross_entropy_params& p, fa_launch& launch, int64_t most_rows) {
  return visit_float(p.input.dtype, launch, [&]<class T>() {
    LinearCrossEntropy<T> op(p, launch.query ? nullptr : launch.workspace, most_rows);
    launch.kernel = kForwardName<T>.text;
    if (op.rows > INT32_MAX) return fail(launch, FA_UNSUPPORTED, "more rows than a grid has blocks");
    if (!launch.query) return op.run(launch);
    op.query(launch);
    return FA_OK;
  });
}

fa_status linear_cross_entropy(const fa_linear_cross_entropy_params& p, fa_launch& launch) {
  return linear_cross_entropy(p, launch, 0);
}

fa_status linear_cross_entropy_bwd(const fa_linear_cross_entropy_bwd_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    const int64_t n = count_elements(p.out);
    launch.kernel = kBackwardName<T>.text;
    launch.workspace_bytes = 0;
    launch.flops = static_cast<double>(n);
    launch.bytes = static_cast<double>(n) * (sizeof(float) + sizeof(T));
    if (launch.query || n == 0) return FA_OK;
    if (n > int64_t{INT32_MAX} * kThreads) return fail(launch, FA_UNSUPPORTED, "more elements than a grid has threads");
    const char* error = cuda::launch(scale_kernel<T>, over(n, launch.stream), static_cast<const float*>(p.grad.data),
                                     static_cast<const float*>(p.dloss.data), static_cast<T*>(p.out.data), n);
    return error ? fail(launch, FA_UNSUPPORTED, error) : FA_OK;
  });
}

}  // namespace fastattn::cuda
