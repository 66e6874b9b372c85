"""The ops: functions on arrays of any kind, one module each."""

from .activation import gelu, relu, sigmoid, silu
from .adam import AdamPlan, adam_step
from .attention import AttentionResult, TopWeights, Weights, capture_attention, scaled_dot_product_attention
from .batch_norm import batch_norm
from .binary import binary as binary
from .cast import cast
from .conv import conv1d, conv2d
from .cross_entropy import cross_entropy
from .dropout import dropout
from .embedding import embedding
from .grad_norm import grad_norm, grad_scale
from .kv_cache import KVCache, attention_with_kv_cache
from .layer_norm import layer_norm
from .linear_cross_entropy import linear_cross_entropy
from .matmul import matmul
from .pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from .random import normal_, uniform_
from .recurrent import gru, lstm, rnn
from .rms_norm import rms_norm
from .rope import rope, rope_cos_sin
from .sgd import sgd_step
from .softmax import log_softmax, logsumexp, softmax
from .sum import sum_over as sum_over
from .swiglu import swiglu
from .unary import erf, exp, log, tanh

__all__ = [
    "AdamPlan",
    "AttentionResult",
    "KVCache",
    "TopWeights",
    "Weights",
    "adam_step",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "attention_with_kv_cache",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "capture_attention",
    "cast",
    "conv1d",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "erf",
    "exp",
    "gelu",
    "grad_norm",
    "grad_scale",
    "gru",
    "layer_norm",
    "linear_cross_entropy",
    "log",
    "log_softmax",
    "logsumexp",
    "lstm",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "normal_",
    "relu",
    "rms_norm",
    "rnn",
    "rope",
    "rope_cos_sin",
    "scaled_dot_product_attention",
    "sgd_step",
    "sigmoid",
    "silu",
    "softmax",
    "swiglu",
    "tanh",
    "uniform_",
]
