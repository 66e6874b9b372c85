"""RNN, LSTM, GRU and their cells against torch's, and packed sequences."""

import numpy as np
import pytest

import fastattn as fa
from fastattn import nn
from fastattn.nn.utils import rnn as rnn_utils

T, B, I, H = 6, 4, 3, 5  # noqa: E741
LAYERS = ["RNN", "LSTM", "GRU"]


def both(torch, name, *sizes, **options):
    theirs = getattr(torch.nn, name)(*sizes, **options).double()
    ours = getattr(nn, name)(*sizes, **options).double()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: fa.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return ours, theirs


def flat(results):
    """The tensors of a layer's results, a packed sequence's data among them."""
    for r in results if isinstance(results, tuple) and not hasattr(results, "batch_sizes") else [results]:
        if isinstance(r, tuple) and not hasattr(r, "batch_sizes"):
            yield from flat(r)
        else:
            yield r.data if hasattr(r, "batch_sizes") else r


def compare(ours, theirs, found, expected, inputs, their_inputs):
    found, expected = list(flat(found)), list(flat(expected))
    for f, e in zip(found, expected, strict=True):
        np.testing.assert_allclose(f.detach().numpy(), e.detach().numpy(), rtol=1e-11, atol=1e-12)
    sum((f * f).sum() for f in found).backward()
    sum((e * e).sum() for e in expected).backward()
    for x, tx in zip(inputs, their_inputs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-9, atol=1e-11)
    for (name, p), (_, tp) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), tp.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name)


OPTIONS = [
    {},
    {"bias": False},
    {"num_layers": 2},
    {"bidirectional": True},
    {"bidirectional": True, "num_layers": 3, "batch_first": True},
    {"batch_first": True, "bias": False},
]
CASES = [(name, o) for name in LAYERS for o in OPTIONS] + [("RNN", {"nonlinearity": "relu", "num_layers": 2})]
CASES += [("LSTM", {"proj_size": 2, **o}) for o in OPTIONS]


@pytest.mark.parity
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_is_torchs(name, options, batched, with_state, randn):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, name, I, H, **options)
    shape = (B, T, I) if options.get("batch_first") else (T, B, I)
    states = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    arrays = [randn(*shape) if batched else randn(T, I)]
    if with_state:
        count = 2 if name == "LSTM" else 1
        sizes = (options.get("proj_size", H), H)[:count]
        arrays += [randn(*((states, B, n) if batched else (states, n))) for n in sizes]
    mine = [fa.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]

    def call(layer, x, *hx):
        return layer(x, *((hx if name == "LSTM" else hx[0],) if hx else ()))

    compare(ours, theirs, call(ours, *mine), call(theirs, *other), mine, other)


@pytest.mark.parity
@pytest.mark.parametrize("name", [*LAYERS, "projected LSTM"])
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [1, 6, 2, 5]], ids=str)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("with_state", [True, False])
def test_packed_is_torchs(name, lengths, options, with_state, randn):
    torch = pytest.importorskip("torch")
    if name == "projected LSTM":
        name, options = "LSTM", options | {"proj_size": 2}
    ours, theirs = both(torch, name, I, H, **options)
    sort = lengths == sorted(lengths, reverse=True)
    x = randn(T, B, I)
    states = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    sizes = (options.get("proj_size", H), H)[: (2 if name == "LSTM" else 1) if with_state else 0]
    arrays = [x] + [randn(states, B, n) for n in sizes]
    mine = [fa.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]

    def call(layer, utils, x, *hx):
        packed = utils.pack_padded_sequence(x, lengths, enforce_sorted=sort)
        output, last = layer(packed, *((hx if name == "LSTM" else hx[0],) if hx else ()))
        padded, n = utils.pad_packed_sequence(output, total_length=8)
        assert n.tolist() == lengths
        assert output.batch_sizes.tolist() == packed.batch_sizes.tolist()
        return output, padded, last

    compare(ours, theirs, call(ours, rnn_utils, *mine), call(theirs, torch.nn.utils.rnn, *other), mine, other)


