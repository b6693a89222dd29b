"""Who can load a net: what each consumer of Caffe's format refuses, or reads differently from Caffe.

A target is a Caffe (a dialect) or another consumer, with a list of `Limit`s: consumers that were run are in
`measured`, those known only from their makers' pages in `cited`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from netbuilder.checks import Finding, Graph, found
from netbuilder.checks.consumers.base import Limit, Target
from netbuilder.checks.consumers.cited import ASCEND, HILENS, NCNN, NNIE, OPENVINO, RKNN
from netbuilder.checks.consumers.measured import MNN, OPENCV
from netbuilder.checks.fitting import fitting, is_set, needs
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Layer, Net
from netbuilder.schema.dialects import ANY, BVLC, DIALECTS, Dialect
from netbuilder.schema.fields import fork_names

__all__ = ["DEFAULT", "TARGETS", "Limit", "Target", "adds", "check", "find_target", "owners"]

DEFAULT = "caffe-master"
# Caffes whose BatchNorm does not protect its statistics from the solver.
_TRAINS_STATISTICS = ("caffeonspark",)
_NO_ONE = "no one Caffe has all of this file, --target any takes it"
_NOBODY = "no Caffe that netbuilder has a dialect for has it"

TARGETS = {
    t.name: t
    for t in (
        *(Target(d.name, d.about, (), d) for d in DIALECTS.values()),
        *(OPENCV, MNN, RKNN, ASCEND, HILENS, NNIE, NCNN, OPENVINO),
    )
}


def find_target(name: str) -> Target:
    """The target of this name; raises ConfigError for an unknown one."""
    if name not in TARGETS:
        raise ConfigError(
            f"unknown target '{name}': there are {', '.join(TARGETS)}",
            key="target",
            hint=did_you_mean(name, TARGETS),
        )
    return TARGETS[name]


def check(net: Net, target: str, fits: tuple[Dialect, ...] | None = None) -> list[Finding]:
    """What this target would refuse or misread, in the order of the layers; all findings are errors.

    `fits` are the Caffes that have all of the file, for hints; by default those that have all of the net.
    Raises ConfigError for an unknown target.
    """
    to = find_target(target)
    graph = Graph(net)
    fits = fitting(needs((net,))) if fits is None else fits
    return [
        f
        for layer in net
        for f in (*_limits(layer, to, graph), *_types(layer, to), *_dialect(layer, to, graph.trained, fits))
    ]


def _limits(layer: Layer, target: Target, graph: Graph) -> Iterator[Finding]:
    for limit in target.limits:
        if limit.unread and all(top in graph.readers for top in layer.tops):
            continue
        if (not limit.types or layer.type in limit.types) and (limit.when is None or limit.when(layer)):
            text, fix = (
                t.replace("{type}", layer.type).replace("{name}", layer.name) for t in (limit.text, limit.fix)
            )
            yield found(limit.code, layer, f"{target.name}: {text}", fix, target=target.name)


def _types(layer: Layer, target: Target) -> Iterator[Finding]:
    deploy = not any(limit.code == "not-deploy" and layer.type in limit.types for limit in target.limits)
    if target.types and layer.type not in target.types and deploy:
        yield _no_such_type(layer, target, ())


def _dialect(layer: Layer, target: Target, trained: bool, fits: tuple[Dialect, ...]) -> Iterator[Finding]:
    if target.dialect is None:
        return
    if layer.type not in target.dialect.types:
        yield _no_such_type(layer, target, fits)
    for path in target.dialect.lacks.get(layer.type, ()):
        if is_set(layer.proto, path):
            field = path.split(".")[-1]
            yield found(
                "no-such-field", layer,
                f"{target.name}: {layer.type} has no field {field}; the whole file is refused",
                f"leave {field} out", target=target.name,
            )  # fmt: skip
    for name in sorted(set(fork_names(layer.proto)) - target.dialect.adds):
        yield found(
            "no-such-field", layer, f"{target.name}: there is no {name}; the whole file is refused",
            f"leave it out; {owners(partial(adds, name), fits)}", target=target.name,
        )  # fmt: skip
    statistics = layer.type == "BatchNorm" and len(layer.proto.param) < 3
    if trained and statistics and target.name in _TRAINS_STATISTICS:
        yield found(
            "statistics-trained", layer, f"{target.name}: the solver would train the statistics",
            "write param { lr_mult: 0 decay_mult: 0 } three times", target=target.name,
        )  # fmt: skip


def _no_such_type(layer: Layer, target: Target, fits: tuple[Dialect, ...]) -> Finding:
    text = f"{target.name}: there is no layer type {layer.type}"
    fix = "express it by other layers"
    if target.dialect:
        where = owners(lambda d: layer.type in d.types, fits)
        fix = f"{where}; {fix}" if where == _NOBODY else f"{where}; else {fix}"
    return found("no-such-type", layer, text, fix, target=target.name)


def owners(has: Callable[[Dialect], bool], fits: tuple[Dialect, ...]) -> str:
    """A clause that names the Caffes that have a field or type, and the forks that have all of the file.

    `fits` are the Caffes that have all of the file.
    """
    names = [d.name for d in DIALECTS.values() if d is not ANY and has(d)]
    if not names:
        return _NOBODY
    whole = [d.name for d in fits if d is not ANY]
    clause = f"it is in {', '.join(names)}"
    if whole == names or any(name in BVLC for name in whole):
        return clause
    return f"{clause}; {', '.join(whole)} can load the whole file" if whole else f"{clause}; {_NO_ONE}"


def adds(name: str, dialect: Dialect) -> bool:
    """Whether a dialect has a fork's field or label, named as in `Dialect.adds`."""
    return name in dialect.adds
