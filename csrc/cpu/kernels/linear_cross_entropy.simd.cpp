// linear_cross_entropy: the cross-entropy of input @ weight^T + bias, and its gradients, a chunk of rows at a time.
//
//   input (N, D), N any number of axes   weight (V, D)   bias (V)   target (N)
//   chunk of R rows:  logits = x weight^T + bias   (R, V)     a product
//                     row by row, in its cache: loss, lse, and in place dlogits = f (exp(logits - lse) - q)
//                     dx = dlogits weight   (R, D);   dweight += dlogits^T x   (V, D);   dbias += 1^T dlogits   (V)
//
// dx is made a block of the vocabulary at a time: dlogits, which are larger than L2, are then read once, and not once
// for every few columns of dx. Three products of 2 N V D flops, as many as without chunks: rows are cut, not the
// vocabulary, since a piece of the vocabulary would have to be multiplied again once lse is known. weight and dweight
// then pass by once a chunk: 16 bytes of traffic for 6 R flops, which is hidden from about 50 rows on. R is what
// kChunkBytes holds, so the chunks, and with them the order of every sum, follow from the shapes and from how many rows
// count.
//
// Rows that are ignored are left out: the others are gathered. The products are the matmul kernel's, bits and all. Of
// 16-bit arrays logits and gradients are in f32, and dlogits, which the products read in 16 bits, get the factor 1 / N
// of a mean only afterwards: f16 would lose it to underflow.
//
// Source: Hsu et al., "Liger kernel: efficient Triton kernels for LLM training" (2024), section 3.2.
#include "cross_entropy_row.h"
#include "matmul_tile.h"

namespace fastattn::cpu::FASTATTN_ISA {
namespace {

constexpr int64_t kChunkBytes = int64_t(32) << 20;
constexpr int64_t kItemElements = 16384;

template <class T>
inline constexpr int32_t kDtype = sizeof(T) == 8            ? FA_F64
                                  : sizeof(T) == 4          ? FA_F32
                                  : std::is_same_v<T, bf16> ? FA_BF16
                                                            : FA_F16;

template <class T>
FASTATTN_INLINE fa_tensor matrix(T* data, int64_t rows, int64_t columns) {
  return {data, kDtype<T>, 2, {rows, columns}, {columns, 1}};
}
FASTATTN_INLINE fa_tensor transposed(fa_tensor t) {
  const int64_t rows = t.shape[0], row = t.strides[0];
  t.shape[0] = t.shape[1];
  t.strides[0] = t.strides[1];
  t.shape[1] = rows;
  t.strides[1] = row;
  return t;
}

template <class T>
FASTATTN_INLINE fa_tensor columns(fa_tensor t, int64_t begin, int64_t n) {
  if (t.data != nullptr) t.data = data<T>(t) + begin * t.strides[1];  // a query may have none
  t.shape[1] = n;
  return t;
}

// f(begin, end) for runs of n elements.
template <class F>
FASTATTN_INLINE void for_runs(const fa_launch& launch, int64_t n, F&& f) {
  parallel_for(launch, ceil_div(n, kItemElements),
               [&](int64_t item, int) { f(item * kItemElements, min_of(n, (item + 1) * kItemElements)); });
}
// to = factor * from, contiguous; they may be one array.
template <class A, class S>
FASTATTN_INLINE void scale(const fa_launch& launch, const A* from, A factor, S* to, int64_t n) {
  const Vec<A> by = Vec<A>::set(factor);
  for_runs(launch, n, [&](int64_t begin, int64_t end) {
    map_row<A>(end - begin, [&](int64_t i, int lanes) {
      store_lanes(load_lanes(from + begin + i, lanes) * by, to + begin + i, lanes);
    });
  });
}
template <class A>
FASTATTN_INLINE void clear(const fa_launch& launch, const fa_tensor& t) {
  if (t.data == nullptr) return;
  for_runs(launch, num_elements(t), [&](int64_t begin, int64_t end) { clear_row(data<A>(t) + begin, end - begin); });
}

template <class T>
struct LinearCrossEntropy {
  using A = compute_t<T>;
  using V = Vec<A>;
  static constexpr bool kHalf = kIsHalf<T>;

  const fa_linear_cross_entropy_params& p;
  const int64_t N, D, C;
  const bool gradients;
  const int64_t chunk_rows;  // at most

  explicit LinearCrossEntropy(const fa_linear_cross_entropy_params& params)
      : p(params),
        N(num_rows(params.input, 1)),
        D(row_length(params.input)),
        C(params.weight.shape[0]),
        gradients(params.dinput.data != nullptr || params.dweight.data != nullptr || params.dbias.data != nullptr),
        chunk_rows(max_of<int64_t>(1, min_of(N, kChunkBytes / row_bytes(D, C)))) {}

  static int64_t row_bytes(int64_t D, int64_t C) {
    return max_of<int64_t>(1, C * static_cast<int64_t>(sizeof(A) + (kHalf ? sizeof(T) : 0)) +
                                  D * static_cast<int64_t>(sizeof(A) + sizeof(T)));
  }

