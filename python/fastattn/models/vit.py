"""ViT, with Hugging Face's configuration and the state_dict keys of its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fastattn.autograd.joining import cat
from fastattn.autograd.tensor import Tensor
from fastattn.nn import Dropout, LayerNorm, Linear, Module, Parameter, init
from fastattn.nn import functional as F
from fastattn.nn.layers import new_parameter

from .config import ClassifierConfig, as_tensor
from .encoder import ACTIVATIONS, Encoder, EncoderOutput, Pooler
from .labels import classification_loss
from .pretrained import PretrainedModel, init_weights


@dataclass
class ViTConfig(ClassifierConfig):
    """The sizes of a ViT, with Hugging Face's names and the defaults of ViT base.

    Args:
        hidden_size: C, the width.
        num_hidden_layers: layers.
        num_attention_heads: heads of each layer; C is a multiple of it.
        intermediate_size: width between the dense layers.
        hidden_act: "gelu" (erf), "gelu_new" (with tanh), "relu", "silu" or "tanh".
        hidden_dropout_prob: dropout after embeddings and projections.
        attention_probs_dropout_prob: dropout of attention weights.
        initializer_range: deviation of the first weights.
        layer_norm_eps: eps of the norms.
        image_size: height and width in pixels, or one number for both; multiples of `patch_size`.
        patch_size: height and width of a patch, or one number for both.
        num_channels: channels of an image.
        qkv_bias: whether queries, keys and values have biases.
        num_labels: classes of the classifier; 1: a number is predicted instead.
        id2label: their names, by class.

    Raises:
        ValueError: a size that is not positive, C not a multiple of num_attention_heads, images that are not whole patches,
            an unknown activation.

    Example:
        >>> import fastattn as fa
        >>> fa.models.ViTConfig(image_size=28, patch_size=7, num_channels=1).num_patches
        16

    Source: transformers, ViTConfig.
    """

    model_type: ClassVar[str] = "vit"
    fixed: ClassVar[dict[str, Any]] = {"pooler_act": "tanh"}

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.0
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    image_size: int | Sequence[int] = 224
    patch_size: int | Sequence[int] = 16
    num_channels: int = 3
    qkv_bias: bool = True

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_channels")
        self._require_positive(*sizes)
        self._require_multiple("hidden_size", "num_attention_heads")
        self._require_one_of("hidden_act", ACTIVATIONS)
        self._check_labels()
        image, patch = self.image, self.patch
        if min(patch) <= 0:
            self._refuse("patch_size", "positive numbers")
        if min(image) <= 0 or image[0] % patch[0] or image[1] % patch[1]:
            self._refuse("image_size", f"multiples of patch_size {self.patch_size}")

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of an image."""
        return _both(self.image_size)

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch."""
        return _both(self.patch_size)

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return (self.image[0] // self.patch[0]) * (self.image[1] // self.patch[1])


def _both(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


class PatchProjection(Module):
    """A convolution whose stride is its kernel: one product of all patches. Its weight is a convolution's."""

    weight: Parameter  # (C, channels, height, width)
    bias: Parameter

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.weight = new_parameter(config.hidden_size, config.num_channels, *config.patch, dtype=None)
        self.bias = new_parameter(config.hidden_size, dtype=None)
        init.normal_(self.weight, 0.0, config.initializer_range)
        init.zeros_(self.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, patches, C)."""
        width, channels, h, w = self.weight.shape
        grid = images.unflatten(3, (-1, w)).unflatten(2, (-1, h))  # (B, channels, rows, h, columns, w)
        patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(len(images), -1, channels * h * w)
        return F.linear(patches, self.weight.view(width, -1), self.bias)


class PatchEmbeddings(Module):
    """Hugging Face's nesting of it."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.projection = PatchProjection(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(images)  # type: ignore[no-any-return]


class Embeddings(Module):
    """A learned token, then the patches, and their positions: (B, channels, H, W) to (B, 1 + patches, C)."""

    cls_token: Parameter
    position_embeddings: Parameter

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.cls_token = new_parameter(1, 1, config.hidden_size, dtype=None)
        self.position_embeddings = new_parameter(1, config.num_patches + 1, config.hidden_size, dtype=None)
        for table in (self.cls_token, self.position_embeddings):
            init.trunc_normal_(table, 0.0, config.initializer_range)
        self.patch_embeddings = PatchEmbeddings(config)
        self.dropout = Dropout(config.hidden_dropout_prob)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patch_embeddings(images)
        first = self.cls_token.expand(len(images), 1, patches.shape[-1])
        return self.dropout(cat([first, patches], 1) + self.position_embeddings)  # type: ignore[no-any-return]


