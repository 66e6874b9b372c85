"""The description of an op: everything that the doors (ndarray, Tensor, torch, JAX) need to know about it, said once.

A door owns arrays of one kind. To run an op it allocates what `outputs` asks for, calls `forward`, and, where a gradient
will be wanted, keeps what `saved` names and later calls `backward`. The description never looks inside an array: shapes
are checked and data are read in `_C`, which raises one error that names the argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from . import _kinds

if TYPE_CHECKING:
    from ._kinds import Kind

Array = Any  # an array of the calling door's kind
Spec = tuple[tuple[int, ...], Any] | None  # shape and dtype of an output, or None for one that is not wanted


class Op:
    """Base of the descriptions. A subclass is used through its one instance, called with arrays and attributes."""

    name: ClassVar[str]  # as errors and explain() say it
    arrays: ClassVar[tuple[str, ...]]  # the array arguments in order; absent optional ones are None
    required: ClassVar[int] = 1  # how many of them, from the first, must be there
    differentiable: ClassVar[tuple[str, ...]] = ()  # those of them that have a gradient
    # Within autocast: "lower" casts floats to its dtype, "float32" to that, "keep" nothing, None to the widest that there
    # is.
    autocast: ClassVar[str | None] = None

    def outputs(self, kind: Kind, arrays: tuple[Array, ...], attrs: tuple[Any, ...], saving: bool) -> tuple[Spec, ...]:
        """Shape and dtype of every output. `saving`: a backward will follow. Wrong shapes must not raise here: `_C`
        looks at the inputs before the outputs, and its error is the one to see."""
        raise TypeError(self.name)

    def forward(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]) -> None:
        """Fills the outputs."""
        raise TypeError(self.name)

    def saved(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...]:
        """The inputs and outputs that the backward reads."""
        raise TypeError(self.name)

    def backward(
        self,
        kind: Kind,
        saved: tuple[Array | None, ...],
        attrs: tuple[Any, ...],
        grads: tuple[Array | None, ...],
        needs: tuple[bool, ...],
    ) -> tuple[Array | None, ...]:
        """Gradients of `arrays`, None where `needs` says so, from the gradients of the public outputs (None where an
        output was not used)."""
        raise TypeError(self.name)

    def source(
        self, arrays: tuple[Array, ...], attrs: tuple[Any, ...], outs: tuple[Array, ...]
    ) -> tuple[Array | None, ...] | None:
        """What `again` reads, all of it in `saved`; None where it would take long, or not give the same bits."""
        return None

    def again(self, kind: Kind, source: tuple[Array | None, ...], attrs: tuple[Any, ...]) -> Array:
        """The first output once more: a door may drop it where only gradients still read it."""
        outs = kind.allocate(self, source, attrs, None, saving=False)
        self.forward(source, attrs, outs)
        return outs[0]

    def public(self, attrs: tuple[Any, ...]) -> int:
        """How many outputs, from the first, the caller gets; the others serve the backward."""
        return 1

    def __call__(self, arrays: tuple[Array, ...], attrs: tuple[Any, ...] = (), out: Array | None = None) -> Any:
        """Runs the op on arrays of any kind; returns the public outputs, one bare or several in a tuple."""
        kind = None
        for array in arrays:
            if array is None:
                continue
            found = _kinds.KINDS.get(type(array))
            if found is None or (kind is not None and found is not kind):  # not seen before, or several kinds
                kind = _kinds.kind_of(self.name, self.arrays, arrays)
                break
            kind = found
        return (kind or _kinds.NUMPY).run(self, arrays, attrs, out)


def attribute_error(op: str, name: str, value: object, expected: str) -> ValueError:
    return ValueError(f"{op}: {name} is {value!r}; expected {expected}")
