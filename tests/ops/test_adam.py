"""adam_step: all options over lists of tensors, in place."""

import re

import numpy as np
import pytest
from on_device import EMULATED

import fastattn as fa
from fastattn.testing import (
    accumulator,
    assert_ran,
    assert_same_bits,
    assert_same_for_any_threads,
    check,
    reference,
    unchanged,
)

OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled": True},
    {"amsgrad": True},
    {"amsgrad": True, "weight_decay": 0.1, "decoupled": True, "maximize": True},
    {"maximize": True, "weight_decay": 0.1},
    {"grad_scale": 0.25},
    {"grad_scale": 0.0},
    {"betas": (0.0, 0.0), "eps": 1e-3},
    {"betas": (0.8, 0.99), "eps": 0.0, "step": 1000},
    {"step": 10**6},
    {"lr": 0.0},
]


@pytest.fixture
def lists(rng):
    def make(shapes, dtype):
        """params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs."""
        state = accumulator(dtype)
        signed = [[np.asarray(rng.standard_normal(s)).astype(d) for s in shapes] for d in (dtype, dtype, state)]
        squares = [[np.asarray(rng.random(s) + 0.01).astype(state) for s in shapes] for _ in range(2)]
        return [*signed, *squares]

    return make


# Around vectors, and tensors that share an item or are cut into several.
LONG = 20001 if EMULATED else 70001  # several chunks
SHAPES = [(), (1,), (0,), (7,), (8,), (9,), (17, 3), (0, 4), (255,), (1031,), (40, 50), (LONG,)]


@pytest.mark.smoke
@pytest.mark.parametrize("options", OPTIONS, ids=[",".join(o) or "plain" for o in OPTIONS])
def test_oracle(isa, dtype, lists, options):
    options = {"step": 3, "lr": 0.1, **options}
    before = lists(SHAPES, dtype)
    p, g, m, v, top = ([x.copy() for x in values] for values in before)
    with unchanged(g):
        fa.adam_step(p, g, m, v, max_exp_avg_sqs=top if options.get("amsgrad") else None, **options)
    assert_ran("adam_step", dtype, isa)
    for after, values in zip(zip(p, m, v, top, strict=True), zip(*before, strict=True), strict=True):
        check(after, reference.adam, *values, **options)


def test_many_steps(isa, dtype, lists, rng):
    """Errors do not build up: 100 steps stay within the tolerance of 100 naive ones; of 16-bit params, their masters'."""
    ((p,), _, (m,), (v,), (top,)) = lists([(257,)], dtype)
    m[:], v[:] = 0, 0
    gradients = rng.standard_normal((100, 257)).astype(dtype)

    def run(p, m, v, top, gradients):
        for step, g in enumerate(gradients, 1):
            p, m, v, top = reference.adam(p, g, m, v, top, step=step, lr=0.01, weight_decay=0.1, decoupled=True)
        return p, m, v, top

    half = accumulator(dtype) != dtype
    master = p.astype(accumulator(dtype))
    start = master.copy(), m.copy(), v.copy(), top.copy()
    options = {"lr": 0.01, "weight_decay": 0.1, "decoupled": True, "masters": [master] if half else None}
    for step, g in enumerate(gradients, 1):
        fa.adam_step([p], [g], [m], [v], step=step, **options)
    check((master if half else p, m, v, top), run, *start, gradients)
    assert_same_bits(p, (master if half else p).astype(dtype))


def test_zero_grads(isa, dtype, lists):
    p, g, m, v, _ = lists(SHAPES, dtype)
    q, h, n, w = ([x.copy() for x in values] for values in (p, g, m, v))
    fa.adam_step(p, g, m, v, step=1, lr=0.1)
    fa.adam_step(q, h, n, w, step=1, lr=0.1, zero_grads=True)
    assert_same_bits((q, n, w), (p, m, v))
    assert all((x == 0).all() for x in h)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_found_inf(isa, dtype, lists, shape):
    p, g, m, v, _ = lists([(300,), (5, 5)], dtype)
    flag = np.ones(shape, np.float32)
    with unchanged(p, g, m, v):
        fa.adam_step(p, g, m, v, step=1, lr=0.1, found_inf=flag)
        fa.adam_step(p, g, m, v, step=1, lr=0.1, found_inf=fa.Tensor(flag))
    flag[...] = 0
    q, h, n, w = ([x.copy() for x in values] for values in (p, g, m, v))
    fa.adam_step(p, g, m, v, step=1, lr=0.1, found_inf=flag)
    fa.adam_step(q, h, n, w, step=1, lr=0.1)
    assert_same_bits((p, m, v), (q, n, w))


