"""A convolutional network for small images, of LeNet's kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from fastattn import ops
from fastattn.nn import Conv2d, Dropout, Linear, MaxPool2d, Module, ModuleList
from fastattn.nn import functional as F

from .config import ClassifierConfig, as_tensor
from .labels import classification_loss
from .pretrained import PretrainedModel


@dataclass
class LeNetConfig(ClassifierConfig):
    """The sizes of a LeNet.

    Args:
        image_size: height and width in pixels, or one number for both.
        num_channels: channels of an image.
        channels: of each convolution; each is followed by a ReLU and a pooling that halves height and width.
        kernel_size: height and width of the convolutions, an odd number; they keep the size of an image.
        hidden_size: width of a dense layer before the classifier; 0 for none.
        dropout: probability, before the dense layers.
        num_labels: classes of the classifier; 1: a number is predicted instead.
        id2label: their names, by class.

    Raises:
        ValueError: a size that is not positive, an even kernel, an image that the poolings leave nothing of.

    Example:
        >>> import fastattn as fa
        >>> fa.models.LeNetConfig(image_size=28, channels=(32, 64)).features
        3136
    """

    model_type: ClassVar[str] = "lenet"

    image_size: int | Sequence[int] = 28
    num_channels: int = 1
    channels: Sequence[int] = (32, 64)
    kernel_size: int = 5
    hidden_size: int = 0
    dropout: float = 0.0
    num_labels: int = 10

    def __post_init__(self) -> None:
        self.channels = tuple(self.channels)  # of a config.json it is a list
        self._require_positive("num_channels", "kernel_size")
        if self.kernel_size % 2 == 0:
            self._refuse("kernel_size", "an odd number")
        if not self.channels or min(self.channels) <= 0:
            self._refuse("channels", "positive numbers")
        if self.hidden_size < 0:
            self._refuse("hidden_size", "a number of at least 0")
        if not 0.0 <= self.dropout <= 1.0:
            self._refuse("dropout", "a probability")
        if min(self.image) < 2 ** len(self.channels):
            self._refuse("image_size", f"at least {2 ** len(self.channels)}, which the poolings halve to 1")
        self._check_labels()
        self.image_size = self.image

    @property
    def image(self) -> tuple[int, int]:
        """Height and width of an image."""
        height, width = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        return height, width

    @property
    def features(self) -> int:
        """Numbers of an image after the last pooling."""
        height, width = (n >> len(self.channels) for n in self.image)
        return self.channels[-1] * height * width


def pooled_convolution(convolution: Module, pool: Module, x: Any) -> Any:
    """pool(relu(convolution(x))) of (N, H, W, C), the layout in which nothing is transposed on the way.

    ReLU and maximum commute, and so do their gradients: of a window without a positive number there is none, and in the
    others the same element is the first of the largest. After the pooling there is a quarter left to do.
    """
    if type(convolution) is Conv2d and convolution._hooks is None and convolution.padding_mode == "zeros":
        c = convolution
        x = ops.conv2d(x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups, layout="nhwc")
    else:
        x = convolution(x.movedim(-1, 1)).movedim(1, -1)
    if type(pool) is MaxPool2d and pool._hooks is None and not pool.return_indices:
        p = pool
        return F.relu(ops.max_pool2d(x, p.kernel_size, p.stride, p.padding, p.dilation, p.ceil_mode, layout="nhwc"))
    return pool(F.relu(x).movedim(-1, 1)).movedim(1, -1)


class LeNet(PretrainedModel):
    r"""Convolutions with a ReLU and max pooling after each, then dense layers.

    .. math:: x_{i+1} = \mathrm{pool}_2(\mathrm{relu}(K_i * x_i + b_i)), \quad y = W\, \mathrm{flatten}(x_n) + b

    Args:
        config: the sizes.

    Example:
        >>> import fastattn as fa
        >>> fa.models.LeNet(fa.models.LeNetConfig(image_size=8, channels=(4, 8)))(fa.zeros(5, 1, 8, 8)).shape
        (5, 10)

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition" (1998), section
    II; with the ReLU and the max pooling of Krizhevsky, Sutskever and Hinton (2012).
    """

    config: LeNetConfig
    config_class = LeNetConfig
    architecture = "LeNet"
    base = "lenet"
    is_bare = True

    def __init__(self, config: LeNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.num_channels, *config.channels]
        self.convolutions = ModuleList(Conv2d(n, m, config.kernel_size, padding="same") for n, m in pairwise(widths))
        self.pool = MaxPool2d(2)
        self.dropout = Dropout(config.dropout)
        self.hidden = Linear(config.features, config.hidden_size) if config.hidden_size else None
        self.classifier = Linear(config.hidden_size or config.features, config.num_labels)

    def forward(self, pixel_values: Any, labels: Any = None) -> Any:
        """Logits of the classes, and the loss where labels are given.

        Args:
            pixel_values: (B, num_channels, H, W) floats, a Tensor where the model is, or an ndarray; another dtype is cast
                to the model's.
            labels: (B,) classes: cross-entropy; or (B, num_labels) floats of 0 to 1, each class by itself: binary
                cross-entropy; or, where num_labels is 1, (B,) numbers: the mean squared error.

        Returns:
            logits (B, num_labels), or (logits, loss) with labels.

        Raises:
            ValueError: images of another size, labels that do not fit.
        """
        weight = self.classifier.weight
        x = as_tensor("LeNet", "pixel_values", pixel_values, weight.device, "images")
        expected = (self.config.num_channels, *self.config.image)
        if x.ndim != 4 or x.shape[1:] != expected:
            msg = f"LeNet: pixel_values has shape {x.shape}; expected (B, {', '.join(map(str, expected))})"
            raise ValueError(msg)
        x = x.to(weight.dtype)
        x = x.movedim(1, -1)
        for convolution in self.convolutions:
            x = pooled_convolution(convolution, self.pool, x)
        x = self.dropout(x.movedim(-1, 1).flatten(1))
        if self.hidden is not None:
            x = self.dropout(F.relu(self.hidden(x)))
        logits = self.classifier(x)
        return logits if labels is None else (logits, classification_loss("LeNet", logits, labels))
