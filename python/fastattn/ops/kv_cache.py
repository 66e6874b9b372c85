"""Keys and values of the tokens so far, and attention that appends to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from fastattn._runtime import mode

from . import _kinds
from ._op import Array, attribute_error
from .attention import LAYOUTS, scaled_dot_product_attention, window_sides

NAMES = ("query", "key", "value", "alibi_slopes", "sinks")  # of what attention_with_kv_cache takes
Lengths = np.ndarray[Any, np.dtype[np.int64]]


class KVCache:
    """The keys and values of one attention layer: contiguous buffers that grow in place.

    Row b holds lengths[b] tokens, from position 0 on, so what a row holds does not depend on the other rows. The first
    append decides batch size, heads, head dimensions, dtype and kind of array.

    Args:
        capacity: tokens a row to make room for at first; the room doubles when it is used up.

    Raises:
        ValueError: a negative capacity.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> cache = fa.KVCache(capacity=16)
        >>> cache.append(np.ones((1, 2, 3, 4)), np.ones((1, 2, 3, 4)))
        >>> cache.keys.shape, cache.capacity
        ((1, 2, 3, 4), 16)

    Source: Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need" (2019), section 2.3.
    """

    def __init__(self, capacity: int = 0) -> None:
        if capacity < 0:
            raise attribute_error("KVCache", "capacity", capacity, "0 or more tokens")
        self._room = capacity
        self._keys: Array | None = None  # (B, Hkv, capacity, D)
        self._values: Array | None = None  # (B, Hkv, capacity, Dv)
        self._longest = 0  # tokens of the longest row
        self._lengths: Lengths | None = None  # (B,) where the rows differ, else None

    @classmethod
    def cat(cls, caches: Sequence[KVCache]) -> KVCache:
        """One cache of the rows of several, in their order, with the room of the largest; none may be empty."""
        if not caches:
            raise attribute_error("KVCache.cat", "caches", caches, "at least one")
        parts = [(cache._filled(cache._keys), cache._filled(cache._values)) for cache in caches]
        new = cls(max(cache.capacity for cache in caches))
        for part in parts:
            for name, x, first in zip(("keys", "values"), part, parts[0], strict=True):
                error = _mismatch("KVCache.cat", name, x, first, batch=False)
                if error is not None:
                    raise error
        batch = sum(cache.batch_size for cache in caches)
        new._keys, new._values = (_buffer(x, batch, new.capacity) for x in parts[0])
        row = 0
        for cache, (keys, values) in zip(caches, parts, strict=True):
            rows, at = slice(row, row + cache.batch_size), slice(0, cache.length)
            new._keys[rows, :, at], new._values[rows, :, at] = keys, values
            row += cache.batch_size
        new._set_lengths(np.concatenate([cache.lengths for cache in caches]))
        return new

    @property
    def batch_size(self) -> int:
        """B, or 0 before the first append."""
        return 0 if self._keys is None else int(self._keys.shape[0])

    @property
    def capacity(self) -> int:
        """Tokens that a row has room for."""
        return self._room if self._keys is None else int(self._keys.shape[2])

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return self._longest

    @property
    def lengths(self) -> Lengths:
        """Tokens of each row, (B,) int64; a copy."""
        if self._lengths is None:
            return np.full(self.batch_size, self._longest, np.int64)
        return self._lengths.copy()

    @property
    def is_ragged(self) -> bool:
        """Whether the rows hold different numbers of tokens."""
        return self._lengths is not None

    @property
    def keys(self) -> Array:
        """(B, Hkv, length, D), a view; behind the end of a shorter row it has no meaning."""
        return self._filled(self._keys)

    @property
    def values(self) -> Array:
        """(B, Hkv, length, Dv), a view; behind the end of a shorter row it has no meaning."""
        return self._filled(self._values)

    @property
    def nbytes(self) -> int:
        """Bytes of the buffers."""
        return sum(int(x.nbytes) for x in (self._keys, self._values) if x is not None)

    def __repr__(self) -> str:
        shape = None if self._keys is None else tuple(self._keys.shape)
        return f"KVCache({shape}, lengths={self.lengths.tolist() if self.is_ragged else self._longest})"

    def append(self, key: Array, value: Array, lengths: Any = None, *, layout: str = "bhtd") -> None:
        """Puts T tokens behind the last ones of every row, or lengths[b] of the T behind those of row b.

        Args:
            key: (B, Hkv, T, D).
            value: (B, Hkv, T, Dv).
            lengths: (B,) integers of 0 to T, how many tokens of each row count, from the first; default all.
            layout: "bhtd", or "bthd" for arrays (B, T, Hkv, D).
        """
        op = "KVCache.append"
        tokens, counts = self._write(op, key, value, lengths, layout)
        self._advance(tokens, counts)

    def truncate(self, lengths: Any) -> None:
        """Forgets the tokens of each row from the given length on: an integer, or (B,) integers."""
        wanted = np.asarray(lengths)
        if wanted.dtype.kind not in "iu" or wanted.shape not in ((), (self.batch_size,)) or (wanted < 0).any():
            raise attribute_error(
                "KVCache.truncate", "lengths", lengths, f"0 or more, one or {self.batch_size} of them"
            )
        self._set_lengths(np.minimum(self.lengths, wanted))

    def reorder(self, rows: Any) -> None:
        """Makes row b what row rows[b] was: drops rows, repeats them (beam search), or changes their order."""
        index = np.asarray(rows)
        if (
            index.ndim != 1
            or (index.size and index.dtype.kind not in "iu")
            or ((index < 0) | (index >= self.batch_size)).any()
        ):
            raise attribute_error("KVCache.reorder", "rows", rows, f"row numbers of 0 to {self.batch_size - 1}")
        if self._keys is None or self._values is None:
            return
        index = index.astype(np.int64)  # of no rows at all too
        lengths = self.lengths[index]
        at = _kinds.kind_of("KVCache", ("keys",), (self._keys,)).asarray(index, self._keys)
        self._keys, self._values = self._keys[at], self._values[at]
        self._set_lengths(lengths)

    # What attention_with_kv_cache is made of ---------------------------------------------------------------------------

    def _filled(self, buffer: Array | None, new: int = 0) -> Array:
        if buffer is None:
            msg = "KVCache: nothing has been appended yet"
            raise RuntimeError(msg)
        return buffer[:, :, : self._longest + new]

    def _write(self, op: str, key: Array, value: Array, lengths: Any, layout: str) -> tuple[int, Lengths | None]:
        """Writes T tokens behind the last ones; they count only after `_advance`. Returns T and the checked lengths."""
        k, v = _kinds.raw(op, "key", key), _kinds.raw(op, "value", value)
        assert k is not None
        assert v is not None
        if type(k) is not type(v):
            _kinds.kind_of(op, ("key", "value"), (k, v))  # raises where they do not mix
        if k.ndim != 4 or v.ndim != 4 or k.shape[:3] != v.shape[:3]:
            axes = "(B, T, Hkv, D)" if LAYOUTS[layout] else "(B, Hkv, T, D)"
            msg = f"{op}: key has shape {tuple(k.shape)} and value {tuple(v.shape)}; expected {axes} that differ in D only"
            raise ValueError(msg)
        if LAYOUTS[layout]:
            k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
        self._fits(op, k, v)
        batch, _, tokens, _ = k.shape
        counts = None if lengths is None else _counts(op, lengths, batch, tokens)
        self._make_room(k, v, self._longest + tokens)
        if self._lengths is None:
            at = slice(self._longest, self._longest + tokens)
            self._keys[:, :, at], self._values[:, :, at] = k, v  # type: ignore[index]
        else:
            kind = _kinds.kind_of(op, ("key",), (k,))
            row = kind.asarray(np.arange(batch)[:, None], k)
            column = kind.asarray(self._lengths[:, None] + np.arange(tokens), k)  # (B, T)
            # Indices on both sides of a slice: their axes come first, (B, T, Hkv, D).
            self._keys[row, :, column], self._values[row, :, column] = k.swapaxes(1, 2), v.swapaxes(1, 2)  # type: ignore[index]
        return tokens, counts

    def _fits(self, op: str, k: Array, v: Array) -> None:
        """Refuses what does not go with the tokens that are there; an empty cache takes anything."""
        for name, new, buffer in (("key", k, self._keys), ("value", v, self._values)):
            error = None if buffer is None else _mismatch(op, name, new, buffer)
            if error is not None and self._longest:
                raise error
            if error is not None:
                self._room, self._keys, self._values = self.capacity, None, None
                return

    def _make_room(self, k: Array, v: Array, needed: int) -> None:
        if self._keys is None or needed > self._keys.shape[2]:
            capacity = max(needed, self._room if self._keys is None else 2 * self.capacity)
            self._keys, self._values = self._grown(self._keys, k, capacity), self._grown(self._values, v, capacity)

    def _grown(self, buffer: Array | None, like: Array, capacity: int) -> Array:
        grown = _buffer(like, like.shape[0], capacity)
        if buffer is not None:
            grown[:, :, : self._longest] = buffer[:, :, : self._longest]
        return grown

    def _advance(self, tokens: int, counts: Lengths | None) -> None:
        """Counts the tokens that `_write` has written. Within explain() they are as if not written."""
        if mode.explaining:
            return
        if counts is not None:
            self._set_lengths(self.lengths + counts)
        elif self._lengths is not None:
            self._lengths += tokens
        self._longest = self._longest if counts is not None else self._longest + tokens

    def _set_lengths(self, lengths: Lengths) -> None:
        self._longest = int(lengths.max(initial=0))
        self._lengths = None if (lengths == self._longest).all() else lengths

    def _mask(self, queries: int, new: int, counts: Lengths | None, is_causal: bool, window: Any) -> ndarray[Any, Any]:
        """Which keys each query sees, (B, 1, T, S) bool; `new` tokens are written and do not count yet."""
        ends = self.lengths + (new if counts is None else counts)
        first = self.lengths if new else ends - queries
        position = (first[:, None] + np.arange(queries))[:, :, None]  # (B, T, 1)
        key = np.arange(self._longest + new)
        seen = key <= position if is_causal else key < ends[:, None, None]
        if window is not None:
            left, right = window
            seen = seen if left < 0 else seen & (key >= position - left)
            seen = seen if right < 0 else seen & (key <= position + right)
        return seen[:, None]


def _buffer(like: Array, batch: int, capacity: int) -> Array:
    """Zeros: behind a mask a NaN of memory never written would be harmless, and slow."""
    _, heads, _, dim = like.shape
    kind = _kinds.kind_of("KVCache", ("key",), (like,))
    return kind.zeros((batch, heads, capacity, dim), like.dtype, like)


def _mismatch(op: str, name: str, new: Array, held: Array, *, batch: bool = True) -> Exception | None:
    """The error of an array (B, Hkv, T, D) that does not go with another; None where it does."""
    same = isinstance(new, type(held)) and new.dtype == held.dtype
    first = 0 if batch else 1
    if same and new.shape[first:2] == held.shape[first:2] and new.shape[3] == held.shape[3]:
        return None
    found, expected = (
        f"B {x.shape[0]}, Hkv {x.shape[1]}, D {x.shape[3]} of {x.dtype} ({type(x).__module__.partition('.')[0]})"
        for x in (new, held)
    )
    return (ValueError if same else TypeError)(f"{op}: {name} has {found}; the cache holds {expected}")


def _counts(op: str, lengths: Any, batch: int, tokens: int) -> Lengths:
    counts = np.asarray(lengths)
    fits = counts.shape == (batch,) and counts.dtype.kind in "iu"
    if not fits or (counts < 0).any() or (counts > tokens).any():
        raise attribute_error(op, "lengths", lengths, f"{batch} integers of 0 to {tokens}")
    return counts.astype(np.int64)


def attention_with_kv_cache(
    query: Array,
    cache: KVCache,
    key: Array | None = None,
    value: Array | None = None,
    *,
    lengths: Any = None,
    is_causal: bool = True,
    scale: float | None = None,
    window: tuple[int, int] | None = None,
    softcap: float = 0.0,
    alibi_slopes: Array | None = None,
    sinks: Array | None = None,
    layout: str = "bhtd",
) -> Array:
    r"""Appends keys and values to a cache in place, and attends from queries at the end of each row to all of it.

    .. math:: \mathrm{out} = \mathrm{softmax}(\mathrm{scale} \cdot Q K_{cache}^T + \mathrm{mask}) V_{cache}

    The T queries of row b stand at the positions of its T new tokens or, without `key`, of its last T tokens. A row's
    result does not depend on the other rows, nor on the capacity: to the last bit for T = 1, to rounding for more. Query
    head h reads key head h // (H // Hkv). No gradient goes through a cache.

    Args:
        query: (B, H, T, D), any floating dtype, any strides.
        cache: of this layer; it is changed only if the call succeeds.
        key: (B, Hkv, T, D), new tokens; None to attend to what is there, as cross-attention does.
        value: (B, Hkv, T, Dv).
        lengths: (B,) integers of 0 to T, how many of the T tokens of each row count, from the first; default all. The
            output of the others has no meaning.
        is_causal: a query sees no later key.
        scale: multiplies the scores, default 1 / sqrt(D).
        window: (left, right): how many keys before and after its position a query sees; -1 = all.
        softcap: if not 0, scores become softcap * tanh(scores / softcap) before mask and slopes.
        alibi_slopes: (H,) or (B, H): -slope * |position - key| is added to the scores. Where the rows hold different
            numbers of tokens, each is a call of its own.
        sinks: (H,): a logit per head that takes weight and has no value.
        layout: "bhtd", or "bthd" for arrays (B, T, H, D).

    Returns:
        (B, H, T, Dv), or (B, T, H, Dv), the kind of `query`.

    Raises:
        ValueError: shapes that do not fit, `lengths` out of range, an unknown `layout`.
        TypeError: dtypes or kinds of array that are not the cache's; one of `key` and `value` alone.
        RuntimeError: an argument requires a gradient; nothing is in the cache and there is no `key`.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> cache, x = fa.KVCache(), np.ones((1, 2, 5, 4))
        >>> prompt = fa.attention_with_kv_cache(x, cache, x, x)
        >>> step = fa.attention_with_kv_cache(x[:, :, :1], cache, x[:, :, :1], x[:, :, :1])
        >>> step.shape, cache.length
        ((1, 2, 1, 4), 6)

    Source: Dao, "FlashAttention-2" (2023), algorithm 1; flash_attn_with_kvcache's form of it.
    """
    op = "attention_with_kv_cache"
    if layout not in LAYOUTS:
        raise attribute_error(op, "layout", layout, '"bhtd" or "bthd"')
    if not isinstance(cache, KVCache):
        msg = f"{op}: cache is a {type(cache).__name__}; expected a KVCache"
        raise TypeError(msg)
    if (key is None) != (value is None):
        msg = f"{op}: key and value come together; {'key' if key is None else 'value'} is missing"
        raise TypeError(msg)
    if key is None and lengths is not None:
        msg = f"{op}: lengths says how many of the new tokens count; there is no key"
        raise TypeError(msg)
    for name, x in zip(NAMES, (query, key, value, alibi_slopes, sinks), strict=True):
        if x is not None and getattr(x, "requires_grad", False):
            msg = f"{op}: {name} requires a gradient, and a cache keeps none; call under no_grad(), or detach() it"
            raise RuntimeError(msg)
    time, head = (1, 2) if LAYOUTS[layout] else (2, 1)
    shape: tuple[int, ...] = getattr(query, "shape", ())
    key_shape: tuple[int, ...] = getattr(key, "shape", ())
    if len(shape) != 4 or (len(key_shape) == 4 and key_shape[time] != shape[time]):
        axes = "(B, T, H, D)" if LAYOUTS[layout] else "(B, H, T, D)"
        of_key = "" if key is None else f", with T that of key {tuple(key_shape)}"
        msg = f"{op}: query has shape {tuple(shape)}; expected {axes}{of_key}"
        raise ValueError(msg)
    window = None if window is None else window_sides(op, window)
    queries, new, counts = shape[time], 0, None
    if key is not None:
        new, counts = cache._write(op, key, value, lengths, layout)
    keys, values = cache._filled(cache._keys, new), cache._filled(cache._values, new)
    held = keys.shape
    if shape[0] != held[0] or shape[3] != held[3] or shape[head] % max(1, held[1]):
        msg = f"{op}: query has shape {tuple(shape)}; expected B {held[0]}, D {held[3]} and H a multiple of {held[1]}"
        raise ValueError(msg)
    mask = None
    # Rows that begin together need no mask: tokens that do not count stand behind all those that do.
    if cache.is_ragged or (counts is not None and not is_causal):
        shown = cache._mask(queries, new, counts, is_causal, window)
        mask = _kinds.kind_of(op, ("cache",), (keys,)).asarray(shown, keys)
        is_causal, window = False, None
    if time == 1:
        keys, values = keys.swapaxes(1, 2), values.swapaxes(1, 2)
    kind = _kinds.kind_of(op, ("query",), (query,))
    out = kind.empty((*shape[:-1], values.shape[-1]), query.dtype, query)
    # On what lies below a Tensor: nothing is recorded here, and a call on one kind of array is the quicker.
    raw_query, raw_out = kind.raw(query), kind.raw(out)
    slopes, sinks = _kinds.raw(op, "alibi_slopes", alibi_slopes), _kinds.raw(op, "sinks", sinks)
    options: dict[str, Any] = {
        "is_causal": is_causal and queries > 1, "scale": scale, "enable_gqa": True, "layout": layout,
        "causal_align": "bottom_right", "window": window, "softcap": softcap, "sinks": sinks,
    }  # fmt: skip
    if slopes is None or not cache.is_ragged:
        scaled_dot_product_attention(raw_query, keys, values, mask, alibi_slopes=slopes, out=raw_out, **options)
    else:  # a row's queries stand at the end of its own tokens, which is where distances are counted from
        for b, length in enumerate(cache.lengths + new):
            row = slice(b, b + 1)
            seen = (row, slice(length)) if time == 1 else (row, slice(None), slice(length))
            scaled_dot_product_attention(
                raw_query[row], keys[seen], values[seen], None if mask is None else mask[row, :, :, :length],
                alibi_slopes=slopes[row] if slopes.ndim == 2 and len(slopes) > 1 else slopes, out=raw_out[row], **options,
            )  # fmt: skip
    if key is not None:
        cache._advance(new, counts)
    return out
