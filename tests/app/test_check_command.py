"""`netbuilder check`: findings with their lines, targets, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.main import main

NET = """\
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "p" type: "Power" bottom: "x" top: "x" power_param { scale: 3 } }

layer { name: "t" type: "Tile" bottom: "x" top: "t" tile_param { tiles: 2 } }
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET, encoding="utf-8")
    return "net.prototxt"


def test_findings_are_printed_with_their_line_and_an_error_gives_exit_code_1(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", path, "--target", "opencv", "--target", "caffe-1.0"]) == 1
    printed = capsys.readouterr()
    assert printed.out == (
        "net.prototxt:2: error: p: Power computes wrong values in place; Caffe does not say [in-place]\n"
        "  fix: give the top a name of its own\n"
        "net.prototxt:4: error: t: opencv: Tile has another interface [other-tile]\n"
        "  fix: use Concat of the blob with itself\n"
    )
    assert printed.err == "2 findings, 2 errors\n"


def test_json_has_the_same_findings(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", path, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == [
        {
            "severity": "error",
            "code": "in-place",
            "layer": "p",
            "text": "Power computes wrong values in place; Caffe does not say",
            "fix": "give the top a name of its own",
            "line": 2,
        }
    ]


def test_a_net_without_errors_gives_exit_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ok.prototxt").write_text(NET.splitlines()[0], encoding="utf-8")
    assert main(["check", str(tmp_path / "ok.prototxt"), "--target", "mnn"]) == 0
    assert capsys.readouterr().err == "0 findings, 0 errors\n"


def test_what_caffe_refuses_is_an_error_of_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.prototxt"
    bad.write_text(NET.replace("tiles: 2", "tiles: 0"), encoding="utf-8")
    assert main(["check", str(bad)]) == 2
    assert capsys.readouterr().err.startswith("ShapeError: Tile 't': tiles must be at least 1, got 0\n")


def test_an_unknown_target_is_refused(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", path, "--target", "opencv5"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: unknown target 'opencv5': there are caffe-1.0, caffe-master, caffe-cudnn, opencv, mnn\n"
        "  hint:    did you mean 'opencv'?\n"
    )
