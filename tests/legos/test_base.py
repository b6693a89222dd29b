"""What all legos have in common."""

from __future__ import annotations

import dataclasses
import doctest
from typing import Any

import pytest

import legos
import legos.base
from legos import (
    BRANCHES,
    BottleneckBranch,
    ClassifierLego,
    ConvBNLego,
    ConvBNReLULego,
    EltwiseReLULego,
    FCStageLego,
    ImageNetStemLego,
    InputLego,
    Lego,
    LossLego,
    MemoryDataLego,
    ProbabilityLego,
    ProjectionLego,
    ShortcutLego,
)
from legos.base import as_pair, window_fields
from netbuilder import Net
from netbuilder.errors import ShapeError

# One of each, with nothing but what it needs.
ONE_OF_EACH: list[Lego] = [
    ConvBNLego(name="a", num_output=8),
    ConvBNReLULego(name="a", num_output=8),
    *(branch(name="a", num_output=8) for branch in BRANCHES.values()),
    ProjectionLego(name="a", num_output=8),
    ShortcutLego(name="a", main=BottleneckBranch(name="a", num_output=8), merge=EltwiseReLULego(name="a")),
    EltwiseReLULego(name="a"),
    ImageNetStemLego(name="a"),
    ClassifierLego(name="a", num_output=8),
    FCStageLego(name="a", num_output=8),
    MemoryDataLego(name="a", shape=(1, 3, 8, 8)),
    InputLego(name="a", shape=(1, 3, 8, 8)),
    LossLego(name="a"),
    ProbabilityLego(name="a"),
]
PUBLIC = [getattr(legos, name) for name in legos.__all__]
each_class = pytest.mark.parametrize(
    "lego", [c for c in PUBLIC if isinstance(c, type) and issubclass(c, Lego)], ids=lambda lego: lego.__name__
)
each_lego = pytest.mark.parametrize("lego", ONE_OF_EACH, ids=lambda lego: type(lego).__name__)


def settings(lego: Lego) -> dict[str, Any]:
    return {f.name: getattr(lego, f.name) for f in dataclasses.fields(lego)}


@each_class
def test_every_public_lego_is_a_frozen_dataclass_of_keywords(lego: Any) -> None:
    assert lego.__dataclass_params__.frozen
    assert [f.name for f in dataclasses.fields(lego) if not f.kw_only] == []


@each_class
def test_every_public_lego_has_a_docstring_of_its_own(lego: type[Lego]) -> None:
    # A dataclass without one is given its signature instead.
    assert not (lego.__doc__ or "").startswith(f"{lego.__name__}(")


@each_lego
def test_a_lego_is_frozen(lego: Lego) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        lego.name = "b"  # type: ignore[misc]


@each_lego
def test_a_lego_compares_by_its_fields(lego: Lego) -> None:
    same = type(lego)(**settings(lego))
    other = dataclasses.replace(lego, name="another name")
    assert same is not lego
    assert same == lego
    assert hash(same) == hash(lego)
    assert other != lego
    assert lego != object()


@each_lego
def test_a_lego_takes_keywords_only(lego: Lego) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        type(lego)("a")  # type: ignore[call-arg]


@each_lego
def test_legos_of_equal_settings_are_equal_and_hash_alike(lego: Lego) -> None:
    twin = type(lego)(**settings(lego))
    assert twin == lego
    assert hash(twin) == hash(lego)
    assert dataclasses.replace(lego, name="b") != lego


@each_lego
def test_a_lego_prints_its_settings(lego: Lego) -> None:
    assert repr(lego).startswith(f"{type(lego).__name__}(name='a'")


@each_lego
def test_a_misspelt_setting_is_refused(lego: Lego) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_outputs'"):
        type(lego)(**settings(lego) | {"num_outputs": 8})


def test_legos_of_different_classes_differ_though_their_settings_agree() -> None:
    assert ConvBNLego(name="a", num_output=8) != ConvBNReLULego(name="a", num_output=8)


def test_a_lego_attaches_to_one_blob_or_to_a_list_of_one() -> None:
    tops = []
    for in_list in (False, True):
        net = Net("n")
        data = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
        top = ConvBNLego(name="a", num_output=4).attach(net, [data] if in_list else data)
        tops.append((top.name, top.shape))
    assert tops == [("conv_a", (1, 4, 8, 8))] * 2


def test_a_lego_may_be_attached_twice_to_different_nets() -> None:
    lego = ConvBNLego(name="a", num_output=4)
    for size in (8, 9):
        net = Net("n")
        data = net.add("Input", name="data", shape={"dim": [1, 3, size, size]})
        assert lego.attach(net, data).shape == (1, 4, size, size)


def test_the_legos_around_a_layer_are_its_scope_outermost_first() -> None:
    net = Net("n")
    data = net.add("Input", name="data", shape={"dim": [1, 8, 8, 8]})
    main = BottleneckBranch(name="m", num_output=8)
    ShortcutLego(name="s", main=main, merge=EltwiseReLULego(name="e")).attach(net, data)
    assert net["conv_m_branch2b"].origin.scope == (
        "ShortcutLego(s)", "BottleneckBranch(m)", "ConvBNReLULego(m_branch2b)",
    )  # fmt: skip
    assert net["eltwise_e"].origin.scope == ("ShortcutLego(s)", "EltwiseReLULego(e)")


def test_an_error_inside_a_lego_names_the_users_line_and_the_lego() -> None:
    net = Net("n")
    flat = net.add("Input", name="data", shape={"dim": []})
    with pytest.raises(ShapeError) as refused:
        ConvBNLego(name="a", num_output=4).attach(net, flat)
    file, line = refused.value.where.partition(", ")[0].rsplit(":", 1)
    assert file.endswith("test_base.py")
    assert int(line) == refused.traceback[0].lineno + 1
    assert refused.value.where.endswith(", ConvBNLego(a)")


def test_a_lego_without_build_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Lego(name="a").attach(Net("n"), [])


@pytest.mark.parametrize(("value", "pair"), [(3, (3, 3)), ((1, 3), (1, 3)), (0, (0, 0))])
def test_one_number_stands_for_both_halves_of_a_pair(value: Any, pair: tuple[int, int]) -> None:
    assert as_pair(value) == pair


def test_a_square_window_has_the_short_fields() -> None:
    assert window_fields(3, (2, 2), 1) == {"kernel_size": 3, "stride": 2, "pad": 1}


@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [((1, 3), 1, (0, 1)), (1, (1, 2), 0), (3, 1, (1, 0)), ((3, 1), (2, 1), 0)]
)
def test_a_window_with_one_oblong_part_has_all_its_pairs_whole(kernel: Any, stride: Any, pad: Any) -> None:
    assert set(window_fields(kernel, stride, pad)) == {
        "kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w",
    }  # fmt: skip


def test_the_halves_of_a_window_are_height_and_width() -> None:
    assert window_fields((1, 3), (1, 2), (0, 1)) == {
        "kernel_h": 1, "kernel_w": 3, "stride_h": 1, "stride_w": 2, "pad_h": 0, "pad_w": 1,
    }  # fmt: skip


def test_the_examples_in_the_docstring_of_lego_run() -> None:
    result = doctest.testmod(legos.base)
    assert result.attempted > 0
    assert result.failed == 0
