"""DavidNet, its search space and its baseline: what they cost, how they learn, and what is refused."""

from __future__ import annotations

import csv
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, checks, counts, prototxt
from netbuilder.cli.build import script_parser
from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.networks import PHASES, find_network
from netbuilder.networks import options as all_options
from netbuilder.networks.davidnet import LAYERS
from tests.reference import compare

ROOT = Path(__file__).parents[2]
Row = dict[str, str]


def stitch(network: str = "davidnet", phase: str = "train", **options: Any) -> Net:
    entry = find_network(network)
    return entry.stitch(entry.config(**options), phase)


def stitch_flags(network: str, flags: str, phase: str) -> Net:
    """The net that the script makes with these flags."""
    args = vars(script_parser(network).parse_args([*flags.split(), "-o", "unused"]))
    values = {f.name: args[f.name] for f in all_options(args["entry"].config)}
    return stitch(network, phase, **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def table() -> dict[str, Row]:
    text = (ROOT / "tests" / "ground_truth" / "davidnet_counts.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["name"]: row for row in csv.DictReader(lines)}


NETS = table()
each_net = pytest.mark.parametrize("name", NETS)
TRICKS = NETS["tricks"]["flags"]


# ---- what they cost ----------------------------------------------------------------------------------------


@each_net
@pytest.mark.parametrize("phase", PHASES)
def test_a_net_costs_what_pages_does(name: str, phase: str) -> None:
    row = NETS[name]
    net = stitch_flags(row["network"], row["flags"], phase)
    cost = counts.count(net)
    frozen = sum(p.size for x in net for p in x.params if not p.learnable and p.role != "statistic")
    assert (cost.learnable_params, cost.macs, frozen) == tuple(
        int(row[key]) for key in ("learnable", "macs", "frozen")
    )
    assert cost.uncounted == ()


SUBSETS = [names for n in range(4) for names in itertools.combinations(LAYERS, n)]


def by_hand(residual: tuple[str, ...], extra: tuple[str, ...], width: int) -> tuple[int, int]:
    """Parameters and MACs of the search space as a sum over its convolutions."""
    params = macs = 0

    def conv(inputs: int, outputs: int, side: int) -> None:
        nonlocal params, macs
        params += 9 * inputs * outputs + 2 * outputs
        macs += 9 * inputs * outputs * side**2

    conv(3, width, 32)
    channels, side = width, 32
    for name in LAYERS:
        conv(channels, 2 * channels, side)
        channels, side = 2 * channels, side // 2
        for _ in range(2 * (name in residual) + (name in extra)):
            conv(channels, channels, side)
    return params + 10 * channels, macs + 10 * channels


@pytest.mark.parametrize("residual", SUBSETS, ids="+".join)
def test_the_whole_search_space_costs_what_it_should(residual: tuple[str, ...]) -> None:
    for extra in SUBSETS:
        net = stitch(phase="deploy", residual=residual or ("none",), extra=extra or ("none",))
        cost = counts.count(net)
        assert (cost.learnable_params, cost.macs) == by_hand(residual, extra, 64)


def test_the_convolutions_of_the_final_net_are_those_of_the_list() -> None:
    rows = {
        layer.name: (layer.tops[0].known_shape[1:], layer.params[0].size, layer.macs)
        for layer in stitch(phase="deploy")
        if layer.type in ("Convolution", "InnerProduct")
    }
    assert rows == {
        "conv_prep": ((64, 32, 32), 1_728, 1_769_472),
        "conv_layer1": ((128, 32, 32), 73_728, 75_497_472),
        "conv_layer1_residual_res1": ((128, 16, 16), 147_456, 37_748_736),
        "conv_layer1_residual_res2": ((128, 16, 16), 147_456, 37_748_736),
        "conv_layer2": ((256, 16, 16), 294_912, 75_497_472),
        "conv_layer3": ((512, 8, 8), 1_179_648, 75_497_472),
        "conv_layer3_residual_res1": ((512, 4, 4), 2_359_296, 37_748_736),
        "conv_layer3_residual_res2": ((512, 4, 4), 2_359_296, 37_748_736),
        "fc10": ((10,), 5_120, 5_120),
    }


# ---- how they are put together -----------------------------------------------------------------------------


def names(net: Net, scope: str) -> list[str]:
    return [layer.name for layer in net if layer.origin.scope[0] == scope]


def test_a_layer_is_conv_bn_relu_pool_then_residual_then_extra() -> None:
    net = stitch(residual=("layer1",), extra=("layer1",))

    def unit(name: str) -> list[str]:
        return [f"{kind}_{name}" for kind in ("conv", "bn", "scale", "relu")]

    assert names(net, "layer1") == [
        *unit("layer1"), "pool_layer1",
        *unit("layer1_residual_res1"), *unit("layer1_residual_res2"), "eltwise_layer1_residual",
        *unit("layer1_extra"),
    ]  # fmt: skip
    assert names(net, "head") == ["pool", "fc10", "logits", "loss"]


def test_with_pool_first_the_maximum_is_before_batchnorm() -> None:
    net = stitch(pool_first=True)
    assert names(net, "layer2") == ["conv_layer2", "pool_layer2", "bn_layer2", "scale_layer2", "relu_layer2"]
    # cuDNN reads what the maximum gave once more in the backward pass.
    assert not net["bn_layer2"].in_place
    assert net["bn_layer1_residual_res1"].in_place


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "davidnet"),
        ({"residual": ("layer1", "layer3")}, "davidnet"),
        ({"residual": ("none",)}, "davidnet_residual_none"),
        ({"residual": ("layer2",), "extra": ("layer1", "layer3")},
         "davidnet_residual_layer2_extra_layer1_layer3"),
        ({"backbone": "strided", "width": 32}, "davidnet_strided_w32"),
        ({"ghost": 16, "whitening": True}, "davidnet_ghost16_whitening"),
    ],
)  # fmt: skip
def test_a_net_is_called_by_what_is_not_as_in_the_final_one(options: dict[str, Any], name: str) -> None:
    assert stitch(**options).name == name


