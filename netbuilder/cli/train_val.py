"""`netbuilder train-val FILE --data KIND`: the file to train from, from a net that was handed over."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from netbuilder.checks import between
from netbuilder.checks.fitting import fitting, needs
from netbuilder.cli.config_options import add_options, given_values
from netbuilder.cli.net_files import net_file
from netbuilder.cli.options import (
    Verbs,
    add_debug,
    add_force,
    add_freeze,
    add_input,
    add_json,
    add_output,
    add_outputs,
    add_state,
)
from netbuilder.cli.reading import read_test_net, read_train_net
from netbuilder.errors import ConfigError, printable, shape_text
from netbuilder.layers import Shape
from netbuilder.measure.counts import count
from netbuilder.net import PHASES, Layer, Net
from netbuilder.networks.train_val import Fed, TrainValOptions
from netbuilder.report.findings import finding_lines
from netbuilder.storage.files import write_files
from netbuilder.transforms.data_layers import check_stored
from netbuilder.transforms.deploy import deployed
from netbuilder.transforms.freeze import Frozen, freeze
from netbuilder.transforms.train_val import dumps_train_val
from netbuilder.transforms.training import (
    FILLER,
    Head,
    Labels,
    for_training,
    heads_of,
    labels_of,
    without_filler,
)

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "train-val",
        description="Write the file to train a net from, TRAIN and TEST in one, from a net that was handed "
        "over: data layers in place of Input, a loss and metrics in place of probabilities. Names stay, so "
        "that its weights fit. Data layers and losses that a file has are replaced.",
        epilog="example: netbuilder train-val deploy.prototxt --data lmdb --train_source train_lmdb "
        "--test_source val_lmdb --batch 32 --freeze 'conv[12]*' -o train_val.prototxt",
    )
    parser.add_argument(
        "file", metavar="FILE", type=net_file, help="a deploy net, a train_val, or a solver that names it"
    )
    add_output(parser, "the file to write", "FILE", required=True)
    add_outputs(parser)
    add_freeze(parser)
    add_input(parser)
    add_state(parser)
    add_force(parser)
    add_json(parser)
    add_debug(parser)
    group = parser.add_argument_group("data", "Where the images are from (docs/data-layers.md).")
    add_options(group, TrainValOptions)
    parser.set_defaults(run=_run)


class _Made(NamedTuple):
    """The two nets, and what is to be said of them."""

    train: Net
    test: Net
    data: TrainValOptions
    fed: Fed
    heads: list[Head]
    labels: Labels
    frozen: Frozen | None
    filled: list[str]
    assumed: list[str]


def _run(args: argparse.Namespace) -> int:
    data = TrainValOptions(**given_values(args, TrainValOptions))
    net, source, assumed = read_test_net(args)
    made = _made(args, data, net, assumed)
    data = made.data
    for made_net in (made.train, made.test):
        for layer in made_net:
            if not layer.bottoms:
                check_stored(made_net, layer)
    findings = between(made.train, made.test)
    for finding in findings:
        if finding.severity == "error":
            raise ConfigError(f"{made.train.name} cannot be tested while it is trained: {finding}")
    text = dumps_train_val(made.train, made.test, header=f"from: {source.path}")
    write_files({Path(args.output): text}, force=args.force)
    if args.json:
        import json

        print(json.dumps(_as_data(args, data, made), indent=2))
    else:
        print("\n".join([*map(printable, _lines(made)), "", data.table(made.fed)]))
    for line in (*finding_lines(findings), *(f"note: {note}" for note in data.notes())):
        print(line, file=sys.stderr)
    print(printable(f"wrote {args.output}"), file=sys.stderr)
    return 0


def _made(args: argparse.Namespace, data: TrainValOptions, net: Net, assumed: list[str]) -> _Made:
    test = deployed(net, outputs=args.outputs).net
    heads = heads_of(test, data.loss_type)
    judged = {head.scores: head for head in heads}
    train = net
    if net.phase == "TEST":
        shapes = {blob.name: blob.known_shape for blob in test.inputs}
        train = read_train_net(args, shapes) or read_train_net(args) or net
    train = deployed(train, outputs=list(judged) if args.outputs else ()).net
    # TEST may have a Softmax or Sigmoid that TRAIN lacks: it says which loss the scores get.
    trained = [
        judged.get(head.scores, head)._replace(dropped=head.dropped)
        for head in heads_of(train, data.loss_type)
    ]
    for scores in judged:
        if scores not in {head.scores for head in trained}:
            raise ConfigError(
                f"'{scores}' is an output of TEST alone", key="outputs",
                hint="name the outputs to train by --outputs",
            )  # fmt: skip
    fed = data.fitting(Fed(_inputs(test), _dialect(test)))
    labels = labels_of(trained, own=data.own_labels)
    data = data.fitting_maps() if labels.are_maps else data
    frozen = freeze([train, test], args.freeze, statistics=args.freeze_statistics) if args.freeze else None
    first, second = (
        for_training(
            body, phase, data.source(fed, labels, phase.lower()), judges, labels=labels,
            batch=data.batch_of(phase.lower(), fed.dialect), inputs=list(fed.inputs), named=len(trained) > 1,
            frozen=frozen,
        )
        for body, phase, judges in ((train, PHASES[0], trained), (test, PHASES[1], heads))
    )  # fmt: skip
    assumed = [
        *assumed,
        *(f"{h.loss} for '{h.scores}' (--loss)" for h in trained if h.assumed and not data.loss),
    ]
    if len(trained) > 1 and not labels.parts:
        assumed.append(f"one label for the {len(trained)} heads")
    filled = without_filler(train)
    return _Made(first, second, data, fed, trained, labels, frozen, filled, assumed)


def _inputs(net: Net) -> dict[str, Shape]:
    """The inputs of a deploy net with their shapes, the images first."""
    inputs = {blob.name: blob.known_shape for blob in net.inputs}
    first = next((name for name, shape in inputs.items() if len(shape) == 4), next(iter(inputs)))
    return {first: inputs.pop(first), **inputs}


def _dialect(net: Net) -> str:
    """NVCaffe divides batches by the GPUs; whether the net is for it, or for any Caffe."""
    fits = [dialect.name for dialect in fitting(needs((net,)))]
    return fits[0] if len(fits) == 1 else "caffe-1.0"


def _lines(made: _Made) -> list[str]:
    lines = []
    for head in made.heads:
        shape = shape_text(made.train.blobs[head.scores].known_shape)
        judges = [head.loss, *(_judge(layer) for layer in made.test if _is_metric_of(head, layer))]
        lines.append(f"head     {head.scores} {shape}: {', '.join(judges)}")
    if made.labels.shape:
        parts = " and ".join(map(str, made.labels.parts.values()))
        parts = f", {parts} by head" if parts else ""
        lines.append(f"labels   {shape_text(made.labels.shape)} for each image{parts}")
    if made.filled:
        more = f" and {len(made.filled) - 3} more" if len(made.filled) > 3 else ""
        lines.append(f"fillers  {FILLER} for {', '.join(made.filled[:3])}{more}, which had none")
    if made.frozen:
        lines += made.frozen.lines(made.train)
    lines += [f"assumed  {what}" for what in made.assumed]
    return lines


def _is_metric_of(head: Head, layer: Layer) -> bool:
    return layer.type == "Accuracy" and layer.bottoms[0].name == head.scores


def _judge(metric: Layer) -> str:
    return f"{metric.type} top-{metric.proto.accuracy_param.top_k}"


def _as_data(args: argparse.Namespace, data: TrainValOptions, made: _Made) -> dict[str, Any]:
    return {
        "version": 1,
        "file": args.output,
        "heads": {head.scores: head.loss for head in made.heads},
        "labels": {"shape": made.labels.shape, "parts": dict(made.labels.parts)},
        "fillers": made.filled,
        "frozen": made.frozen.layers if made.frozen else {},
        "learnable": count(made.train).learnable_params,
        "assumed": made.assumed,
        "data": {"kind": data.kind, **{phase: data.about(made.fed, phase) for phase in ("train", "test")}},
    }
