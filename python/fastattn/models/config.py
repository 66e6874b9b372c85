"""What the configurations and inputs of all models share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

from fastattn._device import move
from fastattn.autograd.node import Base, wrap
from fastattn.autograd.tensor import Tensor


@dataclass
class ModelConfig:
    """A dataclass of a model's sizes, with Hugging Face's names, that becomes a config.json and is read from one."""

    # config.json's "model_type", and the fields that change the model but have one value here.
    model_type: ClassVar[str]
    fixed: ClassVar[dict[str, Any]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The fields as a dict."""
        return asdict(self)

    def to_json(self) -> dict[str, Any]:
        """The fields as config.json has them."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A config of a dict such as a config.json holds; fields that this class lacks are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in values.items() if key in known})

    def changed(self, **changes: Any) -> Self:
        """This config with other values."""
        return replace(self, **changes)

    def _require_positive(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) <= 0:
                self._refuse(name, "a positive number")

    def _require_multiple(self, name: str, of: str) -> None:
        if getattr(self, name) % getattr(self, of):
            msg = f"{type(self).__name__}: {name} {getattr(self, name)} is not a multiple of {of} {getattr(self, of)}"
            raise ValueError(msg)

    def _require_one_of(self, name: str, choices: Iterable[str]) -> None:
        if getattr(self, name) not in choices:
            self._refuse(name, " or ".join(choices))

    def _refuse(self, name: str, expected: str) -> None:
        msg = f"{type(self).__name__}: {name} is {getattr(self, name)!r}; expected {expected}"
        raise ValueError(msg)


@dataclass
class ClassifierConfig(ModelConfig):
    """A config with labels; Hugging Face stores their names, and counts those."""

    num_labels: int = 2
    id2label: dict[int, str] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A config of a dict such as a config.json holds; fields that this class lacks are ignored."""
        given = dict(values)
        if given.get("id2label"):
            given["id2label"] = {int(i): name for i, name in given["id2label"].items()}
            given["num_labels"] = len(given["id2label"])
        return super().from_dict(given)

    def changed(self, **changes: Any) -> Self:
        """This config with other values; names of labels and their number follow each other."""
        if "num_labels" in changes:
            changes.setdefault("id2label", None)
        elif changes.get("id2label"):
            changes["num_labels"] = len(changes["id2label"])
        return super().changed(**changes)

    def _check_labels(self) -> None:
        self._require_positive("num_labels")
        if self.id2label is not None and sorted(self.id2label) != [*range(self.num_labels)]:
            self._refuse("id2label", f"names of the classes 0 to {self.num_labels - 1}")

    def to_json(self) -> dict[str, Any]:
        """The fields as config.json has them: the labels by their names, which transformers counts."""
        names = self.id2label or {i: f"LABEL_{i}" for i in range(self.num_labels)}
        fields = super().to_json()
        del fields["num_labels"]
        labels = {"id2label": {str(i): name for i, name in names.items()}}
        return fields | labels | {"label2id": {name: i for i, name in names.items()}}


def as_tensor(model: str, name: str, value: Any, device: Any, what: str = "token ids") -> Tensor:
    """An input as a tensor; that of an array goes where the model is."""
    if isinstance(value, Base):
        return value  # type: ignore[return-value]
    if not hasattr(value, "__array_namespace__"):
        msg = f"{model}: {name} is a {type(value).__name__}; expected a Tensor or an array of {what}"
        raise TypeError(msg)
    return wrap(move(value, device))
