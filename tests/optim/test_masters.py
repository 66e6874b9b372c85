"""float32 masters of 16-bit parameters: what the optimizers keep so that small updates add up."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import assert_same_bits

MAKERS = {
    "AdamW": lambda params: fa.optim.AdamW(params, lr=1e-3, weight_decay=0.1),
    "Adam, amsgrad": lambda params: fa.optim.Adam(params, lr=1e-3, amsgrad=True),
    "SGD": lambda params: fa.optim.SGD(params, lr=1e-3),
    "SGD, momentum": lambda params: fa.optim.SGD(params, lr=1e-3, momentum=0.9, nesterov=True),
}


@pytest.fixture(params=MAKERS)
def make(request):
    return MAKERS[request.param]


@pytest.fixture(params=[fa.bfloat16, fa.float16], ids=str)
def half(request):
    return request.param


@pytest.fixture
def gradients(randn):
    return randn(20, 7, 5, dtype=np.float32)


def run(optimizer, w, gradients):
    for g in gradients:
        w.grad = fa.Tensor(g.astype(w.dtype))
        optimizer.step()


def test_the_master_is_what_float32_training_gives(make, half, randn, gradients):
    start = randn(7, 5, dtype=half)
    w, exact = fa.Tensor(start.copy(), requires_grad=True), fa.Tensor(start.astype(np.float32), requires_grad=True)
    optimizer = make([w])
    run(optimizer, w, gradients)
    run(make([exact]), exact, gradients.astype(half))
    assert_same_bits(optimizer.state[w]["master"]._data, exact._data)
    assert_same_bits(w._data, exact._data.astype(half))
    assert all(x.dtype == np.float32 for x in optimizer.state[w].values() if isinstance(x, fa.Tensor))


def test_steps_smaller_than_a_rounding_add_up(half):
    w = fa.Tensor(np.ones(3, half), requires_grad=True)
    optimizer = fa.optim.SGD([w], lr=2.0**-14)
    run(optimizer, w, np.ones((2**10, 3), np.float32))
    assert w.tolist() == [1 - 2.0**-4] * 3


def test_a_parameter_that_was_set_is_taken_over(make, half, gradients):
    w = fa.Tensor(np.ones((7, 5), half), requires_grad=True)
    optimizer = make([w])
    run(optimizer, w, gradients[:2])
    kept = optimizer.state[w]["master"]._data.copy()
    with fa.no_grad():
        w[0] = 3.0
    w.grad = fa.zeros(7, 5, dtype=half)
    masters = optimizer._masters([w])
    assert (masters[0]._data[0] == 3).all()
    assert_same_bits(masters[0]._data[1:], kept[1:])  # the others keep what their rounding has lost


def test_state_goes_on_where_it_was(make, half, randn, gradients):
    start = randn(7, 5, dtype=half)
    whole = fa.Tensor(start.copy(), requires_grad=True)
    run(make([whole]), whole, gradients)
    first = fa.Tensor(start.copy(), requires_grad=True)
    optimizer = make([first])
    run(optimizer, first, gradients[:11])
    second = fa.Tensor(first._data.copy(), requires_grad=True)
    resumed = make([second])
    resumed.load_state_dict(optimizer.state_dict())
    run(resumed, second, gradients[11:])
    assert_same_bits(second._data, whole._data)


def test_parameters_of_two_dtypes(make, half):
    params = [fa.Tensor(np.ones(4, d), requires_grad=True) for d in (half, np.float32, np.float64)]
    optimizer = make(params)
    for p in params:
        p.grad = fa.ones(4, dtype=p.dtype)
    optimizer.step()
    assert [("master" in optimizer.state[p]) for p in params] == [True, False, False]
    moved = [optimizer.state[params[0]]["master"], *params[1:]]
    assert all((p < 1).all() for p in moved)