@each_net
@pytest.mark.parametrize("phase", PHASES)
def test_a_net_has_no_error_and_caffe_loads_it_with_our_shapes(
    real_caffe: Caffe, name: str, phase: str
) -> None:
    net = stitch_flags(NETS[name]["network"], NETS[name]["flags"], phase)
    assert [f for f in checks.check(net) if f.severity == "error"] == []
    loaded = real_caffe.load(prototxt.dumps(net), phase=net.phase)
    theirs = {x.name: (x.type, x.top_shapes, x.params) for x in loaded.layers_as_written()}
    assert theirs == {
        x.name: (x.type, tuple(t.shape for t in x.tops), tuple(p.shape for p in x.params)) for x in net
    }
    assert {b.name for b in net.outputs} == set(loaded.outputs)


# ---- how they start and learn ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "flags"), [("davidnet", ""), ("davidnet", "--backbone strided"), ("dawnnet", "")]
)
def test_weights_start_as_pytorch_starts_them(real_caffe: Caffe, network: str, flags: str) -> None:
    net = stitch_flags(network, flags, "deploy")
    ran = real_caffe.run(
        prototxt.dumps(net), inputs={"data": np.zeros((1, 3, 32, 32))}, fetch_params=True, seed=1
    )
    for layer in net:
        if layer.type in ("Convolution", "InnerProduct"):
            for values in ran.params[layer.name]:
                bound = (ran.params[layer.name][0][0].size) ** -0.5
                assert np.abs(values).max() <= bound * 1.0001
                assert values.size < 100 or np.abs(values).max() > bound * 0.95, layer.name
        elif layer.type == "Scale":
            gamma, beta = ran.params[layer.name]
            assert not beta.any()
            if network == "davidnet" and not flags:
                assert (gamma == 1).all()
            else:  # as PyTorch was in 2018
                assert 0 <= gamma.min() < 0.2
                assert 0.8 < gamma.max() <= 1


def test_all_that_is_learnt_is_learnt_and_decayed_alike() -> None:
    for network in ("davidnet", "dawnnet"):
        for layer in stitch(network):
            written = [(p.lr_mult, p.decay_mult) for p in layer.proto.param]
            assert written == [(0, 0)] * 3 if layer.type == "BatchNorm" else set(written) <= {(1, 1)}


def test_statistics_average_with_fraction_0_9() -> None:
    for layer in stitch():
        if layer.type == "BatchNorm":
            assert round(layer.proto.batch_norm_param.moving_average_fraction, 6) == 0.9


def test_frozen_gammas_stay_and_betas_learn_64_times_as_fast_with_the_same_decay() -> None:
    scales = [layer for layer in stitch(frozen_gamma=True) if layer.type == "Scale"]
    assert len(scales) == 8
    for layer in scales:
        assert [(p.lr_mult, p.decay_mult) for p in layer.proto.param] == [(0, 0), (64, 1 / 64)]
        assert [p.learnable for p in layer.params] == [False, True]
        assert not layer.proto.scale_param.HasField("filler")  # Caffe starts gammas at 1


def test_the_solver_of_caffe_gets_no_gradient_for_what_is_frozen(real_caffe: Caffe) -> None:
    net = stitch(width=8, whitening=True, frozen_gamma=True)
    text = re.sub(r"batch_size: \d+", "batch_size: 4", prototxt.dumps(net))
    data = {"data": compare.draw_images(net, 4, 1), "label": np.arange(4, dtype=np.float32)}
    ran = real_caffe.run(text, phase="TRAIN", inputs=data, backward=True, seed=1)
    assert not ran.param_diffs["whiten_prep"][0].any()
    assert ran.param_diffs["conv_prep"][0].any()
    for layer in net:
        if layer.type == "Scale":
            assert ran.param_diffs[layer.name][1].any()


def test_ghost_has_a_batch_that_can_be_cut_in_training_only() -> None:
    shapes = {phase: stitch(phase=phase, ghost=16).inputs[0].shape for phase in PHASES}
    assert shapes == {"train": (16, 3, 32, 32), "test": (1, 3, 32, 32), "deploy": (1, 3, 32, 32)}


