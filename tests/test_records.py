"""Records behave as the dataclasses that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any

import pytest

from legos.base import Lego
from legos.conv import ConvBNLego, ConvBNReLULego, ConvLego
from netbuilder.findings import Code, Finding
from netbuilder.networks import find_network
from netbuilder.records import Record

RESNET = find_network("resnet").config(main_branch="bottleneck")
RECORDS: list[Any] = [
    ConvLego(name="a", num_output=4, kernel=(1, 3)),
    ConvBNReLULego(name="a", num_output=4, gamma=0),
    Code("error", "a title"),
    Finding("error", "a-code", "conv", "text", phases=("TRAIN",)),
    RESNET,
    RESNET.elements,
]


def generated(record: Any) -> Any:
    """The same values in a dataclass with the methods that `dataclass` generates."""
    values = vars(record)
    kind = make_dataclass(
        type(record).__name__,
        [(name, Any, field(hash=not isinstance(value, Mapping))) for name, value in values.items()],
        frozen=True,
    )
    return kind(**values)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_compares_hashes_and_prints_as_a_dataclass_does(record: Any) -> None:
    assert issubclass(type(record), Record)
    assert "__eq__" not in vars(type(record))
    assert repr(record) == repr(generated(record))
    assert hash(record) == hash(generated(record))
    same = replace(record)
    assert same is not record
    assert same == record
    assert hash(same) == hash(record)


def test_records_differ_by_class_and_by_every_field() -> None:
    lego = ConvBNLego(name="a", num_output=4)
    assert lego != ConvBNReLULego(name="a", num_output=4)
    assert lego != replace(lego, gamma=0)
    assert lego != replace(lego, name="b")
    assert lego != "a"
    assert replace(RESNET, classes=10) != RESNET
    assert replace(RESNET, defaults={"ReLU": {"negative_slope": 0.1}}) != RESNET


@dataclass(frozen=True, kw_only=True)
class Plain(Lego):
    """A lego as users write it."""

    width: int = 1
    note: str = field(default="", compare=False)


def test_what_a_record_holds_besides_its_fields_does_not_count() -> None:
    marked = replace(RESNET)
    object.__setattr__(marked, "net_type", None)
    assert marked == RESNET
    assert hash(marked) == hash(RESNET)


def test_a_plain_dataclass_may_derive_from_a_record() -> None:
    assert Plain(name="a", note="x") == Plain(name="a", note="y") != Plain(name="a", width=2)
    assert len({Plain(name="a", note="x"), Plain(name="a", note="y")}) == 1
    assert repr(Plain(name="a")) == "Plain(name='a', width=1, note='')"
