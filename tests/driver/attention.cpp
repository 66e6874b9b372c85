#include "driver.h"

using namespace driver;

namespace {

const double kInf = std::numeric_limits<double>::infinity();

enum class MaskKind { kNone, kBool, kAdded };

struct Case {
  int64_t batch = 1, heads = 2, kv_heads = 1, queries = 5, keys = 7, dim = 8, value_dim = 8;
  Layout layout = Layout::kContiguous;
  bool causal = false, bottom_right = false;
  int64_t left = -1, right = -1;
  MaskKind mask = MaskKind::kNone;
  int mask_broadcast = 0;  // bit d: stride 0 along axis d
  double dropout_p = 0;

  bool in_band(int64_t i, int64_t j) const {
    const int64_t p = bottom_right ? i + keys - queries : i;
    return !(causal && j > p) && !(left >= 0 && j < p - left) && !(right >= 0 && j > p + right);
  }
  std::string text() const {
    return "attention " + text_of({batch, heads, kv_heads, queries, keys, dim, value_dim}) + (causal ? " causal" : "") +
           (bottom_right ? " bottom-right" : "") + " window " + text_of({left, right}) + " mask " +
           std::to_string(static_cast<int>(mask)) + "/" + std::to_string(mask_broadcast) + " dropout " +
           std::to_string(dropout_p);
  }
};

template <class M>
Array<M> make_mask(const Case& c) {
  const Shape s = {c.batch, c.heads, c.queries, c.keys};
  switch (c.mask_broadcast) {
    case 3: return Array<M>(s, Layout::kRowGap, {0, 1});
    case 4: return Array<M>(s, Layout::kContiguous, {2});
    case 8: return Array<M>(s, Layout::kContiguous, {3});
    case 15: return Array<M>(s, Layout::kContiguous, {0, 1, 2, 3});
    default: return Array<M>(s, Layout::kStep);
  }
}

template <class T>
void attention_case(Test& t, const Case& c) {
  const std::string what = c.text();
  Random r(31);
  const auto B = c.batch, H = c.heads, L = c.queries, S = c.keys, D = c.dim, V = c.value_dim;
  Array<T> q(Shape{B, H, L, D}, c.layout), k(Shape{B, c.kv_heads, S, D}, c.layout);
  Array<T> v(Shape{B, c.kv_heads, S, V}, c.layout), out(Shape{B, H, L, V}, Layout::kRowGap);
  Array<Accumulator<T>> lse(Shape{B, H, L});
  for (Array<T>* a : {&q, &k, &v}) a->fill(r, 0.7);
  Array<uint8_t> keep;
  Array<T> added;
  fa_attention_fwd_params p = {};
  if (c.mask == MaskKind::kBool) {
    keep = make_mask<uint8_t>(c).fill([&] { return r.below(4) > 0; });
    p.mask = keep;
  } else if (c.mask == MaskKind::kAdded) {
    added = make_mask<T>(c).fill([&] { return r.below(5) == 0 ? -kInf : r.symmetric(); });
    p.mask = added;
  }
  // A key that no query can see may hold anything.
  for (int64_t j = 0; j < S; ++j) {
    bool seen = false;
    for (int64_t i = 0; i < L; ++i) seen |= c.in_band(i, j);
    if (seen) continue;
    for (int64_t z = 0; z < B * c.kv_heads; ++z) {
      for (int64_t d = 0; d < D; ++d) k(z / c.kv_heads, z % c.kv_heads, j, d) = static_cast<T>(NAN);
      for (int64_t d = 0; d < V; ++d) v(z / c.kv_heads, z % c.kv_heads, j, d) = static_cast<T>(NAN);
    }
  }
  p.query = q;
  p.key = k;
  p.value = v;
  p.out = out;
  p.lse = lse;
  p.scale = 0.4;
  p.is_causal = c.causal;
  p.causal_align = c.bottom_right ? FA_ALIGN_BOTTOM_RIGHT : FA_ALIGN_TOP_LEFT;
  p.window_left = c.left;
  p.window_right = c.right;
  p.dropout_p = c.dropout_p;
  p.seed = 9;
  p.offset = uint64_t{3} << 33;
  // The factors of the weights: dropout of ones, with the same key.
  Array<T> ones(Shape{B, H, L, S}), kept(Shape{B, H, L, S});
  ones.fill([] { return 1; });
  call(table().dropout, fa_dropout_params{ones, kept, c.dropout_p, p.seed, p.offset}, 1);

  Array<T> dout(Shape{B, H, L, V}, c.layout);
  Array<Accumulator<T>> dlse(Shape{B, H, L});
  dout.fill(r);
  dlse.fill(r);
  Array<T> dq(q.shape()), dk(k.shape()), dv(v.shape()), dmask;
  const auto size = [](const auto& a) { return static_cast<size_t>(a.size()); };
  std::vector<double> outs(size(out)), lses(size(lse)), dqs(size(dq)), dks(size(dk)), dvs(size(dv));
  std::vector<double> dmasks(static_cast<size_t>(B * H * L * S));
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t h = 0; h < H; ++h) {
      const int64_t g = h / (H / c.kv_heads);
      for (int64_t i = 0; i < L; ++i) {
        std::vector<double> s(static_cast<size_t>(S), -kInf), dp(s.size());
        double largest = -kInf, sum = 0, delta = 0;
        for (int64_t j = 0; j < S; ++j) {
          if (!c.in_band(i, j) || (c.mask == MaskKind::kBool && !keep(b, h, i, j))) continue;
          double z = 0;
          for (int64_t d = 0; d < D; ++d) z += static_cast<double>(q(b, h, i, d)) * k(b, g, j, d);
          z = p.scale * z + (c.mask == MaskKind::kAdded ? static_cast<double>(added(b, h, i, j)) : 0);
          s[static_cast<size_t>(j)] = z;
          largest = std::max(largest, z);
        }
        for (double z : s) sum += z == -kInf ? 0 : std::exp(z - largest);
        const int64_t row = (b * H + h) * L + i;
        lses[static_cast<size_t>(row)] = sum == 0 ? -kInf : largest + std::log(sum);
        if (sum == 0) continue;
        for (int64_t j = 0; j < S; ++j) {
          double& w = s[static_cast<size_t>(j)];
          w = w == -kInf ? 0 : std::exp(w - largest) / sum;
          if (w == 0) continue;
          for (int64_t d = 0; d < V; ++d) {
            const double z = kept(b, h, i, j);
            outs[static_cast<size_t>(row * V + d)] += z * w * v(b, g, j, d);
            dp[static_cast<size_t>(j)] += z * static_cast<double>(dout(b, h, i, d)) * v(b, g, j, d);
            dvs[static_cast<size_t>(((b * c.kv_heads + g) * S + j) * V + d)] += z * w * dout(b, h, i, d);
          }
          delta += w * dp[static_cast<size_t>(j)];
        }
        for (int64_t j = 0; j < S; ++j) {
          const double w = s[static_cast<size_t>(j)];
          if (w == 0) continue;
          const double ds = w * (dp[static_cast<size_t>(j)] - delta + dlse[row]);
          dmasks[static_cast<size_t>(row * S + j)] = ds;
          for (int64_t d = 0; d < D; ++d) {
            dqs[static_cast<size_t>(row * D + d)] += p.scale * ds * k(b, g, j, d);
            dks[static_cast<size_t>(((b * c.kv_heads + g) * S + j) * D + d)] += p.scale * ds * q(b, h, i, d);
          }
        }
      }
    }
  }
  if (call_both(t, what, table().attention_fwd, p, {out.storage(), lse.storage()}) != FA_OK) return;
  const double factor = 64;
  close(t, what + " out", out, outs, factor);
  close(t, what + " lse", lse, lses, factor);

  fa_attention_bwd_params g = {};
  g.fwd = p;
  g.dout = dout;
  g.dlse = dlse;
  g.dquery = dq;
  g.dkey = dk;
  g.dvalue = dv;
  if (c.mask == MaskKind::kAdded) {
    dmask = make_mask<T>(c);
    g.dmask = dmask;
  }
  if (call_both(t, what + " bwd", table().attention_bwd, g,
                {dq.storage(), dk.storage(), dv.storage(), dmask.storage()}) != FA_OK) {
    return;
  }
  close(t, what + " dquery", dq, dqs, factor);
  close(t, what + " dkey", dk, dks, factor);
  close(t, what + " dvalue", dv, dvs, factor);
  if (c.mask == MaskKind::kAdded && dmask.size() > 0) {
    // Summed over the axes of stride 0: gather by address, then read back.
    std::vector<double> sums(dmasks.size());
    std::vector<std::pair<const T*, double>> at;
    for (int64_t i = 0; i < dmask.size(); ++i) at.emplace_back(&dmask[i], dmasks[static_cast<size_t>(i)]);
    std::stable_sort(at.begin(), at.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (int64_t i = 0; i < dmask.size(); ++i) {
      auto first =
          std::lower_bound(at.begin(), at.end(), &dmask[i], [](const auto& a, const T* x) { return a.first < x; });
      for (; first != at.end() && first->first == &dmask[i]; ++first) sums[static_cast<size_t>(i)] += first->second;
    }
    close(t, what + " dmask", dmask, sums, 2 * factor);
  }
}

