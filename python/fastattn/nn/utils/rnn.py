"""Sequences of different lengths as one tensor, padded or packed, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from fastattn._missing import missing
from fastattn.autograd.joining import stack
from fastattn.autograd.tensor import Tensor
from fastattn.nn.functional.vector import pad

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """Sequences of different lengths, the longest first: all first elements, all second ones, and so on.

    Made by `pack_padded_sequence` and `pack_sequence`; recurrent layers take it and give one back.

    Args:
        data: (sum of lengths, ...).
        batch_sizes: how many sequences have each step, int64 and on the CPU.
        sorted_indices: which sequences these are in the batch that they came from, if that was not sorted.
        unsorted_indices: the inverse of `sorted_indices`.

    Example:
        >>> import fastattn as fa
        >>> packed = fa.nn.utils.rnn.pack_sequence([fa.tensor([1, 2]), fa.tensor([3])])
        >>> packed.data.tolist(), packed.batch_sizes.tolist()
        ([1, 3, 2], [2, 1])
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if batch_sizes is None:  # (data, batch_sizes) as one argument
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with data of another dtype or on another device, and indices where the data are."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *indices)

    def cpu(self) -> Self:
        """The same in the host's memory."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> Self:
        """The same on a GPU."""
        return self.to(device)

    def double(self) -> Self:
        """The same in float64."""
        return self.to(np.dtype(np.float64))

    def float(self) -> Self:
        """The same in float32."""
        return self.to(np.dtype(np.float32))

    def half(self) -> Self:
        """The same in float16."""
        return self.to(np.dtype(np.float16))

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a GPU."""
        return bool(self.data.is_cuda)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another; None for None."""
    return None if permutation is None else permutation.argsort()


def _steps(batch_sizes: Tensor) -> tuple[Any, Any]:
    """For every element of a packed sequence its step, and its sequence."""
    sizes = np.asarray(batch_sizes.numpy())
    steps = np.repeat(np.arange(len(sizes)), sizes)
    return steps, np.arange(len(steps)) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def from_padded(padded: Tensor, batch_sizes: Tensor) -> Tensor:
    """The data of a packed sequence, from (T, B, ...) sorted by length."""
    steps, rows = _steps(batch_sizes)
    flat = padded.reshape(padded.shape[0] * padded.shape[1], *padded.shape[2:])
    return flat.index_select(0, Tensor(steps * padded.shape[1] + rows).to(padded.device))


def to_padded(sequence: PackedSequence, total_length: int | None = None) -> tuple[Tensor, Tensor]:
    """(T, B, ...) sorted by length, with zeros at the ends, and the lengths."""
    sizes = np.asarray(sequence.batch_sizes.numpy())
    steps, batch = total_length or len(sizes), int(sizes[0])
    lengths = (sizes[:, None] > np.arange(batch)).sum(0)
    there = np.arange(steps)[:, None] < lengths
    # Elements are numbered as they lie; where there is none, any will do.
    at = np.zeros(there.shape, np.int64)
    at[there] = np.arange(there.sum())
    data = sequence.data
    padded = data.index_select(0, Tensor(at.reshape(-1)).to(data.device)).reshape(*at.shape, *data.shape[1:])
    if not there.all():
        ends = Tensor(~there).to(data.device).reshape(*at.shape, *(1,) * (data.ndim - 1))
        padded = padded.masked_fill(ends, 0)
    return padded, Tensor(lengths)


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Sequences that are padded at their ends as a PackedSequence.

    Args:
        input: (T, B, ...), or (B, T, ...) with `batch_first`.
        lengths: of each sequence, 1 to T.
        batch_first: whether the batch is the first axis.
        enforce_sorted: whether the longest sequence must be the first, and so on; they are sorted otherwise.

    Returns:
        A PackedSequence.

    Raises:
        ValueError: lengths that are not one for each sequence, or not 1 to T.
        RuntimeError: lengths that rise, with `enforce_sorted`.

    Example:
        >>> import fastattn as fa
        >>> rnn = fa.nn.utils.rnn
        >>> rnn.pack_padded_sequence(fa.tensor([[1, 0], [2, 3]]), [1, 2], batch_first=True, enforce_sorted=False).data
        tensor([2, 1, 3])
    """
    sizes = np.asarray(lengths.cpu().numpy() if isinstance(lengths, Tensor) else lengths, np.int64)
    padded = input.transpose(0, 1) if batch_first else input
    steps, batch = padded.shape[:2]
    if sizes.shape != (batch,) or batch == 0:
        msg = f"pack_padded_sequence: lengths has shape {sizes.shape}; expected ({batch},), one for each sequence"
        raise ValueError(msg)
    if sizes.min() <= 0 or sizes.max() > steps:
        msg = f"pack_padded_sequence: lengths are {sizes.min()} to {sizes.max()}; expected 1 to {steps}"
        raise ValueError(msg)
    order = None
    if not enforce_sorted:
        at = np.argsort(-sizes, kind="stable")
        sizes, order = sizes[at], Tensor(at).to(input.device)
        padded = padded.index_select(1, order)
    elif (sizes[1:] > sizes[:-1]).any():
        msg = "pack_padded_sequence: lengths rise; sort the sequences, the longest first, or pass enforce_sorted=False"
        raise RuntimeError(msg)
    batch_sizes = Tensor((sizes[:, None] > np.arange(sizes[0])).sum(0))
    return PackedSequence(from_padded(padded, batch_sizes), batch_sizes, order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The sequences of a PackedSequence, padded to one length.

    Args:
        sequence: what `pack_padded_sequence` or a recurrent layer gave.
        batch_first: (B, T, ...) instead of (T, B, ...).
        padding_value: what to pad with.
        total_length: T, at least the longest length, which is the default.

    Returns:
        The padded tensor, and the lengths (B,), int64; in the order that the sequences had before packing.

    Raises:
        ValueError: `total_length` is less than the longest length.

    Example:
        >>> import fastattn as fa
        >>> rnn = fa.nn.utils.rnn
        >>> rnn.pad_packed_sequence(rnn.pack_sequence([fa.tensor([1, 2]), fa.tensor([3])]), batch_first=True)
        (tensor([[1, 2],
                [3, 0]]), tensor([2, 1]))
    """
    longest = len(sequence.batch_sizes)
    if total_length is not None and total_length < longest:
        msg = f"pad_packed_sequence: total_length is {total_length}; expected at least the longest length, {longest}"
        raise ValueError(msg)
    padded, lengths = to_padded(sequence, total_length)
    if padding_value:
        there = np.arange(padded.shape[0])[:, None] < np.asarray(lengths.numpy())
        ends = Tensor(~there).to(padded.device).reshape(*there.shape, *(1,) * (padded.ndim - 2))
        padded = padded.masked_fill(ends, padding_value)
    order = sequence.unsorted_indices
    if order is not None:
        padded, lengths = padded.index_select(1, order), lengths[order.cpu()]
    return padded.transpose(0, 1) if batch_first else padded, lengths


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of different lengths as a PackedSequence.

    Args:
        sequences: tensors (length, ...) whose other axes are equal.
        enforce_sorted: whether the longest must be the first, and so on; they are sorted otherwise.

    Returns:
        A PackedSequence.

    Raises:
        ValueError: no sequences, or one of length 0.
        RuntimeError: lengths that rise, with `enforce_sorted`.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.utils.rnn.pack_sequence([fa.tensor([1, 2]), fa.tensor([3])]).batch_sizes
        tensor([2, 1])
    """
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a PackedSequence, in the order that they had before packing.

    Args:
        packed_sequences: what `pack_sequence` or a recurrent layer gave.

    Returns:
        A list of tensors.

    Example:
        >>> import fastattn as fa
        >>> rnn = fa.nn.utils.rnn
        >>> [s.tolist() for s in rnn.unpack_sequence(rnn.pack_sequence([fa.tensor([1, 2]), fa.tensor([3])]))]
        [[1, 2], [3]]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences, padded to the longest, as one tensor.

    Args:
        sequences: tensors (length, ...) whose other axes are equal.
        batch_first: (batch, length, ...) instead of (length, batch, ...).
        padding_value: what to pad with.
        padding_side: "right", or "left": before the sequence.

    Returns:
        A new tensor.

    Raises:
        ValueError: no sequences, or an unknown side.

    Example:
        >>> import fastattn as fa
        >>> fa.nn.utils.rnn.pad_sequence([fa.tensor([1, 2]), fa.tensor([3])], batch_first=True)
        tensor([[1, 2],
                [3, 0]])
    """
    if padding_side not in ("left", "right"):
        msg = f'pad_sequence: padding_side is {padding_side!r}; expected "left" or "right"'
        raise ValueError(msg)
    if not len(sequences):
        msg = "pad_sequence: an empty list; expected at least one sequence"
        raise ValueError(msg)
    longest = max(len(s) for s in sequences)
    rows = []
    for s in sequences:
        missing_steps = longest - len(s)
        ends = (missing_steps, 0) if padding_side == "left" else (0, missing_steps)
        rows.append(pad(s, (0, 0) * (s.ndim - 1) + ends, value=padding_value) if missing_steps else s)
    return stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences that pad_sequence has padded on the right.

    Args:
        padded_sequences: (length, batch, ...).
        lengths: of each sequence.
        batch_first: it is (batch, length, ...).

    Returns:
        A list of tensors.

    Example:
        >>> import fastattn as fa
        >>> [s.tolist() for s in fa.nn.utils.rnn.unpad_sequence(fa.tensor([[1, 3], [2, 0]]), fa.tensor([2, 1]))]
        [[1, 2], [3]]
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[: int(n)] for row, n in zip(rows, lengths, strict=True)]


__getattr__ = missing(__name__)
