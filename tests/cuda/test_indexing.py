"""Reading and writing parts on a device. The sums of what is named twice have the same bits every time: the fake's add.at
refuses floats, since CuPy's adds them in no fixed order."""

import numpy as np
import pytest

import fastattn as fa

ROWS = np.array([2, 0, -1, 2, 2, 0])
COLUMNS = np.array([[1, -2], [0, 1], [1, 1]])
GRID = np.array([[0, 2, 2, 0], [2, 2, 2, 2], [1, 0, 1, 1]])
MASK = np.array([True, False, True])

# x (3, 4, 5): the part that is read.
READS = {
    "rows": lambda x, at: x[at(ROWS)],
    "rows, then dots": lambda x, at: x[at(ROWS), ...],
    "columns": lambda x, at: x[:, at(ROWS)],
    "last": lambda x, at: x[..., at(ROWS)],
    "last of new": lambda x, at: x[None, :, 1, at(ROWS)],
    "pairs": lambda x, at: x[at(COLUMNS), at(COLUMNS[:, :1])],
    "apart": lambda x, at: x[at(COLUMNS), :, at(COLUMNS)],
    "with a number": lambda x, at: x[1, at(ROWS), 1:4],
    "with a slice": lambda x, at: x[::2, at(ROWS), ::-1],
    "with a mask": lambda x, at: x[at(MASK), at(np.array([1, 1]))],
    "a mask": lambda x, at: x[at(MASK)],
    "a slice": lambda x, at: x[1:, 2],
    "gather": lambda x, at: x[0, :3].gather(1, at(GRID)),
    "gather rows": lambda x, at: x[:, :, 0].gather(0, at(GRID)),
    "take_along_dim": lambda x, at: x.take_along_dim(at(GRID[:, :, None]), 0),
    "take": lambda x, at: x.take(at(COLUMNS)),
    "index_select": lambda x, at: x.index_select(1, at(np.abs(ROWS))),
    "masked_select": lambda x, at: x.masked_select(at(MASK[:, None, None])),
}


def alike(there, host, scale=8.0):
    limit = scale * float(fa.finfo(host.dtype).eps) * max(1.0, float(host.abs().max()))
    found = there.detach().cpu()
    np.testing.assert_allclose(found.double().numpy(), host.detach().double().numpy(), rtol=0, atol=limit)


def both(randn, dtype, *shape):
    """A leaf on the CPU and one on the device."""
    values = randn(*shape).astype(dtype)
    return fa.Tensor(values, requires_grad=True), fa.tensor(values, device="cuda").requires_grad_()


def at_home(x):
    return lambda array: fa.tensor(array, device=x.device)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"], indirect=True)
@pytest.mark.parametrize("name", READS)
def test_reads(name, dtype, randn):
    host, there = both(randn, dtype, 3, 4, 5)
    weights = None
    for x in (host, there):
        part = READS[name](x, at_home(x))
        weights = randn(*part.shape).astype(dtype) if weights is None else weights
        part.backward(fa.tensor(weights, device=x.device))
    alike(there.grad, host.grad)
    assert float(host.grad.abs().max()) > 0


def test_indices_of_the_host(randn):
    """Lists, arrays and tensors of the host pick from what is on a device, as in torch."""
    values = randn(3, 4).astype(np.float32)
    x = fa.tensor(values, device="cuda").requires_grad_()
    for index in ([0, 2], np.array([0, 2]), fa.tensor([0, 2]), (slice(None), [1, 1]), [True, False, True]):
        host = index.numpy() if isinstance(index, fa.Tensor) else index
        assert np.array_equal(x[index].detach().cpu().numpy(), values[host])
    x[[0, 0, 2]].sum().backward()
    assert np.array_equal(x.grad.cpu().numpy(), np.array([2, 0, 1])[:, None] * np.ones((3, 4)))
    y = x.detach()
    y[[0, 2]] = 5.0
    y[1] = fa.tensor(3.0)  # a number's worth
    y.fill_diagonal_(7.0)
    assert y[:, 0].tolist() == [7, 3, 5]
    assert y[:, 1].tolist() == [5, 7, 5]
    assert x.index_put(([0, 0],), 1.0, accumulate=True)[0, 0].item() == 9


