"""Caffe's published examples, restated by their fields, for data that a test makes."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

from typing import NamedTuple

__all__ = ["EXAMPLES", "LENET", "LENET_SOLVERS", "PYLOSS", "Example", "caffenet"]


class Example(NamedTuple):
    """A net and a solver; `set` makes the training short, and `weights` begins with another example's model."""

    net: str
    solver: str
    set: tuple[str, ...] = ()
    weights: str = ""


def _layer(name: str, type: str, bottom: str, fields: str = "", top: str = "") -> str:
    bottoms = "".join(f' bottom: "{b}"' for b in bottom.split())
    return f'layer {{ name: "{name}" type: "{type}"{bottoms} top: "{top or name}" {fields} }}\n'


def _filled(weights: str) -> str:
    return f'weight_filler {{ {weights} }} bias_filler {{ type: "constant" }}'


_RATES = "param { lr_mult: 1 } param { lr_mult: 2 }"
_XAVIER = 'type: "xavier"'


def _conv(
    name: str, bottom: str, n: int, k: int, fill: str = _XAVIER, more: str = "", rates: str = _RATES
) -> str:
    fields = f"convolution_param {{ num_output: {n} kernel_size: {k} {more} {_filled(fill)} }}"
    return _layer(name, "Convolution", bottom, f"{rates} {fields}")


def _ip(name: str, bottom: str, n: int, fill: str = _XAVIER, rates: str = _RATES) -> str:
    fields = f"inner_product_param {{ num_output: {n} {_filled(fill)} }}"
    return _layer(name, "InnerProduct", bottom, f"{rates} {fields}")


def _pool(name: str, bottom: str, pool: str = "MAX", k: int = 2) -> str:
    return _layer(name, "Pooling", bottom, f"pooling_param {{ pool: {pool} kernel_size: {k} stride: 2 }}")


def _relu(name: str, blob: str) -> str:
    return _layer(name, "ReLU", blob, top=blob)


def _data(
    phase: str, source: str, batch: int, transform: str = "", include: str = "", tops: str = "label"
) -> str:
    more = f' top: "{tops}"' if tops else ""
    return (
        f'layer {{ name: "data" type: "Data" top: "data"{more} include {{ phase: {phase} {include} }} '
        f"transform_param {{ {transform} }} "
        f'data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}\n'
    )


def _ends(scores: str) -> str:
    return _layer("accuracy", "Accuracy", f"{scores} label", "include { phase: TEST }") + _layer(
        "loss", "SoftmaxWithLoss", f"{scores} label"
    )


# -- LeNet on MNIST ----------------------------------------------------------------------------------------

_LENET_BODY = (
    _conv("conv1", "data", 20, 5, more="stride: 1") + _pool("pool1", "conv1")
    + _conv("conv2", "pool1", 50, 5, more="stride: 1") + _pool("pool2", "conv2")
    + _ip("ip1", "pool2", 500) + _relu("relu1", "ip1") + _ip("ip2", "ip1", 10) + _ends("ip2")
)  # fmt: skip
LENET = (
    'name: "LeNet"\n' + _data("TRAIN", "mnist", 64, "scale: 0.00390625")
    + _data("TEST", "mnist", 100, "scale: 0.00390625") + _LENET_BODY
)  # fmt: skip
_LENET_TESTS = "test_iter: 100 test_interval: 500"
_INV = 'lr_policy: "inv" gamma: 0.0001 power: 0.75'
_LENET_REST = (
    f'display: 100 max_iter: 10000 snapshot: 5000 snapshot_prefix: "lenet" solver_mode: GPU {_LENET_TESTS}'
)
_MULTISTEP = 'lr_policy: "multistep" gamma: 0.9 stepvalue: 5000 stepvalue: 7000 stepvalue: 8000 stepvalue: 9000 stepvalue: 9500'
_LENET_SOLVERS = {
    "lenet": f"base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 {_INV}",
    "lenet_adadelta": 'base_lr: 1.0 lr_policy: "fixed" momentum: 0.95 weight_decay: 0.0005 type: "AdaDelta" delta: 1e-6',
    "lenet_adam": 'base_lr: 0.001 momentum: 0.9 momentum2: 0.999 lr_policy: "fixed" type: "Adam"',
    "lenet_multistep": f"base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 {_MULTISTEP}",
    "lenet_rmsprop": f'base_lr: 0.01 momentum: 0.0 weight_decay: 0.0005 {_INV} type: "RMSProp" rms_decay: 0.98',
}
LENET_SOLVERS = {
    name: f'net: "net.prototxt" {rates} {_LENET_REST}\n' for name, rates in _LENET_SOLVERS.items()
} | {
    # The solver and its net in one file.
    "lenet_consolidated": f"{_LENET_SOLVERS['lenet']} {_LENET_REST}\nnet_param {{\n{LENET}}}\n",
}
_SHORT = ("max_iter=3", "test_iter=2", "test_interval=3", "snapshot=0")

