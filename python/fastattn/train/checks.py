"""Finding where a number stopped being one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fastattn.nn import Module


class NonFiniteError(RuntimeError):
    """Training has met a NaN or an infinity and has stopped before the step changed anything.

    Args:
        message: what is not finite, and at which step.
        step: optimizer steps taken before it.
        layer: the dotted name of the first module whose output is not finite, or of the parameter whose gradient is
            not; "" for the model as a whole.

    Example:
        >>> import fastattn as fa
        >>> fa.train.NonFiniteError("step 3: ...", 3, "head").layer
        'head'
    """

    def __init__(self, message: str, step: int, layer: str) -> None:
        super().__init__(message)
        self.step, self.layer = step, layer


def first_nonfinite(model: Module, *args: Any) -> str | None:
    """Runs a forward pass and names the first module whose output has a NaN or an infinity.

    Modules are looked at in the order in which they finish, so the name is that of the innermost one.

    Args:
        model: the module to run; its parameters do not change.
        args: what to call it with.

    Returns:
        The module's dotted name with its class, as in "transformer.h.0.mlp.c_fc (Linear)", and the parameters of it
        that are not finite; None where every output is finite.

    Example:
        >>> import numpy as np, fastattn as fa
        >>> model = fa.nn.Sequential(fa.nn.Linear(2, 2), fa.nn.Linear(2, 1))
        >>> model[1].bias.detach().numpy()[0] = np.nan
        >>> fa.train.first_nonfinite(model, fa.ones(1, 2))
        '1 (Linear), whose bias is not finite'
    """
    import fastattn

    found: list[str] = []

    def watch(name: str, module: Module) -> Any:
        forward = module.forward

        def checked(*inputs: Any, **options: Any) -> Any:
            output = forward(*inputs, **options)
            if not found and not _finite(output):
                found.append(_describe(name, module))
            return output

        # On the instance, past Module's own bookkeeping: it hides the class's method until it is deleted.
        object.__setattr__(module, "forward", checked)

    watched = list(model.named_modules())
    try:
        for name, module in watched:
            watch(name, module)
        with fastattn.no_grad():
            model(*args)
    finally:
        for _, module in watched:
            vars(module).pop("forward", None)
    return found[0] if found else None


def _describe(name: str, module: Module) -> str:
    """A module whose output is not finite. Some modules read the weights of those below them without calling them; then
    a bad weight there names the lower module."""
    bad = [key for key, p in module.named_parameters() if not _finite(p)]
    below = bad[0].rpartition(".")[0] if bad else ""
    if below:
        return _describe(f"{name}.{below}" if name else below, module.get_submodule(below))
    whose = f", whose {' and '.join(bad)} {'is' if len(bad) == 1 else 'are'} not finite" if bad else ""
    return f"{name or 'the model'} ({type(module).__name__}){whose}"


def nonfinite_gradients(model: Module) -> list[str]:
    """Names of the parameters whose gradient has a NaN or an infinity."""
    return [name for name, p in model.named_parameters() if p.grad is not None and not _finite(p.grad)]


def _finite(value: Any) -> bool:
    """Whether all numbers in a module's output are finite; what is not an array of floats is."""
    if isinstance(value, (tuple, list)):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if not hasattr(value, "numpy"):
        return True
    array = value.detach().numpy()
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
