"""`netbuilder export onnx NET --weights MODEL -o FILE`: a net and its weights for other programs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.cli.net_files import MODEL, model_file, net_file
from netbuilder.cli.options import (
    Verbs,
    add_debug,
    add_force,
    add_input,
    add_json,
    add_no_verify,
    add_output,
    add_outputs,
    add_state,
)
from netbuilder.cli.reading import read_test_net, read_train_net
from netbuilder.cli.terminal import say
from netbuilder.errors import ConfigError, printable

if TYPE_CHECKING:
    from netbuilder.export.onnx import Exported
    from netbuilder.net import Net

__all__ = ["add_parser"]

_EXAMPLE = "example: netbuilder export onnx deploy.prototxt --weights net.caffemodel -o net.onnx"
_CLOSE = {False: 1e-4, True: 5e-2}  # by float16: differences above show a fault, not rounding


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "export", description="Write a net and its weights in the format of others.", epilog=_EXAMPLE
    )
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    _add_onnx(formats)


def _add_onnx(formats: Verbs) -> None:
    parser = formats.add_parser(
        "onnx",
        help="an ONNX file",
        description="Write a net and its weights as an ONNX file, with the names of its layers and blobs. "
        "Data layers and losses go, as by `netbuilder deploy`. The file is checked by `onnx`, and run by "
        "onnxruntime: the largest difference to what PyTorch or real Caffe computes is printed.",
        epilog=_EXAMPLE,
    )
    parser.add_argument(
        "file", metavar="NET", type=net_file, help="a deploy net, a train_val, or a solver that names it"
    )
    parser.add_argument("--weights", metavar="MODEL", help=f"{MODEL}, binary or HDF5")
    add_output(parser, "the file to write; above 2 GB, FILE.data has the weights", "FILE", required=True)
    parser.add_argument("--opset", type=int, default=17, metavar="N", help="default: 17, for most readers")
    parser.add_argument(
        "--dynamic", nargs="+", choices=("batch", "size"), default=[],
        help="leave the batch open, or the size of the images",
    )  # fmt: skip
    parser.add_argument("--fold", action="store_true", help="fold BatchNorm and Scale, as `netbuilder fold`")
    parser.add_argument(
        "--float16",
        action="store_true",
        help="16 bits for weights and arithmetic, not for inputs and outputs",
    )
    parser.add_argument("--batch", type=int, metavar="N", help="the batch (default: 1 image)")
    add_outputs(parser)
    verify = parser.add_mutually_exclusive_group()
    verify.add_argument(
        "--verify", action="store_true", default=None,
        help="run the file and the net; an error where that is not possible (default: run them if it is)",
    )  # fmt: skip
    add_no_verify(verify, action="store_false", dest="verify")
    parser.add_argument(
        "--engine", choices=("torch", "caffe"), default="torch", help="what runs the net (default: torch)"
    )
    add_input(parser)
    add_state(parser)
    add_force(parser, "replace the file")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.export.onnx import export
    from netbuilder.transforms.deploy import deployed

    net, source, assumed = read_test_net(args)
    train = None if net.phase == "TRAIN" else read_train_net(args)
    found = deployed(net, train, batch=args.batch, outputs=args.outputs)
    small = found.net
    for what in (*assumed, *found.assumed):
        say(f"note: assumed {what}")
    if args.weights is None and any(layer.params for layer in small):
        raise ConfigError("the net has weights: give its model", key="weights", hint="--weights MODEL")
    args.weights = args.weights and model_file(args.weights, args.file)
    written = export(
        small, args.output, weights=args.weights, opset=args.opset, dynamic=args.dynamic, fold=args.fold,
        float16=args.float16, metadata=_metadata(net, source.path, args.weights), verify=args.verify,
        engine=args.engine, force=args.force,
    )  # fmt: skip
    wrong = written.difference is not None and not written.difference <= _CLOSE[args.float16]
    if args.json:
        import json

        print(json.dumps(_as_data(written), indent=2))
    else:
        print("\n".join(map(printable, _lines(written))))
        for file in written.files:
            print(printable(f"wrote {file}"), file=sys.stderr)
    if wrong:
        print("the ONNX file computes something else: do not use it, and report this net", file=sys.stderr)
    return int(wrong)


def _metadata(net: Net, source: str | Path, weights: str | None) -> dict[str, str]:
    """What the file says of its source, and of how its images are prepared."""
    import json

    from netbuilder._version import __version__
    from netbuilder.layers import is_source

    found = {"source": Path(source).name, "netbuilder": __version__}
    if weights:
        found["weights"] = Path(weights).name
    for layer in net:
        transform = layer.proto.transform_param
        if is_source(layer.proto) and layer.proto.HasField("transform_param"):
            # In Caffe's order: the mean first, then the scale; mirroring is for a training.
            steps: dict[str, Any] = {"input": layer.tops[0].name, "channels": "BGR"}
            for field in ("crop_size", "mean_value", "mean_file", "scale", "force_gray"):
                value = getattr(transform, field)
                if field == "mean_value":
                    value = list(value)
                if value and (field != "scale" or transform.HasField("scale")):
                    steps[field] = value
            found["preprocessing"] = json.dumps(steps)
            break
    return found


def _lines(found: Exported) -> list[str]:
    lines = [f"inputs   {_shapes(found.inputs)}", f"outputs  {_shapes(found.outputs)}"]
    lines.append(f"nodes    {found.nodes}, opset {found.opset}")
    if not found.engine:
        return [*lines, "not run: onnxruntime and PyTorch are not both installed, or --no-verify is given"]
    if found.difference is None:
        return [*lines, "not compared: the net with this model gives values that are not finite"]
    engine = {"torch": "PyTorch", "caffe": "real Caffe"}[found.engine]
    return [*lines, f"largest difference to {engine}: {found.difference:.1e} of the largest output"]


def _shapes(shapes: dict[str, list[int | str | None]]) -> str:
    texts = {name: ",".join("?" if n is None else str(n) for n in shape) for name, shape in shapes.items()}
    return ", ".join(f"{name} ({text})" for name, text in texts.items())


def _as_data(found: Exported) -> dict[str, Any]:
    return {
        "version": 1,
        "files": [str(file) for file in found.files],
        "inputs": found.inputs,
        "outputs": found.outputs,
        "opset": found.opset,
        "nodes": found.nodes,
        "engine": found.engine,
        "difference": found.difference,
    }
