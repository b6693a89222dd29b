"""`netbuilder weights WHAT`: weights brought in, taken out, shown, compared and completed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.cli.net_files import MODEL, model_file, net_file
from netbuilder.cli.options import (
    Options,
    Verbs,
    add_debug,
    add_force,
    add_input,
    add_json,
    add_output,
    add_state,
    given_inputs,
)
from netbuilder.cli.terminal import say
from netbuilder.errors import FileError, counted, printable

if TYPE_CHECKING:
    from netbuilder.net import Net
    from netbuilder.weights.importing import First
    from netbuilder.weights.matching import Match
    from netbuilder.weights.tensors import Checkpoint, Tensor

__all__ = ["add_parser"]

_STATS = ("min", "max", "mean")
_CHECKPOINT = "a .pth, .pt, .safetensors or .npz"


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "weights",
        description="Bring weights of PyTorch and TensorFlow into Caffe and back; show, compare and complete "
        "them. No code of a checkpoint is run.",
        epilog="example: netbuilder weights import deploy.prototxt resnet50.pth -o resnet50.caffemodel",
    )
    kinds = parser.add_subparsers(dest="weights", required=True, metavar="WHAT")
    _add_import(kinds)
    _add_export(kinds)
    _add_show(kinds)
    _add_diff(kinds)
    _add_fill(kinds)


def _add_import(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "import",
        help="write a .caffemodel from a checkpoint",
        description="Write a .caffemodel for a net from a checkpoint. A naming map says which tensor fills "
        "which layer; the pairs are printed. A tensor that is missing, left over, ambiguous or of another "
        "shape is an error, and nothing is written.",
        epilog="example: netbuilder weights import deploy.prototxt resnet50.pth -o resnet50.caffemodel "
        "--input bgr255-mean --verify",
    )
    _add_net(parser)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=f"{_CHECKPOINT} file")
    add_output(parser, "the .caffemodel to write", "FILE", required=True)
    _add_choice(parser)
    parser.add_argument(
        "--skip", action="append", default=[], metavar="LAYER",
        help="a layer that gets no weights (a pattern, as fc*); Caffe then fills it; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--input", action="append", default=[], metavar="KIND",
        help="what the net will be fed, if not what the published one is: rgb01, bgr255, ...; with -mean "
        "(bgr255-mean) you subtract the mean. Or NAME=N,C,H,W, the shape of a data layer's top",
    )  # fmt: skip
    parser.add_argument(
        "--verify", action="store_true",
        help="run the model on a random input in PyTorch and real Caffe, where they are, and compare",
    )  # fmt: skip
    parser.add_argument(
        "--source", metavar="MODULE:FUNCTION",
        help="verify against the published model too, which this function makes, as "
        "torchvision.models:resnet50; its code is run",
    )  # fmt: skip
    add_state(parser)
    _finish(parser, _import)


def _add_export(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "export",
        help="write a checkpoint from a .caffemodel",
        description="Write a .caffemodel as a state_dict (.pth, .pt, .safetensors) or as arrays (.npz), "
        "under the published names of a naming map.",
        epilog="example: netbuilder weights export deploy.prototxt resnet50.caffemodel -o resnet50.pth",
    )
    _add_net(parser)
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}, binary or HDF5")
    add_output(parser, f"{_CHECKPOINT} file to write", "FILE", required=True)
    _add_map(parser)
    add_input(parser)
    add_state(parser)
    _finish(parser, _export)


def _add_show(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "show",
        help="list the tensors of a model or a checkpoint",
        description="List the tensors of a .caffemodel or a checkpoint: names, shapes, types of numbers.",
        epilog="example: netbuilder weights show resnet50.pth",
    )
    parser.add_argument("file", metavar="FILE", help=f"a .caffemodel, or {_CHECKPOINT} file")
    _add_key(parser)
    parser.add_argument("--stats", action="store_true", help="also smallest, largest and mean value")
    _finish(parser, _show, writes=False)


def _add_diff(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "diff",
        help="compare the tensors of two files",
        description="Compare two models or checkpoints, tensor by tensor. A model and a checkpoint are "
        "compared through a net (--net), by the same maps as the import.",
        epilog="example: netbuilder weights diff a.caffemodel b.caffemodel. Exit code: 0 equal, 1 different",
    )
    for place in ("first", "second"):
        parser.add_argument(place, metavar=place.upper(), help=f"a .caffemodel, or {_CHECKPOINT} file")
    parser.add_argument("--net", metavar="NET", help="the net of a model, to compare it with a checkpoint")
    parser.add_argument(
        "--tolerance", type=float, default=0, metavar="X", help="the largest difference that counts as equal"
    )
    _add_choice(parser)
    _finish(parser, _diff, writes=False)


def _add_fill(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "fill",
        help="add the fixed filters that a model lacks",
        description="Write a model with the fixed filters of its net, which Caffe fills by itself, while "
        "OpenCV and MNN crash without them.",
        epilog="example: netbuilder weights fill deploy.prototxt net.caffemodel -o filled.caffemodel",
    )
    _add_net(parser)
    parser.add_argument("model", metavar="MODEL", help=MODEL)
    add_output(parser, "the .caffemodel to write", "FILE", required=True)
    add_input(parser)
    add_state(parser)
    _finish(parser, _fill)


def _add_net(parser: Options) -> None:
    parser.add_argument(
        "net", metavar="NET", type=net_file, help="a deploy net, a train_val, or a solver that names it"
    )


def _add_map(parser: Options) -> None:
    parser.add_argument(
        "--map", default="auto", metavar="MAP",
        help="the naming map: auto, order (plain chains), a name as torchvision, or a YAML file "
        "(default: auto)",
    )  # fmt: skip


def _add_key(parser: Options) -> None:
    parser.add_argument(
        "--key", metavar="NAME", help="the dictionary of a PyTorch file to take, as state_dict_ema"
    )


def _add_choice(parser: Options) -> None:
    """Add what chooses the tensors of a checkpoint."""
    _add_map(parser)
    _add_key(parser)
    parser.add_argument("--prefix", metavar="TEXT", help="what stands before all names (default: found)")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="TENSOR",
        help="a tensor to leave out (a pattern, as aux.*); may be repeated",
    )  # fmt: skip


def _finish(parser: argparse.ArgumentParser, run: Any, *, writes: bool = True) -> None:
    if writes:
        add_force(parser, "replace an existing file")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=run)


def _read(args: argparse.Namespace, shapes: dict[str, tuple[int, ...]] | None = None) -> Net:
    """The TEST net of the file, as it is handed over: Input layers in place of data layers."""
    from netbuilder.prototxt.reader import nets_of, read_net
    from netbuilder.transforms.deploy import deployed

    source = nets_of(args.net, "TEST", level=args.level, stages=args.stage)[0]
    inputs = given_inputs(args) if shapes is None else shapes
    return deployed(read_net(source, dialect="any", unknown="keep", inputs=inputs)).net


# ---- import ------------------------------------------------------------------------------------------------


def _import(args: argparse.Namespace) -> int:
    from netbuilder.prototxt.writer import write
    from netbuilder.weights.checkpoint import read_checkpoint
    from netbuilder.weights.importing import first_convolution, shifted_net, write_imported
    from netbuilder.weights.matching import match

    words = [word for word in args.input if "=" not in word]
    args.input = [word for word in args.input if "=" in word]
    target, shifted = Path(args.output), None
    _refuse_existing(args, target)
    net, checkpoint = _read(args), read_checkpoint(args.checkpoint, key=args.key)
    found = match(net, checkpoint, args.map, prefix=args.prefix, skip=args.skip, ignore=args.ignore)
    first = first_convolution(net, found, words[-1]) if words else None
    notes = [*checkpoint.notes, *found.notes, *_about_input(words, first)]
    if first is not None and first.apart:
        shifted = _beside(args)
        _refuse_existing(args, shifted)
        notes.append(
            f"layer '{first.layer.name}' pads, so it cannot take the mean over exactly: use the new net "
            f"{shifted}, which subtracts it first, or subtract it yourself (--input {words[-1]}-mean)"
        )
        net = shifted_net(net, first)
    notes += write_imported(net, found, target, first=first, force=args.force)
    if shifted:
        header = f"from: {args.net}, with the mean of its input subtracted"
        write(net, shifted, header=header, force=args.force)
    verified = _verified(args, net, found, checkpoint, words) if args.verify or args.source else {}
    if args.json:
        import json

        print(json.dumps(_imported_data(args, found, notes, shifted, verified), indent=2))
        return 0
    print(_pairs_table(found))
    print(f"\nmap {found.map.name}: {found.map.about}")
    for name, value in verified.items():
        print(f"{name}: {value if isinstance(value, str) else f'{value:.1e} of the largest score'}")
    said = [f"note: {note}" for note in notes] + [f"wrote {file}" for file in (shifted, target) if file]
    print("\n".join(map(printable, said)), file=sys.stderr)
    return 0


def _about_input(words: Sequence[str], first: First | None) -> list[str]:
    if first is None:
        return []
    mean = ", ".join(f"{x:.6g}" for x in first.change.mean)
    if words[-1].endswith("-mean"):
        return [f"feed the net x - mean, with the mean {mean} in the order of its channels"]
    return [f"feed the net {words[-1]} as it is: its mean {mean} is subtracted by the net"]


def _beside(args: argparse.Namespace) -> Path:
    """The net that is written beside a model: it has the model's name, unless that is the original's."""
    path = Path(args.output).with_suffix(".prototxt")
    same = path.resolve() == Path(args.net).resolve()
    return path.with_name(f"{path.stem}_shifted.prototxt") if same else path


def _refuse_existing(args: argparse.Namespace, path: Path) -> None:
    if path.exists() and not args.force:
        raise FileError(f"cannot write '{path}': it exists already", hint="give another -o, or use --force")


def _verified(
    args: argparse.Namespace, net: Net, found: Match, checkpoint: Checkpoint, words: Sequence[str]
) -> dict[str, float | str]:
    from netbuilder.cli.verifying import verify
    from netbuilder.weights.inputs import Normalisation, input_change

    change = input_change(words[-1], Normalisation.of(found.map.input)) if words else None
    state = {name.removeprefix(found.prefix): t for name, t in checkpoint.tensors.items()}
    return verify(net, args.output, args.source, state, change)


def _pairs_table(found: Match) -> str:
    from netbuilder.cli.terminal import columns_text

    rows = [
        (unit.name, module, _sides(unit.slots[0].shape))
        for unit, module in zip(found.units, found.modules, strict=True)
    ]
    return columns_text(("layer", "module", "shape"), rows)


def _imported_data(
    args: argparse.Namespace, found: Match, notes: list[str], written: Path | None, verified: dict[str, Any]
) -> dict[str, Any]:
    return {
        "version": 1,
        "file": args.output,
        "net": str(written) if written else args.net,
        "map": found.map.name,
        "prefix": found.prefix,
        "layout": found.layout,
        "pairs": [
            {
                "layer": pair.slot.layer.name,
                "blob": pair.slot.index,
                "shape": list(pair.slot.shape),
                "tensor": pair.tensor.name if pair.tensor else None,
                "fill": None if pair.tensor else pair.fill,
            }
            for pair in found.pairs
        ],
        "ignored": found.ignored,
        "notes": notes,
        "verified": verified,
    }


# ---- export, show, diff, fill ------------------------------------------------------------------------------


def _export(args: argparse.Namespace) -> int:
    from netbuilder.weights.exporting import exported, map_for, write_checkpoint

    net = _read(args)
    chosen = map_for(net, args.map)
    tensors = exported(net, model_file(args.model, args.net), chosen)
    write_checkpoint(args.output, tensors, force=args.force)
    if args.json:
        import json

        data = {
            "version": 1,
            "file": args.output,
            "map": chosen.name,
            "tensors": [{"name": t.name, "shape": list(t.shape), "layer": t.layer} for t in tensors],
        }
        print(json.dumps(data, indent=2))
        return 0
    print(f"map {chosen.name}: {chosen.about}")
    print(printable(f"wrote {args.output}: {counted(len(tensors), 'tensor')}"), file=sys.stderr)
    return 0


def _tensors(file: str, key: str | None = None) -> Checkpoint:
    """The tensors of a model or a checkpoint."""
    from netbuilder.weights.arrays import model_tensors
    from netbuilder.weights.checkpoint import is_checkpoint, read_checkpoint

    return read_checkpoint(file, key=key) if is_checkpoint(file) else model_tensors(file)


def _show(args: argparse.Namespace) -> int:
    from netbuilder.cli.terminal import columns_text

    found = _tensors(args.file, args.key)
    tensors = list(found.tensors.values())
    stats = [_stats(tensor) if args.stats else {} for tensor in tensors]
    total = sum(tensor.size for tensor in tensors)
    if args.json:
        import json

        rows = [
            {"name": tensor.name, "shape": list(tensor.shape), "type": tensor.kind, **values}
            for tensor, values in zip(tensors, stats, strict=True)
        ]
        data = {"version": 1, "file": args.file, "notes": list(found.notes), "tensors": rows}
        print(json.dumps(data | {"numbers": total}, indent=2))
        return 0
    titles = ("tensor", "shape", "type", *(_STATS if args.stats else ()))
    lines = [
        (t.name, _sides(t.shape), t.kind, *(f"{value:.4g}" for value in values.values()))
        for t, values in zip(tensors, stats, strict=True)
    ]
    print(columns_text(titles, lines, right=tuple(range(3, len(titles)))))
    print(f"\n{counted(len(tensors), 'tensor')}, {total:,} numbers")
    for note in found.notes:
        say(f"note: {note}")
    return 0


def _stats(tensor: Tensor) -> dict[str, float]:
    if not tensor.size:
        return dict.fromkeys(_STATS, 0.0)
    values = tensor.read()
    return dict(zip(_STATS, (float(values.min()), float(values.max()), float(values.mean())), strict=True))


def _sides(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "1"


def _diff(args: argparse.Namespace) -> int:
    from netbuilder.cli.terminal import columns_text
    from netbuilder.weights.comparing import compare

    files = [_compared(args, file) for file in (args.first, args.second)]
    found = compare(*files)
    different = [row for row in found if not row.largest <= args.tolerance]
    if args.json:
        import json

        rows = [row._asdict() | {"largest": row.number} for row in found]
        print(json.dumps({"version": 1, "same": not different, "tensors": rows}, indent=2))
        return 1 if different else 0
    if different:
        lines = [(row.name, row.what, "" if row.number is None else f"{row.number:.3g}") for row in different]
        print(columns_text(("tensor", "", "largest difference"), lines, right=(2,)))
        print()
    print(f"{len(found) - len(different)} of {counted(len(found), 'tensor')} equal")
    return 1 if different else 0


def _compared(args: argparse.Namespace, file: str) -> Checkpoint:
    """The tensors of a file; with --net those of a checkpoint are brought into the net first."""
    from netbuilder.weights.checkpoint import is_checkpoint, read_checkpoint
    from netbuilder.weights.comparing import as_model
    from netbuilder.weights.matching import match

    if not args.net or not is_checkpoint(file):
        return _tensors(file, args.key)
    args.level, args.stage = None, []
    net, checkpoint = _read(args, {}), read_checkpoint(file, key=args.key)
    return as_model(net, match(net, checkpoint, args.map, prefix=args.prefix, ignore=args.ignore), file)


def _fill(args: argparse.Namespace) -> int:
    from netbuilder.weights.fill import fill_model

    names = fill_model(_read(args), model_file(args.model, args.net), args.output, force=args.force)
    if args.json:
        import json

        print(json.dumps({"version": 1, "file": args.output, "filled": list(names)}, indent=2))
    else:
        print(printable(f"wrote {args.output}: {', '.join(names) or 'nothing'} filled in"), file=sys.stderr)
    return 0