def test_nan_gradient_reaches_its_element_only(isa, dtype, lists):
    p, g, m, v, _ = lists([(33,)], dtype)
    g[0][7] = np.nan
    fa.adam_step(p, g, m, v, step=1, lr=0.1)
    assert np.flatnonzero(np.isnan(p[0])).tolist() == [7]


def test_an_infinite_parameter_stays(isa, dtype, lists):
    """Without weight decay nothing multiplies the parameter by 0."""
    p, g, m, v, _ = lists([(33,)], dtype)
    p[0][7] = np.inf
    fa.adam_step(p, g, m, v, step=1, lr=0.1)
    assert p[0][7] == np.inf
    assert np.isfinite(np.delete(p[0].astype(float), 7)).all()


@pytest.mark.parametrize("make", [np.float32, np.array, lambda x: np.full((1, 1), x), fa.tensor])
def test_numbers_may_be_arrays_of_one(isa, dtype, lists, make):
    before = lists([(300,)], dtype)
    p, g, m, v, _ = ([x.copy() for x in values] for values in before)
    q, h, n, w, _ = ([x.copy() for x in values] for values in before)
    fa.adam_step(p, g, m, v, step=3, lr=0.125, grad_scale=0.5, weight_decay=0.1, decoupled=True)
    step = 3 if make is np.float32 else make(3)
    fa.adam_step(q, h, n, w, step=step, lr=make(0.125), grad_scale=make(0.5), weight_decay=0.1, decoupled=True)
    assert_same_bits((p, m, v), (q, n, w))


def test_same_bits_for_any_threads_and_grouping(isa, dtype, lists):
    before = lists(SHAPES, dtype)

    def run(groups):
        p, g, m, v, top = ([x.copy() for x in values] for values in before)
        for group in groups:
            part = [[values[i] for i in group] for values in (p, g, m, v)]
            fa.adam_step(*part, step=3, lr=0.1, amsgrad=True, max_exp_avg_sqs=[top[i] for i in group])
        return p, m, v, top

    everything = range(len(SHAPES))
    assert_same_for_any_threads(lambda: run([everything]))
    assert_same_bits(run([everything]), run([[i] for i in everything]))


@pytest.mark.parametrize("share", [0.3, 10.0, np.inf])
@pytest.mark.parametrize("grad_scale", [None, -0.5])
def test_max_norm_is_a_clip_before(isa, dtype, lists, share, grad_scale):
    before = lists(SHAPES, dtype)
    p, g, m, v, _ = ([x.copy() for x in values] for values in before)
    norm = fa.grad_norm(g) * abs(grad_scale or 1.0)
    with unchanged(g):
        found = fa.adam_step(p, g, m, v, step=2, lr=0.1, grad_scale=grad_scale, max_norm=share * norm)
    assert_ran("adam_step", dtype, isa)
    assert found == norm
    factor = (grad_scale or 1.0) * min(1.0, share * norm / (norm + 1e-6))
    q, _, n, w, _ = ([x.copy() for x in values] for values in before)
    assert fa.adam_step(q, g, n, w, step=2, lr=0.1, grad_scale=factor) is None
    assert_same_bits([p, m, v], [q, n, w])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_norm_that_is_not_finite_changes_nothing(isa, dtype, lists, bad):
    p, g, m, v, _ = lists([(9,), (LONG,)], dtype)
    g[1][33] = bad
    with unchanged(p, g, m, v):
        norm = fa.adam_step(p, g, m, v, step=1, lr=0.1, max_norm=1.0, zero_grads=True)
    assert not np.isfinite(norm)


def test_max_norm_has_the_same_bits_for_any_threads(isa, dtype, lists):
    before = lists(SHAPES, dtype)

    def run():
        p, g, m, v, _ = ([x.copy() for x in values] for values in before)
        norm = fa.adam_step(p, g, m, v, step=1, lr=0.1, max_norm=0.5)
        return [np.asarray(norm), *p, *m, *v]

    assert_same_for_any_threads(run)


