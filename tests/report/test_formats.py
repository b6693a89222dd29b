"""Tables as text, CSV, Markdown and LaTeX: what is printed is what is there."""

from __future__ import annotations

import csv
import io
import re

import pytest

from netbuilder import Net, counts, prototxt, report
from netbuilder.measure.blocks import blocks
from netbuilder.networks import find_network
from netbuilder.report.formats import AtLeast, Column, Table, render
from netbuilder.report.table import (
    arranged,
    block_rows,
    comparison,
    layer_rows,
    model_rows,
    plain_totals,
    slim,
)

TABLE = Table(
    (Column("name", "layer"), Column("n", "numbers", True), Column("note", "note")),
    (("a_b", 1234, "50% & | more"), ("_c\n*", None, ""), ("d", 0.5, "x{^}~\\")),
    ("total", 1234.5, ""),
)


def test_a_table_on_the_terminal_is_aligned_and_says_what_is_not_known() -> None:
    assert render(TABLE, "table") == (
        "layer  numbers  note\n"
        "-----  -------  ------------\n"
        "a_b      1,234  50% & | more\n"
        "_c\\n*        ?\n"
        "d          0.5  x{^}~\\\n"
        "total  1,234.5"
    )


def test_csv_has_plain_numbers_one_head_and_no_sums() -> None:
    text = render(TABLE, "csv")
    assert text == 'name,n,note\na_b,1234,50% & | more\n"_c\n*",,\nd,0.5,x{^}~\\'
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["n"] for row in rows] == ["1234", "", "0.5"]
    assert rows[1]["name"] == "_c\n*"


def test_markdown_escapes_what_would_be_markup() -> None:
    assert render(TABLE, "markdown") == (
        "| layer | numbers | note |\n"
        "| --- | ---: | --- |\n"
        "| a_b | 1,234 | 50% \\& \\| more |\n"
        "| \\_c\\\\n\\* | ? |  |\n"
        "| d | 0.5 | x{^}\\~\\\\ |\n"
        "| total | 1,234.5 |  |"
    )


def test_latex_is_a_booktabs_tabular_with_everything_escaped() -> None:
    assert render(TABLE, "latex") == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrl}\n"
        "\\toprule\n"
        "layer & numbers & note \\\\\n"
        "\\midrule\n"
        "a\\_b & 1,234 & 50\\% \\& \\textbar{} more \\\\\n"
        "\\_c\\textbackslash{}n* & ? &  \\\\\n"
        "d & 0.5 & x\\{\\textasciicircum{}\\}\\textasciitilde{}\\textbackslash{} \\\\\n"
        "\\midrule\n"
        "total & 1,234.5 &  \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}"
    )


def cifar(batch: int = 1) -> Net:
    entry = find_network("cifar_resnet")
    text = prototxt.dumps(entry.stitch(entry.config(main_branch="normal", N=2), "deploy"))
    return prototxt.parse(text.replace("dim: 1 dim: 3", f"dim: {batch} dim: 3"))


def numbers_of(text: str, form: str) -> list[list[int]]:
    """The columns of numbers that stand in every row of a printed table with a last row of sums."""
    if form == "table":
        lines = [re.split(r"  +", line) for line in text.splitlines()[2:]]
    elif form == "markdown":
        lines = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    else:
        body = text[text.index("midrule") : text.index("\\bottomrule")]
        lines = [line.removesuffix(" \\\\").split(" & ") for line in body.splitlines() if "&" in line]
    rows = [[int(c.replace(",", "")) for c in line if re.fullmatch(r"[\d,]+", c.strip())] for line in lines]
    return [list(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("form", ["table", "markdown", "latex"])
@pytest.mark.parametrize("top", [None, 4])
@pytest.mark.parametrize("sort", [None, "name", "params", "macs", "activations"])
def test_every_printed_column_adds_up_to_its_last_row(form: str, top: int | None, sort: str | None) -> None:
    net = cifar()
    c = counts.count(net)
    for rows, width in ((layer_rows(c), 6), (block_rows(c, blocks(net)), 7)):
        columns = numbers_of(render(arranged(rows, sort, top), form), form)
        assert len(columns) == width
        assert [sum(column[:-1]) for column in columns] == [column[-1] for column in columns]


def test_the_sums_of_layers_and_blocks_are_the_nets_figures() -> None:
    net = cifar()
    c = counts.count(net)
    expected = (c.learnable_params, c.stored_params, c.macs, c.flops, c.total_flops - c.flops, c.activations)
    for rows in (layer_rows(c), block_rows(c, blocks(net))):
        assert rows.last is not None
        assert tuple(n for n in rows.last if isinstance(n, int))[-6:] == expected


@pytest.mark.parametrize(
    ("sort", "column"), [("params", 4), ("stored", 5), ("macs", 6), ("ops", 8), ("activations", 9)]
)
def test_sorting_puts_the_largest_first_and_keeps_the_order_of_equals(sort: str, column: int) -> None:
    rows = layer_rows(counts.count(cifar()))
    done = arranged(rows, sort)
    figures = [row[column] for row in done.rows]
    assert figures == sorted(figures, key=lambda n: -n)  # type: ignore[operator]
    assert sorted(done.rows, key=rows.rows.index) == list(rows.rows)
    equal = [row for row in done.rows if row[column] == 0]
    assert equal == [row for row in rows.rows if row[column] == 0]


def test_sorting_by_name_rises() -> None:
    names = [str(row[0]) for row in arranged(layer_rows(counts.count(cifar())), "name").rows]
    assert names == sorted(names)


def test_what_is_not_known_is_sorted_last_and_makes_the_rest_unknown() -> None:
    net = prototxt.parse(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }\n'
        'layer { name: "w" type: "Warp" bottom: "x" top: "w" }\n'
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 1 kernel_size: 1 } }\n",
        unknown="keep",
    )
    done = arranged(layer_rows(counts.count(net)), "macs", 1)
    assert [row[0] for row in done.rows] == ["c", "2 others"]
    assert done.rows[1][6] is None
    assert done.last is not None
    assert done.last[0] == "total, at least"
    assert done.last[6] == 16


