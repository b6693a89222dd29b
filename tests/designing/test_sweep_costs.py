"""Costs added up from pieces equal the figures of `counts.count` for the whole net."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legos import BottleneckBranch, ConvBNReLULego, EltwiseReLULego, ShortcutLego
from legos.base import Lego
from netbuilder.designing.cost_net import CandidateNet, Memo, NotInPieces
from netbuilder.designing.counting import Counter, whole_figures
from netbuilder.errors import ConfigError, NetBuilderError
from netbuilder.measure.counts import FIGURES, cost_of_net, count, figures, totals
from netbuilder.measure.memory import memory
from netbuilder.net import Blob, Net
from netbuilder.networks import PHASES, find_network

# Options of each network to draw from; small images, so that nets are built fast.
SPACES: dict[str, dict[str, list[Any]]] = {
    "resnet": {
        "main_branch": ["normal", "bottleneck", "inception_trick", "inception_trick_bottleneck"],
        "num_output_stage1": [64, 72, 128],
        "blocks": [(1, 1), (2, 3, 2, 1), (1, 2, 4, 3, 1)],
        "stride_in": ["1x1", "3x3"],
        "fc_layers": [False, True],
        "input_size": [(64, 64), (97, 65)],
        "conv_bias": [False, True],
    },
    "bl_resnet": {
        "main_branch": ["normal", "bottleneck", "inception_trick_bottleneck"],
        "family": ["resnet", "resnext", "seresnext"],
        "num_output_stage1": [64, 128],
        "blocks": [(2, 2), (2, 3, 5, 3), (4, 2, 6)],
        "alpha": [1, 2, 4],
        "beta": [1, 2, 4],
        "upsample": ["nearest", "bilinear"],
        "pooling": ["auto", "crop", "depthwise"],
        "input_size": [(64, 64), (97, 65)],
    },
    "cifar_resnet": {
        "main_branch": ["normal", "bottleneck", "inception_trick_bottleneck"],
        "N": [1, 2, 5],
        "shortcut": ["A", "B"],
        "block": ["postactivation", "preactivation"],
        "bn": [None, "before", "after"],
        "final_relu": [None, True, False],
    },
}


@pytest.mark.parametrize("network", SPACES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_random_sample_of_a_networks_nets_costs_the_same_in_pieces(network: str, phase: str) -> None:
    entry, dice = find_network(network), random.Random(f"{network} {phase}")
    counter, compared = Counter(entry, phase), 0
    for _ in range(60):
        options = {name: dice.choice(values) for name, values in SPACES[network].items()}
        try:
            config = entry.config(**options)
        except ConfigError:
            continue
        net = entry.stitch(config, phase)
        counted = totals(count(net))
        found = counter.figures(config)
        assert {name: found[name] for name in counted} == counted, options
        assert found["layers"] == len(net)
        assert found["depth"] == depth(net)
        assert found["working_bytes"] == max(row.working or 0 for row in memory(net))
        compared += 1
        if compared == 6:
            break
    assert compared == 6


def depth(net: Net) -> int:
    """The most layers with learned weights on any path, by walking back from each layer."""
    known: dict[str, int] = {}
    for layer in net.layers:
        weighs = layer.type in ("Convolution", "Deconvolution", "InnerProduct")
        fixed = any(p.fixed_filter for p in layer.params)
        sources = [known[blob.layer.name] for blob in layer.bottoms]
        known[layer.name] = max(sources, default=0) + (weighs and not fixed)
    return max(known.values())


def test_the_figures_are_those_of_counts_and_three_more() -> None:
    net = Net("one")
    net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    more = ("working_bytes", "depth", "layers")
    assert tuple(figures(cost_of_net(net))) == FIGURES == (*totals(count(net)), *more)


# ---- random nets of random legos ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Grown(Lego):
    """A lego that builds something random, which depends only on its seed."""

    seed: int
    level: int

    def build(self, net: Net, *bottoms: Blob) -> Any:
        return grow(net, list(bottoms), random.Random(self.seed), self.name, self.level)


def grow(net: Net, blobs: list[Blob], dice: random.Random, name: str, level: int) -> Any:
    """Add a few layers and legos; return one blob, several, or none."""
    live, read, foreign = list(blobs), set(), set(blobs)
    for i in range(dice.randint(1, 5)):
        part = f"{name}_{i}"
        x = dice.choice(live)
        kind = dice.choice(["conv", "fixed", "pool", "relu", "flat", "sum", "concat", "slice", "end", "lego"])
        if kind == "lego" and level:
            bottoms = [dice.choice(live) for _ in range(dice.randint(1, 2))]
            lego = Grown(name=part, seed=dice.randint(0, 5), level=level - 1)
            made = [b for b in lego.attach_many(net, bottoms) if b is not None]
            read |= set(bottoms)
            live += made
            foreign |= set(made)
            continue
        four = len(x.known_shape) == 4
        if kind == "relu":
            in_place = x not in read and x not in foreign  # other layers may have read it, or hold it
            y = net.add("ReLU", x, name=part, in_place=in_place)
            if in_place:
                live.remove(x)
            live.append(y)
        elif kind == "conv" and four:
            live.append(net.add("Convolution", x, name=part, num_output=dice.randint(1, 4), kernel_size=1))
        elif kind == "fixed" and four:
            channels = x.known_shape[1]
            live.append(
                net.add(
                    "Convolution",
                    x,
                    name=part,
                    num_output=channels,
                    group=channels,
                    kernel_size=1,
                    bias_term=False,
                    weight_filler={"type": "constant"},
                    param=[{"lr_mult": 0}],
                )
            )
        elif kind == "pool" and four:
            live.append(net.add("Pooling", x, name=part, kernel_size=1, pool="AVE"))
        elif kind == "flat":
            live.append(net.add("Flatten", x, name=part))
        elif kind == "sum":
            y = net.add("Power", x, name=f"{part}_p", power=2)
            live.append(net.add("Eltwise", x, y, x, name=part, operation="SUM"))
        elif kind == "concat":
            live.append(net.add("Concat", x, x, name=part))
        elif kind == "slice" and x.known_shape[1] > 1:
            live += net.add_many(
                "Slice", x, name=part, tops=[f"{part}_a", f"{part}_b"], slice_point=[1], axis=1
            )
        elif kind == "end":
            net.add("Reduction", x, name=part, loss_weight=[dice.choice([0, 1, 2])])
        else:
            continue
        read.add(x)
    fate = dice.randint(0, 4)
    if fate == 0:
        return None
    live = [b for b in live if b in read or b not in blobs] or live
    return dice.choice(live) if fate < 4 else tuple(dict.fromkeys(live[-2:]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_a_random_net_of_random_legos_costs_the_same_in_pieces(seed: int) -> None:
    nets: list[Any] = [Net("whole"), Memo().net("in pieces")]
    for net in nets:
        data = [
            net.add("Input", name=name, shape={"dim": shape})
            for name, shape in (("a", [2, 3, 4, 4]), ("b", [2, 2, 5, 3]))
        ]
        grow(net, data, random.Random(seed), "g", 3)
    whole, costed = nets
    assert isinstance(costed, CandidateNet)
    assert figures(costed.cost) == figures(cost_of_net(whole))


# ---- what the memo may and may not share -------------------------------------------------------------------


def block(name: str, width: int) -> Lego:
    return ShortcutLego(
        name=name, main=BottleneckBranch(name=name, num_output=width), merge=EltwiseReLULego(name=name)
    )


def costing(memo: Memo, channels: int = 64) -> tuple[Any, Any]:  # they stand in for a Net and its blob
    net = memo.net("net", "TEST")
    return net, net.add("Input", name="data", shape={"dim": [1, channels, 8, 8]})


def test_an_equal_lego_with_another_name_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    memo, built = Memo(), []
    real = BottleneckBranch.build

    def build(self: BottleneckBranch, net: Net, *bottoms: Blob) -> Any:
        built.append(self.name)
        return real(self, net, *bottoms)

    monkeypatch.setattr(BottleneckBranch, "build", build)
    net, x = costing(memo)
    x = block("a", 64).attach(net, x)
    x = block("b", 64).attach(net, x)
    other, y = costing(memo)
    block("c", 64).attach(other, y)
    assert built == ["a"]
    narrow, z = costing(memo, 32)
    block("d", 32).attach(narrow, z)
    assert built == ["a", "d"]


def test_nets_of_another_phase_or_other_defaults_share_nothing() -> None:
    memo = Memo()
    found = []
    for defaults in ({}, {"Convolution": {"bias_term": True}}):
        net: Any = memo.net("net", "TEST", defaults=defaults)
        x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
        ConvBNReLULego(name="1", num_output=4).attach(net, x)
        found.append(figures(net.cost)["learnable_params"])
    assert found == [12 + 8, 12 + 4 + 8]


def test_a_lego_with_an_unhashable_field_is_built_each_time() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Odd(Lego):
        widths: set[int] = field(default_factory=lambda: {3, 5})

        def build(self, net: Net, *bottoms: Blob) -> Any:
            (x,) = bottoms
            for width in sorted(self.widths):
                x = ConvBNReLULego(name=f"{self.name}_{width}", num_output=width).attach(net, x)
            return x

    net, x = costing(Memo())
    whole = Net("net")
    y = whole.add("Input", name="data", shape={"dim": [1, 64, 8, 8]})
    for name in ("a", "b"):
        x, y = Odd(name=name).attach(net, x), Odd(name=name).attach(whole, y)
    assert figures(net.cost) == figures(cost_of_net(whole))


@pytest.mark.parametrize(
    "use",
    [
        lambda net, x: net["data"],
        lambda net, x: len(net),
        lambda net, x: net.layers,
        lambda net, x: x.layer,
        lambda net, x: net.add(
            "Convolution", x, name="c", num_output=1, kernel_size=1, param=[{"name": "w"}]
        ),
        lambda net, x: net.add("Data", name="d", tops=["d"], data_param={"source": "x", "batch_size": 1}),
        lambda net, x: (net.add("ReLU", x, name="a"), net.add("ReLU", x, name="b", in_place=True)),
        lambda net, x: (net.add("ReLU", x, name="a", in_place=True), net.add("ReLU", x, name="b")),
        lambda net, x: net.add("ReLU", Net().add("Input", name="x", shape={"dim": [1]}), name="a"),
    ],
    ids=["layer", "len", "layers", "origin", "shared", "data", "read before", "stale", "foreign"],
)
def test_what_pieces_cannot_express_is_counted_as_a_whole_net(use: Any) -> None:
    net, x = costing(Memo())
    with pytest.raises(NotInPieces):
        use(net, x)


def test_a_net_that_pieces_cannot_form_is_counted_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = find_network("resnet")
    options = {"main_branch": "normal", "num_output_stage1": 64, "blocks": (1, 1), "input_size": (64, 64)}
    config = entry.config(**options)

    def refuse(*args: Any) -> None:
        raise NotInPieces

    monkeypatch.setattr(CandidateNet, "attach", refuse)
    net = entry.stitch(entry.config(**options), "deploy")
    working = max(row.working or 0 for row in memory(net))
    assert Counter(entry, "deploy").figures(config) == totals(count(net)) | {
        "working_bytes": working, "depth": 6, "layers": 30,
    }  # fmt: skip


def test_an_error_of_the_whole_net_keeps_its_text() -> None:
    entry = find_network("resnet")
    config = entry.config(main_branch="bottleneck", input_size=(1, 1))
    with pytest.raises(NetBuilderError) as whole:
        whole_figures(entry, config, "train")
    with pytest.raises(NetBuilderError) as pieces:
        Counter(entry, "train").figures(config)
    assert str(pieces.value) == str(whole.value)
