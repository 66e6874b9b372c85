"""Tensor's methods and free functions on a device: values and gradients of the CPU, for every call that tests/autograd
compares with torch."""

import functools
import importlib

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn

MAKERS = {"tensor", "arange", "ones", "zeros", "full", "eye", "linspace", "empty", "rand", "randn",
    "logspace", "tril_indices", "triu_indices"}  # fmt: skip


def of_torchs_tests(name):
    """A module of tests that compare with torch; they, and what takes their cases, are skipped where there is none."""
    pytest.importorskip("torch")
    return importlib.import_module(name)


class Library:
    """fastattn whose tensors are made on a device, in float32 where float64 is asked for: CUDA has no kernels for that."""

    def __init__(self, device):
        self.device = device

    def __getattr__(self, name):
        found = fa.float32 if name == "float64" else getattr(fa, name)
        return functools.partial(found, device=self.device) if name in MAKERS else found


def listed(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def of_call(call):
    """outcome(device): what a call of test_torch_functions gives on float32, and the gradients."""

    def outcome(device):
        rng = np.random.default_rng(0)
        inputs = [leaf(rng.standard_normal(shape), device) for shape in ((2, 3, 4), (3, 4), (4, 5))]
        index = fa.tensor(rng.integers(0, 3, (2, 3, 2)), device=device)
        out = [o for o in listed(call(Library(device), *inputs, index)) if isinstance(o, fa.Tensor)]
        wanted = [o for o in out if o.requires_grad]
        if wanted:
            sum((o * o).sum() + o.sum() for o in wanted).backward()
        return [*out, *(x.grad for x in inputs if x.grad is not None)]

    return outcome


def of_loss(loss, arrays):
    """outcome(device): a loss, and the gradients."""

    def outcome(device):
        given = [leaf(a, device) if a.dtype.kind == "f" else fa.tensor(a, device=device) for a in arrays]
        out = loss(Library(device), nn.functional, *given)
        (out * out).sum().backward()
        return [out, *(g.grad for g in given if g.grad is not None)]

    return outcome


def with_reduction(loss, reduction):
    return lambda library, functional, *given: loss(library, functional, reduction, *given)


def of_layer(build, data):
    """outcome(device): a layer, whose parameters are the same everywhere, and the gradients."""

    def outcome(device):
        fa.manual_seed(0)
        layer, x = build(nn).to(device), leaf(data, device)
        out = layer(x * 1)
        (out * out).sum().backward()
        return [out, x.grad, *(p.grad for p in layer.parameters())]

    return outcome


def leaf(array, device):
    return fa.tensor(array.astype(np.float32), device=device).requires_grad_()


def problem(outcome):
    """What is wrong with an outcome on the device, beside that on the CPU; None if nothing."""
    try:
        found = outcome("cuda")
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for a, b in zip(found, outcome("cpu"), strict=True):
        if a.device.type != "cuda":
            return f"it is on {a.device}"
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{a.dtype} {a.shape}, on the CPU {b.dtype} {b.shape}"
        there, host = a.detach().cpu().numpy(), b.detach().numpy()
        is_float = host.dtype.kind == "f"
        scale = float(np.abs(host[np.isfinite(host)]).max(initial=1)) if is_float else 0.0
        if not np.allclose(there, host, rtol=0, atol=64 * np.finfo(np.float32).eps * scale, equal_nan=is_float):
            return f"{there}, on the CPU {host}"
    return None


def check(outcomes):
    """All of them, by name; one failure that names each that is wrong."""
    found = {name: problem(outcome) for name, outcome in outcomes.items()}
    wrong = [f"{name}: {text}" for name, text in found.items() if text]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parity
def test_every_call_that_is_compared_with_torch():
    calls = of_torchs_tests("tests.autograd.test_torch_functions").CALLS
    assert len(calls) > 150
    check({name: of_call(call) for name, call in calls.items()})


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_losses():
    losses = of_torchs_tests("tests.nn.test_loss")
    check(
        {
            f"{name}, {reduction}": of_loss(with_reduction(loss, reduction), arrays)
            for name, (loss, arrays) in losses.LOSSES.items()
            for reduction in ("mean", "sum", "none")
        }
    )


@pytest.mark.parity
def test_layers():
    layers = of_torchs_tests("tests.nn.test_layers").LAYERS
    activations = of_torchs_tests("tests.nn.test_activation")
    rng = np.random.default_rng(0)
    check({name: of_layer(build, rng.standard_normal(shape)) for name, (build, shape) in layers.items()})
    points = activations.POINTS.reshape(4, 5)
    check({name: of_layer(build, points) for name, build in activations.LAYERS.items()})


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
