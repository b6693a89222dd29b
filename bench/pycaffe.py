"""How much longer `net.forward()` of netbuilder.pycaffe takes than the engine's own call.

    python bench/pycaffe.py [CONFIG ...]        by default cifar_resnet_20 and resnet_50

The deploy net of a config, and its training net on a batch of 16 (ImageNet: 2). Processor time of one thread,
the least of several passes that take turns.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import netbuilder.pycaffe as caffe
from netbuilder import Net, prototxt
from netbuilder.config import load
from netbuilder.engines.torch import module
from netbuilder.transforms.fed import fed

SECONDS = 12.0


def measure(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """The least processor time of each function, in seconds."""
    least = dict.fromkeys(functions, float("inf"))
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        for name, function in functions.items():
            begin = time.process_time()
            function()
            least[name] = min(least[name], time.process_time() - begin)
    return least


def row(name: str, built: Net) -> None:
    """Print the times of a net without data layers."""
    train = built.phase == "TRAIN"
    text = prototxt.dumps(built)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.prototxt"
        path.write_text(text)
        net = caffe.Net(str(path), caffe.TRAIN if train else caffe.TEST)
    for blob in (net.blobs[name] for name in net.inputs):
        blob.data[...] = np.random.default_rng(0).integers(0, 10, tuple(blob.shape))
    given = {name: torch.from_numpy(net.blobs[name].data.copy()) for name in net.inputs}
    own = module(prototxt.parse(text, built.phase, dialect="any"))

    def engine() -> None:
        with torch.set_grad_enabled(train):
            own(**given)

    times = measure({"engine": engine, "ours": net.forward})
    ratio = times["ours"] / times["engine"]
    print(
        f"{name:<18}{built.phase:<7}{1e3 * times['engine']:>12.2f}{1e3 * times['ours']:>12.2f}{ratio:>8.3f}"
    )


def main() -> None:
    """Print the rows of each config."""
    torch.set_num_threads(1)
    print(f"{'net':<18}{'phase':<7}{'engine, ms':>12}{'forward()':>12}{'ratio':>8}")
    for name in sys.argv[1:] or ["cifar_resnet_20", "resnet_50"]:
        config = load(name)
        deploy = config.stitch("deploy")
        row(name, deploy)
        (_, *image) = deploy.inputs[0].known_shape
        batch = 16 if image[-1] < 64 else 2
        train = config.stitch("train")
        data, label = (blob.name for blob in train.inputs)
        row(name, fed(train, {data: (batch, *image), label: (batch,)}))


if __name__ == "__main__":
    main()
