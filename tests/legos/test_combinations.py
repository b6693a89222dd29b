"""Random combinations of legos make nets that real Caffe loads in both phases, with our shapes.

Each axis is a registry, so that a lego which joins one is drawn here from then on. A combination that a lego
refuses is drawn again; `test_most_combinations_are_legal` sees that few are.
"""

from __future__ import annotations

import functools
import random
from functools import partial
from typing import Any, NamedTuple

import pytest

from legos import (
    ATTENTIONS,
    AVERAGES,
    BLURS,
    BRANCHES,
    DOWNSAMPLINGS,
    GATES,
    STEM_ENTRIES,
    UPSAMPLINGS,
    BigLittleLego,
    BlockLego,
    BlockStyle,
    ClassifierLego,
    DropBlockLego,
    EltwiseReLULego,
    FCStageLego,
    ImageNetStemLego,
    InputLego,
    Lego,
    LossLego,
    MemoryDataLego,
    PoolProjectionLego,
    ProbabilityLego,
    ScaledBranch,
    SequenceLego,
    ShortcutLego,
    blurred,
    followed,
)
from legos.head import ConcatPoolLego, GlobalPoolLego, MaxPoolLego
from legos.normalization import BNReLULego
from legos.padding_shortcut import PREACTIVATION_SHORTCUTS, SHORTCUTS
from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import NetBuilderError
from netbuilder.net import Blob
from netbuilder.schema.dialects import DIALECTS

NETS = 25
CLASSES = 10


class Draw(NamedTuple):
    """One combination, by the names of its parts."""

    family: str
    main: str
    stride_in: str
    attention: str
    gate: str
    blur: str
    drop: bool
    shortcut: str
    upsample: str
    stem: str
    head: str
    dialect: str
    size: tuple[int, int]


def postactivation(draw: Draw, net: Net, x: Blob) -> Blob:
    """A stage of a plain ResNet, with a shortcut from `SHORTCUTS`."""
    for k, stride in enumerate((2, 1)):
        name = f"block{k}"
        make = SHORTCUTS.get(draw.shortcut) or partial(PoolProjectionLego, downsample=AVERAGES[draw.shortcut])
        shortcut = make(name=name, num_output=64, stride=stride) if k == 0 else None
        block = ShortcutLego(
            name=name, main=main_of(draw, name, stride), shortcut=shortcut, merge=EltwiseReLULego(name=name)
        )
        x = block.attach(net, x)
    return x


def preactivation(draw: Draw, net: Net, x: Blob) -> Blob:
    """The same with BatchNorm and ReLU before the convolutions; of shortcuts it knows A and B."""
    shortcut = PREACTIVATION_SHORTCUTS[draw.shortcut if draw.shortcut in PREACTIVATION_SHORTCUTS else "B"]
    for k, stride in enumerate((2, 1)):
        name = f"block{k}"
        activation = BNReLULego(name=f"{name}_preact")
        main = SequenceLego(name=name, parts=(activation, main_of(draw, name, stride, normalize=False)))
        block = ShortcutLego(
            name=name, main=main, merge=EltwiseReLULego(name=name, relu=False),
            shortcut=shortcut(name=name, num_output=64, stride=stride) if k == 0 else None,
        )  # fmt: skip
        x = block.attach(net, x)
    return x


def styled(draw: Draw, net: Net, x: Blob) -> Blob:
    """Blocks of one style, the first of which projects in any case."""
    for k, stride in enumerate((2, 1)):
        block = BlockLego(name=f"block{k}", num_output=64, stride=stride, first=k == 0, style=style_of(draw))
        x = block.attach(net, x)
    return x


def big_little(draw: Draw, net: Net, x: Blob) -> Blob:
    """A Big-Little module of three branches."""
    style = style_of(draw)
    branches = tuple(
        ScaledBranch(name=f"branch{k}", num_output=64, blocks=3, alpha=2**k, halvings=2 - k, style=style)
        for k in range(3)
    )
    fusion = BlockLego(name="fusion", num_output=64, stride=2, first=True, style=style)
    module = BigLittleLego(
        name="module", branches=branches, fusion=fusion, upsample=UPSAMPLINGS[draw.upsample]
    )
    return module.attach(net, x)


FAMILIES = {f.__name__: f for f in (postactivation, preactivation, styled, big_little)}
HEADS: dict[str, Any] = {
    **{
        lego.__name__: partial(ClassifierLego, pooling=lego)
        for lego in (GlobalPoolLego, MaxPoolLego, ConcatPoolLego)
    },
    "fc stage": FCStageLego,
}


def inside(draw: Draw) -> dict[str, Any]:
    """What the combination puts around a spatial unit, and behind the other units."""
    around: list[Any] = []
    attention = ATTENTIONS[draw.attention]
    drop = partial(DropBlockLego, keep_prob=0.9, size=2) if draw.drop else None
    if attention.around:
        around.append(partial(attention.around, gate=GATES[draw.gate]))
    if drop:
        around.append(partial(followed, by=drop))
    if draw.blur in BLURS:
        around.append(partial(blurred, blur=BLURS[draw.blur]))
    return {"around": tuple(around), "after": drop}


