"""The language of sweep files: numbers with units, constraints, objectives, axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbuilder.config.items import read_file
from netbuilder.designing.axes import Space, read_axes
from netbuilder.designing.counting import Row, pareto
from netbuilder.designing.expressions import constraint, number, objective
from netbuilder.errors import ConfigError
from netbuilder.networks import find_network

FIGURES = {"macs": 3_000_000, "learnable_params": 20, "depth": 7, "fixed_macs": 0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5G", 1_500_000_000), ("1069.6M", 1_069_600_000), ("64MiB", 64 * 1024**2), ("2Ki", 2048),
        ("1kB", 1000), ("3", 3), ("1e3", 1000), ("1.5e-1", 0.15), (".5k", 500), ("2T", 2 * 10**12), ("8B", 8),
    ],
)  # fmt: skip
def test_numbers_accept_the_usual_units(text: str, value: float) -> None:
    assert number(text) == value
    assert isinstance(number(text), type(value))


@pytest.mark.parametrize("text", ["", "G", "1.5X", "1iB", "1..2", "1 G", "-1", "1e9999", "nan", "0x10"])
def test_text_that_is_not_a_number_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number"):
        number(text)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("macs <= 3M", True), ("macs < 3M", False), ("macs >= 3M", True), ("macs > 3M", False),
        ("macs == 3M", True), ("macs != 3M", False), ("1M <= macs <= 5M", True), ("1M<=macs<2M", False),
        ("macs / learnable_params <= 150k", True), ("macs/learnable_params<149k", False),
        ("2 * (depth + 3) == 20", True), ("2 * depth + 3 == 17", True), ("depth - 3 - 2 == 2", True),
        ("-depth + 10 == 3", True), ("macs / 2 / 3 == 500k", True), ("3M >= macs", True),
    ],
)  # fmt: skip
def test_constraints_follow_the_rules_of_arithmetic(text: str, holds: bool) -> None:
    assert constraint(text).holds(FIGURES) is holds


@pytest.mark.parametrize(
    "text",
    ["(" * 40 + "macs" + ")" * 40 + " <= 1", "-" * 40 + "macs <= 1", "macs" + " + macs" * 200 + " <= 1"],
)
def test_a_constraint_that_would_exhaust_the_parser_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"nested too deeply|at most 200 are allowed"):
        constraint(text)


def test_an_objective_states_which_direction_is_better() -> None:
    assert [objective(f"{word} macs").sense for word in ("minimise", "minimize", "maximise", "maximize")] == [
        1, 1, -1, -1,
    ]  # fmt: skip
    assert objective("maximize  macs /depth").text == "maximise macs /depth"


def space(tmp_path: Path, text: str, network: str = "resnet") -> Space:
    (tmp_path / "s.yaml").write_text(f"axes:\n{text}")
    return read_axes(read_file(tmp_path / "s.yaml", "s.yaml")["axes"], find_network(network))


def test_axes_accept_values_ranges_and_lists_with_choices_per_place(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        """\
  num_output_stage1: [64, 96..128 step 16, 112..144 step 16]
  input_size: [224, 192x256, 96..128 step 32, [64, 80]]
  blocks: [[3, 4, 6, 3], [1..2, 2, [5, 7..8]]]
  fc_layers: [true, false]
""",
    )
    axes = {axis.name: [axis.value(i) for i in range(axis.size)] for axis in found.axes}
    assert axes == {
        "num_output_stage1": [64, 96, 112, 128, 144],
        "input_size": [(224, 224), (192, 256), (96, 96), (128, 128), (64, 80)],
        "blocks": [(3, 4, 6, 3), (1, 2, 5), (1, 2, 7), (1, 2, 8), (2, 2, 5), (2, 2, 7), (2, 2, 8)],
        "fc_layers": [True, False],
    }
    assert found.size == 5 * 5 * 7 * 2
    candidates = [found.candidate(i) for i in range(found.size)]
    assert candidates[0] == {
        "num_output_stage1": 64, "input_size": (224, 224), "blocks": (3, 4, 6, 3), "fc_layers": True,
    }  # fmt: skip
    assert candidates[1]["fc_layers"] is False
    assert len({repr(c) for c in candidates}) == found.size


def test_an_axis_can_contain_the_default_of_an_option(tmp_path: Path) -> None:
    found = space(tmp_path, "  blocks: [null, [2, 2..3]]\n  depth: [50, null]\n", "bl_resnet")
    assert [axis.value(i) for axis in found.axes for i in range(axis.size)] == [
        None, (2, 2), (2, 3), "50", None,
    ]  # fmt: skip


def test_a_space_is_not_stored_in_memory(tmp_path: Path) -> None:
    found = space(tmp_path, "  blocks: [[1..1000, 1..1000, 1..1000, 1..1000, 1..1000, 1..1000, 1..1000]]\n")
    assert found.size == 10**21
    assert found.candidate(10**21 - 1) == {"blocks": (1000,) * 7}


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 6)), max_size=40),
    st.integers(1, 3),
)
def test_the_front_has_each_best_trade_off_once(points: list[Any], n: int) -> None:
    rows = [Row(i, key[:n], ()) for i, key in enumerate(points)]
    front = pareto(reversed(rows))
    keys = {row.key for row in rows}
    best = {
        k for k in keys if not any(o != k and all(a <= b for a, b in zip(o, k, strict=True)) for o in keys)
    }
    assert [row.key for row in front] == sorted(best)
    assert all(row.number == min(r.number for r in rows if r.key == row.key) for row in front)
