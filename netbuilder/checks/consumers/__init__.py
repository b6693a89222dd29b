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
from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.net import Layer, Net
from netbuilder.schema.dialects import ANY, DIALECTS, Dialect
from netbuilder.schema.fields import fork_names

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["DEFAULT", "TARGETS", "Limit", "Target", "check", "find_target"]

DEFAULT = "caffe-master"
# Caffes whose BatchNorm does not protect its statistics from the solver.
_TRAINS_STATISTICS = ("caffeonspark",)
_NOBODY = "no Caffe that netbuilder has a dialect for has it"

TARGETS = {
    t.name: t
    for t in (
        *(Target(d.name, d.about, (), d) for d in DIALECTS.values() if d is not ANY),
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


def check(net: Net, target: str) -> list[Finding]:
    """What this target would refuse or misread, in the order of the layers.

    Raises ConfigError for an unknown target.
    """
    to = find_target(target)
    graph = Graph(net)
    findings = list(_net_fields(net, to))
    for layer in net:
        findings += _limits(layer, to, graph)
        findings += _types(layer, to)
        findings += _dialect(layer, to, graph.trained)
        findings += _fork_fields(layer, to)
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
        yield _no_such_type(layer, target)


def _fork_fields(layer: Layer, target: Target) -> Iterator[Finding]:
    """The forks' fields and labels of a layer; those of a layer that the target lacks are not looked at."""
    if target.dialect or layer.type in target.types:
        for name in _refused(layer.proto, target):
            fix = f"leave it out; {_owners(partial(_adds, name))}"
            text = f"{target.name}: {_refusal(name, target)}"
            yield found("no-such-field", layer, text, fix, target=target.name)


def _dialect(layer: Layer, target: Target, trained: bool) -> Iterator[Finding]:
    if target.dialect is None:
        return
    if layer.type not in target.dialect.types:
        yield _no_such_type(layer, target)
    for path in target.dialect.lacks.get(layer.type, ()):
        if _is_set(layer.proto, path):
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


def _net_fields(net: Net, target: Target) -> Iterator[Finding]:
    """The forks' fields of the net itself."""
    for name in _refused(net.proto, target):
        fix = f"leave it out; {_owners(partial(_adds, name))}"
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


def _no_such_type(layer: Layer, target: Target) -> Finding:
    text = f"{target.name}: there is no layer type {layer.type}"
    fix = "express it by other layers"
    if target.dialect:
        owners = _owners(lambda d: layer.type in d.types)
        fix = f"{owners}; {fix}" if owners == _NOBODY else f"{owners}; else {fix}"
    return found("no-such-type", layer, text, fix, target=target.name)


def _owners(has: Callable[[Dialect], bool]) -> str:
    """A clause that names the Caffes that have a field or type, or says that no known Caffe has it."""
    names = [t.name for t in TARGETS.values() if t.dialect and has(t.dialect)]
    return f"it is in {', '.join(names)}" if names else _NOBODY


def _adds(name: str, dialect: Dialect) -> bool:
    return name in dialect.adds


def _is_set(proto: Message, path: str) -> bool:
    """Whether the field at this path, `message.field` or `field`, is set."""
    *messages, field = path.split(".")
    for name in messages:
        if not proto.HasField(name):
            return False
        proto = getattr(proto, name)
    return any(f.name == field for f, _ in proto.ListFields())
