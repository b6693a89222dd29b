"""`netbuilder test` by the scores of a net: top-1 and top-5 of one or more models, classes, and confusion."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from netbuilder.cli.net_files import model_file
from netbuilder.cli.options import add_force
from netbuilder.errors import ConfigError, FileError, printable

if TYPE_CHECKING:
    from netbuilder.engines import Computes, Engine
    from netbuilder.net import Net
    from netbuilder.training.evaluation import Evaluation
    from netbuilder.training.plan import NetPlan

__all__ = ["add_options", "run", "wanted"]

_OPTIONS = ("top", "resize", "crop", "flip", "scores", "per_class", "confusion", "labels", "models")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what asks for the scores to be counted."""
    # With "*", argparse would take the models before the first option only.
    models = parser.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help="after --weights MODEL: further models, compared in one table",
    )
    models.required = False
    some = parser.add_argument_group(
        "counted from the scores", "any of these reads each record of the test set once, whatever the net's "
        "own Accuracy layers say",
    )  # fmt: skip
    some.add_argument(
        "--top", type=_numbers, metavar="K,...", help="right if among the K best (default: 1,5)"
    )
    some.add_argument(
        "--resize", type=_length, metavar="N|HxW", help="resize images: the short side to N, or to HxW"
    )
    some.add_argument("--crop", type=_size, metavar="N|HxW", help="take the middle in place of crop_size")
    some.add_argument(
        "--flip", action="store_true", help="take the mean of the scores of each image and its mirror image"
    )
    some.add_argument(
        "--scores", metavar="BLOB", help="the scores (default: what the last loss or Accuracy reads)"
    )
    some.add_argument("--per-class", action="store_true", help="also print a table of the classes")
    some.add_argument("--labels", metavar="FILE", help="the names of the classes, one a line")
    some.add_argument(
        "--confusion", metavar="FILE", action="append", default=[],
        help="write which class is taken for which, as FILE.png, FILE.csv or FILE.json; may be repeated",
    )  # fmt: skip
    add_force(some, "replace the files of --confusion")


def _numbers(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"takes whole numbers from 1 on, as in 1,5, got '{text}'")
    return tuple(map(int, words))


def _size(text: str) -> tuple[int, int]:
    words = text.split("x")
    if not 1 <= len(words) <= 2 or not all(word.isdecimal() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"a size is N or HxW, got '{text}'")
    return int(words[0]), int(words[-1])


def _length(text: str) -> int | tuple[int, int]:
    return _size(text) if "x" in text else _size(text)[0]


def wanted(args: argparse.Namespace) -> bool:
    """Whether the scores are to be counted."""
    return any(getattr(args, name) for name in _OPTIONS)


def run(args: argparse.Namespace, engine: Engine, plan: NetPlan) -> int:
    """Count the scores of each model and print what is asked for."""
    from netbuilder.solvers.batch import data_batch
    from netbuilder.training.evaluation import scored
    from netbuilder.training.testset import Protocol, TestSet
    from netbuilder.transforms.fed import fed

    models = [plan.weights, *(_files(model_file(text, args.net)) for text in args.models or ())]
    _check(args, engine, len(models))
    where = scored(plan.net, args.scores or "")
    tests = TestSet(plan.net, Protocol(args.resize, args.crop), plan.path)
    count = _count(args, tests.count)
    batch = min(data_batch(plan.net) or 1, count)
    first = next(tests.batches(batch, batch))
    plan = replace(plan, net=fed(plan.net, {name: blob.shape for name, blob in first.items()}), inline="")
    names = _names(args, plan.net, where.blob)
    found = [_evaluated(args, cast("Computes", engine), replace(plan, weights=m), where, tests, batch, count)
             for m in models]  # fmt: skip
    _write(args, found[0], names)
    _print(args, plan, models, found, names)
    finite = all(each.finite for each in found)
    if not finite:
        print(
            "error: the scores are not finite\nhint:  the weights are of a training that has diverged, or "
            "the data has values that are not finite",
            file=sys.stderr,
        )
    return 0 if finite else 1


def _files(text: str) -> tuple[str, ...]:
    from netbuilder.training.plan import existing
    from netbuilder.weights.model import model_files

    return tuple(existing(model_files(text)))


def _check(args: argparse.Namespace, engine: Engine, models: int) -> None:
    """Raise an error for what cannot be done, before anything is computed."""
    from netbuilder.training.confusion import KINDS

    if not hasattr(engine, "compute"):
        raise ConfigError(f"engine '{args.engine}' cannot give a net's scores", key="engine")
    if args.iterations is not None:
        raise ConfigError(
            "scores are counted over whole records: --images N takes the first N", key="iterations"
        )
    if args.confusion and models > 1:
        raise ConfigError("--confusion is of one model, and several are given", key="confusion")
    for name in args.confusion:
        if Path(name).suffix.lower() not in KINDS:
            raise ConfigError(
                f"the kind of '{name}' is not known by its name", key="confusion",
                hint=f"it is one of {', '.join(KINDS)}",
            )  # fmt: skip
        if Path(name).exists() and not args.force:
            raise FileError(f"'{name}' exists already", hint="choose another name, or --force to replace it")


