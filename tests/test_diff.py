"""Differences of two nets, by hand on small ones; weights that fit, as real Caffe loads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.main import main
from netbuilder import Net, prototxt
from netbuilder.diff import diff


def small(name: str = "c", num_output: int = 4, stride: int = 1) -> Net:
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    x = net.add("Convolution", x, name=name, num_output=num_output, kernel_size=3, stride=stride)
    x = net.add("ReLU", x, name="relu", in_place=True)
    net.add(
        "InnerProduct",
        net.add("Pooling", x, name="pool", pool="AVE", global_pooling=True),
        name="fc",
        num_output=2,
    )
    return net


def test_a_net_is_the_same_as_itself() -> None:
    found = diff(small(), small())
    assert found.same
    assert found.weights_fit
    assert found.costs == {}


def test_a_changed_field_is_told_with_its_shapes_and_cost_and_weights_still_fit() -> None:
    found = diff(small(), small(stride=2))
    assert [c.layer for c in found.changed] == ["c", "relu"]
    conv = found.changed[0]
    assert conv.tops == ((("c", (1, 4, 6, 6)),), (("c", (1, 4, 3, 3)),))
    assert conv.params is None
    assert found.costs["macs"] == (4 * 36 * 27 + 8, 4 * 9 * 27 + 8)
    assert found.weights_fit


def test_a_wider_layer_has_other_parameters_on_which_caffe_aborts() -> None:
    found = diff(small(), small(num_output=5))
    assert found.refused == ("c", "fc")
    assert not found.weights_fit


def test_a_renamed_layer_is_found_and_its_weights_are_lost() -> None:
    found = diff(small(), small(name="conv1"))
    assert found.renamed == (("c", "conv1"),)
    assert (found.removed, found.added) == ((), ())
    assert found.unfilled == ("conv1",)


def test_added_and_removed_layers() -> None:
    longer = small()
    longer.add("Softmax", longer.blobs["fc"], name="prob")
    assert diff(small(), longer).added == ("prob",)
    assert diff(longer, small()).removed == ("prob",)
    assert diff(small(), longer).weights_fit


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.prototxt", tmp_path / "b.prototxt"
    prototxt.write(small(), first)
    prototxt.write(small(name="conv1", num_output=5), second)
    assert main(["diff", str(first), str(first)]) == 0
    assert capsys.readouterr().out == "the nets are the same\n\nweights of A fit B\n"
    assert main(["diff", str(first), str(second)]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(
        "- c\n+ conv1\n~ relu\n    bottoms:\n      A c\n      B conv1\n"
        "    tops:\n      A c (1,4,6,6)\n      B conv1 (1,5,6,6)\n"
    )
    assert printed.endswith(
        "weights of A do not fit B: Caffe aborts on fc, whose parameters have other shapes; "
        "nothing is loaded into conv1, for want of a layer of that name\n"
    )
    assert main(["diff", str(first), str(second), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["removed"], data["added"], data["weights_fit"]) == (["c"], ["conv1"], False)
    assert main(["diff", str(first), str(tmp_path / "none")]) == 2
