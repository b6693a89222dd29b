"""Memory by layer: arithmetic on a small net, and the totals that it must agree with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.measure.counts import cost_of_net, count, figures
from netbuilder.measure.memory import memory, with_bytes
from netbuilder.net import Net
from tests.command import Command

# conv and pool are read by the sum, relu works in place, flat has the memory of the sum.
NET = """\
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 8, 8] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "same" type: "Convolution" bottom: "conv" top: "same"
        convolution_param { num_output: 4 kernel_size: 1 bias_term: false } }
layer { name: "sum" type: "Eltwise" bottom: "conv" bottom: "same" top: "sum" }
layer { name: "flat" type: "Flatten" bottom: "sum" top: "flat" }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5 } }
"""
DATA, CONV = 2 * 3 * 8 * 8, 2 * 4 * 8 * 8


@pytest.fixture
def small() -> Net:
    return prototxt.parse(NET, "TEST")


@pytest.mark.parametrize("width", [1, 2, 4])
def test_inputs_outputs_weights_and_what_is_alive(small: Net, width: int) -> None:
    rows = {r.layer.name: (r.inputs, r.outputs, r.weights, r.alive) for r in memory(small, width)}
    expected = {
        "data": (0, DATA, 0, DATA),
        "conv": (DATA, CONV, 4 * 3 * 9 + 4, DATA + CONV),
        "relu": (CONV, 0, 0, CONV),
        "same": (CONV, CONV, 16, 2 * CONV),
        "sum": (2 * CONV, CONV, 0, 3 * CONV),
        "flat": (CONV, 0, 0, CONV),
        "fc": (CONV, 10, 5 * 256 + 5, CONV + 10),
    }
    assert rows == {name: tuple(width * n for n in numbers) for name, numbers in expected.items()}
    assert memory(small, width)[1].working == width * (DATA + CONV + 112)


def test_the_most_that_is_alive_is_the_peak_of_the_net(small: Net) -> None:
    counts = count(small)
    assert max(row.alive for row in memory(small)) == counts.peak_bytes == 4 * 3 * CONV


def test_bytes_scale_what_is_handed_over_and_not_the_training(small: Net) -> None:
    floats, ints = count(small), with_bytes(count(small), 1)
    for name in ("activation_bytes", "peak_bytes", "weight_bytes"):
        assert 4 * getattr(ints, name) == getattr(floats, name)
    assert (ints.train_bytes, ints.caffe_data_bytes) == (floats.train_bytes, floats.caffe_data_bytes)
    assert ints.weight_bytes == ints.stored_params


@pytest.fixture
def netbuilder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    (tmp_path / "small.prototxt").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def test_the_command_names_the_layer_of_the_peak(netbuilder: Command) -> None:
    out = netbuilder(
        "count", "small.prototxt", "--memory", "--bytes", "1", "--sort", "alive", "--top", "2"
    ).out
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[2:4]] == ["sum", "same"]
    assert lines[4].startswith("5 others, at most")
    assert lines[5].startswith("peak at sum ")
    assert lines[5].split()[-2:] == ["1.5", "KiB"]
    data = json.loads(netbuilder("count", "small.prototxt", "--memory", "--bytes", "1", "--json").out)
    assert data["peak_layer"] == "sum"
    assert data["layers"][4]["memory"]["alive_bytes"] == data["totals"]["peak_bytes"] == 3 * CONV
    csv = netbuilder("count", "small.prototxt", "--memory", "--format", "csv").out.splitlines()
    assert csv[0] == "name,type,output,input_bytes,output_bytes,weight_bytes,working_bytes,alive_bytes"
    assert csv[2].endswith(f",{4 * DATA},{4 * CONV},448,{4 * (DATA + CONV + 112)},{4 * (DATA + CONV)}")


def test_sorting_by_another_tables_figure_is_refused(netbuilder: Command) -> None:
    for words in (("--sort", "working"), ("--memory", "--sort", "macs"), ("--memory", "--receptive-field")):
        ran = netbuilder("count", "small.prototxt", *words)
        assert ran.code == 2
        assert "--memory" in ran.err


def test_what_is_not_known_is_no_number() -> None:
    text = NET.replace('type: "Eltwise"', 'type: "Wonder"')
    net = prototxt.parse(text, "TEST", dialect="any", unknown="keep")
    rows = {row.layer.name: row for row in memory(net)}
    assert rows["sum"].outputs is None
    assert rows["sum"].working is None
    assert rows["fc"].inputs is None


def test_a_blob_that_a_layer_reads_twice_is_at_hand_once() -> None:
    net = Net("twice")
    x = net.add("Input", name="data", shape={"dim": [1, 4, 8, 8]})
    y = net.add("Convolution", x, name="y", num_output=4, kernel_size=1)
    z = net.add("Convolution", x, name="z", num_output=4, kernel_size=1)
    net.add("Eltwise", y, y, name="double")
    net.add("Eltwise", y, z, name="sum")
    used = memory(net)
    assert [row.working for row in used[-2:]] == [4 * 2 * 256, 4 * 3 * 256]
    assert figures(cost_of_net(net))["working_bytes"] == 4 * 3 * 256
    alone = Net("twice")
    x = alone.add("Input", name="data", shape={"dim": [1, 4, 8, 8]})
    alone.add("Eltwise", x, x, name="double")
    assert figures(cost_of_net(alone))["working_bytes"] == 4 * 2 * 256
