"""Tables for a person: short numbers, no line over the width, and nothing lost without a word."""

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.measure.counts import count
from netbuilder.net import Net
from netbuilder.report import table
from netbuilder.report.formats import AtLeast, Bytes, Column, Table, render
from netbuilder.report.terminal import columns_of, compared, fitted, middle, short


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9_999, "9,999"),
        (10_000, "10.0 k"),
        (99_949, "99.9 k"),
        (99_951, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (25_557_032, "25.6 M"),
        (3_857_973_248, "3.86 G"),
        (12_345_678_901_234, "12.3 T"),
        (0.5, "0.5"),
        (1234.5, "1,234"),
        (25_557_032.5, "25.6 M"),
        (-25_557_032, "-25.6 M"),
    ],
)
def test_three_digits_and_a_unit(n: float, text: str) -> None:
    assert short(n) == text


def small_net(name: str, channels: int = 32) -> Net:
    layers = [
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 64, 64] } } }'
    ]
    layers += [
        f'layer {{ name: "conv_{name}_block{i}_with_a_long_name_branch2b" type: "Convolution" '
        f'bottom: "{f"c{i - 1}" if i else "data"}" top: "c{i}" '
        f"convolution_param {{ num_output: {channels} kernel_size: 3 pad: 1 }} }}"
        for i in range(3)
    ]
    return prototxt.parse("\n".join(layers), "TEST")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("exact", [False, True])
def test_layers_and_totals_fit_any_width(width: int, exact: bool) -> None:
    counts = count(small_net("net"))
    for rows in (table.layer_rows(counts), table.total_rows(counts)):
        text = fitted(rows, width, exact=exact)
        assert max(map(columns_of, text.splitlines())) <= width
        assert len(text.splitlines()) >= len(rows.rows) + 2


def test_a_column_that_goes_is_named_and_the_one_sorted_by_stays() -> None:
    rows = table.slim(table.layer_rows(count(small_net("net"))))
    assert "FLOPs" in fitted(rows, 200).splitlines()[0]
    text = fitted(rows, 70)
    assert "FLOPs" not in text.splitlines()[0]
    assert "not shown at this width:" in text
    assert "FLOPs" in text.splitlines()[-1] + text.splitlines()[-2]
    assert "FLOPs" in fitted(rows, 70, keep=["flops"]).splitlines()[0]


def test_a_name_loses_its_middle() -> None:
    assert middle("conv_stage0_block0_branch2a", 15) == "conv_st…ranch2a"
    assert middle("conv1", 5) == "conv1"
    assert columns_of(middle("卷积层" * 9, 11)) <= 11


def test_four_nets_at_80_columns_have_ratios_and_their_whole_names() -> None:
    nets = {f"bl_resnext_{n}_32x4d_a2_b4": count(small_net("n", n)) for n in (16, 32, 40, 48)}
    text = compared(table.comparison(nets), 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    (macs,) = [line.split() for line in lines if line.startswith("MACs")]
    first = nets["bl_resnext_16_32x4d_a2_b4"].macs
    ratios = [f"{c.macs / first:.2f}x" for c in list(nets.values())[1:]]
    assert [word for word in macs if word.endswith("x")] == ratios
    heads = lines[: next(i for i, line in enumerate(lines) if line.startswith("---"))]
    for part in ("16_", "32_", "40_", "48_"):
        assert any(part in head for head in heads)


def test_many_nets_are_rows() -> None:
    nets = {f"a_net_with_a_name_of_its_own_{n}": count(small_net("n", n)) for n in range(1, 12)}
    text = compared(table.comparison(nets), 80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    head = lines[[set(line) <= set("- ") for line in lines].index(True) - 1]
    assert head.split()[:1] == ["net"]
    assert "MACs" in head
    assert sum(line.startswith("a_net_with") for line in lines) == 11


def test_what_is_unknown_has_no_ratio() -> None:
    rows = Table(
        (Column("figure", "figure"), Column("a", "a", True), Column("b", "b", True)),
        (("MACs", AtLeast(10**6), 2 * 10**6), ("memory", Bytes(2**20), Bytes(2**21, least=True))),
    )
    assert "x" not in compared(rows, 80)
    assert ">= 1.00 M" in compared(rows, 80)
    assert ">= 2.00 MiB" in compared(rows, 80)
    assert ">= 1,000,000" in render(rows, "table")
    assert ">= 2.0 MiB" in render(rows, "table")


def test_a_head_takes_several_lines_before_a_column_goes() -> None:
    columns = (
        Column("name", "name"),
        Column("params", "learnable_params_of_the_net", True),
        Column("speed", "GFLOP/s forward", True, rank=1),
    )
    table = Table(columns, (("resnet_50", 25_557_032, 5),))
    assert fitted(table, 36).splitlines() == [
        "           learnable_",
        "           params_of_        GFLOP/s",
        "name          the_net        forward",
        "---------  ----------  -------------",
        "resnet_50      25.6 M              5",
    ]
