"""One step of a recurrent layer."""

from __future__ import annotations

from typing import Any

from fastattn.autograd.tensor import Tensor

from .layers import new_parameter
from .module import Module
from .parameter import Parameter
from .recurrent import GATES, run, uniform

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What the cells share.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input_size: I.
        hidden_size: H.
        bias: whether there are b_ih and b_hh.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Example:
        >>> import fastattn as fa
        >>> list(fa.nn.RNNCellBase("GRU", 3, 5, False).state_dict())
        ['weight_ih', 'weight_hh']
    """

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, bias: bool, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = GATES[mode] * hidden_size
        self.weight_ih = new_parameter(rows, input_size, dtype=dtype, device=device)
        self.weight_hh = new_parameter(rows, hidden_size, dtype=dtype, device=device)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, new_parameter(rows, dtype=dtype, device=device) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the parameters anew, uniform of +- 1 / sqrt(hidden_size)."""
        uniform(self.parameters(), self.hidden_size)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")

    def _step(self, input: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            msg = (
                f"{name}: input has shape {tuple(input.shape)}; expected (B, {self.input_size}) or ({self.input_size},)"
            )
            raise ValueError(msg)
        expected = (*input.shape[:-1], self.hidden_size)
        for what, state in zip(("hx", "cx"), states, strict=False):
            if tuple(state.shape) != expected:
                msg = f"{name}: {what} has shape {tuple(state.shape)}; expected {expected}"
                raise ValueError(msg)
        weights = [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        if input.ndim == 2:
            return run(self.mode, input.unsqueeze(0), weights, states)[1:]
        _, *now = run(self.mode, input.reshape(1, 1, -1), weights, tuple(s.unsqueeze(0) for s in states))
        return tuple(s.squeeze(0) for s in now)


class RNNCell(RNNCellBase):
    r"""One step of an RNN.

    .. math:: h' = f(x W_{ih}^T + b_{ih} + h W_{hh}^T + b_{hh})

    Args:
        input_size: I.
        hidden_size: H.
        bias: whether there are b_ih and b_hh.
        nonlinearity: f, "tanh" or "relu".
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (B, I) or (I,), and optionally h (B, H) or (H,), to h'.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.RNNCell(3, 5)(fa.zeros(2, 3)).shape
        (2, 5)

    Source: torch.nn.RNNCell's form of it.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            msg = f'RNNCell: nonlinearity is {nonlinearity!r}; expected "tanh" or "relu"'
            raise ValueError(msg)
        super().__init__(f"RNN_{nonlinearity.upper()}", input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    r"""One step of an LSTM.

    .. math::
        (i, f, g, o) &= x W_{ih}^T + b_{ih} + h W_{hh}^T + b_{hh} \\
        c' &= \sigma(f) c + \sigma(i) \tanh(g), \quad h' = \sigma(o) \tanh(c')

    Args:
        input_size: I.
        hidden_size: H.
        bias: whether there are b_ih and b_hh.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (B, I) or (I,), and optionally (h, c), each (B, H) or (H,), to (h', c').

    Example:
        >>> import fastattn as fa
        >>> h, c = fa.nn.LSTMCell(3, 5)(fa.zeros(2, 3))
        >>> h.shape
        (2, 5)

    Source: torch.nn.LSTMCell's form of it.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("LSTM", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._step(input, () if hx is None else tuple(hx))
        return h, c


class GRUCell(RNNCellBase):
    r"""One step of a GRU.

    .. math::
        r &= \sigma(x W_{ir}^T + b_{ir} + h W_{hr}^T + b_{hr}), \quad
        z = \sigma(x W_{iz}^T + b_{iz} + h W_{hz}^T + b_{hz}) \\
        n &= \tanh(x W_{in}^T + b_{in} + r (h W_{hn}^T + b_{hn})), \quad h' = (1 - z) n + z h

    Args:
        input_size: I.
        hidden_size: H.
        bias: whether there are b_ih and b_hh.
        device: where the parameters are made, the CPU by default.
        dtype: of the parameters, float32 by default.

    Shape:
        (B, I) or (I,), and optionally h (B, H) or (H,), to h'.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.GRUCell(3, 5)(fa.zeros(3)).shape
        (5,)

    Source: torch.nn.GRUCell's form of it.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__("GRU", input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(input, () if hx is None else (hx,))[0]
