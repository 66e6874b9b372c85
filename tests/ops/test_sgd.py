"""sgd_step: momentum and its variants over lists of tensors, in place."""

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

LONG = 20001 if EMULATED else 70001  # several chunks
SHAPES = [(), (0,), (7,), (8,), (17, 3), (255,), (1031,), (LONG,)]
OPTIONS = [
    {},
    {"weight_decay": 0.1},
    {"maximize": True, "weight_decay": 0.1},
    {"grad_scale": 0.25},
    {"momentum": 0.9},
    {"momentum": 0.9, "first_step": True},
    {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "nesterov": True, "first_step": True, "maximize": True, "grad_scale": 2.0},
]


@pytest.fixture
def lists(rng):
    """params, grads, momentum_buffers."""

    def make(dtype):
        dtypes = (dtype, dtype, accumulator(dtype))
        return [[np.asarray(rng.standard_normal(s)).astype(d) for s in SHAPES] for d in dtypes]

    return make


@pytest.mark.smoke
@pytest.mark.parametrize("options", OPTIONS, ids=[",".join(o) or "plain" for o in OPTIONS])
def test_oracle(isa, dtype, lists, options):
    before = lists(dtype)
    if options.get("first_step"):
        for b in before[2]:
            b[...] = np.nan  # holds nothing yet
    p, g, b = ([x.copy() for x in values] for values in before)
    with unchanged(g):
        fa.sgd_step(p, g, b if "momentum" in options else None, lr=0.1, **options)
    assert_ran("sgd_step", dtype, isa)
    for after, values in zip(zip(p, b, strict=True), zip(*before, strict=True), strict=True):
        check(after, reference.sgd, *values, lr=0.1, **options)


def test_zero_grads(isa, dtype, lists):
    p, g, b = lists(dtype)
    q, h, c = ([x.copy() for x in values] for values in (p, g, b))
    fa.sgd_step(p, g, b, lr=0.1, momentum=0.9)
    fa.sgd_step(q, h, c, lr=0.1, momentum=0.9, zero_grads=True)
    assert_same_bits((q, c), (p, b))
    assert all((x == 0).all() for x in h)


def test_an_infinite_parameter_stays(isa, dtype, lists):
    """Without weight decay nothing multiplies the parameter by 0."""
    p, g, _ = lists(dtype)
    p[-1][7] = np.inf
    fa.sgd_step(p, g, lr=0.1)
    assert p[-1][7] == np.inf
    assert np.isfinite(np.delete(p[-1].astype(float), 7)).all()


def test_same_bits_for_any_threads(isa, dtype, lists):
    before = lists(dtype)

    def run():
        p, g, b = ([x.copy() for x in values] for values in before)
        fa.sgd_step(p, g, b, lr=0.1, momentum=0.9, nesterov=True)
        return p, b

    assert_same_for_any_threads(run)


P, B = ([np.ones(3), np.ones((2, 2))] for _ in range(2))  # gradients, buffers
ERRORS = [
    (lambda p: fa.sgd_step(p, P[:1], lr=0.1), ValueError, "params has 2 arrays and grads has 1"),
    (lambda p: fa.sgd_step(p, P, B[:1], lr=0.1), ValueError, "params has 2 arrays and momentum_buffers has 1"),
    (
        lambda p: fa.sgd_step(p, P[::-1], lr=0.1),
        ValueError,
        "grads[0] has shape (2, 2); expected (3,), that of params[0]",
    ),
    (lambda p: fa.sgd_step(p, P, momentum=0.9, lr=0.1), ValueError, "momentum needs momentum_buffers"),
    (
        lambda p: fa.sgd_step(p, P, B, nesterov=True, lr=0.1),
        ValueError,
        "nesterov needs a momentum above 0 and no dampening",
    ),
    (
        lambda p: fa.sgd_step(p, P, B, nesterov=True, momentum=0.9, dampening=0.1, lr=0.1),
        ValueError,
        "nesterov needs a momentum above 0 and no dampening",
    ),
    (lambda p: fa.sgd_step([p[0][::-1]], [P[0]], lr=0.1), ValueError, "params[0] is not contiguous"),
    (
        lambda p: fa.sgd_step(p, [x.astype(np.float32) for x in P], lr=0.1),
        TypeError,
        "params[0] is float64 and grads[0] is float32; they must have one dtype",
    ),
    (lambda p: fa.sgd_step(p[0], P, lr=0.1), TypeError, "params is a ndarray; expected a list of arrays"),
    (lambda p: fa.sgd_step([p[1], p[1]], [P[1]] * 2, lr=0.1), ValueError, "params[1] overlaps params[0] in memory"),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:48] for e in ERRORS])
def test_errors(call, error, text):
    params = [np.ones(3) * 7, np.ones((2, 2)) * 7]
    with unchanged(params, P, B), pytest.raises(error, match=re.escape(f"sgd_step: {text}")):
        call(params)


def test_explain(isa):
    p = [np.ones(10, np.float32)]
    (what,) = fa.explain(fa.sgd_step, p, [p[0] + 1], lr=0.1)
    assert (what.kernel, what.unsupported, what.bytes) == (f"sgd_step_f32_{isa}", "", 120)
