"""Activation checkpointing: memory of the backward pass against a second forward one.

A checkpointed function leaves one node on the tape, in place of those of its ops. It holds the function and its arguments;
when its turn in the walk comes, the function runs again, with the random numbers that it had, and the walk goes through what
that leaves. Its gradient flows to what the function read: arguments, and parameters or other tensors that it reached on its
own, which the first run shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fastattn import _random
from fastattn.autograd.node import Array, Base, Edge, Node, Slot, edge_of, mode, set_grad_enabled, wrap
from fastattn.autograd.tensor import Tensor
from fastattn.autograd.walk import Walk, add

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs), whose intermediate results are computed again for the gradient instead of kept.

    Gradients have the same bits as without. What the function changes besides (running statistics, counters) it changes
    twice, and it must do the same both times.

    Args:
        function: of tensors and anything else, to a tensor, or a tuple or list of tensors.
        args, kwargs: its arguments.
        use_reentrant: accepted for torch's sake: there is one way, which has the limits of neither of torch's.
        preserve_rng_state: whether dropout draws the same numbers the second time.

    Returns:
        What the function returns.

    Raises:
        RuntimeError: in the backward pass, where the function read other tensors than the first time, or an argument was
            changed in place meanwhile.

    Example:
        >>> import fastattn as fa
        >>> from fastattn.utils.checkpoint import checkpoint
        >>> layer = fa.nn.Sequential(fa.nn.Linear(4, 64), fa.nn.Tanh(), fa.nn.Linear(64, 4))
        >>> x = fa.ones(2, 4, requires_grad=True)
        >>> checkpoint(layer, x).sum().backward()
        >>> x.grad.shape, layer[0].weight.grad.shape
        ((2, 4), (64, 4))

    Source: Chen et al., "Training deep nets with sublinear memory cost" (2016), section 4.
    """
    if not mode.enabled:
        return function(*args, **kwargs)
    segment = _Segment(function, args, kwargs, preserve_rng_state)
    result = segment.run()
    outs = list(_tensors(result))
    edges = _read_by(outs, segment.oldest)
    if not edges:
        return result
    given = [t for t in (*args, *kwargs.values()) if isinstance(t, Base)]
    checks = tuple([(t._version, t._version[0]) for t in given])
    node = Node("checkpoint", tuple(edges), _backward, segment, checks, len(outs))
    return _with_tensors(
        result,
        iter([_output(out, Slot(node, i) if len(outs) > 1 else node) for i, out in enumerate(outs)]),
    )


def checkpoint_sequential(
    functions: Iterable[Callable[[Any], Any]],
    segments: int,
    input: Tensor,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
) -> Any:
    """Functions one after the other, checkpointed in as many segments of equal length, all but the last.

    Args:
        functions: modules or functions of one argument, as an nn.Sequential.
        segments: how many.
        input: of the first.
        use_reentrant: accepted for torch's sake.
        preserve_rng_state: whether dropout draws the same numbers the second time.

    Returns:
        What the last returns.

    Raises:
        ValueError: fewer than one segment, or more than functions.

    Example:
        >>> import fastattn as fa
        >>> from fastattn.utils.checkpoint import checkpoint_sequential
        >>> layers = fa.nn.Sequential(*(fa.nn.Linear(4, 4) for _ in range(4)))
        >>> checkpoint_sequential(layers, 2, fa.ones(1, 4)).shape
        (1, 4)

    Source: Chen et al., "Training deep nets with sublinear memory cost" (2016), section 4.1.
    """
    steps = list(functions)
    if not 1 <= segments <= len(steps):
        msg = (
            f"checkpoint_sequential: segments is {segments}; expected 1 to {len(steps)}, as many as there are functions"
        )
        raise ValueError(msg)
    size = len(steps) // segments
    x: Any = input
    for start in range(0, size * (segments - 1), size):
        x = checkpoint(_chain(steps[start : start + size]), x, preserve_rng_state=preserve_rng_state)
    return _chain(steps[size * (segments - 1) :])(x)


def _chain(functions: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def run(x: Any) -> Any:
        for function in functions:
            x = function(x)
        return x

    return run


class _Segment:
    """A function with its arguments, and the state of the world that it runs in."""

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], preserve_rng_state: bool
    ) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        self.random = _random.get_rng_state() if preserve_rng_state else None
        self.autocast = mode.autocast
        self.oldest = 0

    def run(self) -> Any:
        self.oldest = Node("start", (), _backward, None, ()).sequence  # what is younger is the segment's own
        return self.function(*self.args, **self.kwargs)

    def run_again(self) -> Any:
        random, autocast = _random.get_rng_state(), mode.autocast
        try:
            if self.random is not None:
                _random.set_rng_state(self.random)
            mode.autocast = self.autocast
            with set_grad_enabled(True):
                return self.run()
        finally:
            mode.autocast = autocast
            if self.random is not None:
                _random.set_rng_state(random)


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Base):
        yield result  # type: ignore[misc]
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from _tensors(part)


def _with_tensors(result: Any, tensors: Iterator[Tensor]) -> Any:
    """`result` with other tensors in the places of its own."""
    if isinstance(result, Base):
        return next(tensors)
    if isinstance(result, (tuple, list)):
        parts = [_with_tensors(part, tensors) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _output(out: Tensor, edge: Edge) -> Tensor:
    if not out._requires_grad:
        return out
    tensor = wrap(out._data)
    tensor._node, tensor._requires_grad = edge, True
    return tensor


def _node(edge: Edge) -> Node | None:
    return edge if type(edge) is Node else edge.node if type(edge) is Slot else None


def _key(edge: Edge) -> Any:
    return (edge.node, edge.index) if type(edge) is Slot else edge


def _read_by(outs: Iterable[Tensor], oldest: int) -> list[Edge]:
    """What nodes younger than `oldest` reach from outside: leaves, and older nodes."""
    found: dict[Any, Edge] = {}
    stack = [edge_of(out) for out in outs]
    seen: set[Node] = set()
    while stack:
        edge = stack.pop()
        node = _node(edge)
        if edge is None or node in seen:
            continue
        if node is None or node.sequence > oldest:
            found[_key(edge)] = edge
        else:
            seen.add(node)
            stack.extend(node.edges)
    return list(found.values())


class _Inner(Walk):
    """The walk through a segment, which ends at what came from outside."""

    def __init__(self, edges: Sequence[Edge], oldest: int) -> None:
        super().__init__(False, None)
        self.places = {_key(edge): i for i, edge in enumerate(edges)}
        self.oldest = oldest
        self.found: dict[int, Array] = {}

    def deliver(self, edge: Edge, values: Sequence[Array], i: int) -> None:
        node = _node(edge)
        if node is not None and node.sequence < self.oldest:
            super().deliver(edge, values, i)
            return
        place = self.places.get(_key(edge))
        if place is None:
            msg = "checkpoint: the function read another tensor for the gradient than it did the first time"
            raise RuntimeError(msg)
        if place in self.found:
            add(self.found, place, values, i)
        else:
            self.found[place] = values[i]


def _backward(node: Node, dout: Any) -> tuple[Any, ...]:
    segment: _Segment = node.saved
    edges = node.edges
    outs = list(_tensors(segment.run_again()))
    gradients = [dout] if node.outputs == 1 else dout
    inner = _Inner(edges, segment.oldest)
    for out, gradient in zip(outs, gradients, strict=True):
        if gradient is not None and out._requires_grad:
            inner.deliver(edge_of(out), [gradient], 0)
    del outs
    inner.run()
    return tuple([inner.found.get(i) for i in range(len(edges))])
