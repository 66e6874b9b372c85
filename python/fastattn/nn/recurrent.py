"""Recurrent layers, with torch's arguments and names of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fastattn import ops
from fastattn.autograd.joining import cat, stack
from fastattn.autograd.tensor import Tensor

from . import functional as F
from . import init
from .layers import new_parameter
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, from_padded, to_padded

__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]

GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def run(mode: str, x: Tensor, weights: list[Any], state: tuple[Tensor, ...], **options: Any) -> tuple[Tensor, ...]:
    """(output, h_n[, c_n]) of one layer in one direction."""
    if mode == "LSTM":
        return ops.lstm(x, *weights, *state, **options)
    if mode == "GRU":
        return ops.gru(x, *weights, *state, **options)
    return ops.rnn(x, *weights, *state, nonlinearity=mode[4:].lower(), **options)


def run_projected(
    x: Tensor, weights: list[Any], state: tuple[Tensor, ...], lengths: Tensor | None, reverse: bool
) -> tuple[Tensor, ...]:
    """The same of an LSTM whose state is projected, h_t = W_hr (o tanh(c_t)): a step at a time, out of other ops."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    (steps, batch), (size, width) = x.shape[:2], w_hr.shape
    of_input = F.linear(x, w_ih, b_ih)
    h, c = state or (x.new_zeros(batch, size), x.new_zeros(batch, width))
    outputs: list[Any] = [None] * steps
    for t in reversed(range(steps)) if reverse else range(steps):
        i, f, g, o = (of_input[t] + F.linear(h, w_hh, b_hh)).chunk(4, -1)
        now_c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        now_h = outputs[t] = F.linear(o.sigmoid() * now_c.tanh(), w_hr)
        if lengths is not None:
            lasts = (lengths > t).unsqueeze(1)
            outputs[t] = now_h.masked_fill(~lasts, 0.0)
            now_h, now_c = now_h.where(lasts, h), now_c.where(lasts, c)
        h, c = now_h, now_c
    return (stack(outputs) if steps else x.new_zeros(0, batch, size)), h, c


def uniform(parameters: Iterator[Parameter], hidden_size: int) -> None:
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    for p in parameters:
        init.uniform_(p, -bound, bound)


