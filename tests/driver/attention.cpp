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
  double dropout_p = 0, softcap = 0;
  bool slopes = false, sinks = false, weights = false;
  int64_t topk = 0;  // with weights: of the mean over heads, of every second row
  int64_t weight_heads() const { return topk > 0 ? 1 : heads; }
  int64_t weight_rows() const { return topk > 0 ? (queries + 1) / 2 : queries; }
  int64_t weight_keys() const { return topk > 0 ? topk : keys; }

  double distance(int64_t i, int64_t j) const {
    return std::abs(static_cast<double>((bottom_right ? i + keys - queries : i) - j));
  }
  bool in_band(int64_t i, int64_t j) const {
    const int64_t p = bottom_right ? i + keys - queries : i;
    return !(causal && j > p) && !(left >= 0 && j < p - left) && !(right >= 0 && j > p + right);
  }
  std::string text() const {
    return "attention " + text_of({batch, heads, kv_heads, queries, keys, dim, value_dim}) + (causal ? " causal" : "") +
           (bottom_right ? " bottom-right" : "") + " window " + text_of({left, right}) + " mask " +
           std::to_string(static_cast<int>(mask)) + "/" + std::to_string(mask_broadcast) + " dropout " +
           std::to_string(dropout_p) + " softcap " + std::to_string(softcap) + (slopes ? " slopes" : "") +
           (sinks ? " sinks" : "") + (weights ? " weights " + std::to_string(topk) : "");
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
  Array<T> slopes, sinks, dslopes, dsinks, weights, dweights;
  Array<int64_t> weight_rows, weight_keys;
  if (c.slopes) {
    slopes = Array<T>(Shape{B, H}, Layout::kContiguous, {0}).fill([&] { return 0.1 + 0.1 * r.below(4); });
    dslopes = Array<T>(Shape{B, H}, Layout::kContiguous, {0});
    p.alibi_slopes = slopes;
  }
  if (c.sinks) {
    sinks = Array<T>(Shape{H}, Layout::kStep).fill(r);
    dsinks = Array<T>(Shape{H}, Layout::kStep);
    p.sinks = sinks;
  }
  if (c.weights) {
    const Shape shape = {B, c.weight_heads(), c.weight_rows(), c.weight_keys()};
    weights = Array<T>(shape, Layout::kRowGap);
    dweights = Array<T>(shape, Layout::kStep).fill(r);
    p.weights = weights;
  }
  if (c.topk > 0) {
    weight_keys = Array<int64_t>(weights.shape());
    int64_t row = -2;
    weight_rows = Array<int64_t>(Shape{c.weight_rows()}).fill([&] { return row += 2; });
    p.weights_keys = weight_keys;
    p.weights_rows = weight_rows;
    p.weights_mean = 1;
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
  p.softcap = c.softcap;
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
  const auto zeros = [](int64_t n) { return std::vector<double>(static_cast<size_t>(n)); };
  std::vector<double> dmasks = zeros(B * H * L * S), all = zeros(B * H * L * S), caps = zeros(B * H * L * S);
  std::vector<double> dall = zeros(B * H * L * S), dslope = zeros(H), dsink = zeros(H);
  const auto at = [](auto& v, int64_t i) -> auto& { return v[static_cast<size_t>(i)]; };
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t h = 0; h < H; ++h) {
      const int64_t g = h / (H / c.kv_heads);
      for (int64_t i = 0; i < L; ++i) {
        const int64_t row = (b * H + h) * L + i;
        double largest = c.sinks ? static_cast<double>(sinks(h)) : -kInf, sum = 0;
        for (int64_t j = 0; j < S; ++j) {
          double& z = at(all, row * S + j);
          z = -kInf;
          if (!c.in_band(i, j) || (c.mask == MaskKind::kBool && !keep(b, h, i, j))) continue;
          z = 0;
          for (int64_t d = 0; d < D; ++d) z += static_cast<double>(q(b, h, i, d)) * k(b, g, j, d);
          z *= p.scale;
          const double u = c.softcap > 0 ? std::tanh(z / c.softcap) : 0;
          at(caps, row * S + j) = 1 - u * u;
          if (c.softcap > 0) z = c.softcap * u;
          if (c.slopes) z -= static_cast<double>(slopes(b, h)) * c.distance(i, j);
          if (c.mask == MaskKind::kAdded) z += static_cast<double>(added(b, h, i, j));
          largest = std::max(largest, z);
        }
        for (int64_t j = 0; j < S; ++j) {
          double& z = at(all, row * S + j);
          z = z == -kInf ? 0 : std::exp(z - largest);
          sum += z;
        }
        if (c.sinks) sum += std::exp(static_cast<double>(sinks(h)) - largest);
        at(lses, row) = sum == 0 ? -kInf : largest + std::log(sum);
        for (int64_t j = 0; j < S; ++j) {
          double& w = at(all, row * S + j);
          w = sum == 0 ? 0 : w / sum;
          for (int64_t d = 0; w != 0 && d < V; ++d) at(outs, row * V + d) += kept(b, h, i, j) * w * v(b, g, j, d);
        }
      }
    }
  }
  if (call_both(t, what, table().attention_fwd, p,
                {out.storage(), lse.storage(), weights.storage(), weight_keys.storage()}) != FA_OK) {
    return;
  }
  const double factor = 64;
  close(t, what + " out", out, outs, factor);
  close(t, what + " lse", lse, lses, factor);
  if (c.weights) {
    std::vector<double> expected = zeros(weights.size());
    for (int64_t at_weight = 0; at_weight < weights.size(); ++at_weight) {
      const int64_t n = c.weight_keys(), place = at_weight % n, r_at = at_weight / n % c.weight_rows();
      const int64_t h_at = at_weight / n / c.weight_rows() % c.weight_heads();
      const int64_t b = at_weight / n / c.weight_rows() / c.weight_heads();
      const int64_t i = c.topk > 0 ? weight_rows(r_at) : r_at,
                    j = c.topk > 0 ? weight_keys(b, h_at, r_at, place) : place;
      if (!t.expect(j >= 0 && j < S, what + " key of a weight")) return;
      const int64_t first = c.topk > 0 ? 0 : h_at, n_heads = c.topk > 0 ? H : 1;
      for (int64_t h = first; h < first + n_heads; ++h) {
        const int64_t one = ((b * H + h) * L + i) * S + j;
        at(expected, at_weight) += at(all, one) / static_cast<double>(n_heads);
        at(dall, one) += static_cast<double>(dweights(b, h_at, r_at, place)) / static_cast<double>(n_heads);
      }
    }
    close(t, what + " weights", weights, expected, factor);
  }
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t h = 0; h < H; ++h) {
      const int64_t g = h / (H / c.kv_heads);
      for (int64_t i = 0; i < L; ++i) {
        const int64_t row = (b * H + h) * L + i;
        std::vector<double> dp = zeros(S);
        double delta = -static_cast<double>(dlse[row]);
        for (int64_t j = 0; j < S; ++j) {
          const double w = at(all, row * S + j), z = kept(b, h, i, j);
          if (w == 0) continue;
          at(dp, j) = at(dall, row * S + j);
          for (int64_t d = 0; d < V; ++d) {
            at(dp, j) += z * static_cast<double>(dout(b, h, i, d)) * v(b, g, j, d);
            at(dvs, ((b * c.kv_heads + g) * S + j) * V + d) += z * w * dout(b, h, i, d);
          }
          delta += w * at(dp, j);
        }
        if (c.sinks) at(dsink, h) -= std::exp(static_cast<double>(sinks(h)) - at(lses, row)) * delta;
        for (int64_t j = 0; j < S; ++j) {
          const double w = at(all, row * S + j);
          if (w == 0) continue;
          const double ds = w * (at(dp, j) - delta), dz = p.scale * ds * at(caps, row * S + j);
          at(dmasks, row * S + j) = ds;
          at(dslope, h) -= ds * c.distance(i, j);
          for (int64_t d = 0; d < D; ++d) {
            at(dqs, row * D + d) += dz * k(b, g, j, d);
            at(dks, ((b * c.kv_heads + g) * S + j) * D + d) += dz * q(b, h, i, d);
          }
        }
      }
    }
  }

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
  if (c.weights) g.dweights = dweights;
  if (c.slopes) g.dalibi_slopes = dslopes;
  if (c.sinks) g.dsinks = dsinks;
  if (call_both(t, what + " bwd", table().attention_bwd, g,
                {dq.storage(), dk.storage(), dv.storage(), dmask.storage(), dslopes.storage(), dsinks.storage()}) !=
      FA_OK) {
    return;
  }
  if (c.sinks) close(t, what + " dsinks", dsinks, dsink, 4 * factor);
  if (c.slopes) {
    std::vector<double> of_all;  // every batch reads the one sum
    for (int64_t b = 0; b < B; ++b) of_all.insert(of_all.end(), dslope.begin(), dslope.end());
    close(t, what + " dslopes", dslopes, of_all, 4 * factor);
  }
  close(t, what + " dquery", dq, dqs, factor);
  close(t, what + " dkey", dk, dks, factor);
  close(t, what + " dvalue", dv, dvs, factor);
  if (c.mask == MaskKind::kAdded && dmask.size() > 0) {
    // Summed over the axes of stride 0: gather by address, then read back.
    std::vector<double> sums(dmasks.size());
    std::vector<std::pair<const T*, double>> by_address;
    for (int64_t i = 0; i < dmask.size(); ++i) by_address.emplace_back(&dmask[i], dmasks[static_cast<size_t>(i)]);
    std::stable_sort(by_address.begin(), by_address.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (int64_t i = 0; i < dmask.size(); ++i) {
      auto first = std::lower_bound(by_address.begin(), by_address.end(), &dmask[i],
                                    [](const auto& a, const T* x) { return a.first < x; });
      for (; first != by_address.end() && first->first == &dmask[i]; ++first)
        sums[static_cast<size_t>(i)] += first->second;
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
  for (int flags = 1; flags < 32; ++flags) {
    const bool masked = (flags & 8) != 0, weights = (flags & 16) != 0;
    attention_case<T>(t, {.batch = 2,
                          .heads = 4,
                          .kv_heads = 2,
                          .queries = flags % 3 == 0 ? 23 : 37,
                          .keys = flags % 3 == 0 ? 41 : 11,
                          .causal = flags % 2 == 0,
                          .bottom_right = flags % 5 < 3,
                          .mask = masked ? MaskKind::kAdded : MaskKind::kNone,
                          .mask_broadcast = 3,
                          .dropout_p = flags % 7 == 0 ? 0.3 : 0,
                          .softcap = (flags & 1) != 0 ? 0.8 : 0,
                          .slopes = (flags & 2) != 0,
                          .sinks = (flags & 4) != 0,
                          .weights = weights,
                          .topk = weights && flags % 4 > 1 ? 5 : 0});
  }
  attention_case<T>(t, {.queries = 150, .keys = 300, .softcap = 2, .slopes = true, .sinks = true, .weights = true});
  for (int64_t n : {0, 3}) {
    attention_case<T>(t, {.queries = n, .keys = 3 - n, .slopes = true, .sinks = true, .weights = true});
  }
  // A few queries: across tiles, splits and the heads of a group.
  for (int64_t queries : {1, 2, 4}) {
    for (int64_t keys : {63, 65, 513, 1030}) {
      attention_case<T>(t, {.batch = 2,
                            .heads = 6,
                            .kv_heads = 2,
                            .queries = queries,
                            .keys = keys,
                            .dim = 8 * queries + keys % 3,
                            .value_dim = 33 - queries,
                            .layout = keys == 63 ? Layout::kRowGap : Layout::kContiguous,
                            .causal = keys == 65,
                            .bottom_right = true,
                            .left = keys == 513 ? 300 : -1,
                            .mask = keys == 1030 ? MaskKind::kBool
                                    : keys == 63 ? MaskKind::kAdded
                                                 : MaskKind::kNone,
                            .dropout_p = keys == 65 ? 0.3 : 0.0,
                            .softcap = keys == 513 ? 3.0 : 0.0,
                            .slopes = keys == 513,
                            .sinks = keys != 63});
    }
  }
  attention_case<T>(t, {.batch = 0, .sinks = true, .weights = true});
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