@pytest.mark.parametrize("phase", PHASES)
def test_ghost_stands_in_the_train_net_only(phase: str) -> None:
    kinds = {layer.name: layer.type for layer in stitch(phase=phase, ghost=16)}
    assert ("ghost_prep" in kinds) == (phase == "train")
    assert kinds.get("bn_prep") == (None if phase == "train" else "BatchNorm")


def test_caffe_would_copy_all_of_a_ghost_net_but_its_statistics() -> None:
    # Caffe aborts over a layer of one name with other params (net.cpp, ShareTrainedLayersWith).
    findings = checks.between(stitch(phase="train", ghost=16), stitch(phase="test", ghost=16))
    assert {f.code for f in findings} == {"phase-weights"}
    assert {f.layer.split("_")[0] for f in findings} == {"bn"}


@pytest.mark.parametrize("phase", ["train", "test"])
def test_label_smoothing_is_the_loss_of_both_phases(phase: str) -> None:
    net = stitch(phase=phase, label_smoothing=0.2)
    assert [round(w, 6) for w in net["loss"].proto.loss_weight] == [0.8]
    assert "loss_smooth" in net
    assert ("accuracy" in net) == (phase == "test")


# ---- the command -------------------------------------------------------------------------------------------

REFUSED = {
    "an unknown layer": (
        ["--residual", "layer4"],
        "ConfigError: residual must be none, or layers among layer1, layer2, layer3, got 'layer4'\n"
        "  hint:    did you mean 'layer3'?\n",
    ),
    "none and a layer": (
        ["--extra", "none", "layer1"],
        "ConfigError: extra must be none, or layers among layer1, layer2, layer3, got 'none'\n",
    ),
    "a layer twice": (
        ["--extra", "layer1", "layer1"],
        "ConfigError: extra names a layer twice: layer1 layer1\n",
    ),
    "an odd image": (
        ["--input_size", "36"],
        "ConfigError: input_size must be a multiple of 8, since it is halved three times, got 36x36\n"
        "  hint:    Caffe's pooling rounds odd sizes up, but PyTorch's rounds them down\n",
    ),
    "too much smoothing": (
        ["--label_smoothing", "1"],
        "ConfigError: label_smoothing must be above 0 and below 1, got 1\n",
    ),
    "smoothing over one class": (
        ["--label_smoothing", "0.1", "--classes", "1"],
        "ConfigError: label_smoothing needs at least 2 classes, got 1\n",
    ),
    "the maximum first where there is none": (
        ["--pool_first", "--backbone", "strided"],
        "ConfigError: pool_first needs a backbone with pooling; strided has convolutions of stride 2\n"
        "  hint:    remove pool_first, or use backbone pooled, global_max or final\n",
    ),
    "no alpha": (["--celu", "0"], "ConfigError: celu must be above 0, got 0\n"),
    "no scale": (["--logits_scale", "-1"], "ConfigError: logits_scale must be above 0, got -1\n"),
    "one part": (["--ghost", "1"], "ConfigError: ghost must be at least 2, got 1\n"),
    "no width": (["--width", "0"], "ConfigError: width must be at least 1, got 0\n"),
    "an unknown study": (
        ["--backbone", "poled"],
        "ConfigError: backbone must be one of no_repeats, strided, pooled, global_max, final, got 'poled'\n"
        "  hint:    did you mean 'pooled'?\n",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_net_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, what: str
) -> None:
    flags, message = REFUSED[what]
    assert main(["build", "davidnet", *flags, "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == ("", message)
    assert list(tmp_path.iterdir()) == []


def test_a_word_that_is_not_a_number_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["build", "davidnet", "--celu", "much", "-o", str(tmp_path)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[0] == (
        "ConfigError: argument --celu: invalid float value: 'much'"
    )


def test_odd_images_go_with_the_backbones_that_do_not_pool(real_caffe: Caffe) -> None:
    net = stitch(backbone="strided", input_size=(31, 45))
    loaded = real_caffe.load(prototxt.dumps(net), phase="TRAIN")
    assert loaded.blobs["conv_layer3"] == net.blobs["conv_layer3"].shape == (1, 256, 4, 6)


# ---- the page ----------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "davidnet.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| [^|]+ \| `(davidnet|dawnnet)([^`]*)` \| ([\d,]+) \| ([\d,]+) \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("network", "flags", "params", "macs"), ROWS, ids=[f"{r[0]}{r[1]}" for r in ROWS])
def test_the_table_of_the_page_is_right(network: str, flags: str, params: str, macs: str) -> None:
    cost = counts.count(stitch_flags(network, flags, "deploy"))
    assert (f"{cost.learnable_params:,}", f"{cost.macs:,}") == (params, macs)


def test_every_net_of_the_ground_truth_is_on_the_page() -> None:
    on_page = {(params.replace(",", ""), macs.replace(",", "")) for _, _, params, macs in ROWS}
    assert {(row["learnable"], row["macs"]) for row in NETS.values()} <= on_page
