"""`netbuilder fold NET --weights MODEL -o DIR`: BatchNorm and Scale folded into the weights."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    add_state,
)
from netbuilder.cli.reading import read_test_net
from netbuilder.cli.terminal import columns_text
from netbuilder.errors import FileError, printable
from netbuilder.layers.normalization import PER_CHANNEL
from netbuilder.measure.counts import count
from netbuilder.net import Net
from netbuilder.prototxt.writer import write
from netbuilder.transforms.deploy import deployed
from netbuilder.transforms.fold import Folding, fold

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = ["add_parser"]

_NET, _MODEL = "deploy.prototxt", "deploy.caffemodel"


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "fold",
        description="Fold BatchNorm, Scale and Bias into the convolutions, deconvolutions and inner "
        f"products beside them, and write {_NET} and {_MODEL}. Data layers, losses and Dropout go, as by "
        "`netbuilder deploy`. What cannot be folded exactly stays, with the reason. Where PyTorch is "
        "installed, both nets are run on random images, and their largest difference is printed.",
        epilog="example: netbuilder fold train_val.prototxt --weights net.caffemodel -o folded",
    )
    parser.add_argument(
        "file", metavar="NET", type=net_file, help="a deploy net, a train_val, or a solver that names it"
    )
    parser.add_argument("--weights", metavar="MODEL", required=True, help=f"{MODEL}, binary or HDF5")
    add_output(parser, "the folder to write to", "DIR", required=True)
    add_no_verify(parser)
    add_input(parser)
    add_state(parser)
    add_force(parser, f"replace {_NET} and {_MODEL}")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder.checks.weights import require_all
    from netbuilder.weights.arrays import read_arrays
    from netbuilder.weights.write import write_model

    given, source, _ = read_test_net(args)
    args.weights = model_file(args.weights, args.file)
    net = deployed(given).net
    require_all(net, args.weights)
    targets = [Path(args.output, name) for name in (_NET, _MODEL)]
    for target in targets:
        if target.exists() and not args.force:
            raise FileError(f"cannot write '{target}': it exists already", hint="give another -o, or --force")
    affine = {layer.name for layer in net if layer.type in PER_CHANNEL}
    small = {x.layer.name: x.arrays for x in read_arrays(args.weights) if x.layer.name in affine}
    found = fold(net, small.__getitem__)
    try:
        targets[0].parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot create '{args.output}': {error.strerror}", hint="choose another") from None
    write_model(
        targets[1], found.arrays((x.layer.name, x.arrays) for x in read_arrays(args.weights)), force=True
    )
    write(found.net, targets[0], header=f"folded from: {source.path}", force=True)
    difference = None if args.no_verify else _difference(net, args.weights, found.net, targets[1])
    if args.json:
        import json

        print(json.dumps(_as_data(net, found, [str(t) for t in targets], difference), indent=2))
    else:
        print("\n".join(_lines(net, found, difference)))
        for target in targets:
            print(printable(f"wrote {target}"), file=sys.stderr)
    return 0


def _difference(net: Net, model: str, folded: Net, other: Path) -> float | None:
    """The largest difference of the outputs on random inputs, by the largest output.

    None without PyTorch, and where values are not finite, which is printed.
    """
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    from netbuilder.engines.torch import module

    generator = torch.Generator().manual_seed(1)
    shapes = {top.name: top.known_shape for layer in net if not layer.bottoms for top in layer.tops}
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    outputs = []
    for each, file in ((net, model), (folded, other)):
        run = module(each)
        run.load_caffemodel(file)
        with torch.no_grad():
            outputs.append(run(**inputs))
        del run
    for which, values in zip(("net with this model", "folded net"), outputs, strict=True):
        if not all(bool(torch.isfinite(value).all()) for value in values.values()):
            print(
                printable(f"note: not compared: the {which} gives values that are not finite"),
                file=sys.stderr,
            )
            return None
    largest = max(float(value.abs().max()) for value in outputs[0].values())
    difference = max(float((outputs[1][k] - v).abs().max()) for k, v in outputs[0].items())
    return difference / largest if largest else difference


def _figures(net: Net) -> dict[str, int | float]:
    counted = count(net)
    return {
        "layers": len(net.layers),
        "stored params": counted.stored_params,
        "MACs": counted.macs,
        "all FLOPs": counted.total_flops,
    }


def _lines(net: Net, found: Folding, difference: float | None) -> list[str]:
    before, after = _figures(net), _figures(found.net)
    rows = [(key, f"{before[key]:,}", f"{after[key]:,}") for key in before]
    lines = [columns_text(("figure", "before", "folded"), rows, right=(1, 2))]
    lines.append("")
    lines.append(printable(f"folded into others: {_some(list(found.merged))}"))
    lines += [printable(f"dropped: {_some(found.dropped)}")] if found.dropped else []
    lines += [printable(f"kept: {name}: {why}") for name, why in found.kept.items()]
    if difference is not None:
        lines.append(f"largest difference on random inputs: {difference:.1e} of the largest output")
    return lines


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (", ".join(names[:3]) or "nothing") + more


def _as_data(net: Net, found: Folding, files: list[str], difference: float | None) -> dict[str, Any]:
    return {
        "version": 1,
        "files": files,
        "before": _figures(net),
        "folded": _figures(found.net),
        "merged": found.merged,
        "dropped": found.dropped,
        "kept": found.kept,
        "difference": difference,
    }
