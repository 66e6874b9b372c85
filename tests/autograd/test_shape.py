"""Views and rearrangements: values against NumPy, memory shared where it can be, gradients by finite differences."""

import numpy as np
import pytest

import fastattn as fa

SHAPES = {
    "reshape": lambda a: a.reshape(4, 6),
    "reshape -1": lambda a: a.reshape((-1, 3)),
    "view": lambda a: a.view(24),
    "view_as": lambda a: a.view_as(fa.ones(6, 4)),
    "flatten": lambda a: a.flatten(),
    "flatten 1": lambda a: a.flatten(1),
    "unflatten": lambda a: a.unflatten(-1, (2, 2)),
    "permute": lambda a: a.permute(2, 0, 1),
    "permute tuple": lambda a: a.permute((-1, 1, 0)),
    "transpose": lambda a: a.transpose(0, -1),
    "swapaxes": lambda a: a.swapaxes(1, 2),
    "movedim": lambda a: a.movedim(0, -1),
    "T": lambda a: a.T,
    "mT": lambda a: a.mT,
    "squeeze": lambda a: a[:1].squeeze(0),
    "squeeze all": lambda a: a[:1, :1].squeeze(),
    "squeeze nothing": lambda a: a.squeeze(1),
    "unsqueeze": lambda a: a.unsqueeze(1).unsqueeze(-1),
    "expand": lambda a: a[:1].expand(5, -1, 4),
    "expand new axes": lambda a: a.expand(2, 2, 3, 4),
    "broadcast_to": lambda a: a[:, :, :1].broadcast_to((2, 3, 7)),
    "repeat": lambda a: a.repeat(2, 1, 3),
    "repeat new axes": lambda a: a.repeat(2, 1, 1, 2),
    "flip": lambda a: a.flip(0, 2),
    "tril": lambda a: a.tril(),
    "triu": lambda a: a.triu(1),
    "contiguous": lambda a: a.mT.contiguous(),
    "clone": lambda a: a.clone(),
    "to": lambda a: a.to(fa.float32).to(fa.float64),
    "split first": lambda a: a.split(3, -1)[0],
    "split all": lambda a: fa.cat(a.split([1, 2, 1], 2)[::-1], 2),
    "split some": lambda a: a.split([1, 2, 1], 2)[1] * 2,
    "split whole": lambda a: a.split(9, 1)[0],
    "chunk": lambda a: a.chunk(2, 2)[1],
    "unbind": lambda a: a.unbind(1)[2],
    "iteration": lambda a: sum(row * row for row in a),
    "cat": lambda a: fa.cat([a, a * 2, a[:1]]),
    "cat axis": lambda a: fa.cat((a, a.exp()), axis=-1),
    "stack": lambda a: fa.stack([a, a * 2], dim=1),
    "stack last": lambda a: fa.stack([a, a], -1),
    "gather": lambda a: a.gather(2, fa.tensor([[[0, 0, 3]] * 3] * 2)),
    "index_select": lambda a: a.index_select(1, fa.tensor([2, 2, 0])),
}


@pytest.mark.parametrize("name", SHAPES)
def test_gradients(name, normal):
    # The tolerance of the cast through float32 is float32's; everything else is exact in float64.
    options = {"eps": 1e-2, "atol": 1e-3} if name == "to" else {}
    assert fa.gradcheck(SHAPES[name], [normal(2, 3, 4)], **options)


def test_values_are_numpys():
    x = np.arange(24.0).reshape(2, 3, 4)
    t = fa.Tensor(x)
    pairs = [
        (t.reshape(4, 6), x.reshape(4, 6)),
        (t.permute(2, 0, 1), x.transpose(2, 0, 1)),
        (t.movedim(0, 2), np.moveaxis(x, 0, 2)),
        (t.flatten(1), x.reshape(2, 12)),
        (t.repeat(2, 1, 1, 3), np.tile(x, (2, 1, 1, 3))),
        (t.flip(1), x[:, ::-1]),
        (t.tril(-1), np.tril(x, -1)),
        (fa.cat([t, t], 1), np.concatenate([x, x], 1)),
        (fa.stack([t, t], 3), np.stack([x, x], 3)),
        (t.gather(0, fa.tensor([[[1, 0, 0, 0]]])), x[[1, 0, 0, 0], 0, [0, 1, 2, 3]].reshape(1, 1, 4)),
        (t.chunk(3, 2)[1], x[:, :, 2:4]),
    ]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(
    "view", ["reshape", "view", "flatten", "permute", "transpose", "T", "unsqueeze", "expand", "split first", "flip"]
)
def test_views_share_memory(view):
    x = fa.zeros(2, 3, 4)
    y = SHAPES[view](x)
    x[...] = 1
    assert (y == 1).all()


def test_a_reshape_that_cannot_be_a_view_copies():
    x = fa.arange(6).reshape(2, 3).T
    y = x.reshape(6)
    y[0] = 9
    assert x[0, 0].item() == 0
    with pytest.raises(ValueError, match=r"^view: strides"):
        x.view(6)


def test_large_cat_and_clone():
    x = fa.rand(300, 300)
    assert (fa.cat([x, x])[300:] == x).all()
    assert (x.T.clone() == x.T).all()
    assert x.T.clone().is_contiguous()
    assert not x.T.is_contiguous()
    assert x.contiguous() is x


def test_cat_takes_the_wider_dtype():
    assert fa.cat([fa.ones(2), fa.ones(2, dtype=fa.float64)]).dtype == np.float64
    assert fa.stack([fa.ones(2), fa.arange(2)]).dtype == np.float32


def test_splits():
    x = fa.arange(7)
    assert [p.tolist() for p in x.split(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [p.tolist() for p in x.chunk(3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [p.shape for p in fa.ones(2, 0).split(3, 1)] == [(2, 0)]
    assert fa.ones(0, 3).unbind() == ()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.reshape(5), ValueError, r"^reshape: 6 elements of shape \(2, 3\) do not fit \(5,\)"),
        (lambda x: x.permute(0, 0), ValueError, r"^permute: axes \(0, 0\) for a tensor of 2; expected each axis once"),
        (lambda x: x.transpose(0, 2), ValueError, r"transpose: axis 2 is out of bounds"),
        (lambda x: x.expand(4, 3), ValueError, r"^expand: shape \(2, 3\) does not broadcast to \(4, 3\)"),
        (
            lambda x: x.split([1, 1], 1),
            ValueError,
            r"^split: sizes \(1, 1\) add up to 2; expected 3, the length of axis 1",
        ),
        (lambda x: x.split(0), ValueError, r"^split: size is 0; expected a positive integer"),
        (lambda x: x.chunk(0), ValueError, r"^chunk: chunks is 0; expected a positive integer"),
        (lambda x: fa.cat([]), ValueError, r"^cat: an empty list"),
        (lambda x: fa.cat([x, x.T]), ValueError, r"^cat: tensor 0 is \(2, 3\) and tensor 1 is \(3, 2\)"),
        (lambda x: fa.stack([]), ValueError, r"^stack: an empty list"),
        (lambda x: fa.stack([x, x.T]), ValueError, r"^stack: tensor 0 is \(2, 3\) and tensor 1 is \(3, 2\)"),
        (lambda x: x.unsqueeze(0).t(), ValueError, r"^t: shape \(1, 2, 3\); expected at most 2 axes"),
        (lambda x: x.sum().unbind(), ValueError, r"unbind: axis 0 is out of bounds"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(fa.ones(2, 3))