class RNNBase(Module):
    """What RNN, LSTM and GRU share.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input_size: I.
        hidden_size: H.
        num_layers: layers, one upon the other.
        bias: whether there are b_ih and b_hh.
        batch_first: whether inputs and outputs are (B, T, ...); states are not.
        dropout: probability, on the outputs of each layer but the last.
        bidirectional: whether each layer also goes backward; outputs are of both, side by side.
        proj_size: see LSTM.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Example:
        >>> import fastattn as fa
        >>> list(fa.nn.RNNBase("GRU", 3, 5, bias=False).state_dict())
        ['weight_ih_l0', 'weight_hh_l0']
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if mode not in GATES:
            msg = f"{name}: mode is {mode!r}; expected {' or '.join(map(repr, GATES))}"
            raise ValueError(msg)
        for what, size in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size <= 0:
                msg = f"{name}: {what} is {size}; expected a positive number"
                raise ValueError(msg)
        if not 0 <= dropout <= 1:
            msg = f"{name}: dropout is {dropout}; expected 0 to 1"
            raise ValueError(msg)
        if proj_size and mode != "LSTM":
            msg = f"{name}: proj_size is {proj_size}; only an LSTM has projections"
            raise ValueError(msg)
        if not 0 <= proj_size < hidden_size:
            msg = f"{name}: proj_size is {proj_size}; expected 0 to hidden_size - 1, {hidden_size - 1}"
            raise ValueError(msg)
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        rows = GATES[mode] * hidden_size
        for layer in range(num_layers):
            width = input_size if layer == 0 else self._state_size * self._directions
            for suffix in self._suffixes(layer):
                self.register_parameter(f"weight_ih{suffix}", new_parameter(rows, width, dtype=dtype, device=device))
                self.register_parameter(
                    f"weight_hh{suffix}", new_parameter(rows, self._state_size, dtype=dtype, device=device)
                )
                for kind in ("ih", "hh") if bias else ():
                    self.register_parameter(f"bias_{kind}{suffix}", new_parameter(rows, dtype=dtype, device=device))
                if proj_size:
                    projection = new_parameter(proj_size, hidden_size, dtype=dtype, device=device)
                    self.register_parameter(f"weight_hr{suffix}", projection)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _state_size(self) -> int:
        """Of h."""
        return self.proj_size or self.hidden_size

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def _weights(self, suffix: str) -> list[Parameter | None]:
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", *(["weight_hr"] if self.proj_size else [])]
        return [getattr(self, n + suffix) if self.bias or not n.startswith("bias") else None for n in names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The weights of each layer and direction."""
        suffixes = [s for layer in range(self.num_layers) for s in self._suffixes(layer)]
        return [[w for w in self._weights(s) if w is not None] for s in suffixes]

    def flatten_parameters(self) -> None:
        """Nothing: accepted for torch's sake."""

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform of +- 1 / sqrt(hidden_size)."""
        uniform(self.parameters(), self.hidden_size)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}" + (f", proj_size={self.proj_size}" if self.proj_size else "")
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        changed = {k: getattr(self, k) for k, v in defaults.items() if getattr(self, k) != v}
        return ", ".join([text, *(f"{k}={v}" for k, v in changed.items())])

    def _refuse(self, text: str) -> None:
        msg = f"{type(self).__name__}: {text}"
        raise ValueError(msg)

    def _states(self, hx: Any, batch: int, batched: bool) -> tuple[Tensor, ...] | None:
        """h0, and an LSTM's c0, each (layers * directions, B, H), or P of h0."""
        if hx is None:
            return None
        states: tuple[Any, ...] = tuple(hx) if self.mode == "LSTM" else (hx,)
        count = 2 if self.mode == "LSTM" else 1
        if len(states) != count:
            self._refuse(f"hx has {len(states)} states; expected (h_0, c_0)")
        for name, state, size in zip(("h_0", "c_0"), states, (self._state_size, self.hidden_size), strict=False):
            expected = (self.num_layers * self._directions, *((batch,) if batched else ()), size)
            if tuple(state.shape) != expected:
                self._refuse(f"{name} has shape {tuple(state.shape)}; expected {expected}")
        return states if batched else tuple(s.unsqueeze(1) for s in states)

    def through_layers(
        self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Of x (T, B, I): the output of the last layer, and the last states (layers * directions, B, H)."""
        last: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction, suffix in enumerate(self._suffixes(layer)):
                at = layer * self._directions + direction
                state = () if states is None else tuple(s[at] for s in states)
                weights, reverse = self._weights(suffix), direction == 1
                if self.proj_size:
                    output, *now = run_projected(x, weights, state, lengths, reverse)
                else:
                    output, *now = run(self.mode, x, weights, state, lengths=lengths, reverse=reverse)
                outputs.append(output)
                last.append(now)
            x = outputs[0] if len(outputs) == 1 else cat(outputs, -1)
        return x, [stack(list(s)) for s in zip(*last, strict=True)]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        if isinstance(input, PackedSequence):
            x, lengths = to_padded(input)
            lengths = lengths.to(x.device)
            states = self._states(hx, x.shape[1], batched=True)
            if states is not None and input.sorted_indices is not None:
                states = tuple(s.index_select(1, input.sorted_indices) for s in states)
            padded, last = self.through_layers(x, states, lengths)
            output: Any = PackedSequence(
                from_padded(padded, input.batch_sizes), input.batch_sizes, input.sorted_indices, input.unsorted_indices
            )
            if input.unsorted_indices is not None:
                last = [s.index_select(1, input.unsorted_indices) for s in last]
            return output, tuple(last) if self.mode == "LSTM" else last[0]
        batched = input.ndim == 3
        if input.ndim not in (2, 3):
            self._refuse(f"input has {input.ndim} axes; expected 2 or 3")
        if input.shape[-1] != self.input_size:
            self._refuse(f"input has shape {tuple(input.shape)}; expected {self.input_size} along its last axis")
        turned = batched and self.batch_first
        x = input.transpose(0, 1) if turned else input if batched else input.unsqueeze(1)
        output, last = self.through_layers(x, self._states(hx, x.shape[1], batched), None)
        if not batched:
            output, last = output.squeeze(1), [s.squeeze(1) for s in last]
        elif turned:
            output = output.transpose(0, 1)
        return output, tuple(last) if self.mode == "LSTM" else last[0]


class RNN(RNNBase):
    r"""Elman's recurrent network.

    .. math:: h_t = f(x_t W_{ih}^T + b_{ih} + h_{t-1} W_{hh}^T + b_{hh})

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, one upon the other.
        nonlinearity: f, "tanh" or "relu".
        bias: whether there are b_ih and b_hh.
        batch_first: whether inputs and outputs are (B, T, ...); states are not.
        dropout: probability, on the outputs of each layer but the last.
        bidirectional: whether each layer also goes backward; outputs are of both, side by side.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        input (T, B, I), without a batch (T, I), or a PackedSequence, and optionally h_0 (layers * directions, B, H), to the
        output (T, B, directions * H) and h_n, of h_0's shape. Weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0,
        weight_ih_l0_reverse and so on; all uniform of +- 1 / sqrt(H) at first.

    Example:
        >>> import fastattn as fa
        >>> output, h_n = fa.nn.RNN(3, 5, num_layers=2)(fa.zeros(7, 2, 3))
        >>> output.shape, h_n.shape
        ((7, 2, 5), (2, 2, 5))

    Source: torch.nn.RNN's form of it.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            msg = f'RNN: nonlinearity is {nonlinearity!r}; expected "tanh" or "relu"'
            raise ValueError(msg)
        self.nonlinearity = nonlinearity
        mode = f"RNN_{nonlinearity.upper()}"
        options = {"device": device, "dtype": dtype}
        super().__init__(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options
        )


class LSTM(RNNBase):
    r"""A long short-term memory.

    .. math::
        (i, f, g, o) &= x_t W_{ih}^T + b_{ih} + h_{t-1} W_{hh}^T + b_{hh} \\
        c_t &= \sigma(f) c_{t-1} + \sigma(i) \tanh(g), \quad h_t = \sigma(o) \tanh(c_t)

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, one upon the other.
        bias: whether there are b_ih and b_hh.
        batch_first: whether inputs and outputs are (B, T, ...); states are not.
        dropout: probability, on the outputs of each layer but the last.
        bidirectional: whether each layer also goes backward; outputs are of both, side by side.
        proj_size: P: h_t is W_hr (P, H) times what it would be, and W_hh is (4 H, P); 0: there is none. Such a layer goes a
            step at a time through other ops, which is slower.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        input (T, B, I), without a batch (T, I), or a PackedSequence, and optionally (h_0, c_0), each
        (layers * directions, B, H), to the output (T, B, directions * H) and (h_n, c_n); with projections P for H, but in
        c. Weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, with projections weight_hr_l0, weight_ih_l0_reverse
        and so on, with the rows of i, f, g and o; all uniform of +- 1 / sqrt(H) at first.

    Example:
        >>> import fastattn as fa
        >>> output, (h_n, c_n) = fa.nn.LSTM(3, 5, batch_first=True, bidirectional=True)(fa.zeros(2, 7, 3))
        >>> output.shape, c_n.shape
        ((2, 7, 10), (2, 2, 5))

    Source: torch.nn.LSTM's form of it; Sak, Senior and Beaufays, "Long short-term memory recurrent neural network
    architectures for large scale acoustic modeling" (2014), section 2, for projections.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        layers = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__("LSTM", *layers, device=device, dtype=dtype)


class GRU(RNNBase):
    r"""Gated recurrent units.

    .. math::
        r &= \sigma(x_t W_{ir}^T + b_{ir} + h_{t-1} W_{hr}^T + b_{hr}), \quad
        z = \sigma(x_t W_{iz}^T + b_{iz} + h_{t-1} W_{hz}^T + b_{hz}) \\
        n &= \tanh(x_t W_{in}^T + b_{in} + r (h_{t-1} W_{hn}^T + b_{hn})), \quad h_t = (1 - z) n + z h_{t-1}

    Args:
        input_size: I.
        hidden_size: H.
        num_layers: layers, one upon the other.
        bias: whether there are b_ih and b_hh.
        batch_first: whether inputs and outputs are (B, T, ...); states are not.
        dropout: probability, on the outputs of each layer but the last.
        bidirectional: whether each layer also goes backward; outputs are of both, side by side.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        input (T, B, I), without a batch (T, I), or a PackedSequence, and optionally h_0 (layers * directions, B, H), to the
        output (T, B, directions * H) and h_n, of h_0's shape. Weights weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0,
        weight_ih_l0_reverse and so on, with the rows of r, z and n; all uniform of +- 1 / sqrt(H) at first.

    Example:
        >>> import fastattn as fa
        >>> output, h_n = fa.nn.GRU(3, 5)(fa.zeros(7, 3))
        >>> output.shape, h_n.shape
        ((7, 5), (1, 5))

    Source: torch.nn.GRU's form of it.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        layers = (input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__("GRU", *layers, device=device, dtype=dtype)
