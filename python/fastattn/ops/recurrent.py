"""Recurrent networks: one layer, in one direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastattn import _C

from . import _kinds
from ._op import Array, Op, Spec, attribute_error

if TYPE_CHECKING:
    from ._kinds import Kind

RNN_TANH, RNN_RELU, LSTM, GRU = range(4)  # of csrc/ops/recurrent.h
SLOTS = (1, 1, 4, 4)  # what a step keeps of its gates
NONLINEARITIES = {"tanh": RNN_TANH, "relu": RNN_RELU}


class Recurrent(Op):
    """attrs: mode, reverse. Outputs: output, h_n, c_n (LSTM's), and for the backward gates and cells."""

    arrays = ("x", "w_ih", "w_hh", "b_ih", "b_hh", "h0", "c0", "lengths")
    required = 3
    differentiable = ("x", "w_ih", "w_hh", "b_ih", "b_hh", "h0", "c0")
    autocast = "lower"

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        x, _, w_hh = arrays[:3]
        mode, _ = attrs
        steps, hidden = tuple(x.shape[:2]), tuple(w_hh.shape[-1:])
        state = (*steps[1:], *hidden), x.dtype
        statistics = kind.accumulator(x.dtype)
        lstm = mode == LSTM
        return (
            ((*steps, *hidden), x.dtype),
            state,
            state if lstm else None,
            ((*steps, SLOTS[mode], *hidden), statistics) if saving else None,
            ((*steps, *hidden), statistics) if saving and lstm else None,
        )

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        _C.recurrent_fwd(*arrays, *outs, *attrs)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        return (*arrays[:3], *arrays[5:], outs[0], *outs[3:])

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        x, w_ih, w_hh = saved[:3]
        assert x is not None
        assert w_ih is not None
        assert w_hh is not None
        state = (x.shape[1], w_hh.shape[1])
        shapes = (x.shape, w_ih.shape, w_hh.shape, w_hh.shape[:1], w_hh.shape[:1], state, state)
        made = [kind.empty(tuple(s), x.dtype, x) if need else None for s, need in zip(shapes, needs, strict=False)]
        doutput, *dstate = grads
        if doutput is not None:
            doutput = kind.contiguous(doutput)
        _C.recurrent_bwd(*saved, doutput, dstate[0], dstate[1] if len(dstate) > 1 else None, *made, *attrs)
        return (*made, None)

    def public(self, attrs: tuple[Any, ...]) -> int:
        return 3 if attrs[0] == LSTM else 2


_OPS = (Recurrent("rnn"), Recurrent("rnn"), Recurrent("lstm"), Recurrent("gru"))


def _run(
    mode: int, x: Array, others: tuple[Array | None, ...], lengths: Any, reverse: bool, batch_first: bool
) -> tuple[Array, ...]:
    op = _OPS[mode]
    if isinstance(lengths, (list, tuple)):
        lengths = _kinds.kind_of(op.name, ("x",), (x,)).asarray(np.asarray(lengths, np.int64), x)
    if not batch_first:
        return tuple(op((x, *others, lengths), (mode, bool(reverse))))
    if len(getattr(x, "shape", ())) != 3:
        msg = f"{op.name}: x needs three axes (B, T, I)"
        raise ValueError(msg)
    if not hasattr(x, "swapaxes"):
        x = np.from_dlpack(x)
    output, *state = op((x.swapaxes(0, 1), *others, lengths), (mode, bool(reverse)))
    return (output.swapaxes(0, 1), *state)


def rnn(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    h0: Array | None = None,
    *,
    nonlinearity: str = "tanh",
    lengths: Array | Sequence[int] | None = None,
    reverse: bool = False,
    batch_first: bool = False,
) -> tuple[Array, Array]:
    r"""One layer of Elman's recurrent network, in one direction.

    .. math:: h_t = f(x_t W_{ih}^T + b_{ih} + h_{t-1} W_{hh}^T + b_{hh})

    Args:
        x: (T, B, I), or (B, T, I) with `batch_first`; any floating dtype, any strides.
        w_ih: (H, I), the dtype of `x`, as that of all that follows.
        w_hh: (H, H).
        b_ih: (H,).
        b_hh: (H,).
        h0: (B, H), zeros by default.
        nonlinearity: f, "tanh" or "relu".
        lengths: (B,), int32 or int64, or a list: the steps of each sequence, 0 to T. From there on its state stays, its
            output is 0 and what `x` holds is not looked at.
        reverse: from the last step of each sequence to its first.
        batch_first: whether `x` and the output have the batch first.

    Returns:
        The output (T, B, H) or (B, T, H), and h_n (B, H), the last state; the kind and dtype of `x`. The state is kept in
        float32 between the steps, in float64 for float64.

    Raises:
        ValueError: shapes that do not fit, or an unknown `nonlinearity`.
        TypeError: a dtype that is not floating; mixed dtypes; lengths that are not integers.
        IndexError: a length that is not one of 0 to T; on a GPU its sequence is NaN instead, without a gradient.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> output, h_n = fa.rnn(np.ones((3, 2, 4)), np.ones((5, 4)), np.zeros((5, 5)), nonlinearity="relu")
        >>> output.shape, float(h_n[0, 0])
        ((3, 2, 5), 4.0)

    Source: Elman, "Finding structure in time" (1990); torch.nn.RNN's form of it.
    """
    if nonlinearity not in NONLINEARITIES:
        raise attribute_error("rnn", "nonlinearity", nonlinearity, '"tanh" or "relu"')
    others = (w_ih, w_hh, b_ih, b_hh, h0, None)
    output, h_n = _run(NONLINEARITIES[nonlinearity], x, others, lengths, reverse, batch_first)
    return output, h_n


def lstm(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    h0: Array | None = None,
    c0: Array | None = None,
    *,
    lengths: Array | Sequence[int] | None = None,
    reverse: bool = False,
    batch_first: bool = False,
) -> tuple[Array, Array, Array]:
    r"""One layer of an LSTM, in one direction.

    .. math::
        (i, f, g, o) &= x_t W_{ih}^T + b_{ih} + h_{t-1} W_{hh}^T + b_{hh} \\
        c_t &= \sigma(f) c_{t-1} + \sigma(i) \tanh(g), \quad h_t = \sigma(o) \tanh(c_t)

    Args:
        x: (T, B, I), or (B, T, I) with `batch_first`; any floating dtype, any strides.
        w_ih: (4 H, I), the rows of i, f, g and o; the dtype of `x`, as that of all that follows.
        w_hh: (4 H, H).
        b_ih: (4 H,).
        b_hh: (4 H,).
        h0: (B, H), zeros by default.
        c0: (B, H), zeros by default.
        lengths: (B,), int32 or int64, or a list: the steps of each sequence, 0 to T. From there on its state stays, its
            output is 0 and what `x` holds is not looked at.
        reverse: from the last step of each sequence to its first.
        batch_first: whether `x` and the output have the batch first.

    Returns:
        The output (T, B, H) or (B, T, H), and the last h_n and c_n (B, H); the kind and dtype of `x`. The state is kept in
        float32 between the steps, in float64 for float64.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: a dtype that is not floating; mixed dtypes; lengths that are not integers.
        IndexError: a length that is not one of 0 to T; on a GPU its sequence is NaN instead, without a gradient.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> x, w_ih, w_hh = np.ones((3, 2, 4)), np.zeros((20, 4)), np.zeros((20, 5))
        >>> output, h_n, c_n = fa.lstm(x, w_ih, w_hh, c0=np.ones((2, 5)))
        >>> output.shape, float(c_n[0, 0])
        ((3, 2, 5), 0.125)

    Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997), with the forget gate of Gers, Schmidhuber and
    Cummins (2000); torch.nn.LSTM's form of it.
    """
    output, h_n, c_n = _run(LSTM, x, (w_ih, w_hh, b_ih, b_hh, h0, c0), lengths, reverse, batch_first)
    return output, h_n, c_n


def gru(
    x: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    h0: Array | None = None,
    *,
    lengths: Array | Sequence[int] | None = None,
    reverse: bool = False,
    batch_first: bool = False,
) -> tuple[Array, Array]:
    r"""One layer of gated recurrent units, in one direction.

    .. math::
        r &= \sigma(x_t W_{ir}^T + b_{ir} + h_{t-1} W_{hr}^T + b_{hr}), \quad
        z = \sigma(x_t W_{iz}^T + b_{iz} + h_{t-1} W_{hz}^T + b_{hz}) \\
        n &= \tanh(x_t W_{in}^T + b_{in} + r (h_{t-1} W_{hn}^T + b_{hn})), \quad h_t = (1 - z) n + z h_{t-1}

    Args:
        x: (T, B, I), or (B, T, I) with `batch_first`; any floating dtype, any strides.
        w_ih: (3 H, I), the rows of r, z and n; the dtype of `x`, as that of all that follows.
        w_hh: (3 H, H).
        b_ih: (3 H,).
        b_hh: (3 H,).
        h0: (B, H), zeros by default.
        lengths: (B,), int32 or int64, or a list: the steps of each sequence, 0 to T. From there on its state stays, its
            output is 0 and what `x` holds is not looked at.
        reverse: from the last step of each sequence to its first.
        batch_first: whether `x` and the output have the batch first.

    Returns:
        The output (T, B, H) or (B, T, H), and h_n (B, H), the last state; the kind and dtype of `x`. The state is kept in
        float32 between the steps, in float64 for float64.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: a dtype that is not floating; mixed dtypes; lengths that are not integers.
        IndexError: a length that is not one of 0 to T; on a GPU its sequence is NaN instead, without a gradient.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> output, h_n = fa.gru(np.ones((3, 2, 4)), np.zeros((15, 4)), np.zeros((15, 5)), h0=np.ones((2, 5)))
        >>> output.shape, float(h_n[0, 0])
        ((3, 2, 5), 0.125)

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation"
    (2014), with the reset gate after the product; torch.nn.GRU's form of it.
    """
    output, h_n = _run(GRU, x, (w_ih, w_hh, b_ih, b_hh, h0, None), lengths, reverse, batch_first)
    return output, h_n
