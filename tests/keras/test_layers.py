"""One contract for every layer: here alone, and beside keras 3."""

import numpy as np
import pytest
from keras_layers import CASES

import fastattn as fa
from fastattn import keras
from fastattn.keras.engine.tree import leaves, mapped

IDS = [case.id for case in CASES]
BESIDE = [case for case in CASES if case.parity]
# Of values around 1, with sums over less than 1,000 terms: a few hundred roundings.
TOLERANCE = {"float32": 2e-5, "float64": 5e-13}


def call(case, layer, x, tensor):
    """The layer's output."""
    options = dict(case.call) | ({} if case.training is None else {"training": case.training})
    if case.masked:
        options["mask"] = tensor(case.mask())
    return layer(*x, **options) if case.spread else layer(x, **options)


def largest(arrays):
    return max([1.0, *[float(np.abs(a).max(initial=0.0)) for a in arrays if a is not None]])


def close(a, b, dtype, scale=None):
    """Within a tolerance of the largest value; `scale` is that of what was added up, where it cancels."""
    bound = TOLERANCE[dtype] * (largest([b]) if scale is None else scale)
    np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=bound)


def tensors(inputs):
    return mapped(lambda a: fa.Tensor(a.copy(), requires_grad=a.dtype.kind == "f"), inputs)


def run(case, layer, inputs):
    """Outputs, loss terms, gradients of inputs and of weights."""
    x = tensors(inputs)
    out = call(case, layer, x, fa.Tensor)
    total = sum([(o * o).sum() for o in leaves(out)])
    terms = layer.losses
    (total + sum(terms) if terms else total).backward()
    arrays = [o.detach().numpy() for o in leaves(out)]
    return arrays, [float(t) for t in terms], [None if t.grad is None else t.grad.numpy() for t in leaves(x)]


def keras_gradients(layer):
    """Of each trained weight, in Keras's layout."""
    return [w.layout.to_keras(*[t.grad.numpy() for t in w.tensors]) for w in layer.trainable_weights]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_contract(case):
    layer = case.make(keras.layers, "float64")
    inputs = case.inputs("float64")
    out = call(case, layer, tensors(inputs), fa.Tensor)
    shapes = mapped(lambda a: (None, *a.shape[1:]), inputs)
    symbolic = layer.compute_output_shape(*shapes) if case.spread else layer.compute_output_shape(shapes)
    for given, expected in zip(leaves(out), symbolic if isinstance(symbolic, list) else [symbolic], strict=False):
        assert all(n is None or n == m for n, m in zip(expected, given.shape, strict=True))
    config = layer.get_config()
    again = type(layer).from_config(config)
    assert again.get_config() == config
    assert again.name == layer.name
    call(case, again, tensors(inputs), fa.Tensor)
    again.set_weights(layer.get_weights())
    for a, b in zip(layer.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert layer.count_params() == sum(w.size for w in layer.get_weights())
    again.load_state_dict(layer.state_dict())


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras's variables
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", BESIDE, ids=[case.id for case in BESIDE])
def test_beside_keras(case, dtype, oracle):
    import torch

    inputs = case.inputs(dtype)
    theirs = case.make(oracle.layers, dtype)
    x = mapped(lambda a: torch.tensor(a, requires_grad=a.dtype.kind == "f"), inputs)
    expected = call(case, theirs, x, torch.tensor)
    ours = case.make(keras.layers, dtype)
    call(case, ours, tensors(inputs), fa.Tensor)
    own = [w.shape for w in ours.get_weights()]
    assert own == [w.shape for w in theirs.get_weights()]
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.2, 1.0, shape).astype(dtype) for shape in own]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    expected = call(case, theirs, x, torch.tensor)
    total = sum([(o * o).sum() for o in leaves(expected)])
    terms = theirs.losses
    loss = total + sum(terms) if terms else total
    for variable in theirs.trainable_variables:
        variable.value.grad = None
    loss.backward()
    arrays, own_terms, grads = run(case, ours, inputs)
    for a, b in zip(arrays, leaves(expected), strict=True):
        close(a, b.detach().numpy(), dtype)
    close(own_terms, np.array([t.item() for t in terms]), dtype)
    scale = largest([*grads, *arrays])
    for a, b in zip(grads, leaves(x), strict=True):
        assert (a is None) == (b.grad is None)
        if a is not None:
            close(a, b.grad.numpy(), dtype, scale)
    for a, b in zip(keras_gradients(ours), theirs.trainable_variables, strict=True):
        close(a, b.value.grad.numpy(), dtype, scale)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        close(a, b, dtype)
    shape = mapped(lambda a: a.shape, inputs)
    if case.spread:
        assert ours.compute_output_shape(*shape) == theirs.compute_output_shape(*shape)
    elif "Bidirectional" not in case.name:  # which gives a tuple of its states there
        assert list(leaves(ours.compute_output_shape(shape))) == list(leaves(theirs.compute_output_shape(shape)))
