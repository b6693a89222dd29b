"""`--data`: real data layers for the train and test nets of any network, in place of the placeholder.

A network is stitched with MemoryData of one image, which Caffe cannot train from. `DataOptions` holds the
options of the command and makes a lego of `legos.sources` for each phase; `with_data` (of
`netbuilder.transforms.data_layers`) puts that lego into a net.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.networks.registry import NetConfig, OptionSet, Words, group, option, options, parse_size
from netbuilder.storage.files import read_record
from netbuilder.transforms.data_layers import with_data

if TYPE_CHECKING:
    from legos.base import Lego

__all__ = ["DataOptions", "with_data"]


class _Takes(Protocol):
    """What a net takes: the config of a network, for one."""

    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def input_size(self) -> tuple[int, int]: ...
    @property
    def dialect(self) -> str: ...


_TRANSFORM = ("crop_size", "mirror", "mean_value", "mean_file", "scale")
_BOTH = ("train_source", "test_source")
_LABELS = ("train_labels", "test_labels", "loss")
_LOSSES = {"sigmoid": "SigmoidCrossEntropyLoss", "euclidean": "EuclideanLoss"}
_SPARK = "caffeonspark"
# NVCaffe divides the batch of a TRAIN net by the number of GPUs (NVIDIA/caffe, P2PSync::divide_batch_size).
_DIVIDES = "nvcaffe"


def _given(help: str, **more: Any) -> Any:
    """An option without a default of its own: unless it is given, the kind of data decides."""
    return option(help=help, default=None, **more)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TransformOptions(OptionSet):
    """What the data layer does to each image. Raises ConfigError."""

    crop_size: int | None = _given(
        "crop to N x N: at random in TRAIN, the middle in TEST; 0: do not (default: the input size)"
    )
    mirror: bool | None = _given("flip every other image in TRAIN (default: yes)", switch=True)
    mean_value: tuple[float, ...] | None = _given(
        "means to subtract: one, or one for each channel as stored, which is B G R", parse=float, many=True
    )
    mean_file: str | None = _given("mean image to subtract, of the size of the stored images", parse=str)
    scale: float | None = _given("factor, after the means", parse=float)

    def check(self) -> None:
        """Raise ConfigError for values out of range."""
        if self.crop_size is not None and self.crop_size < 0:
            raise ConfigError(f"crop_size must be at least 0, got {self.crop_size}", key="crop_size")
        if self.mean_file is not None and self.mean_value is not None:
            raise ConfigError("mean_file and mean_value exclude each other", key="mean_file")
        if self.mean_value is not None and len(self.mean_value) not in (1, 3):
            raise ConfigError(
                f"mean_value takes one number, or one for each of 3 channels, got {len(self.mean_value)}",
                key="mean_value", hint="in the channel order of the stored images, which is B G R",
            )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReaderOptions(OptionSet):
    """How some kinds of data are read."""

    resize: tuple[int, int] | None = _given("image: resize to this size, before the crop", parse=parse_size)
    root_folder: str | None = _given("image: where the paths of the list begin", parse=str)
    shuffle: bool | None = _given(
        "image, hdf5: another order in each epoch of TRAIN (default: yes)", switch=True
    )
    stored_size: tuple[int, int] | None = _given(
        "cos_df: size of the images in the data frame (default: the input size)", parse=parse_size
    )
    dataframe_format: str | None = _given("cos_df, cos_image_df: format (default: parquet)", parse=str)
    dataframe_column_select: tuple[str, ...] | None = _given(
        "cos_image_df: the columns, as SQL expressions (default: data, label as text, true as encoded)",
        parse=str, many=True,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DataOptions(OptionSet):
    """The sources of the images in both phases, and their transformation.

    None marks an option that was not given. Raises ConfigError for an option that the kind of data does not
    take, for a missing option, and for one that does not fit the net (`lego`).
    """

    data: str | None = _given(
        "write data layers, and train_val.prototxt", choices=Words("legos.sources", "SOURCES")
    )
    train_source: str | None = _given(
        "database, list of files or URL that TRAIN reads, as the data layer takes it", parse=str
    )
    test_source: str | None = _given("the same for TEST", parse=str)
    train_labels: str | None = _given(
        "lmdb, leveldb: database of several labels or real ones for each image of TRAIN", parse=str
    )
    test_labels: str | None = _given("those of TEST", parse=str)
    loss: str | None = _given(
        "their loss, in place of SoftmaxWithLoss: sigmoid (each 0 or 1, or between), euclidean",
        choices=tuple(_LOSSES),
    )
    batch: int | None = _given("images a device and pass, in TRAIN")
    test_batch: int | None = _given("the same in TEST (default: as in TRAIN)")
    gpus: int | None = _given("devices (default: 1); NVCaffe divides the batch that is written by them")
    transform: TransformOptions = group(TransformOptions)
    reader: ReaderOptions = group(ReaderOptions)

    def __post_init__(self) -> None:
        if self.kind is None:
            given = [name for name in self._given() if name != "data"]
            if given:
                raise ConfigError(
                    f"--{given[0]} is about the data layers, which --data asks for", key=given[0],
                    hint="as in --data lmdb --train_source train_lmdb --test_source test_lmdb --batch 32",
                )  # fmt: skip
            return
        self._check_kind()
        for name in ("batch", "test_batch", "gpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}", key=name)
        self.transform.check()

    @property
    def kind(self) -> str | None:
        """The kind of data layers, a key of `SOURCES`; None leaves the placeholder in."""
        return self.data

    def _given(self) -> list[str]:
        return [f.name for f in options(type(self)) if getattr(self, f.name) is not None]

    def _check_kind(self) -> None:
        from legos.sources import SOURCES

        if self.kind not in SOURCES:
            raise ConfigError(
                f"data must be one of {', '.join(SOURCES)}, got '{self.kind}'", key="data",
                hint=did_you_mean(str(self.kind), SOURCES),
            )  # fmt: skip
        takes = self._takes(SOURCES[self.kind])
        for name in self._given():
            if name not in takes:
                others = [kind for kind, lego in SOURCES.items() if name in self._takes(lego)]
                why = "; HDF5 files hold the numbers that the net gets" if self.kind == "hdf5" else ""
                raise ConfigError(
                    f"--data {self.kind} takes no {name}{why}", key=name,
                    hint=f"leave it out; it is for {', '.join(others)}",
                )  # fmt: skip
        self._check_labels()
        for name in ("batch", *_BOTH):
            if name in takes and getattr(self, name) in (None, ""):
                raise ConfigError(f"--data {self.kind} needs {name}", key=name, hint=f"give --{name}")

    def _check_labels(self) -> None:
        if all(getattr(self, name) is None for name in _LABELS):
            return
        for name in _LABELS:
            if not getattr(self, name):
                raise ConfigError(
                    f"{', '.join(_LABELS)} go together, and {name} is missing",
                    key=name,
                    hint=f"give --{name}",
                )
        if self.loss not in _LOSSES:
            raise ConfigError(
                f"loss must be one of {', '.join(_LOSSES)}, got '{self.loss}'", key="loss",
                hint=did_you_mean(str(self.loss), _LOSSES),
            )  # fmt: skip

    @staticmethod
    def _takes(lego: type[Lego]) -> set[str]:
        """The options that a kind of data takes."""
        names = {field.name for field in dataclasses.fields(lego)}
        takes = {"data", "batch", "test_batch", "gpus", *names}
        takes |= set(_TRANSFORM) if "transform" in names else set()
        takes |= set(_LABELS) if "labels" in names else set()
        return takes | (set(_BOTH) if "source" in names else set())

    def fitted(self, config: NetConfig) -> NetConfig:
        """The config in the dialect that this data needs. Raises ConfigError if it names another dialect."""
        if self.kind is None:
            return config
        from legos.sources import SOURCES

        needs = getattr(SOURCES[self.kind], "dialect", "")
        usual = type(config).__dataclass_fields__["dialect"].default
        if config.dialect == _SPARK and not needs:
            kinds = ", ".join(kind for kind, lego in SOURCES.items() if hasattr(lego, "dialect"))
            raise ConfigError(
                f"CaffeOnSpark does not read through --data {self.kind}", key="data", hint=f"it has {kinds}"
            )
        if not needs or config.dialect == needs:
            return config
        if config.dialect != usual:
            raise ConfigError(
                f"--data {self.kind} needs dialect {needs}, got {config.dialect}", key="dialect",
                hint="leave dialect out",
            )  # fmt: skip
        return dataclasses.replace(config, dialect=needs)

    def batch_of(self, phase: str, dialect: str) -> int:
        """The batch size in the file of "train" or "test"."""
        assert self.batch is not None
        if phase == "test":
            return self.test_batch or self.batch
        return self.batch * (self.gpus or 1) if dialect == _DIVIDES else self.batch

    def lego(self, config: _Takes, phase: str) -> Any:
        """The data layer of "train" or "test", for images of the net's input size."""
        from legos.sources import SOURCES, Transform

        kind: Any = SOURCES[str(self.kind)]
        takes = {field.name for field in dataclasses.fields(kind)}
        fields: dict[str, Any] = {
            name: getattr(self, name) for name in takes & set(self._given()) if name != "shuffle"
        }
        if "source" in takes:
            fields["source"] = getattr(self, f"{phase}_source")
        if "labels" in takes:
            fields["labels"] = getattr(self, f"{phase}_labels") or ""
        if "transform" in takes:
            fields["transform"] = Transform(
                crop_size=self._crop(*config.input_size),
                mirror=phase == "train" and self.transform.mirror is not False,
                mean_value=self.transform.mean_value or (),
                mean_file=self.transform.mean_file or "",
                scale=1.0 if self.transform.scale is None else self.transform.scale,
            )
        if "shuffle" in takes:
            fields["shuffle"] = phase == "train" and self.reader.shuffle is not False
        if fields.get("root_folder"):
            fields["root_folder"] = fields["root_folder"].rstrip("/") + "/"
        shape = (self.batch_of(phase, config.dialect), *config.input_shape[1:])
        return kind(name="data", shape=shape, **fields)

    @property
    def loss_type(self) -> str:
        """The type of the loss that replaces the net's, "" to keep it."""
        return _LOSSES[self.loss] if self.loss else ""

    def notes(self) -> list[str]:
        """Notes worth printing: the order of the channels, and what several devices read."""
        from legos.sources import SOURCES

        notes = []
        if "mean_value" in self._takes(SOURCES[str(self.kind)]):
            order = _channels(self.train_source or "")
            notes.append(f"channels are in the order {order}, and so are means")
        if self.kind == "image" and (self.gpus or 1) > 1 and self.reader.shuffle is False:
            notes.append(
                "without shuffle all devices read the same images: ImageData does not distribute them"
            )
        return notes

    def about(self, config: _Takes, phase: str) -> dict[str, str]:
        """A description of what "train" or "test" reads and how it is transformed."""
        lego = self.lego(config, phase)
        batch, gpus = str(lego.shape[0]), self.gpus or 1
        if config.dialect == _DIVIDES and phase == "train" and gpus > 1:
            batch += f" for {gpus} devices, {self.batch} each (NVCaffe divides)"
        facts = {"source": getattr(lego, "source", "set from Python"), "batch": batch}
        if getattr(lego, "labels", ""):
            facts["labels"] = lego.labels
        t = getattr(lego, "transform", None)
        if t is not None:
            where = "at random" if phase == "train" else "in the middle"
            facts["crop"] = f"{t.crop_size}x{t.crop_size} {where}" if t.crop_size else "none"
            facts["mirror"] = "every other image" if t.mirror else "no"
            facts["mean"] = t.mean_file or " ".join(f"{v:g}" for v in t.mean_value) or "none"
            facts["scale"] = f"{t.scale:g}"
        return facts

    def table(self, config: _Takes) -> str:
        """The source of each phase, and the transformations of its images, for people."""
        from netbuilder.report import format_table

        train, test = (self.about(config, phase) for phase in ("train", "test"))
        rows = [(key, train[key], test[key]) for key in train]
        return format_table((f"data: {self.kind}", "TRAIN", "TEST"), rows)

    def _crop(self, height: int, width: int) -> int:
        size = self.transform.crop_size
        if size is None:
            size = height if height == width else 0
        if size and (size, size) != (height, width):
            raise ConfigError(
                f"crop_size {size} makes images of {size}x{size}, and the net takes {height}x{width}",
                key="crop_size", hint=f"give input_size {size}, or leave crop_size out",
            )  # fmt: skip
        for name in ("resize", "stored_size"):
            given = getattr(self, name)
            if given and not size and given != (height, width):
                raise ConfigError(
                    f"{name} {given[0]}x{given[1]} without a crop, and the net takes {height}x{width}",
                    key=name, hint="give both the same size, or a square input_size to crop to",
                )  # fmt: skip
            if given and size > min(given):
                raise ConfigError(
                    f"a crop of {size}x{size} does not fit into {name} {given[0]}x{given[1]}", key=name
                )
        return size


def _channels(source: str) -> str:
    """The channel order of a database from its netbuilder.json; B, G, R if there is none."""
    for folder in (Path(source), Path(source).parent):  # written there by `data lmdb` and `data cifar10`
        if order := read_record(folder / "netbuilder.json").get("channels"):
            return ", ".join(str(order))
    return "B, G, R"