def test_a_plan_is_the_same_prepared_once(isa, dtype, lists):
    before = lists(SHAPES, dtype)
    p, g, m, v, top = ([x.copy() for x in values] for values in before)
    q, h, n, w, high = ([x.copy() for x in values] for values in before)
    plan = fa.AdamPlan(p, g, m, v, max_exp_avg_sqs=top, zero_grads=True)
    for step in range(1, 4):
        options = {"step": step, "lr": 0.1 / step, "weight_decay": 0.1, "amsgrad": step > 1, "max_norm": 3.0}
        for a, b, source in zip(g, h, before[1], strict=True):
            a[...] = b[...] = source
        assert plan.step(**options) == fa.adam_step(q, h, n, w, max_exp_avg_sqs=high, zero_grads=True, **options)
        assert_same_bits([*p, *g, *m, *v, *top], [*q, *h, *n, *w, *high])
    assert all((a == 0).all() for a in g)


def test_a_plan_keeps_its_arrays(isa, lists):
    import gc

    (p,), (g,), (m,), (v,), _ = lists([(1000,)], np.float64)
    expected = p.copy()
    fa.adam_step([expected], [g.copy()], [m.copy()], [v.copy()], step=1, lr=0.1)
    plan = fa.AdamPlan([p], [g.copy()], [m.copy()], [v.copy()])
    gc.collect()
    np.full(1000, 7.0)  # takes what was freed
    plan.step(step=1, lr=0.1)
    assert_same_bits(p, expected)


def test_a_plan_of_tensors_notes_its_writes(isa, lists):
    (p,), (g,), (m,), (v,), _ = lists([(9,)], np.float64)
    t = fa.Tensor(p, requires_grad=True)
    loss = (t * t).sum()
    plan = fa.AdamPlan([t], [fa.Tensor(g)], [fa.Tensor(m)], [fa.Tensor(v)])
    plan.step(step=1, lr=0.1)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


def test_empty_list():
    fa.adam_step([], [], [], [], step=1, lr=0.1)


def test_tensors(isa, lists):
    p, g, m, v, _ = lists([(5, 3)], np.float64)
    weight = fa.Tensor(p[0].copy(), requires_grad=True)
    product = weight * weight
    fa.adam_step([weight], g, [fa.Tensor(m[0].copy())], [v[0].copy()], step=1, lr=0.1)
    fa.adam_step(p, g, m, v, step=1, lr=0.1)
    assert_same_bits(weight._data, p[0])
    with pytest.raises(RuntimeError, match="changed in place"):
        product.sum().backward()


# Errors --------------------------------------------------------------------------------------------------------------


def A(*shape, dtype=np.float64):
    return np.ones(shape, dtype)


def frozen():
    x = A(3)
    x.flags.writeable = False
    return x


