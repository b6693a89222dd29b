"""Findings as text: place, phase, and the names of other layers with the same finding."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.findings import Finding
from netbuilder.report import finding_lines, summary, totals


def test_layers_with_one_finding_share_a_line_that_names_three() -> None:
    findings = [
        Finding("warning", "c", f"n{i}", "it is odd", "mend it", line=i, file="f") for i in range(1, 7)
    ]
    assert finding_lines(findings) == [
        "f:1: warning: n1: it is odd [c]\n  fix: mend it",
        "  also: n2 (line 2), n3 (line 3), n4 (line 4) and 2 more",
    ]
    assert summary(findings) == "6 findings, 0 errors, 6 warnings"
    assert totals(findings) == {"error": 0, "warning": 6, "info": 0}


def test_a_finding_in_some_phases_names_its_phase() -> None:
    finding = Finding("error", "c", "n", "it is odd", line=2, phases=("TEST",))
    assert finding_lines([finding], file="g", phases=2) == ["g:2: error: n: it is odd [c, TEST only]"]
    assert finding_lines([finding], file="g", phases=1) == ["g:2: error: n: it is odd [c]"]


def test_a_column_is_printed_of_a_syntax_error_alone() -> None:
    places = {"syntax": "f:2:3", "shape": "f:2"}
    for code, place in places.items():
        finding = Finding("error", code, "", "no", line=2, column=3, file="f")
        assert finding_lines([finding]) == [f"{place}: error: no [{code}]"]


def test_the_verb_solver_prints_a_warning_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = ["lr_policy=multistep", "gamma=0.1", "stepvalue=40,20"]
    options = [word for field in fields for word in ("--set", field)]
    output = tmp_path / "solver.prototxt"
    main(["solver", "resnet", "--net", str(tmp_path / "n"), "--batch", "32", *options, "-o", str(output)])
    text = "stepvalues that do not rise take effect late: one at each update"
    assert f"\nwarning: {text} [stepvalue-order]\n" in "\n" + capsys.readouterr().err
    assert f"#   note: warning: {text}\n" in output.read_text()
