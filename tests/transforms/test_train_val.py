"""TRAIN and TEST in one file: read for a phase, it is that phase's net again."""

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.net import Phase
from netbuilder.networks import all_networks, find_network
from netbuilder.transforms.train_val import dumps_train_val

# What each network needs, and what makes its TRAIN and TEST nets differ most.
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "resnet": [{"main_branch": "bottleneck", "num_output_stage1": 256}, {"main_branch": "normal",
               "num_output_stage1": 64, "conv_bias": True}],
    "bl_resnet": [{"depth": "50"}],
    "cifar_resnet": [{"main_branch": "normal", "N": 1}],
    "davidnet": [{}, {"ghost": 4, "label_smoothing": 0.2}],
    "airbench": [{}],
    "dawnnet": [{}],
    "assemble_resnet": [{}],
}  # fmt: skip


def shape_of(net: Net) -> list[tuple[Any, ...]]:
    """Every layer: its fields but for `include`, the shapes of its blobs, and its params."""
    found = []
    for layer in net:
        proto = type(layer.proto)()
        proto.CopyFrom(layer.proto)
        proto.ClearField("include")
        found.append(
            (proto.SerializeToString(deterministic=True), [t.shape for t in layer.tops], layer.params)
        )
    return found


def pair(network: str, values: dict[str, Any]) -> tuple[Net, Net]:
    entry = find_network(network)
    config = entry.config(**values)
    return entry.stitch(config, "train"), entry.stitch(config, "test")


def test_every_network_is_tried() -> None:
    own = {n for n, e in all_networks().items() if e.stitch.__module__.startswith("netbuilder.networks.")}
    assert set(CONFIGS) == own


@pytest.mark.parametrize(
    ("network", "values"), [(n, v) for n, many in CONFIGS.items() for v in many], ids=str
)
def test_read_for_a_phase_it_is_that_net_again(network: str, values: dict[str, Any]) -> None:
    train, test = pair(network, values)
    text = dumps_train_val(train, test)
    for net in (train, test):
        back = prototxt.parse(text, net.phase)
        if values.get("conv_bias"):
            # use_global_stats said what the phase says anyhow.
            stats = [n["bn_1"].proto.batch_norm_param.HasField("use_global_stats") for n in (net, back)]
            assert stats == [True, False]
            assert [x.name for x in back] == [x.name for x in net]
        else:
            assert shape_of(back) == shape_of(net)
        assert back.name == net.name


def test_what_the_phases_share_stands_once() -> None:
    train, test = pair("cifar_resnet", {"main_branch": "normal", "N": 1})
    text = dumps_train_val(train, test, header="a line")
    assert text.count("layer {") == len(test)  # the TRAIN net, and Accuracy
    assert text.count("include") == 1
    assert text.splitlines()[1] == "# a line"
    assert text.count("# stem") == 1


def tiny(phase: Phase, **stats: Any) -> Net:
    net = Net("tiny", phase)
    x = net.add("Input", name="x", shape={"dim": [2, 3, 4, 4]})
    with net.scope("a", comment="part a"):
        net.add("BatchNorm", x, name="bn", **stats)
    return net


def test_a_statistic_that_is_not_the_phase_s_own_is_kept() -> None:
    frozen = dumps_train_val(tiny("TRAIN", use_global_stats=True), tiny("TEST", use_global_stats=True))
    assert frozen.count('type: "BatchNorm"') == 2
    assert prototxt.parse(frozen, "TRAIN")["bn"].proto.batch_norm_param.use_global_stats
    usual = dumps_train_val(tiny("TRAIN", use_global_stats=False), tiny("TEST", use_global_stats=True))
    assert usual.count('type: "BatchNorm"') == 1
    assert "use_global_stats" not in usual
    assert usual.count("# part a") == 1


def test_a_part_that_differs_is_announced_once() -> None:
    text = dumps_train_val(tiny("TRAIN", eps=1e-3), tiny("TEST", eps=1e-4))
    assert text.count("# part a") == 1
    assert text.count("phase: TRAIN") == text.count("phase: TEST") == 1


def test_real_caffe_builds_both_phases_of_it(real_caffe: Caffe) -> None:
    for network, values in (("davidnet", {"ghost": 4}), ("cifar_resnet", {"main_branch": "normal", "N": 1})):
        nets = pair(network, values)
        text = dumps_train_val(*nets)
        for net in nets:
            loaded = real_caffe.load(text, phase=net.phase).layers_as_written()
            assert [(x.name, x.type, x.top_shapes) for x in loaded] == [
                (x.name, x.type, tuple(t.shape for t in x.tops)) for x in net
            ]
