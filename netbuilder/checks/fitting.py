"""Which Caffes a file is for: those that have all its layer types, fields and labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from netbuilder.graph import one_of_each
from netbuilder.net import Net
from netbuilder.schema.dialects import ANY, DIALECTS, Dialect
from netbuilder.schema.fields import fork_names

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["Needs", "fitting", "is_set", "meant", "needs"]


class Needs(NamedTuple):
    """What nets ask of a Caffe: layer types, fields and labels of forks, and BVLC's newer fields by type.

    `net_fields` are the forks' fields outside of layers.
    Left out is what no Caffe has (`unknown-type` and `unknown-field` report that).
    """

    types: frozenset[str]
    fields: frozenset[str]
    newer: frozenset[tuple[str, str]]
    net_fields: frozenset[str]

    def met_by(self, dialect: Dialect) -> bool:
        """Whether a Caffe has all of this."""
        return (
            self.types <= dialect.types
            and self.fields | self.net_fields <= dialect.adds
            and all(dialect.has_field(type, path) for type, path in self.newer)
        )


_NEWER = {
    type: frozenset(path for d in DIALECTS.values() for path in d.lacks.get(type, ()))
    for type in {type for d in DIALECTS.values() for type in d.lacks}
}


def needs(nets: Iterable[Net]) -> Needs:
    """What these nets ask of a Caffe."""
    types: set[str] = set()
    fields: set[str] = set()
    newer: set[tuple[str, str]] = set()
    of_net: set[str] = set()
    for net in nets:
        of_net.update(fork_names(net.proto))
        for layer in one_of_each(net.layers):
            types.add(layer.type)
            if net.dialect.adds or layer.unknown:  # `append` lets no fork's field into other nets
                fields.update(fork_names(layer.proto))
            newer.update((layer.type, p) for p in _NEWER.get(layer.type, ()) if is_set(layer.proto, p))
    return Needs(frozenset(types & ANY.types), frozenset(fields), frozenset(newer), frozenset(of_net))


def fitting(wanted: Needs) -> tuple[Dialect, ...]:
    """The Caffes that have all of it, or only `any` if it takes several."""
    return tuple(d for d in DIALECTS.values() if d is not ANY and wanted.met_by(d)) or (ANY,)


def meant(wanted: Needs, named: Iterable[Dialect], default: Dialect) -> tuple[Dialect, ...]:
    """The Caffes that a file is meant for: those named; else the default if it fits; else all that fit."""
    return tuple(named) or ((default,) if wanted.met_by(default) else fitting(wanted))


def is_set(proto: Message, path: str) -> bool:
    """Whether the field at this path, `message.field` or `field`, is set."""
    *messages, field = path.split(".")
    for name in messages:
        if not proto.HasField(name):
            return False
        proto = getattr(proto, name)
    return any(f.name == field for f, _ in proto.ListFields())
