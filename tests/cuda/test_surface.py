"""Tensor's methods and free functions on a device: values and gradients of the CPU, for every call that tests/autograd
compares with torch."""

import functools

import numpy as np
import pytest

import fastattn as fa

MAKERS = {"tensor", "arange", "ones", "zeros", "full", "eye", "linspace", "empty", "rand", "randn",
    "logspace", "tril_indices", "triu_indices"}  # fmt: skip


class Library:
    """fastattn whose tensors are made on a device."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name):
        found = getattr(fa, name)
        return functools.partial(found, device=self.device) if name in MAKERS else found


def listed(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def outcome(call, device):
    """What a call on float32 gives and the gradients, on the host; and where its tensors were."""
    rng = np.random.default_rng(0)
    inputs = [fa.tensor(rng.standard_normal(s).astype(np.float32), device=device) for s in ((2, 3, 4), (3, 4), (4, 5))]
    for x in inputs:
        x.requires_grad_()
    index = fa.tensor(rng.integers(0, 3, (2, 3, 2)), device=device)
    out = [o for o in listed(call(Library(device), *inputs, index)) if isinstance(o, fa.Tensor)]
    wanted = [o for o in out if o.requires_grad]
    if wanted:
        sum((o * o).sum() + o.sum() for o in wanted).backward()
    found = [*out, *(x.grad for x in inputs if x.grad is not None)]
    return [o.detach().cpu().numpy() for o in found], {o.device.type for o in found}


def problem(call):
    """What is wrong with a call on the device; None if nothing."""
    try:
        there, where = outcome(call, "cuda")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    host, _ = outcome(call, "cpu")
    if where - {"cuda"}:
        return f"it is on {where}"
    for a, b in zip(there, host, strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{a.dtype} {a.shape}, on the CPU {b.dtype} {b.shape}"
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=1)) if b.dtype.kind == "f" else 0.0
        if not np.allclose(a, b, rtol=0, atol=64 * np.finfo(np.float32).eps * scale, equal_nan=b.dtype.kind == "f"):
            return f"{a}, on the CPU {b}"
    return None


@pytest.mark.parity
def test_every_call_that_is_compared_with_torch():
    calls = pytest.importorskip("tests.autograd.test_torch_functions").CALLS
    found = {name: problem(call) for name, call in calls.items()}
    wrong = {name: text for name, text in found.items() if text}
    assert not wrong, "\n".join(f"{name}: {text}" for name, text in wrong.items())
    assert len(found) > 150


def test_arrays_of_cupy(cuda, randn):
    """Free functions take them, and give them back."""
    x = randn(3, 4).astype(np.float32)
    for call in (
        lambda a: fa.sort(a, 1).values,
        lambda a: fa.flip(a, (0,)),
        lambda a: fa.cat([a, a], 1),
        lambda a: fa.maximum(a, a * 2),
        lambda a: fa.cumsum(a, 0),
    ):
        found = call(cuda.asarray(x))
        assert type(found) is cuda.ndarray
        np.testing.assert_allclose(found.get(), call(x), rtol=1e-6)


def test_without_axes():
    x = fa.tensor(3.0, device="cuda")
    assert (x.shape, x.item()) == ((), 3)
    assert x.expand(2).sum().contiguous().shape == ()
    assert x.nonzero().shape == (1, 0)


def test_unique_consecutive_of_nothing():
    for device in ("cpu", "cuda"):
        values, inverse, counts = fa.zeros(0, device=device).unique_consecutive(True, True)
        assert values.shape == inverse.shape == counts.shape == (0,)
