"""Compute the weights of a net's whitening from CIFAR-10 images and write a .caffemodel; see --help.

netbuilder data cifar10 --rgb -o cifar10
python app/cifar10/whiten.py cifar10/train_lmdb -o whitening.caffemodel
netbuilder train solver.prototxt --weights whitening.caffemodel

For the net cifar_94, `--for cifar_94` writes its whitening, and all filters that start as identities.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Run from a clone, the script uses this clone's netbuilder, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from netbuilder.cli.main import run
from netbuilder.errors import FileError

if TYPE_CHECKING:
    import numpy.typing as npt

LAYER = "whiten_prep"  # its name in the nets of `netbuilder build davidnet --whitening`, and in cifar_94
RECORD = 1 + 3 * 32 * 32  # a label, and the red, green and blue plane
EPSILONS = {"davidnet": 0.01, "cifar_94": 0.0005}
MEAN, DEVIATION = (125.31, 122.95, 113.87), (62.99, 62.09, 66.70)


def make_parser() -> argparse.ArgumentParser:
    """The flags of this script."""
    parser = argparse.ArgumentParser(
        description="Compute the weights of a frozen whitening convolution from images."
    )
    parser.add_argument(
        "images", nargs="+", type=Path,
        help="an LMDB of images, CIFAR-10's binary batches (.bin), or arrays of images (n, 3, height, width) "
        "in .npy files",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, help="the .caffemodel to write")
    parser.add_argument(
        "--for", dest="net", choices=tuple(EPSILONS), default="davidnet",
        help="the net: davidnet, or cifar_94, whose other filters are written, too (default: davidnet)",
    )  # fmt: skip
    parser.add_argument(
        "--first", type=int, default=10000, metavar="N", help="number of images to use (default: 10000)"
    )
    parser.add_argument(
        "--mean", type=float, nargs=3, default=MEAN, metavar="X",
        help="mean of each channel, subtracted as in training (default: 125.31 122.95 113.87)",
    )  # fmt: skip
    parser.add_argument(
        "--std", type=float, nargs=3, default=DEVIATION, metavar="X",
        help="standard deviation of each channel, divided by after that (default: 62.99 62.09 66.70)",
    )  # fmt: skip
    parser.add_argument(
        "--epsilon", type=float, metavar="X",
        help="added to the eigenvalues (default: 0.01; for cifar_94, 0.0005)",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="replace an existing file")
    parser.add_argument("--debug", action="store_true", help="show a traceback on errors")
    parser.set_defaults(run=_run)
    return parser


def read_images(path: Path, first: int) -> npt.NDArray[Any]:
    """The images of a file, or the first of a database, (n, 3, height, width); raises FileError."""
    import numpy as np

    try:
        if path.is_dir():
            images = _of_database(path, first)
        elif path.suffix == ".npy":
            images = np.load(path, allow_pickle=False)
        else:
            data = np.fromfile(path, np.uint8)
            if not data.size or data.size % RECORD:
                raise ValueError(f"{data.size} bytes are not a whole number of records of {RECORD}")
            images = data.reshape(-1, RECORD)[:, 1:].reshape(-1, 3, 32, 32)
    except OSError as error:
        raise FileError(f"cannot read '{path}': {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise FileError(f"cannot read images from '{path}': {error}") from None
    if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 3 or not len(images):
        raise FileError(
            f"cannot read images from '{path}': the shape must be (n, 3, height, width), got {images.shape}"
        )
    return images


def _of_database(path: Path, first: int) -> npt.NDArray[Any]:
    """The first images of an LMDB. Raises FileError, and ValueError if they differ in size."""
    import numpy as np

    from netbuilder.data.stored import BadRecord, Database

    database = Database(path)
    try:
        return np.stack([database.read(database.task(i))[0] for i in range(min(first, len(database)))])
    except BadRecord as error:
        raise ValueError(str(error)) from None


def _run(args: argparse.Namespace) -> int:
    import numpy as np

    from legos.whitening import whitening_filter
    from netbuilder.weights.write import write_model

    batches = [read_images(path, args.first) for path in args.images]
    images = np.concatenate(batches)[: args.first].astype(np.float32)
    mean, std = (np.reshape(v, (3, 1, 1)).astype(np.float32) for v in (args.mean, args.std))
    images = (images - mean) / std
    epsilon = EPSILONS[args.net] if args.epsilon is None else args.epsilon
    if args.net == "davidnet":
        params = {LAYER: [whitening_filter(images, epsilon=epsilon)]}
    else:
        params = start_of_cifar_94(images, epsilon)
    write_model(args.output, params, force=args.force)
    names = f"layer {LAYER}" if len(params) == 1 else f"{len(params)} layers"
    print(f"wrote {args.output}: {names}, from {len(images)} images", file=sys.stderr)
    return 0


def start_of_cifar_94(images: npt.NDArray[Any], epsilon: float) -> dict[str, list[npt.NDArray[Any]]]:
    """The whitening of cifar_94, and its filters: the first of each layer each pass one channel on.

    The other filters, and the bias of the whitening, are uniform within 1/sqrt(fan-in).
    """
    import numpy as np

    from legos.whitening import whitening_filter
    from netbuilder.config import load

    rng = np.random.default_rng(1)
    whitening = whitening_filter(images, kernel=2, epsilon=epsilon)
    params: dict[str, list[npt.NDArray[Any]]] = {}
    for layer in load("cifar_94").stitch("deploy"):
        if layer.type != "Convolution":
            continue
        shape = layer.params[0].shape
        fan_in = np.prod(shape[1:])
        if layer.name == LAYER:
            bias = rng.uniform(-1, 1, shape[0]) / fan_in**0.5
            params[layer.name] = [np.concatenate([whitening, -whitening]), bias.astype(np.float32)]
            continue
        filters = (rng.uniform(-1, 1, shape) / fan_in**0.5).astype(np.float32)
        filters[: shape[1]] = 0
        filters[range(shape[1]), range(shape[1]), 1, 1] = 1
        params[layer.name] = [filters]
    return params


if __name__ == "__main__":
    sys.exit(run(make_parser()))
