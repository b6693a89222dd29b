"""The nets of pynetbuilder, layer by layer, stated a second time: in plain loops, without any of our code.

Source: pynetbuilder commit 4202d3c (app/imagenet/build_resnet.py, app/cifar10/build_resnet.py,
netbuilder/lego/hybrid.py, config/default.params) and the prototxt files of its models folder. Fields are the
effective ones: a window is always a pair (h, w), whatever spelling a file uses for it, and what a file leaves
to Caffe has Caffe's default. Not covered, because the files differ from the generator there: the xavier
fillers of two of its folders and the mean values of one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

MSRA = {"type": "msra", "value": 0.0, "variance_norm": "FAN_IN"}
ZERO = {"type": "constant", "value": 0.0, "variance_norm": "FAN_IN"}
# (lr_mult, decay_mult) of the weights and of the bias; of the three statistics of BatchNorm.
WEIGHT_AND_BIAS = ((1.0, 1.0), (2.0, 0.0))
STATISTICS = ((0.0, 0.0),) * 3


class AncestorLayer(NamedTuple):
    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    fields: dict[str, Any]


class Unit(NamedTuple):
    """A convolution of a main branch: its name's end, its width, and (h, w) of kernel, pad and stride."""

    suffix: str
    width: int
    kernel: tuple[int, int]
    pad: tuple[int, int]
    stride: tuple[int, int]
    relu: bool


