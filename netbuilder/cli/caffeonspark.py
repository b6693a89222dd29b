"""`netbuilder caffeonspark SOLVER`: check a solver and its net for CaffeOnSpark, and write the job."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from netbuilder.cli.options import Options, Verbs, add_debug, add_force, add_json, add_output
from netbuilder.errors import printable
from netbuilder.report.findings import finding_lines, summary, totals

__all__ = ["add_parser"]

_CONNECTIONS = ("ethernet", "infiniband")
_NO_TEXT = ("solver-syntax", "net-syntax")


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "caffeonspark",
        description="Check whether CaffeOnSpark accepts a solver and its net, and show how it will "
        "distribute "
        "the data. With -o, write a folder with everything the job needs: both files, the commands for YARN "
        "and for a standalone cluster, and a README.md.",
        epilog="example: netbuilder caffeonspark solver.prototxt --executors 16 --train-images 1281167 "
        "--test-images 50000 --model hdfs:///models/net.caffemodel -o job. Exit code: 0 no errors, 1 errors "
        "(nothing is written), 2 a file cannot be read or is not a prototxt, or an option is wrong",
    )
    parser.add_argument("solver", metavar="SOLVER", help="a solver file; its net must lie beside it")
    _add_cluster(parser.add_argument_group("the cluster"))
    _add_data(parser.add_argument_group("the data"))
    _add_run(parser.add_argument_group("the run"))
    add_output(parser, "write the job into this folder", "FOLDER")
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _add_cluster(group: Options) -> None:
    group.add_argument(
        "--executors", type=int, default=1, metavar="N", help="number of machines (default: 1)"
    )
    group.add_argument("--devices", type=int, default=1, metavar="N", help="GPUs per machine (default: 1)")
    group.add_argument(
        "--connection",
        choices=_CONNECTIONS,
        default="ethernet",
        help="between the executors (default: ethernet)",
    )
    group.add_argument(
        "--master", default="", metavar="URL",
        help="master of a standalone cluster, spark://HOST:7077 (default: MASTER of the shell)",
    )  # fmt: skip
    group.add_argument(
        "--executor-memory", default="16g", metavar="SIZE", help="memory per executor (default: 16g)"
    )
    group.add_argument(
        "--cores", type=int, default=1, metavar="N", help="cores per standalone worker (default: 1)"
    )


def _add_data(group: Options) -> None:
    group.add_argument("--train-images", type=int, metavar="N", help="size of the training set")
    group.add_argument("--test-images", type=int, metavar="N", help="size of the test set")
    group.add_argument(
        "--lmdb-partitions", type=int, metavar="N", help="partitions of an LMDB (default: one per executor)"
    )
    group.add_argument("--persistent", action="store_true", help="cache the training set on local disks")
    group.add_argument(
        "--resize", action="store_true", help="resize images to the net's input, before any crop"
    )


def _add_run(group: Options) -> None:
    group.add_argument(
        "--model",
        default="",
        metavar="URL",
        help="where to write the model, for example hdfs:///models/net.caffemodel",
    )
    group.add_argument("--no-train", action="store_true", help="do not train; only test or write features")
    group.add_argument("--test", action="store_true", help="test the model (after training)")
    group.add_argument("--features", default="", metavar="A,B", help="write these blobs of each test image")
    group.add_argument("--label", default="", metavar="BLOB", help="write this blob with the features")
    group.add_argument(
        "--results", default="", metavar="URL", help="where to write test results and features"
    )
    group.add_argument("--results-format", choices=("json", "parquet"), default="", help="default: json")
    group.add_argument(
        "--snapshot", default="", metavar="URL", help="resume from a .solverstate; needs --weights"
    )
    group.add_argument("--weights", default="", metavar="URL", help="start from a .caffemodel")
    group.add_argument(
        "--recipe", metavar="RECIPE",
        help="compare the learning rate with that of a recipe (see netbuilder solver)",
    )  # fmt: skip


def _run(args: argparse.Namespace) -> int:
    from netbuilder import caffeonspark

    job = _job(args)
    if args.output and not args.model:
        from netbuilder.errors import ConfigError

        raise ConfigError(
            "a job needs a model: training writes it, a test reads it", key="model",
            hint="give --model hdfs:///FOLDER/NAME.caffemodel",
        )  # fmt: skip
    sources = caffeonspark.load(args.solver, bundle=bool(args.output))
    validated = caffeonspark.validate_sources(sources, job)
    written: Sequence[Any] = ()
    if args.output and validated.fits:
        written = caffeonspark.bundle(validated, args.output, force=args.force)
    if args.json:
        print(json.dumps(_as_data(validated, written), indent=1))
    else:
        _print(validated)
    sys.stdout.flush()
    for note in sources.renamed if args.output else ():
        print(printable(f"note: {note}"), file=sys.stderr)
    print(summary(validated.findings), file=sys.stderr)
    if args.output:
        files = ", ".join(path.name for path in written)
        print(printable(f"wrote {args.output}: {files}" if written else "nothing written"), file=sys.stderr)
    if any(f.code in _NO_TEXT for f in validated.findings):
        return 2
    return 0 if validated.fits else 1


def _job(args: argparse.Namespace) -> Any:
    from netbuilder.caffeonspark import Cluster, Data, Job, Run

    recipe = None
    if args.recipe:
        from netbuilder.config.recipes import read_recipe

        recipe = read_recipe(args.recipe)
    return Job(
        cluster=Cluster(
            executors=args.executors,
            devices=args.devices,
            connection=args.connection,
            master=args.master,
            memory=args.executor_memory,
            cores=args.cores,
        ),
        data=Data(
            train_images=args.train_images,
            test_images=args.test_images,
            lmdb_partitions=args.lmdb_partitions,
            persistent=args.persistent,
            resize=args.resize,
        ),
        run=Run(
            train=not args.no_train,
            test=args.test,
            features=tuple(name for name in args.features.split(",") if name),
            label=args.label,
            model=args.model,
            results=args.results,
            results_format=args.results_format,
            snapshot=args.snapshot,
            weights=args.weights,
        ),
        recipe=recipe,
    )


# -- text ----------------------------------------------------------------------------------------------------


def _print(validated: Any) -> None:
    if validated.arithmetic:
        from netbuilder.cli.terminal import columns_text

        print(columns_text(("what", "how", "value"), validated.arithmetic))
    for line in finding_lines(validated.findings):
        print(line)


# -- JSON ----------------------------------------------------------------------------------------------------


def _as_data(validated: Any, written: Sequence[Any]) -> dict[str, Any]:
    from netbuilder.caffeonspark import CLUSTERS, CODES, command, shipped

    net, findings = validated.sources.net, validated.findings
    commands = None
    if validated.fits and validated.job.run.model:
        commands = {c: command(validated.job, shipped(validated), c) for c in CLUSTERS}
    return {
        "version": 1,
        "solver": str(validated.sources.solver.path),
        "net": str(net.path) if net else None,
        "loop": validated.loop or None,
        "arithmetic": [dict(zip(("what", "how", "value"), row, strict=True)) for row in validated.arithmetic],
        "findings": [
            f.as_data() | {"rule": CODES[f.code].rule, "told": CODES[f.code].told} for f in findings
        ],
        "totals": totals(findings),
        "commands": commands,
        "written": [str(path) for path in written],
    }
