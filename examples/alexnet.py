"""AlexNet as BVLC publishes it (bvlc_alexnet): plain `net.add`, grouped convolutions, LRN, no legos.

    python examples/alexnet.py -o alexnet

Krizhevsky et al. 2012, in one column, with group 2 where the paper splits the layers over two GPUs. Layers
have the names of BVLC's file, so that its trained weights fit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder import Blob, Net, counts, prototxt, report


def conv_relu(net: Net, x: Blob, number: int, **fields: Any) -> Blob:
    """Convolution `convN` and ReLU `reluN`."""
    x = net.add("Convolution", x, name=f"conv{number}", **fields)
    return net.add("ReLU", x, name=f"relu{number}", in_place=True)


def norm_pool(net: Net, x: Blob, number: int) -> Blob:
    """Normalization across channels `normN`, and pooling `poolN`."""
    x = net.add("LRN", x, name=f"norm{number}", local_size=5, alpha=1e-4, beta=0.75)
    return net.add("Pooling", x, name=f"pool{number}", pool="MAX", kernel_size=3, stride=2)


def fc_relu_drop(net: Net, x: Blob, number: int) -> Blob:
    """InnerProduct `fcN`, ReLU `reluN`, Dropout `dropN`."""
    x = net.add("InnerProduct", x, name=f"fc{number}", num_output=4096)
    x = net.add("ReLU", x, name=f"relu{number}", in_place=True)
    return net.add("Dropout", x, name=f"drop{number}", in_place=True, dropout_ratio=0.5)


def deploy(batch: int = 1) -> Net:
    """The deploy net: (batch, 3, 227, 227) -> probabilities of 1000 classes."""
    net = Net("AlexNet", phase="TEST")
    x = net.add("Input", name="data", shape={"dim": [batch, 3, 227, 227]})
    x = norm_pool(net, conv_relu(net, x, 1, num_output=96, kernel_size=11, stride=4), 1)
    x = norm_pool(net, conv_relu(net, x, 2, num_output=256, kernel_size=5, pad=2, group=2), 2)
    x = conv_relu(net, x, 3, num_output=384, kernel_size=3, pad=1)
    x = conv_relu(net, x, 4, num_output=384, kernel_size=3, pad=1, group=2)
    x = conv_relu(net, x, 5, num_output=256, kernel_size=3, pad=1, group=2)
    x = net.add("Pooling", x, name="pool5", pool="MAX", kernel_size=3, stride=2)
    x = fc_relu_drop(net, fc_relu_drop(net, x, 6), 7)
    x = net.add("InnerProduct", x, name="fc8", num_output=1000)
    net.add("Softmax", x, name="prob")
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", metavar="FOLDER", default="alexnet", help="where to write deploy.prototxt")
    folder = Path(parser.parse_args().o)
    net = deploy()
    prototxt.write(net, folder / "deploy.prototxt")
    print(report.totals_table(counts.count(net)))
    print(f"wrote {folder / 'deploy.prototxt'}")


if __name__ == "__main__":
    main()
