"""What the verbs train, test and time share: options, the net of a solver file, weights, and Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from netbuilder import engines
from netbuilder.cli.net_files import NET, model_file, net_file
from netbuilder.cli.options import Options, add_debug, add_gpu, add_json, add_threads
from netbuilder.cli.terminal import say
from netbuilder.errors import ConfigError, FileError, PrototxtError, printable

if TYPE_CHECKING:
    from netbuilder.engines import Engine
    from netbuilder.net import Net
    from netbuilder.training.events import Run

__all__ = [
    "add_device",
    "add_dtype",
    "add_engine",
    "add_extras",
    "add_net",
    "add_sync_bn",
    "add_tensorboard",
    "add_trust",
    "add_weights",
    "chosen_engine",
    "one_device",
    "report_weights",
    "require_trust",
    "stopping",
    "weights_files",
    "with_python_layers",
]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine."""
    parser.add_argument(
        "--engine",
        choices=tuple(engines.ENGINES),
        default=engines.DEFAULT,
        help=f"what does the work (default: {engines.DEFAULT})",
    )


def add_net_engine(parser: argparse.ArgumentParser) -> None:
    """Add --engine, --device and --dtype of a verb that does not train; `chosen_engine` reads them."""
    parser.add_argument(
        "--engine", choices=tuple(engines.ENGINES),
        help="what does the work (default: torch where PyTorch is installed, else caffe)",
    )  # fmt: skip
    add_device(parser)


def with_python_layers(args: argparse.Namespace, net: Net) -> Net:
    """The net, whose Python layers PyTorch may run if --trust is given.

    Their modules `import caffe`, which is netbuilder.pycaffe then.
    """
    if not args.trust or (args.engine or engines.default_engine()) != "torch":
        return net
    if not any(layer.type == "Python" for layer in net):
        return net
    from netbuilder.pycaffe import install
    from netbuilder.pycaffe.python_layers import with_python_layers as python_layers

    install()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return python_layers(net)


def add_device(parser: Options) -> None:
    """Add --device, another name of --gpu in which "" is the CPU, and --dtype."""
    parser.add_argument(
        "--device",
        metavar="cpu|cuda[:N]",
        dest="gpu",
        type=_device,
        help="the same as --gpu, by PyTorch's name",
    )
    add_dtype(parser)


def add_dtype(parser: Options) -> None:
    """Add --dtype."""
    parser.add_argument(
        "--cpu", dest="gpu", action="store_const", const="",
        help="the CPU, whatever solver_mode is; the same as --device cpu",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), type=_dtype, default="float32",
        help="the precision of the arithmetic, also as fp32, bf16 and fp16 (default: float32, the only one "
        "of Caffe)",
    )  # fmt: skip


def _dtype(text: str) -> str:
    """A precision by its whole name."""
    return {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}.get(text, text)


def _device(text: str) -> str:
    """A device by PyTorch's name as --gpu spells it."""
    kind, _, number = text.partition(":")
    if text == "cpu":
        return ""
    if kind != "cuda" or (number and not number.isdecimal()) or text.endswith(":"):
        raise argparse.ArgumentTypeError(f"a device is cpu, cuda or cuda:N, got '{text}'")
    return number or "0"


def chosen_engine(args: argparse.Namespace) -> Engine:
    """The engine to use; one that the user did not name is printed. Raises EngineError if it is missing."""
    named = args.engine is not None
    args.engine = args.engine or engines.default_engine()
    engine = engines.find_engine(args.engine)
    description = engine.describe()
    if not named:
        print(printable(f"engine: {args.engine}, {description}"), file=sys.stderr)
    return engine


def add_net(parser: argparse.ArgumentParser, gpu: str = "the device (default: the CPU)") -> None:
    """Add NET and the options of a run of it; `gpu` says which devices there may be."""
    parser.add_argument(
        "net", metavar="NET", type=net_file, help=f"{NET}; or a solver file that names it, or their folder"
    )
    add_net_engine(parser)
    add_gpu(parser, gpu)
    add_threads(parser)
    add_trust(parser)
    add_json(parser)
    add_debug(parser)


