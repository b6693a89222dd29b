"""TRAIN and TEST nets in one file, as `net:` of a solver and CaffeOnSpark need them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from netbuilder.net import Layer, Net
from netbuilder.prototxt.writer import text_of

__all__ = ["dumps_train_val"]


def dumps_train_val(train: Net, test: Net, *, header: str = "") -> str:
    """The text of both nets: shared layers are written once, the others with their phase.

    Read for one phase, the file gives that net again, layer by layer. `use_global_stats` of a BatchNorm is
    left out where it equals the default of the phase, so that one layer serves both.
    """
    return text_of(train.proto, _layers(train, test), header)


def _layers(train: Net, test: Net) -> Iterator[tuple[Any, str]]:
    """The layers of both, each net's in its own order, with the comments above them."""
    ours = [_without_default_stats(layer, "TRAIN") for layer in train]
    theirs = [_without_default_stats(layer, "TEST") for layer in test]
    keys, others = ([p.SerializeToString(deterministic=True) for p in protos] for protos in (ours, theirs))
    a = c = 0
    for b, d in [*_in_both(keys, others), (len(ours), len(theirs))]:
        for i in range(a, b):
            yield _only(ours[i], 0), train.layers[i].comment
        for i in range(c, d):
            # A stage that differs begins in both nets; its comment is written once.
            written = b > a and test.layers[i].comment == train.layers[a].comment
            yield _only(theirs[i], 1), "" if written else test.layers[i].comment
        if b < len(ours):
            yield ours[b], train.layers[b].comment
        a, c = b + 1, d + 1


def _in_both(ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[tuple[int, int]]:
    """The places of as many layers as possible that both nets have, in the same order.

    The nth of several equal layers is paired with the nth in the other net. The result is the longest
    increasing run of places, found by patience sorting: of all runs of a length, the one that ends first is
    kept.
    """
    places = {key: j for j, key in enumerate(_numbered(theirs))}
    ends: list[int] = []  # of the runs of each length, in the other net
    last: list[tuple[int, int]] = []  # the same, as pairs
    before: dict[tuple[int, int], tuple[int, int] | None] = {}
    for i, key in enumerate(_numbered(ours)):
        j = places.get(key)
        if j is None:
            continue
        length = bisect_left(ends, j)
        before[i, j] = last[length - 1] if length else None
        ends[length : length + 1] = [j]
        last[length : length + 1] = [(i, j)]
    run = []
    pair = last[-1] if last else None
    while pair is not None:
        run.append(pair)
        pair = before[pair]
    return run[::-1]


def _numbered(keys: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Each key, with how often it has occurred before."""
    seen: Counter[bytes] = Counter()
    for key in keys:
        yield key, seen[key]
        seen[key] += 1


def _only(proto: Any, phase: int) -> Any:
    """A copy of the layer for one phase only."""
    copy = type(proto)()
    copy.CopyFrom(proto)
    del copy.include[:]
    copy.include.add(phase=phase)
    return copy


def _without_default_stats(layer: Layer, phase: str) -> Any:
    """The layer's fields, without a use_global_stats that equals the default of the phase.

    Source: batch_norm_layer.cpp, LayerSetUp.
    """
    p = layer.proto
    if layer.type != "BatchNorm" or not p.batch_norm_param.HasField("use_global_stats"):
        return p
    if p.batch_norm_param.use_global_stats != (phase == "TEST"):
        return p
    copy = type(p)()
    copy.CopyFrom(p)
    copy.batch_norm_param.ClearField("use_global_stats")
    if not copy.batch_norm_param.ListFields():
        copy.ClearField("batch_norm_param")
    return copy
