"""The page on the gaps of stock Caffe: its legos exist, and the dialects have these gaps."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import legos
from netbuilder.schema.dialects import dialect
from netbuilder.solvers.policies import DRIVER, STOCK

PAGE = (Path(__file__).parents[1] / "docs" / "what-stock-caffe-cannot-say.md").read_text(encoding="utf-8")
OF_FORKS = ("Interp", "Axpy", "Permute", "ShuffleChannel", "GroupNorm", "LayerNorm")


def test_every_lego_of_the_page_exists() -> None:
    named = set(re.findall(r"\b\w+Lego\b", PAGE))
    assert len(named) > 15
    assert named <= set(legos.__all__)


@pytest.mark.parametrize("type", OF_FORKS)
def test_a_type_that_stays_open_is_in_no_stock_dialect(type: str) -> None:
    assert type in PAGE
    assert type not in dialect("caffe-1.0").types
    assert type not in dialect("caffe-master").types


def test_what_came_after_caffe_1_is_in_the_last_one() -> None:
    for type in ("Swish", "Clip"):
        assert type not in dialect("caffe-1.0").types
        assert type in dialect("caffe-master").types
    assert not dialect("caffe-1.0").has_field("Pooling", "pooling_param.round_mode")
    assert dialect("caffe-master").has_field("Pooling", "pooling_param.round_mode")


def test_the_seven_policies_of_caffe_leave_out_those_of_the_driver() -> None:
    assert len(STOCK) == 7
    assert set(DRIVER).isdisjoint(STOCK)
