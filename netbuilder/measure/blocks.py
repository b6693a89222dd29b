"""The blocks of a net: which layers belong together.

Sources, most reliable first: the scopes of a net built in Python; the comments of a file that netbuilder
wrote, each of which begins a block; the layer names of any other file (`res2a_branch2a`, `inception_3a/1x1`,
`conv1_1`). Comments of other files are ignored: they may be anything, such as disabled layers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netbuilder.net import Blob, Layer, Net

__all__ = ["Block", "blocks", "blocks_by_name", "named"]


@dataclass(frozen=True)
class Block:
    """Layers that belong together, in the net's order."""

    name: str
    layers: tuple[Layer, ...]


def blocks(net: Net) -> tuple[Block, ...]:
    """The blocks of a net, by their first layers; every layer is in exactly one."""
    if any(layer.origin.scope for layer in net):
        return _gathered((_scope_label(layer) for layer in net), net.layers)
    if any(layer.comment for layer in net):
        return _commented(net)
    return blocks_by_name(net.layers)


def blocks_by_name(layers: Sequence[Layer]) -> tuple[Block, ...]:
    """The blocks that the names of some layers show, whatever their scopes and comments are."""
    return _gathered(_labels_of_names(layers), layers)


def named(found: Iterable[Block]) -> bool:
    """Whether any block has more than one layer, not counting in-place layers."""
    return any(sum(not layer.in_place for layer in block.layers) > 1 for block in found)


def _gathered(labels: Iterable[str], layers: Sequence[Layer]) -> tuple[Block, ...]:
    groups: dict[str, list[Layer]] = {}
    for label, layer in zip(labels, layers, strict=True):
        groups.setdefault(label, []).append(layer)
    return tuple(Block(name, tuple(group)) for name, group in groups.items())


def _scope_label(layer: Layer) -> str:
    """The innermost named scope; scopes of legos, `Lego(name)`, are inside the named ones."""
    scope = layer.origin.scope
    if not scope:
        return layer.name
    own = 0
    while own < len(scope) and "(" not in scope[own]:
        own += 1
    return scope[own - 1] if own else scope[0].partition("(")[2].rstrip(")")


def _commented(net: Net) -> tuple[Block, ...]:
    first = next(i for i, layer in enumerate(net) if layer.comment)
    before = net.layers[:first]
    found = list(blocks_by_name(before))
    begun: list[tuple[str, list[Layer]]] = []
    for layer in net.layers[first:]:
        if layer.comment:
            # The comment of a stage is above that of its first block, so the last line is the block's.
            begun.append((layer.comment.splitlines()[-1], []))
        begun[-1][1].append(layer)
    return (*found, *(Block(name, tuple(layers)) for name, layers in begun))


# pynetbuilder's layers begin with their kind: conv_stage0_block0_branch2a.
_STAGE_AND_BLOCK = re.compile(r"stage\d+(?:_[a-z]+)?_block\d+")
# The shortest prefix before an underscore that contains a digit: conv1 of conv1_1, inception_3a of
# inception_3a_1x1.
_NUMBERED = re.compile(r"\D*\d[^_]*(?=_)")


def _labels_of_names(layers: Iterable[Layer]) -> list[str]:
    """A label for each layer, from its name; an in-place layer has the label of the layer it works on."""
    labels: list[str] = []
    of_blob: dict[Blob, str] = {}
    for layer in layers:
        label = next(
            (
                of_blob[b]
                for b, t in zip(layer.bottoms, layer.tops, strict=False)
                if b.name == t.name and b in of_blob
            ),
            None,
        )
        if label is None:
            label = _label_of_name(layer.name)
        labels.append(label)
        of_blob.update(dict.fromkeys(layer.tops, label))
    return labels


def _label_of_name(name: str) -> str:
    inside = _STAGE_AND_BLOCK.search(name)
    if inside:
        return inside[0]
    head, slash, _ = name.partition("/")
    if slash and head:
        return head
    numbered = _NUMBERED.match(name)
    return numbered[0] if numbered else name
