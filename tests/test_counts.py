"""Counts and memory of nets small enough to count by hand."""

from __future__ import annotations

import dataclasses

import pytest

from netbuilder import Net, counts, report


def by_hand() -> Net:
    """Conv 3->4 3x3 on 8x8 (with bias), BN, Scale in place, ReLU beside, sum, pool, fc."""
    net = Net("hand")
    x = net.add("Input", name="data", shape={"dim": [2, 3, 8, 8]})
    x = net.add("Convolution", x, name="c", num_output=4, kernel_size=3)
    x = net.add("BatchNorm", x, name="b", in_place=True)
    x = net.add("Scale", x, name="s", in_place=True, bias_term=True)
    y = net.add("ReLU", x, name="r")
    x = net.add("Eltwise", x, y, name="e")
    x = net.add("Pooling", x, name="p", pool="AVE", kernel_size=6)
    net.add("InnerProduct", x, name="f", num_output=5)
    return net


def test_parameters() -> None:
    c = counts.count(by_hand())
    assert c.learnable_params == (4 * 3 * 9 + 4) + (4 + 4) + (5 * 4 + 5)
    assert c.stored_params == c.learnable_params + 4 + 4 + 1
    assert c.pynetbuilder_params == 4 * 3 * 9 + 4 + 4 + 5 * 4
    assert c.weight_bytes == 4 * c.stored_params


def test_operations_are_per_image() -> None:
    c = counts.count(by_hand())
    pixels = 4 * 6 * 6
    assert c.batch == 2
    assert c.macs == pixels * 27 + 5 * 4
    assert c.flops == 2 * c.macs
    # bias 1, BatchNorm 2, Scale 2, ReLU 1, sum 1 per pixel; pooling 36 per output; fc bias 1 per output.
    assert c.total_flops == c.flops + pixels * (1 + 2 + 2 + 1 + 1) + 4 * 36 + 5
    assert c.pynetbuilder_flops == 108 * 36 + 4 + 4 + 20


def test_activations_and_memory() -> None:
    c = counts.count(by_hand())
    data, pixels = 3 * 64, 4 * 36
    assert c.activations == data + 3 * pixels + 4 + 5
    assert c.activation_bytes == 4 * 2 * c.activations
    # Most is alive at the sum: the normalised convolution, its ReLU, and the result.
    assert c.peak_bytes == 4 * 2 * 3 * pixels
    assert c.train_bytes == 4 * 3 * c.stored_params + 2 * c.activation_bytes


def test_fixed_filters_are_listed_apart() -> None:
    net = Net("up")
    x = net.add("Input", name="data", shape={"dim": [1, 4, 8, 8]})
    x = net.add(
        "Deconvolution",
        x,
        name="up",
        num_output=4,
        group=4,
        kernel_size=2,
        stride=2,
        bias_term=False,
        weight_filler={"type": "constant", "value": 1},
        param=[{"lr_mult": 0, "decay_mult": 0}],
    )
    frozen = [{"lr_mult": 0}]
    net.add("Convolution", x, name="c", num_output=2, kernel_size=1, bias_term=False, param=frozen)
    c = counts.count(net)
    assert (c.fixed_params, c.fixed_macs) == (4 * 4, 4 * 64 * 4)
    # A frozen layer that is no fixed filter (here msra) is computed like any other, but not learnt.
    assert (c.macs, c.learnable_params, c.stored_params) == (4 * 2 * 256, 0, 16 + 8)
    assert c.total_flops == 2 * (c.macs + c.fixed_macs)
    assert "fixed filters, apart from the above: 1,024 MACs" in report.totals_table(c)


def test_shared_weights_are_counted_once() -> None:
    net = Net("twin")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 4, 4]})
    for name in "ab":
        net.add(
            "Convolution", x, name=name, num_output=2, kernel_size=1, bias_term=False, param=[{"name": "w"}]
        )
    c = counts.count(net)
    assert (c.learnable_params, c.stored_params, c.macs) == (6, 6, 2 * 16 * 6)


def test_what_is_not_known_is_listed_and_printed_as_such() -> None:
    net = Net("n")
    data, _ = net.add("Data", name="data", tops=["data", "label"], source="db", batch_size=2)
    net.add("Convolution", data, name="c", num_output=2, kernel_size=1)
    c = counts.count(net)
    assert [layer.name for layer in c.uncounted] == ["data", "c"]
    table = report.layer_table(c)
    assert [line.split()[-4:] for line in table.splitlines()[2:4]] == [["?"] * 4, ["?"] * 4]
    assert report.totals_table(c).splitlines()[-3:] == [
        "not counted: 2 layers",
        "  data: its shape depends on the records of the database 'db'",
        "  c: the shape of bottom 'data' is unknown",
    ]
    assert report.as_data(net, c)["layers"][1]["macs"] is None


def test_the_columns_of_the_layer_table_add_up_to_its_last_row() -> None:
    lines = report.layer_table(counts.count(by_hand())).splitlines()
    rows = [[int(cell.replace(",", "")) for cell in line.split()[-4:]] for line in lines[2:]]
    assert [sum(column) for column in zip(*rows[:-1], strict=True)] == rows[-1]


def test_a_table_is_aligned() -> None:
    assert report.format_table(("name", "n"), [("a", "1"), ("long name", "1,000")], right=(1,)) == (
        "name           n\n---------  -----\na              1\nlong name  1,000"
    )


def test_every_total_is_in_the_json() -> None:
    net = by_hand()
    c = counts.count(net)
    data = report.as_data(net, c)
    fields = {f.name for f in dataclasses.fields(c)} - {"layers", "uncounted", "batch"}
    assert set(data["totals"]) == fields
    assert data["totals"]["macs"] == c.macs == sum(x["macs"] for x in data["layers"])
    assert sum(x["total_flops"] for x in data["layers"]) == c.total_flops
    assert data["layers"][1] == {
        "name": "c",
        "type": "Convolution",
        "bottoms": [{"name": "data", "shape": [2, 3, 8, 8]}],
        "tops": [{"name": "c", "shape": [2, 4, 6, 6]}],
        "params": [{"shape": [4, 3, 3, 3], "learnable": True}, {"shape": [4], "learnable": True}],
        "macs": 4 * 36 * 27,
        "flops": 2 * 4 * 36 * 27,
        "total_flops": 2 * 4 * 36 * 27 + 4 * 36,
    }


@pytest.mark.parametrize("batch", [1, 3])
def test_a_layer_that_does_not_grow_with_the_batch_is_not_lost(batch: int) -> None:
    net = Net("n")
    net.add("Input", name="data", shape={"dim": [batch, 3, 4, 4]})
    grid = net.add("DummyData", name="grid", shape={"dim": [1, 2, 4, 4]})
    net.add("Convolution", grid, name="c", num_output=1, kernel_size=1)
    assert counts.count(net).macs * batch == pytest.approx(32)