  // The workspace. With base = nullptr only bytes is meant.
  struct Scratch {
    int64_t* kept;  // [N] rows that count
    A* losses;      // [N]
    T* x;           // [R][D]
    A* logits;      // [R][C]
    T* dlogits;     // [R][C]: logits itself, but of 16 bits
    A* dx;          // [R][D]
    T* ones;        // [R]
    char* product;  // the matmul kernel's
    size_t bytes;

    Scratch(const LinearCrossEntropy& f, char* base) {
      const int64_t R = f.chunk_rows;
      Carver carver{base};
      kept = carver.take<int64_t>(f.N);
      losses = carver.take<A>(f.N);
      x = carver.take<T>(R * f.D);
      logits = carver.take<A>(R * f.C);
      if constexpr (kHalf) {
        dlogits = carver.take<T>(f.gradients ? R * f.C : 0);
      } else {
        dlogits = logits;
      }
      dx = carver.take<A>(f.p.dinput.data != nullptr ? R * f.D : 0);
      ones = carver.take<T>(f.p.dbias.data != nullptr ? R : 0);
      product = base == nullptr ? nullptr : base + carver.bytes;
      bytes = carver.bytes;
    }
  };

  // f(params) for the products of a chunk of m rows, in three steps: before the gradient, and after it.
  template <class F>
  void logits_product(const Scratch& w, int64_t m, F&& f) const {
    fa_matmul_params q = {};
    q.a = matrix(w.x, m, D);
    q.b = transposed(p.weight);
    q.bias = p.bias;
    q.out = matrix(w.logits, m, C);
    f(q);
  }
  template <class F>
  void gradient_products(const Scratch& w, int64_t m, bool first, F&& f) const {
    const fa_tensor dlogits = matrix(w.dlogits, m, C);
    fa_matmul_params q = {};
    if (p.dinput.data != nullptr) {
      // Blocks of matmul's own length change no bit.
      constexpr int64_t kBlock = TileConfig<A>::kBlockK;
      q.out = matrix(w.dx, m, D);
      for (int64_t begin = 0; begin == 0 || begin < C; begin += kBlock) {
        const int64_t n = min_of(kBlock, C - begin);
        q.a = columns<T>(dlogits, begin, n);
        q.b = transposed(columns<T>(transposed(p.weight), begin, n));
        q.accumulate = begin > 0;
        f(q);
      }
    }
    q.accumulate = !first;
    if (p.dweight.data != nullptr) {
      q.a = transposed(dlogits);
      q.b = matrix(w.x, m, D);
      q.out = p.dweight;
      f(q);
    }
    if (p.dbias.data != nullptr) {
      q.a = matrix(w.ones, 1, m);
      q.b = dlogits;
      q.out = matrix(data<A>(p.dbias), 1, C);
      f(q);
    }
  }
  size_t product_bytes(const Scratch& w, int64_t m, const fa_launch& launch) const {
    size_t bytes = 0;
    auto ask = [&](const fa_matmul_params& q) {
      fa_launch query = launch;
      query.query = 1;
      matmul(q, query);
      bytes = max_of(bytes, query.workspace_bytes);
    };
    logits_product(w, m, ask);
    if (gradients) gradient_products(w, m, false, ask);
    return bytes;
  }

  Work work(const fa_launch& launch) const {
    const Scratch w(*this, nullptr);
    const double n = static_cast<double>(N), products = 1 + (p.dinput.data != nullptr) + (p.dweight.data != nullptr);
    const double table = static_cast<double>(C) * static_cast<double>(D);
    return {.workspace = w.bytes + product_bytes(w, chunk_rows, launch),
            .flops = 2 * products * n * table,
            .bytes = sizeof(T) * (table + n * static_cast<double>(D)) +
                     sizeof(A) * (p.dweight.data != nullptr ? table : 0) +
                     sizeof(A) * (p.dinput.data != nullptr ? n * static_cast<double>(D) : 0)};
  }