def _count(args: argparse.Namespace, records: int) -> int:
    if args.images is None:
        return records
    if not 1 <= args.images <= records:
        raise ConfigError(
            f"--images must be 1 to the {records} of the test set, got {args.images}", key="images"
        )
    return int(args.images)


def _names(args: argparse.Namespace, net: Net, blob: str) -> list[str]:
    """The names of the classes. Raises ConfigError if they are too few, or too many classes for a picture."""
    from netbuilder.storage.files import read_text
    from netbuilder.training.confusion import MOST

    shape = next(top.shape for layer in reversed(list(net)) for top in layer.tops if top.name == blob)
    classes = shape[1] if shape and len(shape) > 1 else 0
    if classes > MOST and any(name.lower().endswith(".png") for name in args.confusion):
        raise ConfigError(
            f"{classes} classes are more than the {MOST} of a picture", key="confusion",
            hint="write FILE.csv",
        )  # fmt: skip
    names = read_text(args.labels).splitlines() if args.labels else []
    if names and len(names) < classes:
        raise ConfigError(f"'{args.labels}' names {len(names)} of the {classes} classes", key="labels")
    return names[:classes]


def _evaluated(
    args: argparse.Namespace, engine: Computes, plan: NetPlan, where: Any, tests: Any, batch: int, count: int
) -> Evaluation:
    from netbuilder.cli.progress import Progress
    from netbuilder.cli.training_options import report_weights
    from netbuilder.training.evaluation import Evaluation, evaluate
    from netbuilder.transforms.fed import image_input

    mirrored = image_input(plan.net).name if args.flip else ""
    report_weights([plan.net], plan.weights)
    evaluation, progress = Evaluation(args.top or (1, 5), where.ignored), Progress("images", count)
    for done in evaluate(
        lambda inputs: engine.compute(plan, inputs, [where.blob]),
        tests,
        where,
        evaluation,
        batch,
        count,
        mirrored,
    ):
        progress.at(done)
    progress.close()
    return evaluation


def _write(args: argparse.Namespace, found: Evaluation, names: Sequence[str]) -> None:
    from netbuilder.storage.files import write_files
    from netbuilder.training.confusion import confusion_file

    best = found.top[0]
    title = f"{', '.join(args.weights)}: top-{best} {found.share(best):.2%} of {found.images}"
    content = {Path(name): confusion_file(name, found.confusion, names, title) for name in args.confusion}
    if content:
        write_files(content, force=args.force)
        print(printable(f"wrote {', '.join(args.confusion)}"), file=sys.stderr)


# -- what is printed ------------------------------------------------------------------------------


def _print(
    args: argparse.Namespace,
    plan: NetPlan,
    models: Sequence[Sequence[str]],
    found: Sequence[Evaluation],
    names: Sequence[str],
) -> None:
    from netbuilder.cli.terminal import columns_text

    if args.json:
        _print_json(args, plan, models, found, names)
        return
    top = found[0].top
    rows = [
        (", ".join(model), str(each.images), *(f"{100 * each.share(k):.2f}" for k in top))
        for model, each in zip(models, found, strict=True)
    ]
    print(columns_text(("model", "images", *(f"top-{k} %" for k in top)), rows, right=range(1, 2 + len(top))))
    if found[0].ignored:
        print(f"{found[0].ignored} images have the label that the net ignores: they do not count")
    for model, each in zip(models, found, strict=True) if args.per_class else ():
        print(f"\n{printable(', '.join(model))}" if len(models) > 1 else "")
        head = ("class", *(("label",) if names else ()), "images", *(f"top-{k} %" for k in top), "taken for")
        first = 2 if names else 1
        lines = [_line(row, top, names) for row in each.per_class(names)]
        print(columns_text(head, lines, right=(0, *range(first, first + 1 + len(top)))))


def _line(row: dict[str, Any], top: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    shares = (row[f"top{k}"] for k in top)
    taken = row["taken_for"]
    most = f"{names[taken['class']] if names else taken['class']}: {taken['images']}" if taken else ""
    label = (row["label"],) if names else ()
    percents = ("-" if share is None else f"{100 * share:.2f}" for share in shares)
    return (str(row["class"]), *label, str(row["images"]), *percents, most)


def _print_json(
    args: argparse.Namespace,
    plan: NetPlan,
    models: Sequence[Sequence[str]],
    found: Sequence[Evaluation],
    names: Sequence[str],
) -> None:
    import json

    rows = []
    for model, each in zip(models, found, strict=True):
        row: dict[str, Any] = {"weights": list(model), "images": each.images, "ignored": each.ignored}
        for k in each.top:
            row |= {f"top{k}": each.share(k) if each.images else None, f"right{k}": each.right(k)}
        row |= {"per_class": each.per_class(names)} if args.per_class else {}
        row |= {"confusion": each.confusion.tolist()} if args.confusion else {}
        rows.append(row)
    protocol = {"resize": args.resize, "crop": args.crop, "flip": args.flip}
    head = {"version": 1, "net": plan.path, "engine": args.engine, **protocol, "classes": found[0].classes}
    print(json.dumps({**head, "models": rows}, indent=2))
