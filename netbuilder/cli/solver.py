"""`netbuilder solver RECIPE --net FILE`: a solver.prototxt from a recipe, with its arithmetic."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netbuilder import __version__, report
from netbuilder.cli.options import Verbs, add_debug, add_force, add_json, add_output, print_file
from netbuilder.cli.solver_fields import add_set, solver_fields
from netbuilder.cli.terminal import columns_text, say
from netbuilder.config.recipes import RECIPES, read_recipe
from netbuilder.errors import ConfigError, StaleBlob, printable
from netbuilder.solvers.fields import extras_path
from netbuilder.storage.files import MARK, write_files

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "solver",
        description="Epochs into iterations, the rate scaled with the batch, every field checked.",
        epilog="example: netbuilder solver resnet --net train_val.prototxt --gpus 8 -o solver.prototxt",
    )
    parser.add_argument("recipe", metavar="RECIPE", nargs="?", help="the name of a recipe, or a YAML file")
    parser.add_argument("--list", action="store_true", help="list the recipes that there are, and end")
    parser.add_argument("--net", metavar="FILE", help="the file of the net, with both phases")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="images a device, as in the net's file (default: read from it)"
    )
    parser.add_argument("--gpus", type=int, default=1, metavar="K", help="devices (default: 1)")
    parser.add_argument(
        "--iter-size",
        type=int,
        default=1,
        metavar="N",
        help="passes whose gradients one update takes (default: 1)",
    )
    parser.add_argument(
        "--images", type=int, metavar="N", help="images of the training set, if not the recipe's"
    )
    parser.add_argument("--epochs", type=float, metavar="X", help="another length than the recipe's")
    parser.add_argument(
        "--test-images",
        type=int,
        metavar="N",
        help="images of the test set, if not the recipe's; 0: no tests",
    )
    parser.add_argument(
        "--test-batch", type=int, metavar="N", help="batch of the TEST phase (default: read from the net)"
    )
    parser.add_argument("--no-scale", action="store_true", help="leave the rate as it is in the recipe")
    add_set(parser)
    parser.add_argument(
        "--dialect",
        default="caffe-1.0",
        help="the Caffe that it is for: nvcaffe divides the batch, caffeonspark counts all devices of the "
        "cluster as --gpus (default: caffe-1.0)",
    )
    parser.add_argument(
        "--stock", nargs="?", const="", metavar="POLICY",
        help="a policy of stock Caffe in place of one that it lacks; without POLICY, list what comes near",
    )  # fmt: skip
    add_output(parser, "the solver file; - for stdout", "FILE")
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from netbuilder import solvers
    from netbuilder.schema import dialects
    from netbuilder.solvers.stock import stock

    if args.list:
        rows = [
            (p.stem, " ".join(read_recipe(p.stem).source.split())) for p in sorted(RECIPES.glob("*.yaml"))
        ]
        if args.json:
            _print_json({"version": 1, "recipes": [{"recipe": n, "source": source} for n, source in rows]})
        else:
            print(columns_text(("recipe", "source"), rows, wrap=(1,)))
        return 0
    if not args.recipe or not args.net:
        if args.recipe:
            read_recipe(args.recipe)  # a misspelt one has a near match
        raise ConfigError(
            f"solver takes {'' if args.recipe else 'a recipe and '}--net",
            hint="for example netbuilder solver resnet --net train_val.prototxt -o solver.prototxt; "
            "--list names the recipes",
        )
    dialects.dialect(args.dialect)
    batch, test_batch, records = _batches(args)
    notes = _of_records(args, batch, records)
    recipe = read_recipe(args.recipe, _own(args, records))
    planned = solvers.plan(
        recipe,
        net=args.net,
        batch=batch,
        devices=args.gpus,
        iter_size=args.iter_size,
        test_batch=test_batch,
        scale=not args.no_scale,
        dialect=args.dialect,
        fields=solver_fields(args.set),
    )
    planned.solver.net = _net_name(args)
    warnings = solvers.require(planned.solver, where=args.recipe, dialect=args.dialect)
    solver = planned.solver
    lacks = not solvers.schedule_of(solver).stock
    if args.stock == "":
        near = solvers.approximations(solver)
        if args.json:
            _print_json({"version": 1, "lr_policy": solver.lr_policy, "stock": [_near(a) for a in near]})
        else:
            print(_offers(solver, near))
        return 0
    if args.stock is not None:
        chosen = stock(solver, args.stock)
        notes.append(f"{chosen.name} in place of '{solver.lr_policy}': {_apart(chosen)}")
        solver = chosen.solver
    elif lacks and args.dialect == "caffeonspark":
        raise ConfigError(
            f"CaffeOnSpark has the policies of stock Caffe, and lr_policy '{solver.lr_policy}' is none",
            key="lr_policy", hint="--stock lists those that come near, --stock POLICY writes one",
        )  # fmt: skip
    elif lacks:
        notes.append(
            f"stock Caffe refuses lr_policy '{solver.lr_policy}': `netbuilder train` drives it; "
            "`--stock` lists what stock Caffe has instead"
        )
    if solver.test_iter and solver.max_iter % solver.test_interval and args.dialect != "caffeonspark":
        notes.append(
            f"max_iter {solver.max_iter} is not a multiple of test_interval {solver.test_interval}: "
            "`netbuilder train` tests the last state too, `caffe train` does not"
        )
    if not any(solver.test_iter) and recipe.test_images and not test_batch:
        notes.append("there are no tests: the batch of the TEST phase is not known, give --test-batch")
    has_more = recipe.extras or recipe.lacks
    beside = extras_path(args.output) if args.output and args.output != "-" and has_more else None
    if recipe.extras:
        notes.append(
            f"only `netbuilder train --engine torch` applies {', '.join(recipe.extras)}"
            + (f", from {beside.name}" if beside else "")
        )
    noted = notes + [f"warning: {f.text}" for f in warnings]
    text = _text(args, recipe, planned, solver, noted)
    if args.output and args.output != "-":
        files = {Path(args.output): text}
        if beside:
            files[beside] = _extras_text(args.recipe, recipe)
        write_files(files, force=args.force)
    if args.json:
        print(_json(recipe, planned, solver, noted, args.output, _commands(args, solver)))
    elif args.output == "-":
        print_file(text)
    if not args.json:
        out = sys.stderr if args.output == "-" else sys.stdout
        print(report.format_table(("what", "how", "value"), planned.arithmetic), file=out)
    for note in notes:
        say(f"note: {note}")
    for line in report.finding_lines(warnings):
        print(line, file=sys.stderr)
    for lack in planned.lacks:
        say(f"not in a solver: {lack}")
    if args.output and args.output != "-":
        say(f"train by: {', or '.join(_commands(args, solver))}")
        for file in files:
            print(printable(f"wrote {file}"), file=sys.stderr)
    return 0


def _commands(args: argparse.Namespace, solver: object) -> list[str]:
    """The commands that train by the solver file, on the devices that it is for."""
    from netbuilder.solvers import schedule_of

    file = shlex.quote(args.output) if args.output else "SOLVER"
    if args.dialect == "caffeonspark":
        return [f"netbuilder caffeonspark {file} --executors {args.gpus} --model URL -o FOLDER"]
    gpus = ",".join(map(str, range(args.gpus)))
    on = f" --gpu {gpus}" if args.gpus > 1 else ""
    commands = [f"netbuilder train {file}{on}"]
    return commands + ([f"caffe train --solver {file}{on}"] if schedule_of(solver).stock else [])


def _net_name(args: argparse.Namespace) -> str:
    """The net as the solver names it: CaffeOnSpark takes a bare name, of a file beside the solver."""
    beside = args.output and args.output != "-" and Path(args.output).parent == Path(args.net).parent
    return Path(args.net).name if args.dialect == "caffeonspark" and beside else str(args.net)


# -- the recipe ----------------------------------------------------------------------------------------------


def _own(args: argparse.Namespace, records: Mapping[str, int]) -> dict[str, Any]:
    """What the command line, and else the data of the net, says in place of the recipe."""
    own = {k: getattr(args, k) for k in ("images", "test_images") if getattr(args, k) is not None}
    own = {**records, **own}
    if args.epochs is None:
        return own
    recipe = read_recipe(args.recipe)
    if recipe.epochs is not None:
        factor, length = args.epochs / recipe.epochs, {"epochs": args.epochs}
    else:
        iterations = round(args.epochs * own.get("images", recipe.images) / recipe.batch)
        factor, length = iterations / recipe.iterations, {"iterations": iterations}
    return {**own, **length, "milestones": tuple(m * factor for m in recipe.milestones)}


# -- the net -------------------------------------------------------------------------------------------------


def _of_records(args: argparse.Namespace, batch: int, records: dict[str, int]) -> list[str]:
    """Notes on the numbers of records at hand; one that is below the global batch is removed."""
    notes = []
    passes = 1 if args.dialect == "caffeonspark" else args.iter_size
    whole = batch * passes * (1 if args.dialect == "nvcaffe" else args.gpus)
    for key, count in list(records.items()):
        option, given = f"--{key.replace('_', '-')}", getattr(args, key)
        if given is not None:
            if given and given != count:
                notes.append(f"{option} {given}, but the data of {args.net} has {count} records")
        elif key == "images" and count < whole:
            del records[key]
            notes.append(
                f"the data of {args.net} has {count} records, fewer than the global batch of {whole}: "
                "the numbers are for the recipe's images"
            )
        else:
            notes.append(f"{count} {key.replace('_', ' ')}: the records in the data of {args.net}")
    return notes


def _batches(args: argparse.Namespace) -> tuple[int, int, dict[str, int]]:
    """The batch of the file for TRAIN and for TEST, 0 without tests, and how many records their data has.

    What is given must be what the file has.
    """
    found: dict[str, int | None] = {"TRAIN": None, "TEST": None}
    records: dict[str, int] = {}
    if Path(args.net).exists():
        from netbuilder import prototxt
        from netbuilder.data.records import number_of_records
        from netbuilder.solvers.batch import data_batch, data_layer

        for phase, key in (("TRAIN", "images"), ("TEST", "test_images")):
            try:
                net = prototxt.read(args.net, phase, dialect="any", unknown="keep")
            except StaleBlob:
                if phase == "TRAIN":
                    raise
                continue  # its data is for other phases or stages
            found[phase], layer = data_batch(net), data_layer(net)
            if layer and (count := number_of_records(layer.proto, Path(args.net).parent)):
                records[key] = count
    elif args.batch is None:
        raise ConfigError(
            f"there is no file '{args.net}' to read the batch from", key="net", hint="give --batch"
        )
    if args.batch and found["TRAIN"] and args.batch != found["TRAIN"]:
        raise ConfigError(
            f"--batch {args.batch}, but the TRAIN data of {args.net} has batch {found['TRAIN']}", key="batch",
            hint="batch_size in the net is what Caffe takes: make the two agree",
        )  # fmt: skip
    batch = args.batch or found["TRAIN"]
    if batch is None:
        raise ConfigError(
            f"the TRAIN net of {args.net} has no data layer with a batch", key="net", hint="give --batch"
        )
    test = args.test_batch if args.test_batch is not None else found["TEST"]
    return batch, test or 0, records


# -- the answer ----------------------------------------------------------------------------------------------


def _text(args: argparse.Namespace, recipe: Any, planned: Any, solver: Any, notes: list[str]) -> str:
    from netbuilder.prototxt import text as text_format

    lines = [
        f"{MARK} {__version__}",
        printable(f"# solver: {args.recipe}"),
        f"#   source: {' '.join(recipe.source.split())}",
    ]
    lines += [printable(f"#   {what}: {how} = {value}") for what, how, value in planned.arithmetic]
    lines += [printable(f"#   note: {note}") for note in notes]
    return "\n".join(lines) + "\n" + text_format.format_fields(solver)


def _extras_text(name: str, recipe: Any) -> str:
    import yaml

    about = printable(f"# extras of the solver recipe {name}")
    lacks = {"lacks": list(recipe.lacks)} if recipe.lacks else {}
    return f"{MARK} {__version__}\n{about}\n{yaml.safe_dump({**recipe.extras, **lacks}, width=100)}"


def _offers(solver: Any, near: Any) -> str:
    if not near:
        return f"stock Caffe has lr_policy '{solver.lr_policy}'"
    rows = [(a.name, f"{a.mean:.1%}", f"{a.most:.1%}", str(a.worst)) for a in near]
    head = ("policy", "mean", "most", "at iteration")
    return f"differences from '{solver.lr_policy}', of its highest rate\n" + report.format_table(
        head, rows, right=(1, 2, 3)
    )


def _near(offer: Any) -> dict[str, Any]:
    """A policy of stock Caffe as JSON has it: its differences are parts of the highest rate."""
    return {"policy": offer.name, "mean": offer.mean, "most": offer.most, "iteration": int(offer.worst)}


def _print_json(data: dict[str, Any]) -> None:
    import json

    print(json.dumps(data, indent=2))


def _apart(chosen: Any) -> str:
    return (
        f"it differs by {chosen.mean:.1%} of the highest rate on average, by {chosen.most:.1%} at most, "
        f"at iteration {chosen.worst}"
    )


def _json(
    recipe: Any, planned: Any, solver: Any, notes: list[str], output: str | None, commands: list[str]
) -> str:
    import json

    from netbuilder.schema.fields import is_repeated

    fields = {}
    for field, value in solver.ListFields():
        if field.type == field.TYPE_FLOAT:
            value = float(f"{value:.8g}")
        fields[field.name] = list(value) if is_repeated(field) else value
    data = {
        "version": 1,
        "source": " ".join(recipe.source.split()),
        "fields": fields,
        "arithmetic": [{"what": a, "how": b, "value": c} for a, b, c in planned.arithmetic],
        "iterations_per_epoch": planned.iterations_per_epoch,
        "notes": notes,
        "lacks": list(planned.lacks),
        "commands": commands,
        "file": output,
    }
    return json.dumps(data, indent=2)