P, M, V = ([A(3), A(2, 2)] for _ in range(3))  # gradients, m and v
S = {"step": 1, "lr": 0.1}
ERRORS = [
    (
        lambda p: fa.adam_step(p, P, M, V, masters=[A(3), A(2, 2)], **S),
        TypeError,
        "masters are for bfloat16 and float16 params; these are float64, leave masters out",
    ),
    (
        lambda p: fa.adam_step(*[[A(3, dtype=fa.bfloat16)] for _ in range(4)], **S),
        TypeError,
        "params[0] is bfloat16 and exp_avgs[0] is bfloat16; state is float32",
    ),
    (lambda p: fa.adam_step(p, P, M, V, max_norm=-1.0, **S), ValueError, "max_norm is -1.000000; expected 0 or more"),
    (lambda p: fa.adam_step(p, P[:1], M, V, **S), ValueError, "params has 2 arrays and grads has 1"),
    (lambda p: fa.adam_step(p, P, M, V * 2, **S), ValueError, "params has 2 arrays and exp_avg_sqs has 4"),
    (
        lambda p: fa.adam_step(p, [A(3), A(4)], M, V, **S),
        ValueError,
        "grads[1] has shape (4,); expected (2, 2), that of params[1]",
    ),
    (
        lambda p: fa.adam_step(p, P, [A(1, 3), A(2, 2)], V, **S),
        ValueError,
        "exp_avgs[0] has shape (1, 3); expected (3,), that of params[0]",
    ),
    (lambda p: fa.adam_step(p, [A(6)[::2], A(2, 2)], M, V, **S), ValueError, "grads[0] is not contiguous"),
    (
        lambda p: fa.adam_step([A(3), A(2, 2).T.copy("F").T[::-1]], P, M, V, **S),
        ValueError,
        "params[1] is not contiguous",
    ),
    (lambda p: fa.adam_step([frozen(), p[1]], P, M, V, **S), ValueError, "params[0] is read-only"),
    (lambda p: fa.adam_step(p, P, M, [frozen(), A(2, 2)], **S), ValueError, "exp_avg_sqs[0] is read-only"),
    (lambda p: fa.adam_step(p, [frozen(), A(2, 2)], M, V, zero_grads=True, **S), ValueError, "grads[0] is read-only"),
    (
        lambda p: fa.adam_step(p, [A(3, dtype=np.float32), A(2, 2)], M, V, **S),
        TypeError,
        "params[0] is float64 and grads[0] is float32; they must have one dtype",
    ),
    (  # between tensors too: the kernel is chosen by the first
        lambda p: fa.adam_step(*([A(3), A(2, dtype=np.float32)] for _ in range(4)), **S),
        TypeError,
        "params[0] is float64 and params[1] is float32; they must have one dtype",
    ),
    (
        lambda p: fa.adam_step([A(3, dtype=int)], [A(3)], [A(3)], [A(3)], **S),
        TypeError,
        "params[0] has dtype int64; expected float32, float64, bfloat16 or float16",
    ),
    (lambda p: fa.adam_step(p[0], P, M, V, **S), TypeError, "params is a ndarray; expected a list of arrays"),
    (lambda p: fa.adam_step([1.0], P, M, V, **S), TypeError, "params is a float; expected an array"),
    (lambda p: fa.adam_step(p, P, M, V, amsgrad=True, **S), ValueError, "amsgrad needs max_exp_avg_sqs"),
    (lambda p: fa.adam_step(p, P, M, V, step=0, lr=0.1), ValueError, "step is 0; the first step is 1"),
    (lambda p: fa.adam_step(p, P, M, V, step=2.5, lr=0.1), ValueError, "step is 2.5; expected a whole number"),
    (
        lambda p: fa.adam_step(p, P, M, V, step=1, lr=A(2)),
        TypeError,
        "lr is a numpy.ndarray; expected a number or an array of one",
    ),
    (lambda p: fa.adam_step(p, P, M, V, step=1, lr="0.1"), TypeError, "lr is a str; expected an array"),
    (lambda p: fa.adam_step(p, P, M, V, step=[1], lr=1), TypeError, "step is a list; expected an array"),
    (lambda p: fa.adam_step(p, P, M, V, betas=(1.0, 0.9), **S), ValueError, "betas are two numbers of [0, 1)"),
    (lambda p: fa.adam_step(p, P, M, V, betas=(0.9, -0.1), **S), ValueError, "betas are two numbers of [0, 1)"),
    (lambda p: fa.adam_step(p, P, M, V, eps=-1.0, **S), ValueError, "eps is -1.000000; expected 0 or more"),
    (
        lambda p: fa.adam_step(p, P, M, V, found_inf=np.zeros(2, np.float32), **S),
        ValueError,
        "found_inf needs one element; found_inf (2,)",
    ),
    (
        lambda p: fa.adam_step(p, P, M, V, found_inf=np.zeros(1), **S),
        TypeError,
        "found_inf has dtype float64; expected float32",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    params = [A(3) * 7, A(2, 2) * 7]
    with unchanged(params, P, M, V), pytest.raises(error, match=re.escape(f"adam_step: {text}")):
        call(params)


def test_overlapping_arrays():
    p, rest = [A(8)[:6], A(2)], [[A(6), A(2)] for _ in range(3)]
    shared = A(10)
    cases = {
        r"params\[1\] overlaps params\[0\]": ([shared[:6], shared[4:6]], *rest),
        r"grads\[0\] overlaps params\[0\]": ([shared[:6], A(2)], [shared[2:8], A(2)], *rest[1:]),
        r"exp_avgs\[1\] overlaps exp_avgs\[0\]": (p, rest[0], [shared[:6], shared[5:7]], rest[2]),
    }
    for text, arguments in cases.items():
        with unchanged(shared, p, rest), pytest.raises(ValueError, match=f"adam_step: {text} in memory"):
            fa.adam_step(*arguments, **S)
    # Neighbours in one buffer, and one gradient for two tensors, are fine.
    flat = A(4)
    fa.adam_step([flat[:2], flat[2:]], [rest[0][1]] * 2, [A(2), A(2)], [A(2), A(2)], **S)


def test_explain(isa):
    (what,) = fa.explain(fa.adam_step, *([A(10, dtype=np.float32)] for _ in range(4)), **S)
    assert (what.kernel, what.unsupported) == (f"adam_step_f32_{isa}", "")
    assert what.bytes == 10 * 4 * 7