def test_values_do_not_mix():
    there, host = fa.zeros(3, device="cuda"), fa.zeros(3)
    with pytest.raises(TypeError, match=r"^setitem: the tensor is on cuda:0 and the value on cpu; move one of them$"):
        there[:] = host
    with pytest.raises(TypeError, match=r"^setitem: the tensor is on cpu and the value on cuda:0; move one of them$"):
        host[:2] = there[:2]


def test_where_a_view_begins():
    x = fa.zeros(4, 3, device="cuda")
    assert x[2:, 1:].storage_offset() == 7
    assert x.new_tensor([1, 2]).device == "cuda:0"


WRITES = {
    "scatter_add": lambda x, v, at: x.scatter_add(1, at(GRID), v[:, :4]),
    "scatter_add rows": lambda x, v, at: x.scatter_add(0, at(GRID), v[:, :4]),
    "index_add": lambda x, v, at: x.index_add(0, at(np.array([1, 1, 1])), v, alpha=2),
    "index_put": lambda x, v, at: x.index_put((at(np.array([1, 1, 0])),), v[0], accumulate=True),
    "scatter": lambda x, v, at: x.scatter(1, at(GRID[:, :1]), v),
    "index_copy": lambda x, v, at: x.index_copy(0, at(np.array([2, 0, 1])), v),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"], indirect=True)
@pytest.mark.parametrize("name", WRITES)
def test_writes(name, dtype, randn):
    (x, x_there), (v, v_there) = both(randn, dtype, 3, 4), both(randn, dtype, 3, 4)
    out = WRITES[name](x, v, at_home(x))
    out_there = WRITES[name](x_there, v_there, at_home(x_there))
    alike(out_there, out)
    weights = randn(*out.shape).astype(dtype)
    out.backward(fa.tensor(weights))
    out_there.backward(fa.tensor(weights, device="cuda"))
    alike(x_there.grad, x.grad)
    alike(v_there.grad, v.grad)


def test_integers_are_added():
    """In any order, which changes nothing."""
    x = fa.zeros(3, dtype="int64", device="cuda")
    out = x.scatter_add(0, fa.tensor([1, 1, 2], device="cuda"), fa.tensor([5, 6, 7], device="cuda"))
    assert out.tolist() == [0, 11, 7]


def test_long_lists_have_the_same_bits(randn):
    """Thousands of values on few rows, in the order of their places: what the embedding's kernel gives, twice."""
    index = np.random.default_rng(1).integers(0, 3, 400)
    values = randn(400, 2).astype(np.float32)
    found = []
    for _ in range(2):
        table = fa.zeros(3, 2, device="cuda").requires_grad_()
        table[fa.tensor(index, device="cuda")].backward(fa.tensor(values, device="cuda"))
        found.append(table.grad.cpu().numpy())
    assert np.array_equal(found[0], found[1])
    exact = np.zeros((3, 2))
    np.add.at(exact, index, values.astype(np.float64))
    sizes = np.zeros((3, 2))
    np.add.at(sizes, index, np.abs(values).astype(np.float64))
    # Each of at most n additions rounds a partial sum, which the sum of absolute values bounds.
    assert (np.abs(found[0] - exact) <= 400 * np.finfo(np.float32).eps / 2 * sizes).all()


def test_nothing_to_add():
    for shape, index in (((0, 3), []), ((4, 0), [1, 1]), ((4, 3), [])):
        x = fa.zeros(*shape, device="cuda").requires_grad_()
        x[fa.tensor(index, dtype="int64", device="cuda")].sum().backward()
        assert x.grad.shape == shape
        assert not x.grad.cpu().numpy().any()
