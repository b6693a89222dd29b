"""The structure of a net that a person sees: layers with what works on them in place, in nested groups.

Groups come from the scopes of a net built in Python, else from its blocks (`netbuilder.measure.blocks`), else
from the size of its maps. Every layer is in exactly one unit, every unit in exactly one place of the tree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from netbuilder.measure.blocks import blocks, blocks_by_name
from netbuilder.net import Layer, Net

__all__ = ["Group", "Node", "Unit", "groups", "structure", "units"]

_MANY = 60  # units of one level that are not read at a glance
_FEW = 8  # units of a block that need no inner groups


@dataclass(frozen=True, eq=False)
class Unit:
    """A layer and the layers that work on its top in place, which one box shows."""

    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """The name of the layer that the others work on."""
        return self.layers[0].name


@dataclass(frozen=True, eq=False)
class Group:
    """Units and groups that belong together; `kind` is the lego that made them, "" if none did."""

    name: str
    kind: str
    children: tuple[Node, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers inside, in the order of the tree."""
        return tuple(layer for unit in units(self) for layer in unit.layers)


Node: TypeAlias = Unit | Group
_Path = tuple[str, ...]


def structure(net: Net) -> Group:
    """The tree of a net; the root has the net's name."""
    found = _units(net)
    if any(layer.origin.scope for layer in net):
        paths = [unit.layers[0].origin.scope for unit in found]
    else:
        paths = _paths_of_blocks(net, found)
    children = _nested(list(zip(paths, found, strict=True)))
    return Group(net.name, "", _by_size_of_map(children))


def units(node: Node) -> Iterator[Unit]:
    """The units of a tree, in its order."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Unit):
            yield node
        else:
            waiting += reversed(node.children)


def groups(root: Group) -> Iterator[Group]:
    """The groups of a tree, each before those inside it."""
    waiting = [root]
    while waiting:
        group = waiting.pop()
        yield group
        waiting += (child for child in reversed(group.children) if isinstance(child, Group))


def _units(net: Net) -> list[Unit]:
    """In-place layers join the layer whose top they overwrite, which nothing else reads."""
    gathered: dict[Layer, list[Layer]] = {}
    for layer in net:
        home = layer.bottoms[0].layer if layer.in_place and len(layer.bottoms) == 1 else None
        if home is not None and len(home.tops) == 1:
            gathered[layer] = gathered[home]
            gathered[layer].append(layer)
        else:
            gathered[layer] = [layer]
    return [Unit(tuple(layers)) for layer, layers in gathered.items() if layers[0] is layer]


# ---- groups by scopes and names --------------------------------------------------------------------------


def _nested(placed: Sequence[tuple[_Path, Unit]]) -> tuple[Node, ...]:
    """The nodes at the top of paths; a group of one node is that node."""
    gathered: dict[object, list[tuple[_Path, Unit]]] = {}
    for path, unit in placed:
        gathered.setdefault(path[0] if path else unit, []).append((path[1:], unit))
    nodes: list[Node] = []
    for label, inside in gathered.items():
        if not isinstance(label, str):
            nodes.append(inside[0][1])
            continue
        children = _nested(inside)
        kind, bracket, name = label.partition("(")
        if not bracket or not name.endswith(")"):
            kind, name = "", label
        else:
            name = name[:-1]
        if len(children) > 1:
            nodes.append(Group(name, kind, children))
        elif isinstance(only := children[0], Group):
            nodes.append(Group(name, only.kind or kind, only.children))
        else:
            nodes.append(only)
    return tuple(nodes)


def _paths_of_blocks(net: Net, found: Sequence[Unit]) -> list[_Path]:
    """Stage, block, and for a large block what the names of its layers say."""
    unit_of = {unit.layers[0]: unit for unit in found}
    paths: dict[Unit, _Path] = {}
    blocks_found = blocks(net)
    stages = _stages([block.name for block in blocks_found])
    for block, stage in zip(blocks_found, stages, strict=True):
        inside = [unit_of[layer] for layer in block.layers if layer in unit_of]
        for unit, path in zip(inside, _inner_paths(inside), strict=True):
            paths[unit] = (*stage, block.name, *path)
    return [paths[unit] for unit in found]


_STAGE = re.compile(r"\D*\d+(?=[a-z_](?!\d*$)|[a-z]$)")


def _stages(names: Sequence[str]) -> list[_Path]:
    """What several blocks' names begin with, up to the first number: res2 of res2a and res2b."""
    begins = [m[0] if (m := _STAGE.match(name)) else "" for name in names]
    often = Counter(begins)
    return [(begin,) if begin and often[begin] > 1 else () for begin in begins]


def _inner_paths(inside: Sequence[Unit]) -> list[_Path]:
    """Groups inside a large block, by the names of its layers."""
    if len(inside) <= _FEW:
        return [()] * len(inside)
    label_of = {
        layer: block.name
        for block in blocks_by_name([layer for unit in inside for layer in unit.layers])
        for layer in block.layers
    }
    labels = [label_of[unit.layers[0]] for unit in inside]
    if len(set(labels)) == 1:
        labels = _next_words([unit.name for unit in inside])
    useful = 1 < len(set(labels)) <= len(inside) / 2
    return [(label,) for label in labels] if useful else [()] * len(inside)


def _next_words(names: Sequence[str]) -> list[str]:
    """The names up to the first word in which they differ: layer1.0 of layer1.0.conv1."""
    words = [re.split(r"(?<=[/._])", name) for name in names]
    same = 0
    while all(len(w) > same + 1 for w in words) and len({w[same] for w in words}) == 1:
        same += 1
    return ["".join(w[: same + 1]).rstrip("/._") for w in words]


def _by_size_of_map(children: tuple[Node, ...]) -> tuple[Node, ...]:
    """Where a level has too many nodes, one group for each run of nodes with maps of one size."""
    if len(children) <= _MANY:
        return children
    nodes: list[Node] = []
    for size, run in groupby(children, _size_of_map):
        inside = tuple(run)
        nodes += inside if len(inside) == 1 or not size else [Group(f"maps of {size}", "", inside)]
    return tuple(nodes)


def _size_of_map(node: Node) -> str:
    last = (list(units(node))[-1]).layers[-1]
    shape = last.tops[0].shape if last.tops else None
    return "x".join(map(str, shape[2:])) if shape else ""
