"""Every accepted and refused case that real Caffe judged, against our rules.

`ground_truth/layer-cases.json` was produced by real Caffe 1.0 (Debian's build of commit 99bd997): shapes of
all tops and parameters of the nets it accepted, and the check that stopped it for those it refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.layers import RULES
from netbuilder.schema.dialects import DIALECTS

CASES = json.loads((Path(__file__).parents[1] / "ground_truth" / "layer-cases.json").read_text())

# The cases that need data on disk: tests/prototxt/test_data_shapes.py makes it.
NEED_DATA = ("source_012", "source_013", "source_016", "source_017", "refuse_net_026")

ACCEPTED = [c for c in CASES["accepted"] if c["id"] not in NEED_DATA]
REFUSED = [c for c in CASES["refused"] if c["id"] not in NEED_DATA]


def _read(case: dict[str, Any]) -> Any:
    state: dict[str, Any] = {"level": case.get("level") or 0, "stages": case.get("stages") or ()}
    return prototxt.parse(case["prototxt"], case["phase"], **state)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda c: c["id"])
def test_an_accepted_net_has_the_shapes_that_caffe_gave_it(case: dict[str, Any]) -> None:
    assert_shapes(_read(case), case)


def assert_shapes(net: Net, case: dict[str, Any]) -> None:
    """All shapes of an accepted case are those that Caffe gave."""
    # Caffe reports a blob once, with its last shape; a layer that writes in place may have changed it.
    ours = [
        (
            layer.name,
            layer.type,
            [[top.name, list(net.blobs[top.name].shape or ())] for top in layer.tops],
            [list(p.shape) for p in layer.params],
        )
        for layer in net.layers
    ]
    written = {layer.name for layer in net.layers}
    theirs = [
        # Split layers are Caffe's own doing; the anonymous top of a loss is in no file.
        (x["name"], x["type"], [t for t in x["tops"] if t[0] != "(automatic)"], x["params"])
        for x in case["layers"]
        if x["type"] != "Split" or x["name"] in written
    ]
    assert ours == theirs


@pytest.mark.parametrize("case", REFUSED, ids=lambda c: c["id"])
def test_a_net_on_which_caffe_aborts_is_refused_with_a_place(case: dict[str, Any]) -> None:
    with pytest.raises(NetBuilderError) as caught:
        _read(case)
    assert caught.value.where.startswith("<text>:")


def test_all_cases_but_the_ones_named_are_covered() -> None:
    assert (len(CASES["accepted"]), len(CASES["refused"])) == (321, 91)
    assert len(ACCEPTED) + len(REFUSED) == 321 + 91 - len(NEED_DATA)


def test_every_layer_type_of_caffe_has_a_rule() -> None:
    assert set(RULES) >= DIALECTS["caffe-master"].types