@pytest.mark.parametrize("lengths", [None, [6, 2, 0, 5]])
def test_a_projection_to_some_units_is_an_lstm_whose_others_nobody_reads(lengths, randn):
    size = 2
    plain, projected = nn.LSTM(I, H).double(), nn.LSTM(I, H, proj_size=size).double()
    with fa.no_grad():
        plain.weight_hh_l0[:, size:] = 0.0
        projected.weight_hr_l0.copy_(fa.eye(H)[:size])
    state = {k: v[:, :size] if k == "weight_hh_l0" else v for k, v in plain.state_dict().items()}
    projected.load_state_dict(state | {"weight_hr_l0": projected.weight_hr_l0})
    x, h, c = fa.tensor(randn(T, B, I)), fa.tensor(randn(1, B, H)), fa.tensor(randn(1, B, H))
    steps = None if lengths is None else fa.tensor(lengths)
    expected, (h_n, c_n) = plain.through_layers(x, (h, c), steps)
    found, (h_p, c_p) = projected.through_layers(x, (h[:, :, :size], c), steps)
    for f, e in ((found, expected[:, :, :size]), (h_p, h_n[:, :, :size]), (c_p, c_n)):
        np.testing.assert_allclose(f.detach().numpy(), e.detach().numpy(), rtol=1e-12, atol=1e-14)
    assert projected(x[:0])[0].shape == (0, B, size)


@pytest.mark.parity
@pytest.mark.parametrize("name", [f"{n}Cell" for n in LAYERS])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_cells_are_torchs(name, bias, batched, with_state, randn):
    torch = pytest.importorskip("torch")
    ours, theirs = both(torch, name, I, H, bias=bias)
    arrays = [randn(B, I)] + [randn(B, H) for _ in range((2 if name == "LSTMCell" else 1) if with_state else 0)]
    arrays = arrays if batched else [a[0] for a in arrays]
    mine = [fa.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]

    def call(cell, x, *hx):
        return cell(x, *((hx if name == "LSTMCell" else hx[0],) if hx else ()))

    compare(ours, theirs, call(ours, *mine), call(theirs, *other), mine, other)


@pytest.mark.parity
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [1, 6, 2, 5]], ids=str)
def test_packing_is_torchs(batch_first, lengths, randn):
    torch = pytest.importorskip("torch")
    x = randn(*((B, T) if batch_first else (T, B)), 2, 3)
    sort = lengths == sorted(lengths, reverse=True)
    arguments = (lengths, batch_first, sort)
    ours = rnn_utils.pack_padded_sequence(fa.tensor(x), *arguments)
    theirs = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), *arguments)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            np.testing.assert_array_equal(mine.numpy(), other.numpy())
            assert str(mine.dtype).split(".")[-1] == str(other.dtype).split(".")[-1]
    options = {"batch_first": not batch_first, "padding_value": -2.5, "total_length": 9}
    found = rnn_utils.pad_packed_sequence(ours, **options)
    expected = torch.nn.utils.rnn.pad_packed_sequence(theirs, **options)
    for mine, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    sequences = rnn_utils.unpack_sequence(ours)
    assert [len(s) for s in sequences] == lengths
    again = rnn_utils.pack_sequence(sequences, enforce_sorted=sort)
    np.testing.assert_array_equal(again.data.numpy(), ours.data.numpy())