# -- the autoencoder on MNIST, tested on both sets ---------------------------------------------------------

_SPARSE = 'type: "gaussian" std: 1 sparse: 15'
_AUTO_RATES = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 1 decay_mult: 0 }"


def _coded() -> str:
    text, blob = "", "flatdata"
    widths = (("encode", (1000, 500, 250, 30)), ("decode", (250, 500, 1000, 784)))
    names = [
        (f"{part}{i if part == 'encode' else 5 - i}", n)
        for part, many in widths
        for i, n in enumerate(many, 1)
    ]
    for name, n in names:
        text += _ip(name, blob, n, _SPARSE, _AUTO_RATES)
        blob = name
        if name not in ("encode4", "decode1"):
            blob = f"{name}neuron"
            text += _layer(blob, "Sigmoid", name)
    return text


AUTOENCODER = (
    'name: "MNISTAutoencoder"\n' + _data("TRAIN", "mnist", 100, "scale: 0.0039215684", tops="")
    + _data("TEST", "mnist", 100, "scale: 0.0039215684", 'stage: "test-on-train"', "")
    + _data("TEST", "mnist", 100, "scale: 0.0039215684", 'stage: "test-on-test"', "")
    + _layer("flatdata", "Flatten", "data") + _coded()
    + _layer("loss", "SigmoidCrossEntropyLoss", "decode1 flatdata", "loss_weight: 1", "cross_entropy_loss")
    + _layer("decode1neuron", "Sigmoid", "decode1")
    + _layer("l2", "EuclideanLoss", "decode1neuron flatdata", "loss_weight: 0", "l2_error")
)  # fmt: skip
AUTOENCODER_SOLVER = """net: "net.prototxt"
test_state: { stage: 'test-on-train' } test_iter: 500 test_state: { stage: 'test-on-test' } test_iter: 100
test_interval: 500 test_compute_loss: true base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 10000
display: 100 max_iter: 65000 weight_decay: 0.0005 snapshot: 10000 snapshot_prefix: "autoencoder" momentum: 0.9
solver_mode: GPU
"""

# -- CIFAR-10 ----------------------------------------------------------------------------------------------


def _cifar(full: bool) -> str:
    g = 'type: "gaussian" std:'
    norm = "lrn_param { local_size: 3 alpha: 5e-05 beta: 0.75 norm_region: WITHIN_CHANNEL }"
    head = (
        _ip(
            "ip1",
            "pool3",
            10,
            f"{g} 0.01",
            "param { lr_mult: 1 decay_mult: 250 } param { lr_mult: 2 decay_mult: 0 }",
        )
        + _ends("ip1")
        if full
        else _ip("ip1", "pool3", 64, f"{g} 0.1") + _ip("ip2", "ip1", 10, f"{g} 0.1") + _ends("ip2")
    )
    return (
        f'name: "CIFAR10_{"full" if full else "quick"}"\n'
        + _data("TRAIN", "cifar", 100, 'mean_file: "mean.binaryproto"')
        + _data("TEST", "cifar", 100, 'mean_file: "mean.binaryproto"')
        + _conv("conv1", "data", 32, 5, f"{g} 0.0001", "pad: 2") + _pool("pool1", "conv1", k=3) + _relu("relu1", "pool1")
        + (_layer("norm1", "LRN", "pool1", norm) if full else "")
        + _conv("conv2", "norm1" if full else "pool1", 32, 5, f"{g} 0.01", "pad: 2") + _relu("relu2", "conv2")
        + _pool("pool2", "conv2", "AVE", 3)
        + (_layer("norm2", "LRN", "pool2", norm) if full else "")
        + _conv("conv3", "norm2" if full else "pool2", 64, 5, f"{g} 0.01", "pad: 2") + _relu("relu3", "conv3")
        + _pool("pool3", "conv3", "AVE", 3) + head
    )  # fmt: skip


_CIFAR_SOLVER = """net: "net.prototxt" test_iter: 100 test_interval: %d base_lr: 0.001 momentum: 0.9 weight_decay: 0.004
lr_policy: "fixed" display: 100 max_iter: %d snapshot: %d snapshot_format: HDF5 snapshot_prefix: "%s" solver_mode: GPU
"""