def add_extras(parser: Options) -> None:
    """Add --extras."""
    parser.add_argument(
        "--extras", metavar="FILE|none",
        help="what the recipe does besides Caffe's solver, in YAML, PyTorch only (default: the file beside "
        "the solver, SOLVER.extras.yaml, if there is one)",
    )  # fmt: skip


def add_sync_bn(parser: Options) -> None:
    """Add --sync-bn."""
    parser.add_argument(
        "--sync-bn", action="store_true", help="BatchNorm uses the statistics of all processes' batches"
    )


def add_tensorboard(parser: Options) -> None:
    """Add --tensorboard."""
    parser.add_argument(
        "--tensorboard", metavar="DIR",
        help="write event files for TensorBoard, in a folder of DIR for each training",
    )  # fmt: skip


def add_weights(parser: Options, what: str, *, required: bool = False) -> None:
    """Add --weights; `what` says what the model is for."""
    parser.add_argument(
        "--weights", metavar="MODEL", action="append", default=[], required=required,
        help=f"a .caffemodel {what}, or latest: the newest snapshot of its training; several, with commas "
        "between or given again, are loaded in turn",
    )  # fmt: skip


def add_trust(parser: Options) -> None:
    """Add --trust; `require_trust` and `with_python_layers` read it."""
    parser.add_argument(
        "--trust", action="store_true",
        help="trust whoever made the files: run the code of Python layers, and write where the files say, "
        "outside this folder and theirs too (docs/security.md)",
    )  # fmt: skip
    # Its earlier name, when it was for PyTorch only.
    parser.add_argument("--python-layers", dest="trust", action="store_true", help=argparse.SUPPRESS)


def require_trust(
    args: argparse.Namespace, nets: Iterable[tuple[str, Net]], solver: str = "", prefix: str = ""
) -> None:
    """Raise ConfigError for code that would run and files outside their folder, unless --trust is given.

    With it, too, nothing may be written over a file that is read.
    """
    from netbuilder.training import trust

    nets = list(nets)
    if not args.trust:
        trust.require_trust(nets, solver, prefix)
    trust.require_other_files(nets, solver)


def weights_files(args: argparse.Namespace) -> tuple[str, ...]:
    """The files that --weights names; of `latest`, which is printed, of the training of the net or solver."""
    from netbuilder.weights.model import model_files

    net = getattr(args, "net", None) or args.solver
    return tuple(file for text in args.weights for file in model_files(model_file(text, net)))


def report_weights(nets: Sequence[Net], files: Sequence[str]) -> dict[str, Any] | None:
    """Print which layers Caffe takes from the models, and return it as JSON output has it.

    Raises ConfigError if it takes none. None if the files cannot be read: Caffe says why.
    """
    from netbuilder.checks.weights import fit_files

    try:
        fit = fit_files(nets, files)
    except (FileError, PrototxtError) as error:
        say(f"note: the layers that take weights are not listed: {error.text}")
        return None
    for line in fit.lines():
        print(line, file=sys.stderr)
    return fit.as_data(files)


def one_device(text: str | None) -> list[int | str]:
    """The one device of `--gpu N`, none without it. Raises ConfigError."""
    from netbuilder.training.plan import parse_devices

    devices = parse_devices(text) if text else []
    if len(devices) > 1 or "all" in devices:
        raise ConfigError(f"at most one GPU can be used, got --gpu {text}", key="gpu", hint="as in --gpu 0")
    return devices


@contextmanager
def stopping(run: Run, *, told: bool = True) -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM stop the run, and a second one ends it at once."""
    asked: list[int] = []

    def stop(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            run.kill()
            raise KeyboardInterrupt
        if told:
            print("\nstopping after this iteration; once more ends at once", file=sys.stderr)
        run.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
