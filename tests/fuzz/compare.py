"""Ours against real Caffe's judgement of one net: the verdict, and the shapes of all tops and parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netbuilder import prototxt
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
    ours, our_shapes = _ours(case)
    theirs, their_shapes = _theirs(case, real)
    verdict = "refused" if theirs else "accepted"
    if bool(ours) != bool(theirs):
        return verdict, Finding(case, ours or "accepts", theirs or "accepts")
    if not ours and our_shapes != their_shapes:
        pairs = zip(our_shapes, their_shapes, strict=False)
        different = [(a, b) for a, b in pairs if a != b] or [(our_shapes, their_shapes)]
        return verdict, Finding(case, str(different[0][0]), str(different[0][1]))
    return verdict, None


def _ours(case: Case) -> tuple[str, list[Any]]:
    try:
        net = prototxt.parse(case.text, case.phase)
    except NetBuilderError as error:
        return error.text, []
    return "", [
        (
            layer.name,
            layer.type,
            # Caffe reports a blob once, with its last shape, which a layer in place may have changed.
            [(top.name, net.blobs[top.name].shape) for top in layer.tops],
            [p.shape for p in layer.params],
        )
        for layer in net.layers
    ]


def _theirs(case: Case, real: caffe.Caffe) -> tuple[str, list[Any]]:
    try:
        loaded = real.load(case.text, phase=case.phase, timeout=60)
    except caffe.CaffeRefused as error:
        return f"{error.reason} ({error.site or error.signal}, layer {error.layer})", []
    return "", [
        (
            layer.name,
            layer.type,
            [(n, s) for n, s in zip(layer.tops, layer.top_shapes, strict=True) if n != "(automatic)"],
            list(layer.params),
        )
        for layer in loaded.layers_as_written()
    ]


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