# -- the siamese net, classification from HDF5, CaffeNet fine-tuned, and a loss in Python -------------------


def _branch(end: str) -> str:
    def shared(name: str) -> str:
        return f'param {{ name: "{name}_w" lr_mult: 1 }} param {{ name: "{name}_b" lr_mult: 2 }}'

    return (
        _conv(f"conv1{end}", f"data{end}", 20, 5, rates=shared("conv1")) + _pool(f"pool1{end}", f"conv1{end}")
        + _conv(f"conv2{end}", f"pool1{end}", 50, 5, rates=shared("conv2")) + _pool(f"pool2{end}", f"conv2{end}")
        + _ip(f"ip1{end}", f"pool2{end}", 500, rates=shared("ip1")) + _relu(f"relu1{end}", f"ip1{end}")
        + _ip(f"ip2{end}", f"ip1{end}", 10, rates=shared("ip2"))
        + _ip(f"feat{end}", f"ip2{end}", 2, rates=shared("feat"))
    )  # fmt: skip


def _pairs(phase: str, batch: int) -> str:
    return _data(phase, "pairs", batch, "scale: 0.00390625", tops="sim").replace(
        'top: "data"', 'top: "pair_data"'
    )


SIAMESE = (
    'name: "mnist_siamese_train_test"\n' + _pairs("TRAIN", 64) + _pairs("TEST", 100)
    + 'layer { name: "slice_pair" type: "Slice" bottom: "pair_data" top: "data" top: "data_p" '
    "slice_param { slice_dim: 1 slice_point: 1 } }\n"
    + _branch("") + _branch("_p")
    + _layer("loss", "ContrastiveLoss", "feat feat_p sim", "contrastive_loss_param { margin: 1 }")
)  # fmt: skip
SIAMESE_SOLVER = f"""net: "net.prototxt" test_iter: 100 test_interval: 500 base_lr: 0.01 momentum: 0.9
weight_decay: 0.0000 {_INV} display: 100 max_iter: 50000 snapshot: 5000 snapshot_prefix: "siamese" solver_mode: GPU
"""

HDF5 = (
    'name: "LogisticRegressionNet"\n'
    + "".join(
        f'layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" include {{ phase: {phase} }} '
        'hdf5_data_param { source: "hdf5.txt" batch_size: 10 } }\n'
        for phase in ("TRAIN", "TEST")
    )
    + _ip("fc1", "data", 40) + _relu("relu1", "fc1") + _ip("fc2", "fc1", 2) + _ends("fc2")
)  # fmt: skip
HDF5_SOLVER = """net: "net.prototxt" test_iter: 250 test_interval: 1000 base_lr: 0.01 lr_policy: "step" gamma: 0.1
stepsize: 5000 display: 1000 max_iter: 10000 momentum: 0.9 weight_decay: 0.0005 snapshot: 10000
snapshot_prefix: "logreg" solver_mode: GPU
"""


