"""Recurrent networks as they are defined, a step at a time: the oracle of `fastattn.rnn`, `lstm` and `gru`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .reference import NDArray, product, total


def _sigmoid(x: NDArray) -> NDArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), x.dtype)


def _zeros(x: NDArray, *shape: int) -> NDArray:
    return np.zeros(shape, x.dtype)


def _order(x: NDArray, reverse: bool) -> range:
    return range(len(x) - 1, -1, -1) if reverse else range(len(x))


def recurrent(
    mode: str,
    x: NDArray,
    w_ih: NDArray,
    w_hh: NDArray,
    b_ih: NDArray | None = None,
    b_hh: NDArray | None = None,
    h0: NDArray | None = None,
    c0: NDArray | None = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
) -> Any:
    """(output, h_n), for "lstm" (output, h_n, c_n); mode: "tanh", "relu", "lstm" or "gru"."""
    output, h, c, _ = _forward(mode, x, w_ih, w_hh, b_ih, b_hh, h0, c0, lengths, reverse)
    return (output, h, c) if mode == "lstm" else (output, h)


def _forward(
    mode: str,
    x: NDArray,
    w_ih: NDArray,
    w_hh: NDArray,
    b_ih: NDArray | None,
    b_hh: NDArray | None,
    h0: NDArray | None,
    c0: NDArray | None,
    lengths: Any,
    reverse: bool,
) -> tuple[NDArray, NDArray, NDArray, dict[int, Any]]:
    T, B, _ = x.shape
    H = w_hh.shape[1]
    h = _zeros(x, B, H) if h0 is None else h0
    c = _zeros(x, B, H) if c0 is None else c0
    lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
    output = _zeros(x, T, B, H)
    steps: dict[int, Any] = {}
    for t in _order(x, reverse):
        active = (t < lengths)[:, None]
        a = product(x[t], w_ih.T)
        s = product(h, w_hh.T)
        if b_ih is not None:
            a = a + b_ih
        if b_hh is not None:
            s = s + b_hh
        new_c = c
        if mode == "lstm":
            i, f, g, o = np.split(a + s, 4, axis=1)
            i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
            new_c = f * c + i * g
            new_h = o * np.tanh(new_c)
            gates: Any = (i, f, g, o)
        elif mode == "gru":
            (ar, az, an), (sr, sz, sn) = np.split(a, 3, axis=1), np.split(s, 3, axis=1)
            r, z = _sigmoid(ar + sr), _sigmoid(az + sz)
            n = np.tanh(an + r * sn)
            new_h = (1 - z) * n + z * h
            gates = (sn, r, z, n)
        else:
            new_h = np.tanh(a + s) if mode == "tanh" else np.maximum(a + s, 0)
            gates = (new_h,)
        steps[t] = active, h, c, new_c, gates
        h, c = np.where(active, new_h, h), np.where(active, new_c, c)
        output[t] = np.where(active, new_h, 0)
    return output, h, c, steps


def recurrent_backward(
    mode: str,
    dout: Any,
    x: NDArray,
    w_ih: NDArray,
    w_hh: NDArray,
    b_ih: NDArray | None = None,
    b_hh: NDArray | None = None,
    h0: NDArray | None = None,
    c0: NDArray | None = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
) -> Any:
    """Gradients of x, w_ih, w_hh, b_ih, b_hh, h0 and, for "lstm", c0, from that of the output, or a tuple of those of all
    results."""
    _, h, c, steps = _forward(mode, x, w_ih, w_hh, b_ih, b_hh, h0, c0, lengths, reverse)
    doutput, dh, dc = (*(dout if isinstance(dout, tuple) else (dout,)), None, None)[:3]
    dh = np.zeros_like(h) if dh is None else dh
    dc = np.zeros_like(c) if dc is None else dc
    # Of all steps: the gradients of both parts of the gates, what they were products of.
    shape = (*x.shape[:2], len(w_ih))
    da_all, ds_all, h_all = _zeros(x, *shape), _zeros(x, *shape), _zeros(x, *x.shape[:2], h.shape[1])
    x_all = np.zeros_like(x)
    for t in [*_order(x, reverse)][::-1]:
        active, h, c, new_c, gates = steps[t]
        grad = dh if doutput is None else dh + doutput[t]
        kept, kept_c = _zeros(h, *h.shape), dc
        if mode == "lstm":
            i, f, g, o = gates
            tanh_c = np.tanh(new_c)
            d_c = dc + grad * o * (1 - tanh_c * tanh_c)
            da = [d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_c * i * (1 - g * g), grad * tanh_c * o * (1 - o)]
            ds, kept_c = da, d_c * f
        elif mode == "gru":
            sn, r, z, n = gates
            dn = grad * (1 - z) * (1 - n * n)
            da = [dn * sn * r * (1 - r), grad * (h - n) * z * (1 - z), dn]
            ds, kept = [*da[:2], dn * r], grad * z
        else:
            slope = 1 - gates[0] * gates[0] if mode == "tanh" else gates[0] > 0
            da = ds = [grad * slope]
        da_all[t], ds_all[t] = (np.where(active, np.concatenate(d, axis=1), 0) for d in (da, ds))
        x_all[t], h_all[t] = np.where(active, x[t], 0), h
        dh = np.where(active, kept + product(ds_all[t], w_hh), dh)
        dc = np.where(active, kept_c, dc)
    a2, s2, x2, h2 = (a.reshape(x.shape[0] * x.shape[1], a.shape[2]) for a in (da_all, ds_all, x_all, h_all))
    dx, dw_ih, dw_hh = product(a2, w_ih).reshape(x.shape), product(a2.T, x2), product(s2.T, h2)
    gradients = (dx, dw_ih, dw_hh, total(a2, 0), total(s2, 0), dh)
    return (*gradients, dc) if mode == "lstm" else gradients
