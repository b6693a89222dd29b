"""VGG-16: a custom lego for a stage of 3x3 convolutions, stacked by a table.

    python examples/vgg16.py -o vgg16

Simonyan and Zisserman 2014, configuration D. Layers have the names of the authors' Caffe file, so that its
trained weights fit.
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

# Convolutions per stage, and their channels.
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@dataclass(frozen=True, kw_only=True)
class StageLego(Lego):
    """Convolutions `convX_1`, `convX_2` ... with ReLU, and pooling `poolX`: (n, c, h, w) -> half h, w."""

    blocks: int
    num_output: int

    def build(self, net: Net, *bottoms: Blob) -> Any:
        (x,) = bottoms
        for i in range(1, self.blocks + 1):
            x = net.add(
                "Convolution",
                x,
                name=f"conv{self.name}_{i}",
                num_output=self.num_output,
                kernel_size=3,
                pad=1,
            )
            x = net.add("ReLU", x, name=f"relu{self.name}_{i}", in_place=True)
        return net.add("Pooling", x, name=f"pool{self.name}", pool="MAX", kernel_size=2, stride=2)


def deploy(batch: int = 1) -> Net:
    """The deploy net: (batch, 3, 224, 224) -> probabilities of 1000 classes."""
    net = Net("VGG_ILSVRC_16_layers", phase="TEST")
    x = net.add("Input", name="data", shape={"dim": [batch, 3, 224, 224]})
    for stage, (blocks, num_output) in enumerate(STAGES, start=1):
        x = StageLego(name=str(stage), blocks=blocks, num_output=num_output).attach(net, x)
    for number in (6, 7):
        x = net.add("InnerProduct", x, name=f"fc{number}", num_output=4096)
        x = net.add("ReLU", x, name=f"relu{number}", in_place=True)
        x = net.add("Dropout", x, name=f"drop{number}", in_place=True, dropout_ratio=0.5)
    x = net.add("InnerProduct", x, name="fc8", num_output=1000)
    net.add("Softmax", x, name="prob")
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", metavar="FOLDER", default="vgg16", help="where to write deploy.prototxt")
    folder = Path(parser.parse_args().o)
    net = deploy()
    prototxt.write(net, folder / "deploy.prototxt")
    print(report.totals_table(counts.count(net)))
    print(f"wrote {folder / 'deploy.prototxt'}")


if __name__ == "__main__":
    main()
