"""How much longer `net.forward()` of netbuilder.pycaffe takes than the engine's own call.

    python bench/pycaffe.py [CONFIG ...]        by default cifar_resnet_20 and resnet_50

Processor time of one thread, the least of several passes that take turns.
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
from netbuilder import prototxt
from netbuilder.config import load

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


def main() -> None:
    """Print a row for each net."""
    torch.set_num_threads(1)
    print(f"{'net':<18}{'engine, ms':>12}{'forward()':>12}{'data given':>12}{'ratio':>8}")
    for name in sys.argv[1:] or ["cifar_resnet_20", "resnet_50"]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "deploy.prototxt"
            path.write_text(prototxt.dumps(load(name).stitch("deploy")))
            net = caffe.Net(str(path), caffe.TEST)
        (given,) = net.inputs
        image = np.random.default_rng(0).random(tuple(net.blobs[given].shape), np.float32)
        tensor = torch.from_numpy(image)

        def engine(net: caffe.Net = net, given: str = given, tensor: torch.Tensor = tensor) -> None:
            with torch.no_grad():
                net.module(**{given: tensor})

        def with_data(net: caffe.Net = net, given: str = given, image: object = image) -> None:
            net.forward(None, None, None, **{given: image})

        times = measure({"engine": engine, "forward": net.forward, "given": with_data})
        shown = "".join(f"{1e3 * seconds:>12.2f}" for seconds in times.values())
        print(f"{name:<18}{shown}{times['forward'] / times['engine']:>8.3f}")


if __name__ == "__main__":
    main()