def caffenet(data: str, scores: str, classes: int, thin: int = 16) -> str:
    """CaffeNet with a part of its maps, and a last layer that learns ten times as fast."""
    g, decayed = (
        'type: "gaussian" std:',
        "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }",
    )
    new = "param { lr_mult: 10 decay_mult: 1 } param { lr_mult: 20 decay_mult: 0 }"
    norm = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    drop = "dropout_param { dropout_ratio: 0.5 }"
    return (
        data
        + _conv("conv1", "data", 96 // thin, 11, f"{g} 0.01", "stride: 4", decayed) + _relu("relu1", "conv1")
        + _pool("pool1", "conv1", k=3) + _layer("norm1", "LRN", "pool1", norm)
        + _conv("conv2", "norm1", 256 // thin, 5, f"{g} 0.01", "pad: 2 group: 2", decayed) + _relu("relu2", "conv2")
        + _pool("pool2", "conv2", k=3) + _layer("norm2", "LRN", "pool2", norm)
        + _conv("conv3", "norm2", 384 // thin, 3, f"{g} 0.01", "pad: 1", decayed) + _relu("relu3", "conv3")
        + _conv("conv4", "conv3", 384 // thin, 3, f"{g} 0.01", "pad: 1 group: 2", decayed) + _relu("relu4", "conv4")
        + _conv("conv5", "conv4", 256 // thin, 3, f"{g} 0.01", "pad: 1 group: 2", decayed) + _relu("relu5", "conv5")
        + _pool("pool5", "conv5", k=3)
        + _ip("fc6", "pool5", 4096 // thin, f"{g} 0.005", decayed) + _relu("relu6", "fc6")
        + _layer("drop6", "Dropout", "fc6", drop, "fc6")
        + _ip("fc7", "fc6", 4096 // thin, f"{g} 0.005", decayed) + _relu("relu7", "fc7")
        + _layer("drop7", "Dropout", "fc7", drop, "fc7")
        + _ip(scores, "fc7", classes, f"{g} 0.01", new) + _ends(scores)
    )  # fmt: skip


def _listed(phase: str) -> str:
    return (
        f'layer {{ name: "data" type: "ImageData" top: "data" top: "label" include {{ phase: {phase} }} '
        f"transform_param {{ mirror: {str(phase == 'TRAIN').lower()} crop_size: 67 mean_value: 120 }} "
        'image_data_param { source: "images.txt" batch_size: 50 new_height: 76 new_width: 76 } }\n'
    )


def _windows(phase: str) -> str:
    return (
        f'layer {{ name: "data" type: "WindowData" top: "data" top: "label" include {{ phase: {phase} }} '
        f"transform_param {{ mirror: {str(phase == 'TRAIN').lower()} crop_size: 67 mean_value: 120 }} "
        'window_data_param { source: "windows.txt" batch_size: 128 fg_threshold: 0.5 bg_threshold: 0.5 '
        'fg_fraction: 0.25 context_pad: 16 crop_mode: "warp" } }\n'
    )


_TUNED_SOLVER = """net: "net.prototxt" test_iter: 100 test_interval: 1000 base_lr: 0.001 lr_policy: "step" gamma: 0.1
stepsize: 20000 display: 20 max_iter: 100000 momentum: 0.9 weight_decay: 0.0005 snapshot: 10000
snapshot_prefix: "%s" solver_mode: GPU
"""

PYLOSS = '''import caffe


class EuclideanLossLayer(caffe.Layer):
    """Half the mean of the squared differences, as EuclideanLoss."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("two bottoms are needed")

    def reshape(self, bottom, top):
        self.diff = bottom[0].data * 0
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = (self.diff**2).sum() / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * self.diff / bottom[i].num
'''


def _noise(name: str, dims: str) -> str:
    return (
        f'layer {{ name: "{name}" type: "DummyData" top: "{name}" dummy_data_param {{ shape {{ {dims} }} '
        'data_filler { type: "gaussian" } } }\n'
    )


LINREG = (
    'name: "LinearRegressionExample"\n' + _noise("x", "dim: 10 dim: 3 dim: 2") + _noise("y", "dim: 10 dim: 2")
    + _ip("ipx", "x", 10) + _ip("ipy", "y", 10)
    + _layer("loss", "Python", "ipx ipy", 'python_param { module: "pyloss" layer: "EuclideanLossLayer" } loss_weight: 1')
)  # fmt: skip
LINREG_SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: 100 display: 20
snapshot_prefix: "linreg"
"""

EXAMPLES = {
    **{name: Example(LENET, solver, _SHORT) for name, solver in LENET_SOLVERS.items()},
    "autoencoder": Example(
        AUTOENCODER, AUTOENCODER_SOLVER, ("max_iter=3", "test_iter=2,1", "test_interval=3", "snapshot=0")
    ),
    "cifar_quick": Example(_cifar(False), _CIFAR_SOLVER % (500, 4000, 4000, "cifar_quick"), _SHORT),
    "cifar_full": Example(_cifar(True), _CIFAR_SOLVER % (1000, 60000, 10000, "cifar_full"), _SHORT),
    "siamese": Example(SIAMESE, SIAMESE_SOLVER, _SHORT),
    "hdf5": Example(HDF5, HDF5_SOLVER, _SHORT),
    "caffenet": Example(
        caffenet(_listed("TRAIN") + _listed("TEST"), "fc8", 10), _TUNED_SOLVER % "caffenet", _SHORT
    ),
    "flickr": Example(
        caffenet(_listed("TRAIN") + _listed("TEST"), "fc8_flickr", 20),
        _TUNED_SOLVER % "flickr",
        _SHORT,
        "caffenet",
    ),
    "rcnn": Example(
        caffenet(_windows("TRAIN") + _windows("TEST"), "fc8_pascal", 21),
        _TUNED_SOLVER % "rcnn",
        _SHORT,
        "caffenet",
    ),
    "linreg": Example(LINREG, LINREG_SOLVER, ("max_iter=20",)),
}
