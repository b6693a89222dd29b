"""The comparison itself: each kind of difference between ours and real Caffe is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import text_format

from netbuilder.checks import Finding
from netbuilder.engines import caffe
from netbuilder.errors import EngineError
from netbuilder.schema import NetParameter
from tests.fuzz import compare
from tests.fuzz.compare import LOADED, REFUSED, RUN, judge
from tests.fuzz.generate import Case, files

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
Y = X.replace('"x"', '"y"').replace("dim: 2", "dim: 4")
WRITES = 'layer { name: "h" type: "HDF5Output" bottom: "x" bottom: "y" hdf5_output_param { file_name: "a" } }'
POWER = 'layer { name: "p" type: "Power" bottom: "x" top: "p" }'
FILLER = 'filler { type: "uniform" min: -inf }'
FILLED = f'layer {{ name: "f" type: "Bias" bottom: "x" top: "f" bias_param {{ {FILLER} }} }}'
Checks = Callable[..., list[Finding]]


def net(text: str) -> Case:
    proto = NetParameter()
    text_format.Parse(text, proto)
    return Case("by hand", "TEST", proto)


def says(*codes: str) -> Checks:
    return lambda _: [Finding("error", code, "p", "") for code in codes]


def test_what_we_report_and_caffe_does_agree(real_caffe: caffe.Caffe) -> None:
    assert judge(net(X + POWER), real_caffe) == (RUN, None)
    assert judge(net(X + Y + WRITES), real_caffe) == (RUN, None)
    assert judge(net(X + POWER.replace("Power", "Softmax").replace('"x"', '"z"')), real_caffe) == (
        REFUSED,
        None,
    )


def test_an_abort_that_nothing_reports_is_a_difference(
    real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare.checks, "check", says())
    verdict, found = judge(net(X + Y + WRITES), real_caffe)
    assert verdict == RUN
    assert found is not None
    assert (found.ours, found.theirs[:22]) == ("runs", "aborts: Check failed: ")


def test_an_abort_that_is_reported_and_does_not_come_is_a_difference(
    real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare.checks, "check", says("no-forward"))
    verdict, found = judge(net(X + POWER), real_caffe)
    assert verdict == RUN
    assert found is not None
    assert (found.ours, found.theirs) == ("aborts forward: ['no-forward']", "runs forward")


def test_a_net_that_computes_nonsense_is_not_run(
    real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare.checks, "check", says("in-place"))
    assert judge(net(X + Y + WRITES), real_caffe) == (LOADED, None)


def test_a_need_of_a_gradient_that_differs_is_a_difference(
    real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_our_needs", lambda net: [("x", False), ("p", True)])
    _, found = judge(net(X + POWER), real_caffe)
    assert found is not None
    assert (found.ours, found.theirs) == ("('p', True)", "('p', False)")


def test_data_that_caffe_reads_after_it_has_built_the_net_counts_as_refused(real_caffe: caffe.Caffe) -> None:
    data = (
        'layer { name: "d" type: "Data" top: "d" data_param { source: "gray" batch_size: 1 backend: LMDB } '
        f'transform_param {{ mean_file: "{files.mean((3, 8, 8))}" }} }}'
    )
    assert judge(net(data), real_caffe) == (REFUSED, None)


def test_a_hang_counts_as_an_abort(real_caffe: caffe.Caffe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "TIMEOUT", 2)
    assert judge(net(X + FILLED), real_caffe) == (REFUSED, None)
    monkeypatch.setattr(compare, "_ours", lambda case: ("", None))
    _, found = judge(net(X + FILLED), real_caffe)
    assert found is not None
    assert found.ours == "accepts"


def test_other_faults_of_the_engine_are_not_taken_for_an_answer() -> None:
    def killed() -> None:
        raise EngineError("the Caffe worker died (SIGKILL)")

    with pytest.raises(EngineError, match="SIGKILL"):
        compare._asked(killed)
