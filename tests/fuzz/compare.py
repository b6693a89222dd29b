"""Ours against real Caffe's judgement of one net.

Compared are the verdict, the shapes of all tops and parameters, which layers need a gradient (Splits
included), and whether a forward and a backward pass end in an abort.

Caffe's undefined behaviour gives no verdict to compare. So a net is run only where we feed each index (such
as a label), and where no finding says that a pass computes nonsense. A hang counts as an abort.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from netbuilder import Net, checks
from netbuilder.checks.backward import aborts, backward
from netbuilder.engines import caffe
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.schema import NetParameter
from tests.fuzz.generate import NEEDS_DATA, Case

T = TypeVar("T")

TIMEOUT = 30  # seconds; a net takes milliseconds
REFUSED, LOADED, RUN = VERDICTS = ("refused", "loaded", "run")  # loaded: accepted, and not run
# The findings that say that a forward pass aborts.
DIES = {"no-forward", "stride-zero", "data-filler", "stochastic-cpu"}
# The bottom whose values choose an element; values beyond it read, or write, other memory.
INDEX = {
    "SoftmaxWithLoss": 1, "InfogainLoss": 1, "Accuracy": 1, "HingeLoss": 1, "MultinomialLogisticLoss": 1,
    "BatchReindex": 1, "Embed": 0, "Filter": -1,
}  # fmt: skip
# Where the threads that read data abort, after the net has been built.
READING = ("data_transformer.cpp", "image_data_layer.cpp", "data_layer.cpp", "io.cpp", "math_functions.cpp")


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
    """Caffe's verdict, one of VERDICTS, and what differs from ours."""
    ours, net = _ours(case)
    loaded, theirs = _asked(lambda: real.load(case.text, phase=case.phase, files=case.files, timeout=TIMEOUT))
    if ours and not theirs and case.files:
        theirs = _while_reading(case, real)
    verdict = REFUSED if theirs else LOADED
    if bool(ours) != bool(theirs):
        return verdict, Finding(case, ours or "accepts", theirs or "accepts")
    if net is None or loaded is None:
        return verdict, None
    for we, they in ((_our_shapes(net), _their_shapes(loaded)), (_our_needs(net), _their_needs(loaded))):
        if we != they:
            different = [(a, b) for a, b in zip(we, they, strict=False) if a != b] or [(we, they)]
            return verdict, Finding(case, str(different[0][0]), str(different[0][1]))
    return _passes(case, net, real)


def _ours(case: Case) -> tuple[str, Net | None]:
    try:
        return "", case.parsed()
    except NetBuilderError as error:
        return error.text, None


def _asked(question: Callable[[], T]) -> tuple[T | None, str]:
    """Caffe's answer, or why it has none."""
    try:
        return question(), ""
    except caffe.CaffeRefused as error:
        return None, f"{error.reason} ({error.site or error.signal}, layer {error.layer})"
    except EngineError as error:
        if "no answer within" not in error.text:
            raise
        return None, "hangs"


def _while_reading(case: Case, real: caffe.Caffe) -> str:
    """Why Caffe aborts when it reads the data of a net, which it may do after it has loaded it."""
    alone = NetParameter()
    alone.layer.extend(layer for layer in case.proto.layer if layer.type in NEEDS_DATA)
    theirs = _run(Case(case.seed, case.phase, alone), real, {}, backward=False)
    return theirs if any(f"({site}:" in theirs for site in READING) else ""


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


def _passes(case: Case, net: Net, real: caffe.Caffe) -> tuple[str, Finding | None]:
    """What differs about the forward and the backward pass."""
    given = _fed(net)
    found = {f.code for f in checks.check(net) if f.severity == "error" or f.code in DIES} - {"no-backward"}
    if given is None or found - DIES:
        return LOADED, None
    back = [step.name for step in backward(net) if aborts(step)]
    theirs = _run(case, real, given, backward=True)
    if not found and bool(back) == bool(theirs):
        if not theirs or not (forward := _run(case, real, given, backward=False)):
            return RUN, None
        return RUN, Finding(case, "runs forward", f"aborts forward: {forward}")
    if found:
        forward = theirs and _run(case, real, given, backward=False)
        return RUN, None if forward else Finding(case, f"aborts forward: {sorted(found)}", "runs forward")
    return RUN, Finding(
        case,
        f"expects {back} to abort backward" if back else "runs",
        f"aborts: {theirs}" if theirs else "runs",
    )


def _fed(net: Net) -> dict[str, Any] | None:
    """What we feed besides zeros; None where the result would depend on values that we do not know."""
    given: dict[str, Any] = {}
    for i, layer in enumerate(net.layers):
        if layer.type == "MemoryData":
            if i:
                return None
            given |= {top.name: np.zeros(top.known_shape) for top in layer.tops}
        if layer.type in INDEX:
            chooser = layer.bottoms[INDEX[layer.type]]
            if chooser.layer.type != "Input":
                return None
            if layer.type == "Filter":  # with zeros alone nothing would pass
                given[chooser.name] = np.ones(chooser.known_shape)
    return given


def _run(case: Case, real: caffe.Caffe, inputs: dict[str, Any], *, backward: bool) -> str:
    """Why a pass does not end well; "" if it does."""
    return _asked(
        lambda: real.run(
            case.text, phase=case.phase, files=case.files, inputs=inputs, outputs=[], backward=backward,
            seed=1, timeout=TIMEOUT,
        )
    )[1]  # fmt: skip


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
