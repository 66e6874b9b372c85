"""The ops: functions on arrays of any kind, one module each."""

from .adam import AdamPlan, adam_step
from .attention import AttentionResult, scaled_dot_product_attention
from .cross_entropy import cross_entropy
from .dropout import dropout
from .embedding import embedding
from .gelu import gelu
from .grad_norm import grad_norm, grad_scale
from .layer_norm import layer_norm
from .linear_cross_entropy import linear_cross_entropy
from .matmul import matmul
from .random import normal_, uniform_
from .sgd import sgd_step
from .softmax import log_softmax, logsumexp, softmax
from .unary import erf, exp, log, tanh

__all__ = [
    "AdamPlan",
    "AttentionResult",
    "adam_step",
    "cross_entropy",
    "dropout",
    "embedding",
    "erf",
    "exp",
    "gelu",
    "grad_norm",
    "grad_scale",
    "layer_norm",
    "linear_cross_entropy",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "normal_",
    "scaled_dot_product_attention",
    "sgd_step",
    "softmax",
    "tanh",
    "uniform_",
]
