"""Tensor's methods and free functions against torch's: values, dtypes, gradients, in-place forms."""

import numpy as np
import pytest

import fastattn as fa

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

# Calls on tensors x (2, 3, 4), y (3, 4) and m (4, 5) of float64 and the integers i (2, 3, 2) below 3; `t` is the library.
CALLS = {
    # each element
    "tan": lambda t, x, y, m, i: x.tan(),
    "sinh": lambda t, x, y, m, i: x.sinh(),
    "cosh": lambda t, x, y, m, i: x.cosh(),
    "asin": lambda t, x, y, m, i: (x / 9).asin(),
    "acos": lambda t, x, y, m, i: (x / 9).acos(),
    "atan": lambda t, x, y, m, i: x.atan(),
    "asinh": lambda t, x, y, m, i: x.asinh(),
    "acosh": lambda t, x, y, m, i: (x.abs() + 1.5).acosh(),
    "atanh": lambda t, x, y, m, i: (x / 9).atanh(),
    "arctan2": lambda t, x, y, m, i: t.atan2(x, y),
    "hypot": lambda t, x, y, m, i: t.hypot(x, y),
    "exp2": lambda t, x, y, m, i: x.exp2(),
    "expm1": lambda t, x, y, m, i: x.expm1(),
    "log2": lambda t, x, y, m, i: x.abs().log2(),
    "log10": lambda t, x, y, m, i: x.abs().log10(),
    "log1p": lambda t, x, y, m, i: x.abs().log1p(),
    "logaddexp": lambda t, x, y, m, i: t.logaddexp(x, y),
    "xlogy": lambda t, x, y, m, i: t.xlogy(x.relu(), y.abs()),
    "logit": lambda t, x, y, m, i: x.sigmoid().logit(),
    "logit eps": lambda t, x, y, m, i: x.logit(eps=0.1),
    "clamp": lambda t, x, y, m, i: t.clamp(x, -0.5, 0.5),
    "clamp tensors": lambda t, x, y, m, i: x.clamp(-y.abs(), y.abs()),
    "clamp max": lambda t, x, y, m, i: x.clamp(max=y),
    "clamp_min": lambda t, x, y, m, i: x.clamp_min(0.1),
    "lerp": lambda t, x, y, m, i: t.lerp(x, y, 0.3),
    "lerp tensor": lambda t, x, y, m, i: x.lerp(y, y * y),
    "addcmul": lambda t, x, y, m, i: t.addcmul(x, y, y, value=0.5),
    "addcdiv": lambda t, x, y, m, i: x.addcdiv(x, y, value=-2),
    "deg2rad": lambda t, x, y, m, i: x.deg2rad() + y.rad2deg(),
    "nan_to_num": lambda t, x, y, m, i: (x / x.relu()).nan_to_num(0.5, 1.0, -1.0),
    "frac": lambda t, x, y, m, i: (3 * x).frac(),
    "remainder": lambda t, x, y, m, i: t.remainder(x, y),
    "% number": lambda t, x, y, m, i: x % 0.7,
    "fmod": lambda t, x, y, m, i: t.fmod(x, y),
    "masked_fill": lambda t, x, y, m, i: x.masked_fill(y > 0, 2.0),
    "rsub": lambda t, x, y, m, i: t.rsub(x, y, alpha=2),
    "pow of a number": lambda t, x, y, m, i: t.pow(2.0, x),
    "where": lambda t, x, y, m, i: t.where(x > 0, x, y),
    "maximum": lambda t, x, y, m, i: t.maximum(x, y) * t.minimum(x, y),
    # shapes
    "roll": lambda t, x, y, m, i: x.roll(1, 2),
    "roll two": lambda t, x, y, m, i: t.roll(x, (1, -2), (0, 2)),
    "roll flat": lambda t, x, y, m, i: x.roll(5),
    "rot90": lambda t, x, y, m, i: x.rot90(1, (1, 2)),
    "rot90 -1": lambda t, x, y, m, i: t.rot90(x, -1, (0, 2)),
    "tile": lambda t, x, y, m, i: x.tile((2, 1)),
    "tile more": lambda t, x, y, m, i: t.tile(y, (2, 1, 3)),
    "repeat_interleave": lambda t, x, y, m, i: x.repeat_interleave(2, 1),
    "repeat_interleave flat": lambda t, x, y, m, i: t.repeat_interleave(x, 2),
    "repeat_interleave counts": lambda t, x, y, m, i: x.repeat_interleave(t.tensor([1, 0, 2]), dim=1),
    "diagonal": lambda t, x, y, m, i: x.diagonal(1, 1, 2),
    "diagonal back": lambda t, x, y, m, i: t.diagonal(x, -1, 2, 0),
    "diag": lambda t, x, y, m, i: t.diag(m),
    "diag of a vector": lambda t, x, y, m, i: t.diag(y[0], 1),
    "diag_embed": lambda t, x, y, m, i: x.diag_embed(),
    "diag_embed -2": lambda t, x, y, m, i: x.diag_embed(-2),
    "unfold": lambda t, x, y, m, i: x.unfold(2, 3, 1),
    "unfold step": lambda t, x, y, m, i: x.unfold(1, 2, 2),
    "movedim": lambda t, x, y, m, i: x.movedim((0, 1), (2, 0)),
    "fliplr": lambda t, x, y, m, i: x.fliplr() + x.flipud(),
    "narrow": lambda t, x, y, m, i: x.narrow(2, 1, 2),
    "select": lambda t, x, y, m, i: x.select(1, -1),
    "tensor_split": lambda t, x, y, m, i: t.tensor_split(x, 3, dim=2),
    "tensor_split at": lambda t, x, y, m, i: x.tensor_split((1, 3), dim=2),
    "chunk": lambda t, x, y, m, i: x.chunk(3, 2),
    "split": lambda t, x, y, m, i: t.split(x, [1, 3], dim=2),
    "unbind": lambda t, x, y, m, i: t.unbind(x, 1),
    "hstack": lambda t, x, y, m, i: t.hstack([y, y]) + t.hstack((y[0], y[1])),
    "vstack": lambda t, x, y, m, i: t.vstack([y, y[0]]),
    "dstack": lambda t, x, y, m, i: t.dstack([y, y]),
    "column_stack": lambda t, x, y, m, i: t.column_stack([y, y[:, 0]]),
    "block_diag": lambda t, x, y, m, i: t.block_diag(y, m, y[0]),
    "meshgrid": lambda t, x, y, m, i: t.meshgrid(y[0], m[0], indexing="ij"),
    "meshgrid xy": lambda t, x, y, m, i: t.meshgrid([y[0], m[0]], indexing="xy"),
    "cartesian_prod": lambda t, x, y, m, i: t.cartesian_prod(y[0], m[0]),
    "broadcast_tensors": lambda t, x, y, m, i: t.broadcast_tensors(x, y),
    "atleast_3d": lambda t, x, y, m, i: t.atleast_3d(y),
    # indices
    "gather": lambda t, x, y, m, i: x.gather(2, i),
    "gather first": lambda t, x, y, m, i: t.gather(x, 0, i % 2),
    "take_along_dim": lambda t, x, y, m, i: x.take_along_dim(i[:, :1], 2),
    "take_along_dim flat": lambda t, x, y, m, i: t.take_along_dim(x, i.flatten()),
    "take": lambda t, x, y, m, i: x.take(i),
    "index_select": lambda t, x, y, m, i: x.index_select(1, t.tensor([2, 0, 2])),
    "masked_select": lambda t, x, y, m, i: x.masked_select(y > 0),
    "masked_scatter": lambda t, x, y, m, i: x.masked_scatter(x > 0, m.flatten().repeat(2)),
    "scatter": lambda t, x, y, m, i: x.scatter(2, i[:, :, :1], x[:, :, :1] * 2),
    "scatter number": lambda t, x, y, m, i: x.scatter(1, i, 7.0),
    "scatter_add": lambda t, x, y, m, i: x.scatter_add(2, i, x[:, :, :2] * 3),
    "scatter_add first": lambda t, x, y, m, i: t.scatter_add(x, 0, i % 2, x[:, :, 1:3]),
    "index_add": lambda t, x, y, m, i: x.index_add(1, t.tensor([0, 0]), x[:, :2], alpha=2),
    "index_copy": lambda t, x, y, m, i: x.index_copy(1, t.tensor([2, 0]), x[:, :2] * 2),
    "index_fill": lambda t, x, y, m, i: x.index_fill(1, t.tensor([2, 0]), 5.0),
    "index_put": lambda t, x, y, m, i: x.index_put((t.tensor([0, 1]), t.tensor([2, 0])), y[:2]),
    "index_put added": lambda t, x, y, m, i: x.index_put((t.tensor([1, 1]),), y, accumulate=True),
    # order
    "sort": lambda t, x, y, m, i: x.sort(1, descending=True)[0],
    "sort places": lambda t, x, y, m, i: t.sort(i, dim=1, stable=True)[1],
    "sort places down": lambda t, x, y, m, i: i.sort(dim=1, descending=True, stable=True)[1],
    "msort": lambda t, x, y, m, i: x.msort(),
    "argsort": lambda t, x, y, m, i: x.argsort(-1, descending=True),
    "topk": lambda t, x, y, m, i: x.topk(2),
    "topk smallest": lambda t, x, y, m, i: t.topk(x, 2, dim=1, largest=False),
    "topk of many": lambda t, x, y, m, i: x.flatten().repeat(20).add(t.arange(480) / 1e3).topk(5),
    "topk smallest of many": lambda t, x, y, m, i: (x.flatten().repeat(20) + t.arange(480) / 1e3).topk(5, largest=False),
    "kthvalue": lambda t, x, y, m, i: x.kthvalue(2, 1, keepdim=True),
    "median": lambda t, x, y, m, i: x.median(),
    "median dim": lambda t, x, y, m, i: t.median(x, 2),
    "quantile": lambda t, x, y, m, i: x.quantile(0.3),
    "quantile dim": lambda t, x, y, m, i: t.quantile(x, t.tensor([0.1, 0.5, 1.0], dtype=t.float64), dim=1, keepdim=True),
    "quantile nearest": lambda t, x, y, m, i: x.quantile(0.6, dim=2, interpolation="nearest"),
    "quantile midpoint": lambda t, x, y, m, i: x.quantile(0.6, dim=2, interpolation="midpoint"),
    # sums
    "cumprod": lambda t, x, y, m, i: x.cumprod(1),
    "cumprod with zeros": lambda t, x, y, m, i: (x.relu() + y).sub(y).cumprod(2),
    "diff": lambda t, x, y, m, i: x.diff(2, dim=1),
    "std": lambda t, x, y, m, i: x.std(),
    "std of equals": lambda t, x, y, m, i: (x * 0).std(1),
    "std_mean": lambda t, x, y, m, i: t.std_mean(x, 1),
    "var_mean": lambda t, x, y, m, i: t.var_mean(x, (0, 1), correction=0, keepdim=True),
    "sum dtype": lambda t, x, y, m, i: t.sum(i, 1, dtype=t.float64),
    "mean dtype": lambda t, x, y, m, i: i.mean(dtype=t.float32),
    "nansum": lambda t, x, y, m, i: t.where(x > 0, x * y, float("nan")).nansum(1),
    "nanmean": lambda t, x, y, m, i: t.where(x > -1, x * y, float("nan")).nanmean(1),
    "count_nonzero": lambda t, x, y, m, i: t.count_nonzero(x.relu(), 1),
    "aminmax": lambda t, x, y, m, i: x.aminmax(dim=1),
    "norm 1": lambda t, x, y, m, i: x.norm(1, 1),
    "norm 3": lambda t, x, y, m, i: x.norm(3, (0, 1), keepdim=True),
    "norm inf": lambda t, x, y, m, i: x.norm(float("inf"), 1) - x.norm(-float("inf"), 1),
    "norm 0": lambda t, x, y, m, i: x.relu().norm(0, 1),
    "norm of zeros": lambda t, x, y, m, i: (x * 0).norm(2, 1) + (x * 0).norm(1, 1) + (x * 0).norm(3, 1),
    "fro": lambda t, x, y, m, i: x.norm("fro"),
    "dist": lambda t, x, y, m, i: t.dist(x, y),
    "renorm": lambda t, x, y, m, i: x.renorm(2, 1, 1.5),
    # products
    "mm": lambda t, x, y, m, i: t.mm(y, m),
    "bmm": lambda t, x, y, m, i: t.bmm(x, m.expand(2, 4, 5)),
    "mv": lambda t, x, y, m, i: y.mv(m[:, 0]),
    "dot": lambda t, x, y, m, i: t.dot(y[0], m[:, 0]),
    "inner": lambda t, x, y, m, i: t.inner(x, y),
    "outer": lambda t, x, y, m, i: t.outer(y[0], m[0]),
    "kron": lambda t, x, y, m, i: t.kron(y, m),
    "cross": lambda t, x, y, m, i: t.cross(x, x * x, dim=1),
    "addmm": lambda t, x, y, m, i: t.addmm(m[0], y, m, beta=0.5, alpha=2),
    "addmm beta 0": lambda t, x, y, m, i: (m[0].detach() * float("inf")).addmm(y, m, beta=0),
    "addmv": lambda t, x, y, m, i: t.addmv(x[0, :, 0], y, m[:, 1]),
    "addr": lambda t, x, y, m, i: t.addr(m, y[0], m[0]),
    "baddbmm": lambda t, x, y, m, i: t.baddbmm(m[0], x, m.expand(2, 4, 5)),
    "addbmm": lambda t, x, y, m, i: t.addbmm(m[0], x, m.expand(2, 4, 5)),
    "trace": lambda t, x, y, m, i: m.trace(),
    "tensordot": lambda t, x, y, m, i: t.tensordot(x, y, dims=2),
    "tensordot axes": lambda t, x, y, m, i: t.tensordot(x, x, dims=([0, 2], [0, 2])),
    "einsum matmul": lambda t, x, y, m, i: t.einsum("bij,jk->bik", x, m),
    "einsum attention": lambda t, x, y, m, i: t.einsum("bqd,bkd->bqk", x, x * 2),
    "einsum implicit": lambda t, x, y, m, i: t.einsum("ij,jk", y, m),
    "einsum ellipsis": lambda t, x, y, m, i: t.einsum("...j,jk->k...", x, m),
    "einsum outer": lambda t, x, y, m, i: t.einsum("i,j->ji", y[0], m[0]),
    "einsum three": lambda t, x, y, m, i: t.einsum("bij,ij,jk->bk", x, y, m),
    "einsum diagonal": lambda t, x, y, m, i: t.einsum("ii->i", m[:, :4]),
    "einsum trace": lambda t, x, y, m, i: t.einsum("ii", m[:, :4]),
    "einsum sum": lambda t, x, y, m, i: t.einsum("bij->j", x),
    "einsum list": lambda t, x, y, m, i: t.einsum("bij,bkj->bki", [x, x]),
    "einsum elementwise": lambda t, x, y, m, i: t.einsum("ij,ij->ij", y, y),
    "einsum broadcast": lambda t, x, y, m, i: t.einsum("...ij,...ij->...", x, y[None]),
    # tests and other things without gradients
    "bucketize": lambda t, x, y, m, i: t.bucketize(x.detach(), t.tensor([-1.0, 0.0, 1.0], dtype=t.float64)),
    "searchsorted": lambda t, x, y, m, i: t.searchsorted(t.tensor([0, 1, 1, 2]), i, right=True),
    "searchsorted rows": lambda t, x, y, m, i: t.searchsorted(t.tensor([[0, 2], [1, 3]]), t.tensor([[1], [1]])),
    "unique": lambda t, x, y, m, i: t.unique(i, return_inverse=True, return_counts=True),
    "unique rows": lambda t, x, y, m, i: t.unique(i[0], dim=0),
    "unique_consecutive": lambda t, x, y, m, i: t.unique_consecutive(i, return_inverse=True, return_counts=True),
    "bincount": lambda t, x, y, m, i: t.bincount(i.flatten(), minlength=5),
    "isin": lambda t, x, y, m, i: t.isin(i, t.tensor([0, 2])),
    "isclose": lambda t, x, y, m, i: t.isclose(x, x + 1e-9),
    "nonzero": lambda t, x, y, m, i: i.nonzero(),
    "nonzero tuple": lambda t, x, y, m, i: t.nonzero(i, as_tuple=True),
    "nonzero of a number": lambda t, x, y, m, i: t.tensor(3).nonzero(),
    "where places": lambda t, x, y, m, i: t.where(i > 0),
    "argwhere": lambda t, x, y, m, i: t.argwhere(i),
    "logical": lambda t, x, y, m, i: t.logical_and(i, i > 1) | t.logical_or(i, i) ^ t.logical_xor(i, i > 0),
    "bitwise": lambda t, x, y, m, i: t.bitwise_and(i, 1) + t.bitwise_or(i, 4) + t.bitwise_xor(i, 3) + t.bitwise_not(i),
    "div floor": lambda t, x, y, m, i: t.div(x, y, rounding_mode="floor"),
    "div trunc": lambda t, x, y, m, i: t.div(i - 5, 2, rounding_mode="trunc"),
    "signbit": lambda t, x, y, m, i: t.signbit(x) | t.isposinf(x) | t.isneginf(x),
    "integers to floats": lambda t, x, y, m, i: i.exp() + i.sin() + i.sqrt() + i.sigmoid() + i.atan2(i + 1),
    "tril_indices": lambda t, x, y, m, i: t.tril_indices(3, 4, 1),
    "triu_indices": lambda t, x, y, m, i: t.triu_indices(3, 4, -1),
    "logspace": lambda t, x, y, m, i: t.logspace(0, 2, 5),
    "new_full": lambda t, x, y, m, i: x.new_full((2,), 3) + x.new_ones(2) + x.new_zeros((2,)) + x.new_tensor([1, 2]),
    # in place
    "add_": lambda t, x, y, m, i: x.clone().add_(y, alpha=2).mul_(y).sub_(1).div_(y),
    "exp_": lambda t, x, y, m, i: x.clone().exp_().sqrt(),
    "masked_fill_": lambda t, x, y, m, i: x.clone().masked_fill_(y > 0, 1.5),
    "scatter_add_": lambda t, x, y, m, i: x.clone().scatter_add_(2, i, x[:, :, :2]),
    "index_add_": lambda t, x, y, m, i: x.clone().index_add_(1, t.tensor([1]), x[:, :1]),
    "clamp_": lambda t, x, y, m, i: x.clone().clamp_(-0.3, 0.3),
    "lerp_": lambda t, x, y, m, i: x.clone().lerp_(y.expand(2, 3, 4), 0.25),
    "addcmul_": lambda t, x, y, m, i: x.clone().addcmul_(y, y, value=0.1).tril_(),
    "unsqueeze_": lambda t, x, y, m, i: x.clone().unsqueeze_(0).transpose_(1, 2).squeeze_(0),
    "eq_": lambda t, x, y, m, i: i.clone().eq_(1),
    "index_put_": lambda t, x, y, m, i: x.clone().index_put_((t.tensor([0]),), y),
}  # fmt: skip


def arguments(library, requires_grad):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(s) for s in ((2, 3, 4), (3, 4), (4, 5))]
    floats = [library.tensor(a, requires_grad=requires_grad) for a in arrays]
    return [*floats, library.tensor(rng.integers(0, 3, (2, 3, 2)))]


def listed(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients_are_torchs(name):
    results, gradients = [], []
    for library in (fa, torch):
        inputs = arguments(library, requires_grad=True)
        out = listed(CALLS[name](library, *inputs))
        wanted = [o for o in out if o.requires_grad]
        if wanted:
            sum((o * o).sum() + o.sum() for o in wanted).backward()
        results.append([o.detach().numpy() for o in out])
        gradients.append([None if x.grad is None else x.grad.numpy() for x in inputs[:3]])
    assert len(results[0]) == len(results[1])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-6 if ours.dtype == np.float32 else 1e-11, atol=1e-13)
    for ours, theirs in zip(*gradients, strict=True):
        if theirs is None:
            assert ours is None or not ours.any()
        elif ours is None:
            assert not theirs.any(), "torch has a gradient here"
        else:
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