template <class T>
void attention(Test& t) {
  for (int64_t queries : {0, 1, 3, 17, 40}) {
    for (int64_t keys : {0, 1, 16, 33, 70}) {
      for (int flags = 0; flags < 4; ++flags) {
        attention_case<T>(
            t, {.queries = queries, .keys = keys, .causal = (flags & 1) != 0, .bottom_right = (flags & 2) != 0});
      }
    }
  }
  for (int64_t dim : {1, 7, 16, 33, 64}) {
    for (Layout l : kLayouts) {
      attention_case<T>(t, {.heads = 4,
                            .kv_heads = 2,
                            .queries = 9,
                            .keys = 21,
                            .dim = dim,
                            .value_dim = 65 - dim,
                            .layout = l,
                            .causal = true});
    }
  }
  attention_case<T>(t, {.queries = 3, .keys = 5, .dim = 256, .value_dim = 255});
  for (MaskKind mask : {MaskKind::kBool, MaskKind::kAdded}) {
    for (int broadcast : {0, 3, 4, 8, 15}) {
      for (bool causal : {false, true}) {
        attention_case<T>(t, {.batch = 2,
                              .heads = 2,
                              .kv_heads = 2,
                              .queries = 19,
                              .keys = 37,
                              .dim = 5,
                              .value_dim = 17,
                              .causal = causal,
                              .mask = mask,
                              .mask_broadcast = broadcast});
      }
    }
  }
  for (int64_t left : {-1, 0, 3}) {
    for (int64_t right : {-1, 0, 2}) {
      for (int flags = 0; flags < 4; ++flags) {
        attention_case<T>(t, {.queries = 23,
                              .keys = 41,
                              .causal = (flags & 1) != 0,
                              .bottom_right = (flags & 2) != 0,
                              .left = left,
                              .right = right});
        attention_case<T>(t, {.queries = 37,
                              .keys = 11,
                              .causal = (flags & 1) != 0,
                              .bottom_right = (flags & 2) != 0,
                              .left = left,
                              .right = right});
      }
    }
  }
  for (double p : {0.3, 1.0}) {
    for (int64_t keys : {1, 32, 131}) {  // rows that begin at a block of random words, and between two
      attention_case<T>(t, {.batch = 2, .queries = 50, .keys = keys, .causal = keys == 131, .dropout_p = p});
    }
    attention_case<T>(t, {.heads = 4,
                          .kv_heads = 2,
                          .queries = 19,
                          .keys = 37,
                          .mask = MaskKind::kAdded,
                          .mask_broadcast = 3,
                          .dropout_p = p});
  }
  attention_case<T>(t, {.batch = 0});
  attention_case<T>(t, {.heads = 0, .kv_heads = 1});
  attention_case<T>(
      t, {.heads = 3, .kv_heads = 3, .queries = 150, .keys = 300, .dim = 12, .value_dim = 9, .causal = true});
}

}  // namespace

FASTATTN_TEST(attention) {
  attention<float>(t);
  attention<double>(t);
  attention<Bf16>(t);
}