def test_a_block_with_an_unknown_layer_has_at_least_what_is_known() -> None:
    net = prototxt.parse(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }\n'
        'layer { name: "m/c" type: "Convolution" bottom: "x" top: "c" '
        "convolution_param { num_output: 1 kernel_size: 1 } }\n"
        'layer { name: "m/w" type: "Warp" bottom: "c" top: "w" }\n',
        unknown="keep",
    )
    rows = block_rows(counts.count(net), blocks(net))
    figures = (AtLeast(2), AtLeast(2), AtLeast(16), AtLeast(32), AtLeast(16), AtLeast(16))
    assert rows.rows[1] == ("m", 2, "?", *figures, 1)
    last = [line.split("  ") for line in render(slim(rows), "table").splitlines()][3]
    assert [cell.strip() for cell in last if cell.strip()] == [
        "m", "2", "?", ">= 2", ">= 16", ">= 32", ">= 16", ">= 16",
    ]  # fmt: skip
    assert render(rows, "csv").splitlines()[2] == "m,2,?,2,2,16,32,16,16,1"


def test_columns_that_say_nothing_are_left_out_of_what_people_read() -> None:
    net = Net("plain")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 4, 4]})
    net.add("Convolution", x, name="c", num_output=2, kernel_size=1)
    rows = layer_rows(counts.count(net))
    heads = [c.head for c in slim(rows).columns]
    assert heads == [
        "layer",
        "type",
        "kernel",
        "output",
        "params",
        "MACs",
        "FLOPs",
        "other ops",
        "activations",
    ]
    assert [c.key for c in rows.columns if c.head not in heads] == ["stored_params", "shared_with"]


def test_nets_side_by_side_have_a_column_each() -> None:
    one, many = counts.count(cifar()), counts.count(cifar(4))
    lines = render(comparison({"one": one, "many": many}), "table").splitlines()
    cells = {re.split(r"  +", line)[0]: re.split(r"  +", line)[1:] for line in lines[2:]}
    assert lines[0].split() == ["figure", "one", "many"]
    assert cells["MACs"] == [f"{one.macs:,}"] * 2
    assert cells["batch"] == ["1", "4"]
    assert cells["peak at test"] == [f"{c.peak_bytes / 2**20:,.1f} MiB" for c in (one, many)]
    assert "layers not counted" not in cells


def test_csv_of_totals_has_every_figure_of_the_json() -> None:
    net = cifar()
    c = counts.count(net)
    rows = list(csv.reader(io.StringIO(render(plain_totals({"net": c}), "csv"))))
    data = report.as_data(net, c)
    assert rows[0] == ["figure", "value"]
    expected = data["totals"] | {"batch": 1, "layers": len(net), "uncounted_layers": 0}
    assert {key: int(value) for key, value in rows[1:]} == expected


def test_small_memory_is_not_printed_as_nothing() -> None:
    net = Net("small")
    net.add("Input", name="data", shape={"dim": [1, 300]})
    lines = report.totals_table(counts.count(net)).splitlines()
    assert lines[-2].split()[:5] == ["peak", "at", "test", "1.2", "KiB"]


def test_a_models_rows_are_summed_up() -> None:
    from netbuilder.weights.model import Model, ModelLayer

    model = Model(
        "m",
        (
            ModelLayer("a", "Convolution", ((2, 3), (2,))),
            ModelLayer("r", "ReLU", ()),
            ModelLayer("b", "", ((5,),)),
        ),
    )
    rows = model_rows(model)
    assert rows.rows == (("a", "Convolution", "(2,3) (2)", 8), ("b", "?", "(5)", 5))
    assert rows.last == ("total", "", "", 13)
