"""Ours against real Caffe's judgement of one net.

Compared are the verdict, the shapes of all tops and parameters, which layers need a gradient (Splits
included), and whether Caffe aborts in its backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from netbuilder import Net, prototxt
from netbuilder.checks.backward import aborts, backward
from netbuilder.engines import caffe
from netbuilder.errors import NetBuilderError
from netbuilder.schema import NetParameter
from tests.fuzz.generate import Case


@dataclass(frozen=True)
class Finding:
    """One net on which ours and Caffe differ: what each says."""

    case: Case
    ours: str
    theirs: str

    def __str__(self) -> str:
        rule = "-" * 100
        return (
            f"{rule}\nseed {self.case.seed}, {self.case.phase}\n"
            f"  ours:  {self.ours}\n  Caffe: {self.theirs}\n"
            f"{self.case.text}"
        )


def judge(case: Case, real: caffe.Caffe) -> tuple[str, Finding | None]:
    """Caffe's verdict, "accepted" or "refused", and what differs from ours."""
    ours, net = _ours(case)
    theirs, loaded = _theirs(case, real)
    verdict = "refused" if theirs else "accepted"
    if bool(ours) != bool(theirs):
        return verdict, Finding(case, ours or "accepts", theirs or "accepts")
    if net is None or loaded is None:
        return verdict, None
    for we, they in ((_our_shapes(net), _their_shapes(loaded)), (_our_needs(net), _their_needs(loaded))):
        if we != they:
            different = [(a, b) for a, b in zip(we, they, strict=False) if a != b] or [(we, they)]
            return verdict, Finding(case, str(different[0][0]), str(different[0][1]))
    return verdict, _backward(case, net, real)


def _ours(case: Case) -> tuple[str, Net | None]:
    try:
        return "", prototxt.parse(case.text, case.phase)
    except NetBuilderError as error:
        return error.text, None


def _theirs(case: Case, real: caffe.Caffe) -> tuple[str, caffe.LoadedNet | None]:
    try:
        return "", real.load(case.text, phase=case.phase, timeout=60)
    except caffe.CaffeRefused as error:
        return f"{error.reason} ({error.site or error.signal}, layer {error.layer})", None


def _our_shapes(net: Net) -> list[Any]:
    return [
        (
            layer.name,
            layer.type,
            # Caffe reports a blob once, with its last shape, which a layer in place may have changed.
            [(top.name, net.blobs[top.name].shape) for top in layer.tops],
            [p.shape for p in layer.params],
        )
        for layer in net.layers
    ]


def _their_shapes(loaded: caffe.LoadedNet) -> list[Any]:
    return [
        (
            layer.name,
            layer.type,
            [(n, s) for n, s in zip(layer.tops, layer.top_shapes, strict=True) if n != "(automatic)"],
            list(layer.params),
        )
        for layer in loaded.layers_as_written()
    ]


def _our_needs(net: Net) -> list[tuple[str, bool]]:
    return [(step.name, step.runs) for step in backward(net, forced=False)]


def _their_needs(loaded: caffe.LoadedNet) -> list[tuple[str, bool]]:
    return [(x.name, need) for x, need in zip(loaded.layers, loaded.need_backward, strict=True)]


def _backward(case: Case, net: Net, real: caffe.Caffe) -> Finding | None:
    """What differs about the backward pass, if Caffe gets that far."""
    given = _selectors(net)
    if given is None:
        return None
    dies = [step.name for step in backward(net) if aborts(step)]
    error = _run(case, real, given, backward=True)
    if bool(dies) == bool(error):
        # A net that cannot run forward says nothing, and one that we expect to abort may do so forward.
        return None
    if error and (not error.site or _run(case, real, given, backward=False)):
        return None
    theirs = f"aborts: {error.reason} ({error.site})" if error else "runs backward"
    return Finding(case, f"expects {dies} to abort" if dies else "runs backward", theirs)


def _selectors(net: Net) -> dict[str, Any] | None:
    """Ones for the selectors of all Filters, which pass no image otherwise; None if they are computed."""
    selectors = [layer.bottoms[-1] for layer in net.layers if layer.type == "Filter"]
    if any(blob.layer.type != "Input" for blob in selectors):
        return None
    return {blob.name: np.ones(blob.known_shape) for blob in selectors}


def _run(
    case: Case, real: caffe.Caffe, inputs: dict[str, Any], *, backward: bool
) -> caffe.CaffeRefused | None:
    try:
        real.run(
            case.text, phase=case.phase, inputs=inputs, outputs=[], backward=backward, seed=1, timeout=60
        )
    except caffe.CaffeRefused as error:
        return error
    return None


def minimised(finding: Finding, real: caffe.Caffe) -> Finding:
    """The finding on as few layers as still show it."""
    i = len(finding.case.proto.layer) - 1
    while i >= 0:
        smaller = NetParameter()
        smaller.CopyFrom(finding.case.proto)
        del smaller.layer[i]
        _, found = judge(Case(finding.case.seed, finding.case.phase, smaller), real)
        same = found and (found.ours == "accepts") == (finding.ours == "accepts")
        if found and same and (found.theirs == "accepts") == (finding.theirs == "accepts"):
            finding = found
        i -= 1
    return finding
