"""The cases and the scripts of this folder: the same files run in real pycaffe and in netbuilder.pycaffe.

Real Caffe judges the cases themselves; what is not true of it is no case.
"""

from __future__ import annotations

import pytest

from netbuilder.engines.caffe import Caffe
from tests.pycaffe import both
from tests.pycaffe.data import files


@pytest.fixture(scope="session")
def sent() -> bytes:
    """What both sides get."""
    return both.job(files(), both.CASES, both.SCRIPTS)


@pytest.fixture(scope="session")
def ours(sent: bytes) -> both.Answers:
    """The answers of netbuilder.pycaffe."""
    return both.ours(sent)


@pytest.fixture(scope="session")
def real(real_caffe: Caffe, sent: bytes) -> both.Answers:
    """The answers of real Caffe."""
    return both.real(real_caffe.install, sent)


@pytest.mark.parametrize("name", both.names())
def test_a_case_holds_in_ours(name: str, ours: both.Answers) -> None:
    assert not ours[name]["error"]


@pytest.mark.parametrize("name", both.names())
def test_a_case_holds_in_real_caffe(name: str, real: both.Answers, real_caffe: Caffe) -> None:
    assert not real[name]["error"]


@pytest.mark.parametrize("name", both.names())
def test_both_find_the_same(name: str, ours: both.Answers, real: both.Answers, real_caffe: Caffe) -> None:
    assert not both.differ(real[name], ours[name])


@pytest.mark.parametrize("name", [words[0] for words in both.SCRIPTS])
def test_a_script_gives_the_same_in_both(
    name: str, ours: both.Answers, real: both.Answers, real_caffe: Caffe
) -> None:
    assert not real[name]["error"]
    assert not ours[name]["error"]
    assert both.RESULT in ours[name]
    assert not both.differ(real[name], ours[name])


def test_there_are_many_cases() -> None:
    assert len(both.names()) >= 150
