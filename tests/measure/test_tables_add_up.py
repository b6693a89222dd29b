"""The rows of every table, by layer and by block and in every format, add up to the totals of the net."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, counts, prototxt, report
from netbuilder.config import all_configs, load
from netbuilder.measure.blocks import blocks
from netbuilder.measure.counts import Counts
from netbuilder.report import table
from netbuilder.report.formats import Table, render

ZOO = sorted((Path(__file__).parents[1] / "zoo").glob("*.prototxt"))
GIVEN: dict[str, tuple[int, ...]] = {
    "caffenet_v0": (2, 3, 227, 227), "caffenet_v1": (2, 3, 227, 227), "cifar10_full": (2, 3, 32, 32),
    "cifar10_quick": (2, 3, 32, 32), "flickr_style": (2, 3, 227, 227), "lenet_v1": (3, 1, 28, 28),
    "lenet_v2": (3, 1, 28, 28),
}  # fmt: skip
# As the tables call the figures, and as the totals do.
HEADS = {"params": "learnable_params", "stored": "stored_params", "MACs": "macs", "FLOPs": "flops",
         "fixed MACs": "fixed_macs", "activations": "activations"}  # fmt: skip


def cells(text: str, form: str) -> list[list[str]]:
    """The heads and the rows of a printed table."""
    if form == "csv":
        return list(csv.reader(io.StringIO(text)))
    if form == "markdown":
        rows = [line.strip("| ").split(" | ") for line in text.replace("|  |", "| - |").splitlines()]
        return [rows[0], *rows[2:]]
    if form == "latex":
        return [line.removesuffix(" \\\\").split(" & ") for line in text.splitlines() if " & " in line]
    heads, rule, *lines = text.splitlines()
    ends = [(m.start(), m.end()) for m in re.finditer(r"-+", rule)]
    return [[line[begin:end].strip() for begin, end in ends] for line in (heads, *lines)]


def sums(rows: Table, form: str) -> tuple[dict[str, Fraction | int], dict[str, Fraction | int]]:
    """What the printed rows add up to, and what the last row says, by the names of the totals."""
    heads, *printed = cells(render(rows, form), form)
    found: dict[str, list[Fraction | int]] = {}
    for i, head in enumerate(heads):
        name = head if form == "csv" else HEADS.get(head, "")
        if name in HEADS.values():
            found[name] = [value(row[i]) for row in printed]
    last = {} if form == "csv" else {name: column.pop() for name, column in found.items()}
    return {name: sum(column) for name, column in found.items()}, last


def value(cell: str) -> Fraction | int:
    """What is known of a number, exactly; most cells are whole, which is the quick way."""
    whole = cell.replace(",", "")
    if whole.isdecimal():
        return int(whole)
    text = re.sub(r"^(>=|\$>\$=|\\textgreater\{\}=|\\>=) ", "", cell.strip())
    return Fraction(0) if text in ("?", "", "-") else Fraction(text.replace(",", ""))


def check(net: Net) -> None:
    counted = counts.count(net)
    expected = counts.totals(counted)
    for rows in (table.layer_rows(counted), table.block_rows(counted, blocks(net))):
        check_table(rows, "csv", counted)
        for form in ("table", "markdown", "latex"):
            check_table(table.slim(rows), form, counted)
        if not counted.uncounted:
            check_table(table.arranged(rows, "macs", 3), "table", counted)
    data = report.as_data(net, counted, blocks=blocks(net))
    json.dumps(data)
    for part in ("layers", "blocks"):
        for name in (*counts.LAYER_FIGURES, "fixed_macs"):
            if name != "ops":
                assert total(data[part], name) == pytest.approx(expected[name], rel=1e-12), (part, name)


def check_table(shown: Table, form: str, counted: Counts) -> None:
    rows, last = sums(shown, form)
    assert {"learnable_params", "macs", "flops", "activations"} <= set(rows)
    assert ("fixed_macs" in rows) == bool(counted.fixed_macs)
    for name, found in rows.items():
        expected = getattr(counted, name)
        digits = 0.06 * len(counted.layers) if isinstance(expected, float) and form != "csv" else 1e-6
        assert found == pytest.approx(expected, abs=digits, rel=1e-12), (form, name)
        if form != "csv":
            assert last[name] == pytest.approx(expected, abs=0.06), (form, name)


def total(rows: list[dict[str, Any]], name: str) -> float:
    return sum(row.get(name, 0) or 0 for row in rows)


@pytest.mark.parametrize("name", [found.name for found in all_configs()])
def test_the_rows_of_a_shipped_config_add_up(name: str) -> None:
    loaded = load(name)
    check(loaded.entry.stitch(loaded.config, "train"))


@pytest.mark.parametrize("path", ZOO, ids=[path.stem for path in ZOO])
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_the_rows_of_a_net_of_the_zoo_add_up(path: Path, phase: str) -> None:
    check(prototxt.read(path, phase, stages=("test-on-test",), dialect="any", unknown="keep"))


@pytest.mark.parametrize("name", GIVEN)
def test_the_rows_of_a_net_of_the_zoo_add_up_once_its_data_is_known(name: str) -> None:
    path = next(path for path in ZOO if path.stem == name)
    net = prototxt.read(path, "TRAIN", dialect="any", unknown="keep", inputs={"data": GIVEN[name]})
    check(net)
    assert counts.count(net).macs > 0


def test_the_rows_of_a_net_with_frozen_layers_add_up() -> None:
    text = (
        'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 3 dim: 4 dim: 9 dim: 9 } } }\n'
    )
    for i, filler in enumerate(("", "weight_filler { type: 'bilinear' }", "weight_filler { value: 0.5 }")):
        text += (
            f'layer {{ name: "c{i}" type: "Convolution" bottom: "d" top: "c{i}" param {{ lr_mult: 0 }} '
            f"convolution_param {{ num_output: 2 kernel_size: 3 {filler} }} }}\n"
        )
    net = prototxt.parse(text)
    counted = counts.count(net)
    one = 2 * 7 * 7 * 4 * 9
    assert (counted.macs, counted.fixed_macs) == (one, 2 * one)
    check(net)
