"""The optimizers, from simple to adaptive."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastattn import optim
from fastattn.optim import Optimizer as Inner

from . import rules
from .optimizer import Optimizer

Groups = list[dict[str, Any]]


class SGD(Optimizer):
    r"""Stochastic gradient descent, with momentum.

    .. math:: m_t = \mu m_{t-1} - lr_t \, g_t, \quad p_t = p_{t-1} + m_t

    Args:
        learning_rate: 0.01 by default.
        momentum: mu, 0 to 1.
        nesterov: step by mu * m_t - lr_t * g_t.
        options: see `Optimizer`.

    Raises:
        ValueError: an option out of range.
        TypeError: both spellings of an option, or an unknown one.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = keras.optimizers.SGD(lr=0.5)
        >>> optimizer.build([w])
        >>> w.sum().backward()
        >>> optimizer.apply()
        >>> w.tolist()
        [0.5]

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), section 2.
    """

    _own = ("momentum", "nesterov")
    _rate = 0.01

    def __init__(
        self, learning_rate: Any = None, momentum: float = 0.0, nesterov: bool = False, **options: Any
    ) -> None:
        super().__init__(learning_rate, **options)
        if not 0 <= momentum <= 1:
            msg = f"SGD: momentum is {momentum!r}; expected 0 to 1"
            raise ValueError(msg)
        self.momentum, self.nesterov = momentum, nesterov

    def _inner(self, groups: Groups) -> Inner:
        return optim.SGD(groups, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0)

    def _arrays(self, inner: Inner) -> list[str]:
        return ["momentum_buffer"] if self.momentum else []

    def _before(self, inner: Inner, lr: float, scale: float | None) -> None:
        if not self.momentum:
            super()._before(inner, lr, scale)
        else:
            # Keras's momentum has the rate in it, so that a change does not reach back: gradients times it, at rate 1.
            super()._before(inner, 1.0, lr if scale is None else lr * scale)


class Adam(Optimizer):
    r"""Adam, with the epsilon of the paper's section 2.

    .. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
        p_t = p_{t-1} - lr_t \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \frac{m_t}{\sqrt{v_t} + \epsilon}

    Args:
        learning_rate: 0.001 by default.
        beta_1: of the first moment, 0.9 by default.
        beta_2: of the second, 0.999 by default.
        epsilon: added to the root of v before its correction; None: 1e-7.
        amsgrad: divide by the largest v so far.
        options: see `Optimizer`.

    Raises:
        ValueError: an option out of range.
        TypeError: both spellings of an option, or an unknown one.

    Example:
        >>> import fastattn as fa
        >>> from fastattn import keras
        >>> w = fa.ones(1, requires_grad=True)
        >>> optimizer = keras.optimizers.Adam(learning_rate=0.1)
        >>> optimizer.build([w])
        >>> w.sum().backward()
        >>> optimizer.apply()
        >>> round(w.item(), 4)
        0.9

    Source: Kingma and Ba, "Adam" (2015), section 2; Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (2018).
    """

    _own: tuple[str, ...] = ("beta_1", "beta_2", "epsilon", "amsgrad")
    _decays = True

    def __init__(
        self,
        learning_rate: Any = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2, self.amsgrad = beta_1, beta_2, amsgrad
        self.epsilon = 1e-7 if epsilon is None else epsilon

    def _inner(self, groups: Groups) -> Inner:
        return optim.AdamW(groups, betas=(self.beta_1, self.beta_2), eps=self.epsilon, amsgrad=self.amsgrad)

    def _arrays(self, inner: Inner) -> list[str]:
        return ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * self.amsgrad

    def _before(self, inner: Inner, lr: float, scale: float | None) -> None:
        super()._before(inner, lr, scale)
        for group in inner.param_groups:
            # The kernel adds eps to the corrected root.
            group["eps"] = self.epsilon / math.sqrt(1 - self.beta_2 ** (self.iterations + 1))


class AdamW(Adam):
    """Adam whose weights decay by 0.004 of the rate by default. Loshchilov and Hutter (2019), algorithm 2."""

    def __init__(
        self,
        learning_rate: Any = None,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        if weight_decay is None:
            msg = "AdamW: weight_decay is None; expected a number"
            raise ValueError(msg)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options)


class _OfRule(Optimizer):
    """One whose step is a rule, with the options of its own."""

    _rule: type[rules.Rule]

    def _inner(self, groups: Groups) -> Inner:
        return self._rule(groups, **{option: getattr(self, option) for option in self._own})

    def _arrays(self, inner: Inner) -> list[str]:
        assert isinstance(inner, rules.Rule)
        return list(inner._arrays(inner.param_groups[0]))


class RMSprop(_OfRule):
    """Gradients over the root of their running mean square. Tieleman and Hinton (2012)."""

    _own = ("rho", "momentum", "epsilon", "centered")
    _rule = rules.RMSprop

    def __init__(
        self,
        learning_rate: Any = None,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float | None = None,
        centered: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho, self.momentum, self.centered = rho, momentum, centered
        self.epsilon = 1e-7 if epsilon is None else epsilon


class Adagrad(_OfRule):
    """Gradients over the root of the sum of their squares. Duchi, Hazan and Singer (2011)."""

    _own = ("initial_accumulator_value", "epsilon")
    _rule = rules.Adagrad

    def __init__(
        self,
        learning_rate: Any = None,
        initial_accumulator_value: float = 0.1,
        epsilon: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = initial_accumulator_value
        self.epsilon = 1e-7 if epsilon is None else epsilon


class Adadelta(_OfRule):
    """Steps of the size of past steps. Zeiler (2012)."""

    _own = ("rho", "epsilon")
    _rule = rules.Adadelta

    def __init__(
        self, learning_rate: Any = None, rho: float = 0.95, epsilon: float | None = None, **options: Any
    ) -> None:
        super().__init__(learning_rate, **options)
        self.rho = rho
        self.epsilon = 1e-7 if epsilon is None else epsilon


class _OfMoments(_OfRule):
    """One with Adam's options."""

    _own = ("beta_1", "beta_2", "epsilon")

    def __init__(
        self,
        learning_rate: Any = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, **options)
        self.beta_1, self.beta_2 = beta_1, beta_2
        self.epsilon = 1e-7 if epsilon is None else epsilon


class Adamax(_OfMoments):
    """Adam with the largest gradient in place of the root mean square. Kingma and Ba (2015), algorithm 2."""

    _rule = rules.Adamax


class Nadam(_OfMoments):
    """Adam with Nesterov's momentum. Dozat (2016)."""

    _rule = rules.Nadam

    @property
    def variables(self) -> list[Any]:
        """As of all; and the product of its momenta."""
        return [*super().variables, np.float32(np.prod(rules.momenta(self.beta_1, self.iterations)))]


class Lion(_OfRule):
    """Steps of the sign of a running mean. Chen et al. (2023), algorithm 2."""

    _own = ("beta_1", "beta_2")
    _rule = rules.Lion

    def __init__(self, learning_rate: Any = None, beta_1: float = 0.9, beta_2: float = 0.99, **options: Any) -> None:
        super().__init__(learning_rate, **options)
        if not 0 < beta_1 <= 1:
            msg = f"Lion: beta_1 is {beta_1!r}; expected above 0, up to 1"
            raise ValueError(msg)
        self.beta_1, self.beta_2 = beta_1, beta_2