def main_branch(branch: str, w: int, s: int) -> list[Unit]:
    """The units of a block of width w and stride s."""
    if branch == "normal":
        return [
            Unit("branch2a", w, (3, 3), (1, 1), (s, s), True),
            Unit("branch2b", w, (3, 3), (1, 1), (1, 1), False),
        ]
    if branch == "bottleneck":
        return [
            Unit("branch2a", w // 4, (1, 1), (0, 0), (s, s), True),
            Unit("branch2b", w // 4, (3, 3), (1, 1), (1, 1), True),
            Unit("branch2c", w, (1, 1), (0, 0), (1, 1), False),
        ]
    if branch == "inception_trick":
        return [
            Unit("branch_3by1a", w, (1, 3), (0, 1), (1, s), True),
            Unit("branch_1by3a", w, (3, 1), (1, 0), (s, 1), True),
            Unit("branch_3by1b", w, (1, 3), (0, 1), (1, 1), True),
            Unit("branch_1by3b", w, (3, 1), (1, 0), (1, 1), True),
        ]
    assert branch == "inception_trick_bottleneck"
    return [
        Unit("branch2a", w // 4, (1, 1), (0, 0), (s, s), True),
        Unit("branch_b_3by1", w // 4, (1, 3), (0, 1), (1, 1), True),
        Unit("branch_b_1by3", w // 4, (3, 1), (1, 0), (1, 1), True),
        Unit("branch2c", w, (1, 1), (0, 0), (1, 1), False),
    ]


def imagenet(branch: str, n: int, blocks: list[int], fc_layers: bool, phase: str) -> list[AncestorLayer]:
    """What app/imagenet/build_resnet.py writes for `-m branch -n n -b blocks`; phase is "train" or "test"."""
    net = _Net(phase)
    net.data(224)
    net.unit("1", "data", 64, (7, 7), (3, 3), (2, 2), relu=True)
    net.pool("pool1", "conv_1", "MAX", 3, 2)
    last = "pool1"
    for stage in range(len(blocks)):
        for block in range(blocks[stage]):
            first = block == 0
            projects = first and (stage > 0 or branch in ("bottleneck", "inception_trick_bottleneck"))
            stride = 2 if first and stage > 0 else 1
            last = net.block(f"stage{stage}_block{block}", last, branch, n * 2**stage, stride, projects)
    if fc_layers:
        last = net.unit("1by1_2048", last, 2048, (1, 1), (0, 0), (1, 1), relu=True)
        net.pool("pool", last, "AVE", 7, 1)
        last = net.unit("1by1_4096", "pool", 4096, (1, 1), (0, 0), (1, 1), relu=True)
        net.add("drop_1by1_4096", "Dropout", [last], [last], dropout_ratio=0.2)
        last = net.unit("1by1_1000", last, 1000, (1, 1), (0, 0), (1, 1), relu=True)
    else:
        net.pool("pool", last, "AVE", 7, 1)
        last = net.classifier("fc1000", "pool", 1000)
    net.loss(last)
    return net.layers


def cifar(branch: str, n: int, phase: str) -> list[AncestorLayer]:
    """What app/cifar10/build_resnet.py writes for `-m branch -n n`."""
    net = _Net(phase)
    net.data(32)
    last = net.unit("1", "data", 16, (3, 3), (1, 1), (1, 1), relu=True)
    for stage in range(3):
        for block in range(n):
            projects = stage > 0 and block == 0
            name = f"stage{stage}_block{block}"
            last = net.block(name, last, branch, 16 * 2**stage, 2 if projects else 1, projects)
    net.pool("pool", last, "AVE", 8, 1)
    net.loss(net.classifier("fc10", "pool", 10))
    return net.layers


class _Net:
    def __init__(self, phase: str) -> None:
        self.test = phase == "test"
        self.layers: list[AncestorLayer] = []

    def add(self, name: str, type: str, bottoms: list[str], tops: list[str], **fields: Any) -> str:
        self.layers.append(AncestorLayer(name, type, tuple(bottoms), tuple(tops), fields))
        return tops[0]

    def data(self, size: int) -> None:
        self.add(
            "data", "MemoryData", [], ["data", "label"],
            transform_param={"crop_size": size}, batch_size=1, channels=3, height=size, width=size,
        )  # fmt: skip

    def unit(
        self,
        name: str,
        bottom: str,
        width: int,
        kernel: tuple[int, int],
        pad: tuple[int, int],
        stride: tuple[int, int],
        *,
        relu: bool,
    ) -> str:
        conv = self.add(
            f"conv_{name}", "Convolution", [bottom], [f"conv_{name}"],
            param=WEIGHT_AND_BIAS, num_output=width, bias_term=True, group=1, dilation=[], axis=1,
            kernel=kernel, pad=pad, stride=stride, weight_filler=MSRA, bias_filler=ZERO,
        )  # fmt: skip
        self.add(
            f"bn_{name}", "BatchNorm", [conv], [conv],
            param=STATISTICS, use_global_stats=self.test, moving_average_fraction=0.999, eps=1e-5,
        )  # fmt: skip
        self.add(f"scale_{name}", "Scale", [conv], [conv], bias_term=True, axis=1, num_axes=1)
        if relu:
            self.relu(f"relu_{name}", conv)
        return conv

    def relu(self, name: str, blob: str) -> None:
        self.add(name, "ReLU", [blob], [blob], negative_slope=0.0)

    def pool(self, name: str, bottom: str, method: str, kernel: int, stride: int) -> None:
        self.add(
            name, "Pooling", [bottom], [name],
            pool=method, kernel=(kernel, kernel), pad=(0, 0), stride=(stride, stride),
            global_pooling=False, round_mode="CEIL",
        )  # fmt: skip

    def block(self, name: str, bottom: str, branch: str, width: int, stride: int, projects: bool) -> str:
        shortcut = bottom
        if projects:
            shortcut = self.unit(
                f"{name}_proj_shortcut", bottom, width, (1, 1), (0, 0), (stride, stride), relu=False
            )
        last = bottom
        for unit in main_branch(branch, width, stride):
            last = self.unit(
                f"{name}_{unit.suffix}", last, unit.width, unit.kernel, unit.pad, unit.stride, relu=unit.relu
            )
        top = f"eltwise_{name}"
        self.add(top, "Eltwise", [shortcut, last], [top], operation="SUM", coeff=[])
        self.relu(f"relu_{name}", top)
        return top

    def classifier(self, name: str, bottom: str, classes: int) -> str:
        return self.add(
            name, "InnerProduct", [bottom], [name],
            param=WEIGHT_AND_BIAS, num_output=classes, bias_term=True, axis=1, transpose=False,
            weight_filler=MSRA, bias_filler=ZERO,
        )  # fmt: skip

    def loss(self, scores: str) -> None:
        self.add("loss", "SoftmaxWithLoss", [scores, "label"], ["loss"])
        if self.test:
            self.add("accuracy", "Accuracy", [scores, "label"], ["accuracy"], top_k=1, axis=1)
