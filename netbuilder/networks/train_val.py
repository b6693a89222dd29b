"""The data options of `netbuilder train-val`: those of `build --data`, for any net and its heads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import ConfigError, did_you_mean, shape_text
from netbuilder.layers import Shape
from netbuilder.networks.data_layers import DataOptions
from netbuilder.networks.registry import option
from netbuilder.transforms.training import SCORE_LOSSES, Labels

if TYPE_CHECKING:
    from legos.base import Lego

__all__ = ["Fed", "TrainValOptions"]

_PAIR = ("train_labels", "test_labels")


class Fed(NamedTuple):
    """What a net takes: its inputs with their shapes, the images first, and the Caffe that it is for."""

    inputs: dict[str, Shape]
    dialect: str

    @property
    def input_shape(self) -> Shape:
        """The shape of the images."""
        return next(iter(self.inputs.values()))

    @property
    def input_size(self) -> tuple[int, int]:
        """Their height and width."""
        return self.input_shape[2], self.input_shape[3]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainValOptions(DataOptions):
    """Data layers for a net that has been built, and the loss of outputs that are scores."""

    loss: str | None = option(
        help="the loss of outputs that are scores (default: softmax); Softmax and Sigmoid have theirs",
        default=None,
        choices=tuple(SCORE_LOSSES),
    )

    def _check_labels(self) -> None:
        for name in _PAIR:
            if not getattr(self, name) and any(getattr(self, other) is not None for other in _PAIR):
                raise ConfigError(
                    f"{' and '.join(_PAIR)} go together, and {name} is missing", key=name,
                    hint=f"give --{name}",
                )  # fmt: skip
        if self.loss is not None and self.loss not in SCORE_LOSSES:
            raise ConfigError(
                f"loss must be one of {', '.join(SCORE_LOSSES)}, got '{self.loss}'", key="loss",
                hint=did_you_mean(self.loss, SCORE_LOSSES),
            )  # fmt: skip

    @staticmethod
    def _takes(lego: type[Lego]) -> set[str]:
        return DataOptions._takes(lego) | {"loss"}

    @property
    def loss_type(self) -> str:
        """The type of the loss for scores, "" for the default."""
        return SCORE_LOSSES[self.loss] if self.loss else ""

    @property
    def own_labels(self) -> bool:
        """Whether each head has labels of its own, which a database of labels holds."""
        return self.train_labels is not None

    def fitting(self, fed: Fed) -> Fed:
        """What the net takes, in the dialect of this data. Raises ConfigError if it lacks an input."""
        if self.kind is None:
            raise ConfigError(
                "no data layers are given", key="data",
                hint="as in --data lmdb --train_source train_lmdb --test_source test_lmdb --batch 32",
            )  # fmt: skip
        names = list(fed.inputs)
        if self.kind != "hdf5" and len(names) > 1:
            raise ConfigError(
                f"the net has {len(names)} inputs, {', '.join(names)}, and --data {self.kind} gives images "
                "and labels alone", key="data", hint="--data hdf5 gives each from the dataset of its name",
            )  # fmt: skip
        if self.kind != "hdf5" and len(fed.input_shape) != 4:
            raise ConfigError(
                f"input '{names[0]}' is {shape_text(fed.input_shape)}, no batch of images", key="data",
                hint="--data hdf5 gives arrays of any shape",
            )  # fmt: skip
        return fed._replace(dialect=getattr(self._lego(), "dialect", "") or fed.dialect)

    def fitting_maps(self) -> TrainValOptions:
        """The same without mirrors and crops, which would change images and not the maps of their labels.

        Raises ConfigError if they are asked for.
        """
        for name in ("mirror", "crop_size"):
            if getattr(self, name):
                raise ConfigError(
                    f"{name} changes images, and not the maps that are their labels", key=name,
                    hint="make the images and the maps of the database so that they fit",
                )  # fmt: skip
        if not any(field.name == "transform" for field in dataclasses.fields(self._lego())):
            return self
        transform = dataclasses.replace(self.transform, mirror=False, crop_size=0)
        return dataclasses.replace(self, transform=transform)

    def _lego(self) -> type[Lego]:
        from legos.sources import SOURCES

        return SOURCES[str(self.kind)]

    def source(self, fed: Fed, labels: Labels, phase: str) -> Any:
        """The data layer of "train" or "test" for these inputs and labels. Raises ConfigError."""
        lego = self.lego(fed, phase)
        (name, _), *others = fed.inputs.items()
        lego = dataclasses.replace(lego, name=name)
        if self.kind == "hdf5":
            flat = labels.shape[:1] if labels.shape[1:] == (1, 1) else labels.shape
            rest = tuple((other, shape[1:]) for other, shape in others)
            return dataclasses.replace(lego, others=rest, label_shape=flat)
        if self.own_labels:
            count, *size = labels.shape or (1, 1, 1)
            return dataclasses.replace(lego, label_count=count, label_size=tuple(size))
        if labels.shape:
            raise ConfigError(
                f"the loss reads labels of {shape_text(labels.shape)} for each image, and --data {self.kind} "
                "gives a single number", key="train_labels",
                hint="put them into a database of labels, --data lmdb --train_labels, or into --data hdf5",
            )  # fmt: skip
        return lego
