"""Dialects: which layer types and fields a given Caffe has.

A `Net` has one dialect; `Net.append` refuses what the dialect lacks. All Caffes share one schema here
(`netbuilder.proto`), so a dialect only says what is missing from, or added to, that schema.
"""

from __future__ import annotations

from dataclasses import dataclass

from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["DIALECTS", "Dialect", "dialect"]

# Every layer type of BVLC's registry at the end of its development (2020-02).
_MASTER = frozenset(
    """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop
    Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data
    HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN
    MemoryData MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP
    Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold
    Tile WindowData
    """.split()  # noqa: SIM905 (a list of 61 strings would fill a page)
)


@dataclass(frozen=True)
class Dialect:
    """A named set of layer types and fields.

    `lacks` maps a layer type to the fields of the schema that this Caffe does not read, each written
    `message_field.field` (`pooling_param.round_mode`), with the release that brought it. `cudnn` is true
    where `engine: CUDNN` can be relied on: a build without cuDNN aborts on it, while the default engine
    uses cuDNN wherever it is there.
    """

    name: str
    about: str
    types: frozenset[str]
    lacks: dict[str, tuple[str, ...]]
    cudnn: bool = False

    def has_field(self, type: str, path: str) -> bool:
        """Whether layers of this type have a field, written `message_field.field`."""
        return type in self.types and path not in self.lacks.get(type, ())


DIALECTS = {
    d.name: d
    for d in (
        Dialect(
            "caffe-1.0",
            "BVLC Caffe 1.0 (April 2017) and everything after it",
            _MASTER - {"Clip", "Swish"},
            {"Pooling": ("pooling_param.round_mode",)},
        ),
        Dialect("caffe-master", "BVLC Caffe's last state (2020), and Debian's package", _MASTER, {}),
        Dialect("caffe-cudnn", "BVLC Caffe's last state, built with cuDNN", _MASTER, {}, cudnn=True),
    )
}


def dialect(name: str) -> Dialect:
    """The dialect of this name; raises ConfigError for an unknown one."""
    if name not in DIALECTS:
        raise ConfigError(
            f"unknown dialect '{name}': there are {', '.join(DIALECTS)}",
            key="dialect",
            hint=did_you_mean(name, DIALECTS),
        )
    return DIALECTS[name]