def test_packed_sequence():
    packed = rnn_utils.pack_sequence([fa.ones(1, 2), fa.ones(3, 2)], enforce_sorted=False)
    assert packed.sorted_indices.tolist() == [1, 0]
    assert packed.double().data.dtype == fa.float64
    assert packed.half().data.dtype == fa.float16
    assert packed.float() is packed
    assert packed.cpu() is packed
    assert not packed.is_cuda
    assert packed.double().unsorted_indices.tolist() == [1, 0]
    pair = rnn_utils.PackedSequence((packed.data, packed.batch_sizes), sorted_indices=packed.sorted_indices)
    assert pair.unsorted_indices.tolist() == [1, 0]
    assert rnn_utils.invert_permutation(None) is None
    assert rnn_utils.invert_permutation(fa.tensor([2, 0, 1])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("dtype", [fa.bfloat16, fa.float16, fa.float32])
@pytest.mark.parametrize("name", LAYERS)
def test_other_dtypes(name, dtype):
    layer = getattr(nn, name)(I, H, bidirectional=True, dtype=dtype)
    x = fa.randn(T, B, I).to(dtype).requires_grad_()
    output, _ = layer(x)
    output.sum().backward()
    wide = getattr(nn, name)(I, H, bidirectional=True, dtype=fa.float64)
    wide.load_state_dict({k: v.double() for k, v in layer.state_dict().items()})
    expected, _ = wide(x.detach().double())
    np.testing.assert_allclose(output.detach().double().numpy(), expected.detach().numpy(), atol=2e-2)
    assert output.dtype == dtype
    assert x.grad.dtype == dtype
    assert all(p.grad.dtype == dtype for p in layer.parameters())


def test_dropout_between_layers():
    layer = nn.GRU(I, H, num_layers=2, dropout=0.5)
    x = fa.randn(T, B, I)
    assert not (layer(x)[0] == layer(x)[0]).all()
    layer.eval()
    assert (layer(x)[0] == layer(x)[0]).all()
    last = nn.GRU(I, H, dropout=0.9)
    assert (last(x)[0] == last(x)[0]).all()  # not behind the last layer


def test_first_weights():
    layer = nn.LSTM(20, 16, num_layers=2)
    bound = 1 / 4
    for p in layer.parameters():
        assert float(p.abs().max()) <= bound
        assert float(p.abs().max()) > 0.9 * bound
    assert [len(w) for w in layer.all_weights] == [4, 4]
    layer.flatten_parameters()


ERRORS = [
    (lambda: nn.LSTM(3, 4, proj_size=4), ValueError, "LSTM: proj_size is 4; expected 0 to hidden_size - 1, 3"),
    (lambda: nn.RNNBase("GRU", 3, 4, proj_size=2), ValueError, "RNNBase: proj_size is 2; only an LSTM has"),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), ValueError, "RNN: nonlinearity is 'gelu'"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="gelu"), ValueError, "RNNCell: nonlinearity is 'gelu'"),
    (lambda: nn.RNNBase("LSTMM", 3, 4), ValueError, "RNNBase: mode is 'LSTMM'"),
    (lambda: nn.GRU(3, 0), ValueError, "GRU: hidden_size is 0; expected a positive number"),
    (lambda: nn.GRU(3, 4, 0), ValueError, "GRU: num_layers is 0; expected a positive number"),
    (lambda: nn.GRU(3, 4, dropout=1.5), ValueError, "GRU: dropout is 1.5; expected 0 to 1"),
    (lambda: nn.GRU(3, 4)(fa.ones(3)), ValueError, "GRU: input has 1 axes; expected 2 or 3"),
    (lambda: nn.GRU(3, 4)(fa.ones(2, 5, 4)), ValueError, r"GRU: input has shape \(2, 5, 4\); expected 3"),
    (
        lambda: nn.GRU(3, 4)(fa.ones(2, 5, 3), fa.ones(1, 4, 4)),
        ValueError,
        r"h_0 has shape \(1, 4, 4\); expected \(1, 5",
    ),
    (lambda: nn.LSTM(3, 4)(fa.ones(2, 5, 3), [fa.ones(1, 5, 4)]), ValueError, "LSTM: hx has 1 states"),
    (lambda: nn.GRUCell(3, 4)(fa.ones(2, 5)), ValueError, r"GRUCell: input has shape \(2, 5\); expected \(B, 3\)"),
    (lambda: nn.GRUCell(3, 4)(fa.ones(2, 3), fa.ones(2, 3)), ValueError, r"GRUCell: hx has shape \(2, 3\); expected"),
    (
        lambda: rnn_utils.pack_padded_sequence(fa.ones(3, 2), [1]),
        ValueError,
        r"lengths has shape \(1,\); expected \(2,\)",
    ),
    (lambda: rnn_utils.pack_padded_sequence(fa.ones(3, 2), [4, 1]), ValueError, "lengths are 1 to 4; expected 1 to 3"),
    (lambda: rnn_utils.pack_padded_sequence(fa.ones(3, 2), [1, 0]), ValueError, "lengths are 0 to 1; expected 1 to 3"),
    (lambda: rnn_utils.pack_padded_sequence(fa.ones(3, 2), [1, 2]), RuntimeError, "lengths rise"),
    (
        lambda: rnn_utils.pad_packed_sequence(rnn_utils.pack_sequence([fa.ones(3)]), total_length=2),
        ValueError,
        "total_length is 2; expected at least the longest length, 3",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:40] for e in ERRORS])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
