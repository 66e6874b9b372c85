"""Products of matrices and vectors: torch's names around `matmul`, and einsum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastattn import ops

from .node import Base
from .shape import axis_of

if TYPE_CHECKING:
    from .tensor import Tensor


def _need(name: str, **ndims: tuple[Any, int]) -> None:
    for argument, (tensor, ndim) in ndims.items():
        if tensor.ndim != ndim:
            msg = f"{name}: {argument} has shape {tensor.shape}; expected {ndim} {'axis' if ndim == 1 else 'axes'}"
            raise ValueError(msg)


class Products(Base):
    """Products of matrices and vectors."""

    __slots__ = ()

    def matmul(self, other: Any) -> Tensor:
        """Matrix product; see `fa.matmul`."""
        return self @ other  # type: ignore[no-any-return]

    def mm(self, mat2: Tensor) -> Tensor:
        """The product of two matrices."""
        _need("mm", self=(self, 2), mat2=(mat2, 2))
        return ops.matmul(self, mat2)  # type: ignore[no-any-return]

    def bmm(self, mat2: Tensor) -> Tensor:
        """The products of two batches of matrices, (B, M, K) and (B, K, N)."""
        _need("bmm", self=(self, 3), mat2=(mat2, 3))
        if self._data.shape[0] != mat2.shape[0]:
            msg = f"bmm: batches of {self._data.shape[0]} and {mat2.shape[0]} matrices; expected as many"
            raise ValueError(msg)
        return ops.matmul(self, mat2)  # type: ignore[no-any-return]

    def mv(self, vec: Tensor) -> Tensor:
        """The product of a matrix and a vector."""
        _need("mv", self=(self, 2), vec=(vec, 1))
        return ops.matmul(self, vec)  # type: ignore[no-any-return]

    def dot(self, tensor: Tensor) -> Tensor:
        """The sum of the products of the elements of two vectors."""
        _need("dot", self=(self, 1), tensor=(tensor, 1))
        return (self * tensor).sum()

    vdot = dot

    def inner(self, other: Tensor) -> Tensor:
        """Sums of products over the last axes of both."""
        if not self._data.ndim or not other.ndim:
            return self * other
        return tensordot(self, other, ([-1], [-1]))

    def outer(self, vec2: Tensor) -> Tensor:
        """All products of the elements of two vectors, (n, m)."""
        _need("outer", self=(self, 1), vec2=(vec2, 1))
        return self.unsqueeze(1) * vec2  # type: ignore[no-any-return]

    ger = outer

    def kron(self, other: Tensor) -> Tensor:
        """The Kronecker product: `other` times each element of self."""
        n = max(self._data.ndim, other.ndim)
        a, b = ((1,) * (n - t.ndim) + tuple(t.shape) for t in (self._data, other))
        left: Any = self.reshape([m for x in a for m in (x, 1)])
        wide = left * other.reshape([m for y in b for m in (1, y)])
        return wide.reshape([x * y for x, y in zip(a, b, strict=True)])  # type: ignore[no-any-return]

    def cross(self, other: Tensor, dim: int | None = None) -> Tensor:
        """The cross product of vectors of 3 along an axis, by default the first of length 3."""
        shape = self._data.shape
        d = shape.index(3) if dim is None and 3 in shape else axis_of("cross", -1 if dim is None else dim, len(shape))
        if shape[d] != 3 or other.shape[d] != 3:
            msg = f"cross: shapes {shape} and {other.shape}; expected length 3 along axis {d}"
            raise ValueError(msg)
        a: Any = self
        return a.roll(-1, d) * other.roll(1, d) - a.roll(1, d) * other.roll(-1, d)  # type: ignore[no-any-return]

    def addmm(self, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * mat1 @ mat2."""
        return _plus(self, mat1.mm(mat2), beta, alpha)

    def addmv(self, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * mat @ vec."""
        return _plus(self, mat.mv(vec), beta, alpha)

    def addr(self, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * outer(vec1, vec2)."""
        return _plus(self, vec1.outer(vec2), beta, alpha)

    def baddbmm(self, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * batch1 @ batch2, of batches of matrices."""
        return _plus(self, batch1.bmm(batch2), beta, alpha)

    def addbmm(self, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        """beta * self + alpha * the sum of batch1 @ batch2 over the batch."""
        return _plus(self, batch1.bmm(batch2).sum(0), beta, alpha)

    def trace(self) -> Tensor:
        """The sum of the diagonal of a matrix."""
        _need("trace", self=(self, 2))
        return self.diagonal().sum()  # type: ignore[no-any-return]


def _plus(a: Any, product: Tensor, beta: float, alpha: float) -> Tensor:
    product = product if alpha == 1 else product * alpha
    # As torch: with beta 0 what is in `a` does not matter, not even NaN.
    return product if beta == 0 else (a if beta == 1 else a * beta) + product


def tensordot(a: Any, b: Any, dims: int | Sequence[Sequence[int]] = 2) -> Tensor:
    """Sums of products over axes of two tensors; the other axes of `a` come first, then those of `b`.

    Args:
        a: a tensor.
        b: a tensor.
        dims: how many of the last axes of `a` and the first of `b`; or the axes of both, in two lists.

    Raises:
        ValueError: axes of different lengths.

    Example:
        >>> import fastattn as fa
        >>> fa.tensordot(fa.ones(2, 3), fa.ones(3, 4), 1).shape
        (2, 4)
    """
    if isinstance(dims, int):
        dims = (range(a.ndim - dims, a.ndim), range(dims))
    left, right = ([axis_of("tensordot", d, t.ndim) for d in axes] for t, axes in zip((a, b), dims, strict=True))
    lengths = [a.shape[d] for d in left], [b.shape[d] for d in right]
    if lengths[0] != lengths[1]:
        msg = f"tensordot: axes of lengths {tuple(lengths[0])} and {tuple(lengths[1])}; expected the same"
        raise ValueError(msg)
    rest_a = [d for d in range(a.ndim) if d not in left]
    rest_b = [d for d in range(b.ndim) if d not in right]
    k = math.prod(lengths[0])
    shape = [a.shape[d] for d in rest_a] + [b.shape[d] for d in rest_b]
    product = ops.matmul(a.permute(rest_a + left).reshape(-1, k), b.permute(right + rest_b).reshape(k, -1))
    return product.reshape(shape)  # type: ignore[no-any-return]


# einsum -------------------------------------------------------------------------------------------------------------


def einsum(equation: str, *operands: Any) -> Tensor:
    r"""Sums of products, by the letters of axes: "bij,bjk->bik" is a batch of matrix products.

    A letter that several operands have is multiplied along; one that the result lacks is summed over; "..." stands for
    the axes without letters, which broadcast. Operands are taken from left to right, two at a time, as matrix products.

    Args:
        equation: the letters of each operand, and after "->" those of the result; without it the letters that occur
            once, in alphabetical order.
        operands: tensors, or one list of them.

    Returns:
        A tensor.

    Raises:
        ValueError: an equation that does not fit the operands.

    Example:
        >>> import fastattn as fa
        >>> fa.einsum("ij,j->i", fa.ones(2, 3), fa.ones(3))
        tensor([3., 3.])

    Source: Einstein, "Die Grundlage der allgemeinen Relativitaetstheorie" (1916), section 5.
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    terms, out = _parse(equation, [t.ndim for t in tensors])
    sizes: dict[str, int] = {}
    for i, (term, t) in enumerate(zip(terms, tensors, strict=True)):
        for letter, n in zip(term, t.shape, strict=True):
            if sizes.get(letter, 1) != n and sizes.get(letter, 1) != 1 and n != 1:
                msg = f"einsum: axis {letter!r} of operand {i} has length {n}; expected {sizes[letter]}"
                raise ValueError(msg)
            sizes[letter] = max(sizes.get(letter, 1), n) if n else 0
    acc, have = _diagonals(tensors[0], terms[0])
    for i in range(1, len(tensors)):
        other, term = _diagonals(tensors[i], terms[i])
        later = set(out).union(*terms[i + 1 :])
        acc, have = _contract(acc, have, other, term, later)
    return _arranged(acc, have, out)  # type: ignore[no-any-return]


def _parse(equation: str, ndims: list[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result; the axes of "..." get letters of their own."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        msg = f"einsum: {equation!r} has {len(terms)} operands; expected {len(ndims)}, those given"
        raise ValueError(msg)
    spare = [chr(0x3B1 + i) for i in range(24)]  # Greek: no letter of an equation
    widest = 0
    for i, (term, ndim) in enumerate(zip(terms, ndims, strict=True)):
        letters = term.replace("...", "", 1)
        extra = ndim - len(letters)
        if (
            not letters.isascii()
            or not (letters.isalpha() or not letters)
            or (extra != 0 if "..." not in term else extra < 0)
        ):
            msg = f"einsum: operand {i} has {ndim} axes, which {term!r} of {equation!r} does not describe"
            raise ValueError(msg)
        widest = max(widest, extra)
        terms[i] = term.replace("...", "".join(spare[24 - extra :]) if extra else "")
    ellipsis = "".join(spare[24 - widest :]) if widest else ""
    if arrow:
        out = out.replace("...", ellipsis)
    else:
        counts = "".join(terms)
        out = ellipsis + "".join(sorted({c for c in counts if counts.count(c) == 1 and c not in ellipsis}))
    if len(set(out)) != len(out) or not set(out) <= set("".join(terms)):
        msg = f"einsum: the result {out!r} of {equation!r} has a letter twice, or one that no operand has"
        raise ValueError(msg)
    return terms, out


def _diagonals(t: Any, term: str) -> tuple[Any, str]:
    """An operand with each letter once: a letter it has twice stands for a diagonal."""
    for letter in term:
        while term.count(letter) > 1:
            a = term.index(letter)
            b = term.index(letter, a + 1)
            t = t.diagonal(0, a, b)
            term = term[:a] + term[a + 1 : b] + term[b + 1 :] + letter
    return t, term


def _contract(a: Any, have: str, b: Any, term: str, later: set[str]) -> tuple[Any, str]:
    """The product of two operands, summed over the letters that nothing needs later, as one batch of matrices."""
    a, have = _without(a, have, later | set(term))
    b, term = _without(b, term, later | set(have))
    common = [c for c in have if c in term]
    batch = "".join(c for c in common if c in later)
    summed = "".join(c for c in common if c not in later)
    rows = "".join(c for c in have if c not in common)
    columns = "".join(c for c in term if c not in common)
    if not summed:
        left = _arranged(a, have, batch + rows)
        out = left.reshape(*left.shape, *[1] * len(columns)) * _arranged(b, term, batch + columns).reshape(
            *[b.shape[term.index(c)] for c in batch], *[1] * len(rows), *[b.shape[term.index(c)] for c in columns]
        )
        return out, batch + rows + columns
    shared = {c: max(a.shape[have.index(c)], b.shape[term.index(c)]) for c in common}
    a = a.expand([shared.get(c, n) for c, n in zip(have, a.shape, strict=True)])
    b = b.expand([shared.get(c, n) for c, n in zip(term, b.shape, strict=True)])
    size = dict(zip(have + term, (*a.shape, *b.shape), strict=True))
    parts = [[size[c] for c in letters] for letters in (batch, rows, columns, summed)]
    k = math.prod(parts[3])
    left = _arranged(a, have, batch + rows + summed).reshape(*parts[0], math.prod(parts[1]), k)
    right = _arranged(b, term, batch + summed + columns).reshape(*parts[0], k, math.prod(parts[2]))
    return ops.matmul(left, right).reshape(parts[0] + parts[1] + parts[2]), batch + rows + columns


def _without(t: Any, term: str, needed: set[str]) -> tuple[Any, str]:
    """Summed over the letters that are not needed."""
    drop = [i for i, c in enumerate(term) if c not in needed]
    return (t.sum(drop) if drop else t), "".join(c for c in term if c in needed)


def _arranged(t: Any, term: str, out: str) -> Any:
    """The axes in the order of `out`, summed over the others."""
    t, term = _without(t, term, set(out))
    return t if term == out else t.permute([term.index(c) for c in out])