  fa_status run(fa_launch& launch) const {
    const int64_t count = count_rows(p.target, C, p.ignore_index, launch);
    if (count < 0) return FA_INVALID;
    const Scratch w(*this, static_cast<char*>(launch.workspace));
    const Labels<T> labels(p.target, nullptr, C, p.ignore_index, p.label_smoothing);
    for (int64_t i = 0, k = 0; i < N; ++i) {
      w.losses[i] = 0;
      if (!labels.ignored(i)) w.kept[k++] = i;
    }
    if (count < N) clear<A>(launch, p.dinput);
    if (count == 0) {
      clear<A>(launch, p.dweight);
      clear<A>(launch, p.dbias);
    }
    if (p.dbias.data != nullptr) {
      for (int64_t i = 0; i < chunk_rows; ++i) w.ones[i] = narrow<T>(1);
    }
    const bool mean = p.dloss.data == nullptr && p.reduction == FA_REDUCE_MEAN;
    const A share = mean ? 1 / labels.divisor(count) : A(1);
    // As even as whole tiles of rows allow.
    const int64_t chunks = ceil_div(count, chunk_rows);
    const int64_t rows = chunks == 0 ? 0 : min_of(chunk_rows, round_up(ceil_div(count, chunks), TileConfig<A>::kRows));
    for (int64_t begin = 0; begin < count; begin += rows) {
      run_chunk(launch, labels, w, begin, min_of(rows, count - begin), begin == 0, kHalf ? A(1) : share);
    }
    if (kHalf && mean && count > 0) {
      const fa_tensor* gradients_of_all[] = {&p.dinput, &p.dweight, &p.dbias};
      for (const fa_tensor* t : gradients_of_all) {
        if (t->data != nullptr) scale(launch, data<A>(*t), share, data<A>(*t), num_elements(*t));
      }
    }
    if (p.loss.data == nullptr) return FA_OK;
    if (p.reduction == FA_REDUCE_NONE) {
      for (int64_t i = 0; i < N; ++i) data<A>(p.loss)[row_offset(p.loss, 0, i)] = w.losses[i];
    } else {
      const A sum = sum_row<A>(N, [&](int64_t i, int lanes) { return load_lanes(w.losses + i, lanes); });
      *data<A>(p.loss) = p.reduction == FA_REDUCE_MEAN ? sum / labels.divisor(count) : sum;
    }
    return FA_OK;
  }

  // m rows that count, from w.kept[begin] on.
  void run_chunk(const fa_launch& launch, const Labels<T>& labels, const Scratch& w, int64_t begin, int64_t m,
                 bool first, A factor) const {
    // The query asked for chunk_rows; a product of fewer may take more, and then gets rows of 0 up to them.
    const size_t available = launch.workspace_bytes - Scratch(*this, nullptr).bytes;
    const int64_t rows = product_bytes(w, m, launch) <= available ? m : chunk_rows;
    auto multiply = [&](const fa_matmul_params& q) {
      fa_launch product = launch;
      product.workspace = w.product;
      matmul(q, product);
    };
    const int64_t per_item = max_of<int64_t>(1, kItemElements / max_of<int64_t>(1, C));
    auto for_rows = [&](auto f) {
      parallel_for(launch, ceil_div(rows, per_item), [&](int64_t item, int) {
        for (int64_t i = item * per_item; i < min_of(rows, (item + 1) * per_item); ++i) f(i);
      });
    };
    const int64_t column = p.input.strides[p.input.ndim - 1];
    for_rows([&](int64_t i) {
      T* to = w.x + i * D;
      if (i >= m) return clear_row(to, D);
      const T* from = data<T>(p.input) + row_offset(p.input, 1, w.kept[begin + i]);
      if (column == 1) {
        __builtin_memcpy(to, from, static_cast<size_t>(D) * sizeof(T));
      } else {
        for (int64_t d = 0; d < D; ++d) to[d] = from[d * column];
      }
    });
    logits_product(w, rows, multiply);
    for_rows([&](int64_t i) {
      const A* logits = w.logits + i * C;
      T* dlogits = w.dlogits + i * C;
      if (i >= m) {
        if (gradients) clear_row(dlogits, C);
        return;
      }
      const int64_t row = w.kept[begin + i];
      const RowLabel<T> label = labels.of(row);
      const RowSums<A> sums = row_sums(logits, 1, C, label);
      w.losses[row] = row_loss(sums, logits, 1, label, labels.smoothed);
      if (!gradients) return;
      const A g = p.dloss.data != nullptr ? data<A>(p.dloss)[row_offset(p.dloss, 0, row)] : factor;
      row_gradient(logits, 1, C, label, labels.smoothed, sums.lse(), g, dlogits, false);
    });
    if (!gradients) return;
    gradient_products(w, rows, first, multiply);
    if (p.dinput.data != nullptr) {
      for_rows([&](int64_t i) {
        if (i >= m) return;
        A* to = data<A>(p.dinput) + w.kept[begin + i] * D;
        __builtin_memcpy(to, w.dx + i * D, static_cast<size_t>(D) * sizeof(A));
      });
    }
  }
};

}  // namespace

fa_status linear_cross_entropy(const fa_linear_cross_entropy_params& p, fa_launch& launch) {
  return visit_float(p.input.dtype, launch, [&]<class T>() {
    const LinearCrossEntropy<T> op(p);
    describe<"linear_cross_entropy", T>(launch, launch.query ? op.work(launch) : Work{});
    return launch.query ? FA_OK : op.run(launch);
  });
}

fa_status linear_cross_entropy_bwd(const fa_linear_cross_entropy_bwd_params& p, fa_launch& launch) {
  return visit_float(p.out.dtype, launch, [&]<class T>() {
    using A = compute_t<T>;
    const int64_t n = num_elements(p.out);
    describe<"linear_cross_entropy_bwd", T>(
        launch, {.flops = static_cast<double>(n), .bytes = static_cast<double>(n) * (sizeof(A) + sizeof(T))});
    if (launch.query) return FA_OK;
    scale(launch, data<const A>(p.grad), p.dloss.data != nullptr ? *data<A>(p.dloss) : A(1), data<T>(p.out), n);
    return FA_OK;
  });
}

}  // namespace fastattn::cpu::FASTATTN_ISA
