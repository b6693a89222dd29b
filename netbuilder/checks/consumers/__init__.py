"""Who can load a net: what each consumer of Caffe's format refuses, or reads differently from Caffe.

A target is a Caffe (a dialect) or another consumer, with a list of `Limit`s. OpenCV and MNN were run; those
in `cited` are known only from their makers' pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from netbuilder.checks import Finding, Graph, found
from netbuilder.checks.consumers.base import Limit, Target
from netbuilder.checks.consumers.cited import ASCEND, HILENS, NCNN, NNIE, OPENVINO, RKNN
from netbuilder.checks.consumers.mnn import MNN
from netbuilder.checks.consumers.opencv import OPENCV
from netbuilder.checks.fitting import fitting, is_set, needs
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Layer, Net
from netbuilder.schema.dialects import ANY, BVLC, DIALECTS, Dialect
from netbuilder.schema.fields import fork_names

if TYPE_CHECKING:
    from google.protobuf.message import Message

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
    """What this target would refuse or misread, in the order of the layers.

    `fits` are the Caffes that have all of the file, for hints; by default those that have all of the net.
    Raises ConfigError for an unknown target.
    """
    to = find_target(target)
    graph = Graph(net)
    fits = fitting(needs((net,))) if fits is None else fits
    findings = list(_net_fields(net, to, fits))
    fine: set[int] = set()  # the kinds whose layers a target takes, wherever they stand
    for layer in net:
        findings += _limits(layer, to, graph) if to.limits else ()
        if id(layer.kind) in fine:
            continue
        own = [
            *_types(layer, to), *_dialect(layer, to, graph.trained, fits), *_fork_fields(layer, to, fits),
        ]  # fmt: skip
        findings += own
        if layer.kind is not None and not own:
            fine.add(id(layer.kind))
    return findings


def _limits(layer: Layer, target: Target, graph: Graph) -> Iterator[Finding]:
    for limit in target.limits:
        if limit.types and layer.type not in limit.types:
            continue
        if limit.when is not None and not limit.when(layer):
            continue
        if limit.where is not None and not limit.where(layer, graph):
            continue
        text, fix = (
            t.replace("{type}", layer.type).replace("{name}", layer.name) for t in (limit.text, limit.fix)
        )
        finding = found(limit.code, layer, f"{target.name}: {text}", fix, target=target.name)
        yield replace(finding, severity=limit.severity)


def _types(layer: Layer, target: Target) -> Iterator[Finding]:
    deploy = not any(limit.code == "not-deploy" and layer.type in limit.types for limit in target.limits)
    if target.types and layer.type not in target.types and deploy:
        yield _no_such_type(layer, target, ())


def _fork_fields(layer: Layer, target: Target, fits: tuple[Dialect, ...]) -> Iterator[Finding]:
    """The forks' fields and labels of a layer; those of a layer that the target lacks are not looked at."""
    if target.dialect or layer.type in target.types:
        for name in _refused(layer.proto, target):
            fix = f"leave it out; {owners(partial(adds, name), fits)}"
            text = f"{target.name}: {_refusal(name, target)}"
            yield found("no-such-field", layer, text, fix, target=target.name)


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
    statistics = layer.type == "BatchNorm" and len(layer.proto.param) < 3
    if trained and statistics and target.name in _TRAINS_STATISTICS:
        yield found(
            "statistics-trained", layer, f"{target.name}: the solver would train the statistics",
            "write param { lr_mult: 0 decay_mult: 0 } three times", target=target.name,
        )  # fmt: skip


def _net_fields(net: Net, target: Target, fits: tuple[Dialect, ...]) -> Iterator[Finding]:
    """The forks' fields of the net itself; the examination of the whole file looks at those of a Caffe."""
    if target.dialect:
        return
    for name in _refused(net.proto, target):
        fix = f"leave it out; {owners(partial(adds, name), fits)}"
        text = f"{target.name}: {_refusal(name, target)}"
        yield Finding("error", "no-such-field", "", text, fix, target=target.name)


def _refused(proto: Message, target: Target) -> list[str]:
    """The forks' fields and labels in a message that the target refuses or misreads."""
    names = sorted(set(fork_names(proto)))
    if target.dialect:
        return [name for name in names if name not in target.dialect.adds]
    return [name for name in names if target.refuses and target.refuses(name)]


def _refusal(name: str, target: Target) -> str:
    if target.dialect:
        return f"there is no {name}; the whole file is refused"
    return f"{name} is not understood: the file is refused, or the layer computes something else"


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
