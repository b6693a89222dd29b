"""GoogLeNet as BVLC trains it (bvlc_googlenet): nested legos, defaults for a whole net, three losses.

    python examples/googlenet.py -o googlenet

Szegedy et al. 2014. Layers have the names of BVLC's files, so that its trained weights fit. The train net has
the two auxiliary heads of the paper, with a loss weight of 0.3 each; the deploy net has none.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from legos import Lego
from netbuilder import Blob, Net, counts, prototxt, report

# Channels of the Inception modules: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool_proj. Source: table 1.
INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
# The modules that an auxiliary head follows, and those after which the image is halved.
HEADS = {"4a": "loss1", "4d": "loss2"}
POOLED = {"3b": "pool3", "4e": "pool4"}

# The fields that every layer of BVLC's file has; `net.add` fills them in.
_TRAINED = {
    "param": [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
    "weight_filler": {"type": "xavier"},
    "bias_filler": {"type": "constant", "value": 0.2},
}
ZERO = {"type": "constant", "value": 0}  # the biases of the classifiers
DEFAULTS = {"Convolution": _TRAINED, "InnerProduct": _TRAINED}


@dataclass(frozen=True, kw_only=True)
class ConvReLULego(Lego):
    """Convolution `P/X` and ReLU `P/relu_X` of a lego named `P/X`; the pad keeps the size at stride 1."""

    num_output: int
    kernel: int = 1
    stride: int = 1

    def build(self, net: Net, *bottoms: Blob) -> Any:
        (x,) = bottoms
        place, _, own = self.name.rpartition("/")
        x = net.add(
            "Convolution",
            x,
            name=self.name,
            num_output=self.num_output,
            kernel_size=self.kernel,
            stride=self.stride,
            pad=self.kernel // 2,
        )
        return net.add("ReLU", x, name=f"{place}/relu_{own}", in_place=True)


@dataclass(frozen=True, kw_only=True)
class InceptionLego(Lego):
    """Four branches side by side, 1x1, 3x3, 5x5 and pooling, joined by channels: keeps the size.

    (n, c, h, w) -> (n, one_by_one + three[1] + five[1] + pool_proj, h, w)
    """

    one_by_one: int
    three: tuple[int, int]  # channels of the reduction before it, and its own
    five: tuple[int, int]
    pool_proj: int

    def build(self, net: Net, *bottoms: Blob) -> Any:
        (x,) = bottoms
        tops = [ConvReLULego(name=f"{self.name}/1x1", num_output=self.one_by_one).attach(net, x)]
        for kernel, (reduced, num_output) in ((3, self.three), (5, self.five)):
            name = f"{self.name}/{kernel}x{kernel}"
            y = ConvReLULego(name=f"{name}_reduce", num_output=reduced).attach(net, x)
            tops.append(ConvReLULego(name=name, num_output=num_output, kernel=kernel).attach(net, y))
        y = net.add("Pooling", x, name=f"{self.name}/pool", pool="MAX", kernel_size=3, stride=1, pad=1)
        tops.append(ConvReLULego(name=f"{self.name}/pool_proj", num_output=self.pool_proj).attach(net, y))
        return net.add("Concat", *tops, name=f"{self.name}/output")


@dataclass(frozen=True, kw_only=True)
class AuxiliaryHeadLego(Lego):
    """A classifier in the middle of the net, with a loss of weight 0.3: (n, c, 14, 14), (n,) -> ()."""

    def build(self, net: Net, *bottoms: Blob) -> Any:
        x, label = bottoms
        x = net.add("Pooling", x, name=f"{self.name}/ave_pool", pool="AVE", kernel_size=5, stride=3)
        x = ConvReLULego(name=f"{self.name}/conv", num_output=128).attach(net, x)
        x = net.add("InnerProduct", x, name=f"{self.name}/fc", num_output=1024)
        x = net.add("ReLU", x, name=f"{self.name}/relu_fc", in_place=True)
        x = net.add("Dropout", x, name=f"{self.name}/drop_fc", in_place=True, dropout_ratio=0.7)
        x = net.add("InnerProduct", x, name=f"{self.name}/classifier", num_output=1000, bias_filler=ZERO)
        return net.add("SoftmaxWithLoss", x, label, name=f"{self.name}/loss", loss_weight=0.3)


def pool(net: Net, x: Blob, name: str) -> Blob:
    """Max pooling to half the size, rounded up."""
    return net.add("Pooling", x, name=f"{name}/3x3_s2", pool="MAX", kernel_size=3, stride=2)


def norm(net: Net, x: Blob, name: str) -> Blob:
    """Normalization across channels."""
    return net.add("LRN", x, name=name, local_size=5, alpha=1e-4, beta=0.75)


def body(net: Net, x: Blob, label: Blob | None = None) -> Blob:
    """All layers from the data to the last loss; with labels, also the auxiliary heads."""
    x = ConvReLULego(name="conv1/7x7_s2", num_output=64, kernel=7, stride=2).attach(net, x)
    x = norm(net, pool(net, x, "pool1"), "pool1/norm1")
    x = ConvReLULego(name="conv2/3x3_reduce", num_output=64).attach(net, x)
    x = ConvReLULego(name="conv2/3x3", num_output=192, kernel=3).attach(net, x)
    x = pool(net, norm(net, x, "conv2/norm2"), "pool2")
    for module, (one, three, five, proj) in INCEPTION.items():
        name = f"inception_{module}"
        x = InceptionLego(name=name, one_by_one=one, three=three, five=five, pool_proj=proj).attach(net, x)
        if module in HEADS and label is not None:
            AuxiliaryHeadLego(name=HEADS[module]).attach(net, [x, label])
        if module in POOLED:
            x = pool(net, x, POOLED[module])
    x = net.add("Pooling", x, name="pool5/7x7_s1", pool="AVE", kernel_size=7, stride=1)
    x = net.add("Dropout", x, name="pool5/drop_7x7_s1", in_place=True, dropout_ratio=0.4)
    return net.add("InnerProduct", x, name="loss3/classifier", num_output=1000, bias_filler=ZERO)


def deploy(batch: int = 1) -> Net:
    """The deploy net: (batch, 3, 224, 224) -> probabilities of 1000 classes."""
    net = Net("GoogLeNet", phase="TEST", defaults=DEFAULTS)
    x = net.add("Input", name="data", shape={"dim": [batch, 3, 224, 224]})
    net.add("Softmax", body(net, x), name="prob")
    return net


def train(batch: int = 32) -> Net:
    """The train net, with MemoryData instead of a database."""
    net = Net("GoogLeNet", phase="TRAIN", defaults=DEFAULTS)
    shape = {"batch_size": batch, "channels": 3, "height": 224, "width": 224}
    x, label = net.add_many("MemoryData", name="data", tops=["data", "label"], memory_data_param=shape)
    net.add("SoftmaxWithLoss", body(net, x, label), label, name="loss3/loss3", loss_weight=1)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", metavar="FOLDER", default="googlenet", help="where to write the two files")
    folder = Path(parser.parse_args().o)
    for name, net in (("deploy", deploy()), ("train", train())):
        prototxt.write(net, folder / f"{name}.prototxt")
        print(f"{name}, {len(net)} layers")
        print(report.totals_table(counts.count(net)))
        print(f"wrote {folder / name}.prototxt\n")


if __name__ == "__main__":
    main()