class PretrainedViT(PretrainedModel):
    """What ViT and its classifier share."""

    config: ViTConfig
    config_class = ViTConfig
    base = "vit"
    # transformers 5 has other names in memory than in the files that it writes.
    renamed = (
        (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
        (r"\.attention\.q_proj\.", ".attention.attention.query."),
        (r"\.attention\.k_proj\.", ".attention.attention.key."),
        (r"\.attention\.v_proj\.", ".attention.attention.value."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )


class ViT(PretrainedViT):
    r"""An encoder of images: pre-norm layers over patches, behind a learned token.

    .. math:: x = [\mathrm{cls}, W p_1, W p_2, \ldots] + \mathrm{position}, \quad x = x + \mathrm{attn}(\mathrm{norm}(x)),
        \quad x = x + W_2 \, \mathrm{gelu}(W_1 \mathrm{norm}(x))

    Args:
        config: the sizes.
        add_pooling_layer: whether there is a pooler, tanh of a dense layer on the first position.

    Example:
        >>> import fastattn as fa
        >>> sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> model = fa.models.ViT(fa.models.ViTConfig(**sizes, image_size=8, patch_size=4))
        >>> hidden, pooled = model(fa.zeros(2, 3, 8, 8))
        >>> hidden.shape, pooled.shape
        ((2, 5, 4), (2, 4))

    Source: Dosovitskiy et al., "An image is worth 16x16 words" (2021), section 3.1; transformers, ViTModel.
    """

    architecture = "ViTModel"
    is_bare = True
    ignored = r"(^|\.)embeddings\.mask_token$"

    def __init__(self, config: ViTConfig, add_pooling_layer: bool = True) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config, norm_first=True, qkv_bias=config.qkv_bias)
        self.layernorm = LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.pooler = Pooler(config.hidden_size) if add_pooling_layer else None
        init_weights(self.modules(), config.initializer_range)

    def forward(self, pixel_values: Any) -> EncoderOutput:
        """Hidden states of the first token and every patch, and the pooler's output.

        Args:
            pixel_values: (B, num_channels, H, W) floats, a Tensor where the model is, or an ndarray; another dtype is cast to
                the model's.

        Returns:
            last_hidden_state (B, 1 + patches, C) and pooler_output (B, C), or None without a pooler.

        Raises:
            ValueError: images of another size.
        """
        weight = self.embeddings.cls_token
        images = as_tensor("ViT", "pixel_values", pixel_values, weight.device, "images")
        expected = (self.config.num_channels, *self.config.image)
        if images.ndim != 4 or images.shape[1:] != expected:
            msg = f"ViT: pixel_values has shape {images.shape}; expected (B, {', '.join(map(str, expected))})"
            raise ValueError(msg)
        if images.dtype != weight.dtype:
            images = images.to(weight.dtype)
        hidden = self.layernorm(self.encoder(self.embeddings(images)))
        return EncoderOutput(hidden, None if self.pooler is None else self.pooler(hidden))


class ViTForImageClassification(PretrainedViT):
    """ViT with a classifier on the first token.

    Args:
        config: the sizes; `num_labels` is the number of classes.

    Example:
        >>> import fastattn as fa
        >>> sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        >>> config = fa.models.ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=1, num_labels=10)
        >>> fa.models.ViTForImageClassification(config)(fa.zeros(2, 1, 8, 8)).shape
        (2, 10)

    Source: Dosovitskiy et al., "An image is worth 16x16 words" (2021), section 3.1; transformers, ViTForImageClassification.
    """

    architecture = "ViTForImageClassification"
    ignored = rf"{ViT.ignored}|^(vit\.)?pooler\."

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = ViT(config, add_pooling_layer=False)
        self.classifier = Linear(config.hidden_size, config.num_labels)
        init_weights([self.classifier], config.initializer_range)

    def forward(self, pixel_values: Any, labels: Any = None) -> Any:
        """Logits of the classes, and the loss where labels are given.

        Args:
            pixel_values: see `ViT`.
            labels: (B,) classes: cross-entropy; or (B, num_labels) floats of 0 to 1, each class by itself: binary
                cross-entropy; or, where num_labels is 1, (B,) numbers: the mean squared error.

        Returns:
            logits (B, num_labels), or (logits, loss) with labels.

        Raises:
            ValueError: shapes that do not fit.
        """
        logits = self.classifier(self.vit(pixel_values).last_hidden_state[:, 0])
        return logits if labels is None else (logits, classification_loss(type(self).__name__, logits, labels))