def main_of(draw: Draw, name: str, stride: int, **fields: Any) -> Lego:
    """The main branch, and the attention behind it."""
    branch = BRANCHES[draw.main]
    if "stride_in" in branch.__dataclass_fields__:
        fields["stride_in"] = draw.stride_in
    main: Lego = branch(name=name, num_output=64, stride=stride, **inside(draw), **fields)
    behind = ATTENTIONS[draw.attention].behind
    return SequenceLego(name=name, parts=(main, behind(name=name, gate=GATES[draw.gate]))) if behind else main


def style_of(draw: Draw) -> BlockStyle:
    """The same as a style."""
    behind = ATTENTIONS[draw.attention].behind
    parts = inside(draw)
    return BlockStyle(
        main=BRANCHES[draw.main],
        stride_in=draw.stride_in,
        zero_gamma=False,
        attention=partial(behind, gate=GATES[draw.gate]) if behind else None,
        downsample=DOWNSAMPLINGS["auto"],
        first_shortcut=partial(
            PoolProjectionLego, downsample=AVERAGES.get(draw.shortcut), projects=True, after=parts["after"]
        ),
        **parts,
    )


def net_of(draw: Draw, phase: str) -> Net:
    """A small net, or deploy net, of these parts."""
    net = Net("combination", "TRAIN" if phase == "train" else "TEST", dialect=draw.dialect)
    shape = (2, 3, *draw.size)
    label = None
    if phase == "deploy":
        x = InputLego(name="data", shape=shape).attach(net, [])
    else:
        x, label = MemoryDataLego(name="data", shape=shape).attach_many(net, [])
    x = ImageNetStemLego(name="1", num_output=32, entry=STEM_ENTRIES[draw.stem]).attach(net, x)
    x = FAMILIES[draw.family](draw, net, x)
    x = HEADS[draw.head](name="top", num_output=CLASSES).attach(net, x)
    if label is None:
        ProbabilityLego(name="prob").attach(net, x)
    else:
        LossLego(name="loss").attach(net, [x, label])
    return net


def combination(seed: int) -> Draw:
    """The combination of this seed."""
    one_of = random.Random(seed).choice
    return Draw(
        family=one_of(list(FAMILIES)),
        main=one_of(list(BRANCHES)),
        stride_in=one_of(["1x1", "3x3"]),
        attention=one_of(list(ATTENTIONS)),
        gate=one_of(list(GATES)),
        blur=one_of(["none", *BLURS]),
        drop=one_of([False, True]),
        shortcut=one_of([*SHORTCUTS, *AVERAGES]),
        upsample=one_of(list(UPSAMPLINGS)),
        stem=one_of(list(STEM_ENTRIES)),
        head=one_of(list(HEADS)),
        dialect=one_of([name for name in DIALECTS if name in ("caffe-1.0", "caffe-master")]),
        size=one_of([(64, 64), (96, 64), (66, 97)]),
    )


def refusal(seed: int) -> NetBuilderError | None:
    """What a lego says against the combination of this seed, if one does."""
    try:
        net_of(combination(seed), "train")
    except NetBuilderError as error:
        return error
    return None


@functools.cache
def legal() -> tuple[int, ...]:
    """The first seeds whose combinations no lego refuses."""
    found: list[int] = []
    seed = 0
    while len(found) < NETS:
        if refusal(seed) is None:
            found.append(seed)
        seed += 1
    return tuple(found)


def test_most_combinations_are_legal() -> None:
    assert legal()[-1] < 2 * NETS


def test_what_is_refused_is_refused_for_a_reason_that_the_lego_gives() -> None:
    reasons = {
        str(error).partition(": ")[2].splitlines()[0] for s in range(legal()[-1]) if (error := refusal(s))
    }
    known = (
        "needs an even height and width", "reflection of", "does not fit into", "needs the last BatchNorm",
    )  # fmt: skip
    assert [reason for reason in reasons if not any(text in reason for text in known)] == []


def test_the_nets_that_are_drawn_hold_every_part() -> None:
    drawn = [combination(seed) for seed in legal()]
    for field, parts in (
        ("family", FAMILIES), ("main", BRANCHES), ("attention", ATTENTIONS), ("gate", GATES), ("blur", BLURS),
        ("shortcut", {**SHORTCUTS, **AVERAGES}), ("stem", STEM_ENTRIES), ("head", HEADS),
    ):  # fmt: skip
        assert {getattr(draw, field) for draw in drawn} >= set(parts), field


@pytest.mark.parametrize("number", range(NETS))
def test_real_caffe_loads_the_net_with_our_shapes(real_caffe: Caffe, number: int) -> None:
    draw = combination(legal()[number])
    for phase in ("train", "deploy"):
        net = net_of(draw, phase)
        loaded = real_caffe.load(prototxt.dumps(net), phase=net.phase)
        theirs = [(x.name, x.bottoms, x.top_shapes, x.params) for x in loaded.layers_as_written()]
        ours = [
            (
                x.name,
                tuple(b.name for b in x.bottoms),
                tuple(t.shape for t in x.tops),
                tuple(p.shape for p in x.params),
            )
            for x in net.layers
        ]
        assert ours == theirs, draw
        assert {b.name for b in net.outputs} == set(loaded.outputs), draw
