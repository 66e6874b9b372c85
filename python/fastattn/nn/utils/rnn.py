"""Sequences of different lengths as one padded tensor, and back."""

from __future__ import annotations

from collections.abc import Sequence

from fastattn._missing import missing
from fastattn.autograd.joining import stack
from fastattn.autograd.tensor import Tensor
from fastattn.nn.functional.vector import pad

__all__ = ["pad_sequence", "unpad_sequence"]


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
