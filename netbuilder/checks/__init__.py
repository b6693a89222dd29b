"""Findings about a finished net: problems that Caffe accepts silently, and notes worth printing.

`Net.append` has already refused everything on which Caffe aborts. `check` returns data and prints nothing;
codes are stable (`CODES`). A check is a function in `CHECKS` that yields findings about a `Graph`;
`between` compares the TRAIN and the TEST net of one file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from netbuilder.checks import fields, fillers, training, trust, wiring
from netbuilder.checks.finding import CODES, Code, Finding, found
from netbuilder.checks.fitting import meant, needs
from netbuilder.checks.graph import Graph
from netbuilder.checks.phases import between
from netbuilder.graph import has_loss
from netbuilder.net import Net
from netbuilder.schema.dialects import DIALECTS, Dialect

__all__ = ["CHECKS", "CODES", "Code", "Finding", "Graph", "between", "check", "found", "has_loss"]

CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    *wiring.CHECKS,
    *fields.CHECKS,
    *fillers.CHECKS,
    *training.CHECKS,
    *trust.CHECKS,
)

# Checks that look only at the fields of a layer and the shapes of its blobs: all layers of a kind then have
# the same findings.
OF_KINDS = {*fields.CHECKS, *fillers.CHECKS, *training.OF_KINDS, *wiring.OF_KINDS}


def check(net: Net, dialects: Sequence[Dialect] = ()) -> list[Finding]:
    """All findings about a net, in the order of its layers.

    `dialects` are the Caffes that it is meant for; by default the last BVLC Caffe, or those that fit.
    """
    graph = Graph(net, tuple(dialects) or meant(needs((net,)), (), DIALECTS["caffe-master"]))
    order = {layer.name: i for i, layer in reversed(list(enumerate(net.layers)))}
    samples = graph.of_samples()
    findings = [
        finding for one in CHECKS if one not in OF_KINDS or any(one(samples)) for finding in one(graph)
    ]
    return sorted(findings, key=lambda f: (f.line, order.get(f.layer, -1)))
