"""A file as a whole: going on after what Caffe refuses, phases, and nothing told twice."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from netbuilder import errors
from netbuilder.checks.examine import Wanted, examine, examine_text
from netbuilder.errors import FieldError, FileError
from netbuilder.weights.model import Model, ModelLayer
from tests.checks.gallery import CASES, DATA, INPUT, LOSS, SCORES, conv, one, trained
from tests.published import ALEXNET, RESIDUAL

REFUSED = """\
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" convolution_param { num_output: 4 } }
layer { name: "b" type: "ReLU" bottom: "a" top: "a" }
layer { name: "c" type: "Concat" bottom: "a" bottom: "y" top: "c" }
layer { name: "d" type: "Pooling" bottom: "c" top: "a" pooling_param { kernel_size: 2 } }
layer { name: "e" type: "Warp" bottom: "a" top: "e" }
layer { name: "f" type: "Eltwise" bottom: "e" bottom: "a" top: "f" }
  layer { name: "g" type: "Tile" bottom: "x" top: "g" tile_param { tiles: 0 } }
"""


def said(text: str, **wanted: object) -> list[tuple[str, str, int]]:
    return [(f.code, f.layer, f.line) for f in examine_text(text, "n", Wanted(**wanted)).findings]  # type: ignore[arg-type]


def test_each_refused_layer_is_reported_once_without_its_consequences() -> None:
    examined = examine_text(REFUSED, "net.prototxt", Wanted())
    assert [(f.line, f.column, f.layer, f.code, f.text, f.fix) for f in examined.findings] == [
        (2, 1, "a", "shape", "kernel_size is missing: 2 spatial axes need it once or 2 times", ""),
        (4, 1, "c", "missing-bottom", "bottom 'y' is not the top of any layer before", ""),
        (5, 1, "d", "name-clash", "top 'a' is already produced by layer 'b'", ""),
        (6, 1, "e", "unknown-type", "no Caffe that netbuilder knows has a layer type Warp", ""),
        (8, 3, "g", "shape", "tiles must be at least 1, got 0", ""),
    ]
    assert {f.severity for f in examined.findings} == {"error"}


def test_both_rules_on_a_layer_are_one_finding() -> None:
    text = INPUT + one("ReLU", "include { phase: TEST } exclude { phase: TRAIN }")
    assert said(text) == [("field", "t", 2)]


PHASES = {
    INPUT + conv("kernel_size: 3"): ["TEST"],
    trained(conv("kernel_size: 3")): ["TRAIN", "TEST"],
    DATA.replace("memory", "include { phase: TRAIN } memory") + SCORES.replace("BOTTOM", "data") + LOSS: [
        "TRAIN"
    ],
    DATA.replace("memory", "include { phase: TEST } memory") + SCORES.replace("BOTTOM", "data") + LOSS: [
        "TEST"
    ],
    SCORES.replace("BOTTOM", "data") + LOSS: ["TRAIN", "TEST"],
    "": ["TEST"],
}


@pytest.mark.parametrize("text", PHASES)
def test_the_phases_are_those_that_the_file_has_layers_for(text: str) -> None:
    assert list(examine_text(text, "", Wanted()).nets) == PHASES[text]


def test_the_phases_to_examine_can_be_chosen() -> None:
    assert list(examine_text(INPUT, "", Wanted(phases=("TRAIN",))).nets) == ["TRAIN"]


def test_a_finding_of_both_phases_is_reported_once_with_both() -> None:
    text = trained(one("Pooling", "pooling_param { kernel_size: 1 stride: 2 }"))
    (found,) = [f for f in examine_text(text, "", Wanted()).findings if f.code == "pooling-outside"]
    assert found.phases == ("TRAIN", "TEST")


def test_two_findings_of_one_code_about_one_layer_are_two() -> None:
    text = INPUT + one("ReLU", "pooling_param { kernel_size: 3 } power_param { power: 2 }")
    assert said(text) == [("ignored-param", "t", 2)] * 2


def test_a_named_caffe_takes_the_place_of_bvlcs_and_others_come_on_top() -> None:
    text = INPUT + one("Permute", "permute_param { order: 0 order: 2 }")
    assert [c for c, *_ in said(text)] == ["no-such-type", "no-such-field"]
    assert said(text, targets=("ssd",)) == []
    assert [c for c, *_ in said(text, targets=("ssd", "nnie"))] == []
    assert [c for c, *_ in said(text, targets=("ssd", "caffe-1.0"))] == ["no-such-type", "no-such-field"]
    assert [c for c, *_ in said(text, targets=("mnn",))] == ["no-such-type", "no-such-field"]


def test_a_targets_finding_is_not_repeated_for_caffe_in_general() -> None:
    found = examine_text(CASES["lone-pair"].text, "", Wanted(targets=("opencv",))).findings
    assert [(f.severity, f.code, f.target) for f in found] == [("error", "lone-pair", "opencv")]


def test_cudnn_is_not_a_finding_where_the_caffe_has_it() -> None:
    text = CASES["engine-cudnn"].text
    assert said(text, targets=("caffe-cudnn",)) == []
    assert said(text, targets=("caffe-cudnn", "caffe-1.0")) == [("engine-cudnn", "t", 2)]


def test_shapes_of_data_can_be_given_for_the_phase_that_has_them() -> None:
    text = (
        'layer { name: "d" type: "Data" top: "big" include { phase: TRAIN } data_param { source: "a" batch_size: 2 } }\n'
        'layer { name: "e" type: "Data" top: "small" include { phase: TEST } data_param { source: "b" batch_size: 2 } }\n'
        + one("Pooling", "pooling_param { kernel_size: 9 } include { phase: TEST }", bottom="small")
    )
    assert said(text) == [("uncounted", "d", 1), ("uncounted", "e", 2)]
    shapes = {"big": (2, 3, 8, 8), "small": (2, 3, 4, 4)}
    assert said(text, inputs=shapes) == [("shape", "t", 3)]
    with pytest.raises(FieldError, match="'tiny' is not an input of this net"):
        examine_text(text, "", Wanted(inputs={"tiny": (1,)}))


def test_the_nets_of_a_solver_are_examined(tmp_path: Path) -> None:
    (tmp_path / "train.prototxt").write_text(trained(conv("kernel_size: 3 engine: CUDNN")))
    (tmp_path / "test.prototxt").write_text(INPUT + one("Tile"))
    solver = tmp_path / "solver.prototxt"
    solver.write_text('train_net: "train.prototxt" test_net: "test.prototxt" base_lr: 0.1')
    found = examine(solver, Wanted())
    assert [(Path(e.path).name, list(e.nets), [f.code for f in e.findings]) for e in found] == [
        ("train.prototxt", ["TRAIN"], ["engine-cudnn"]),
        ("test.prototxt", ["TEST"], ["shape"]),
    ]
    solver.write_text('net: "train.prototxt"')
    (both,) = examine(solver, Wanted())
    assert list(both.nets) == ["TRAIN", "TEST"]
    with pytest.raises(FileError):
        examine(tmp_path / "none.prototxt", Wanted())


def test_a_model_is_compared_in_all_phases_and_is_unused_only_where_no_phase_uses_it() -> None:
    text = trained(conv("kernel_size: 3").replace("num_output", "num_output")).replace(
        'top: "loss"', 'top: "loss" include { phase: TRAIN }'
    )
    layers = (ModelLayer("t", "", ((4, 3, 3, 3), (4,))), ModelLayer("aux", "", ((1,),)))
    found = said(text, model=Model("m", layers))
    assert found == [("weights-missing", "fc", 3), ("weights-unused", "aux", 0)]


def test_unknown_fields_of_the_net_itself_and_labels_are_reported() -> None:
    text = "mystery: 3\n" + INPUT + one("Pooling", "pooling_param { pool: MEDIAN kernel_size: 2 }")
    found = examine_text(text, "", Wanted()).findings
    assert [(f.code, f.layer, f.text) for f in found if f.code == "unknown-field"] == [
        (
            "unknown-field",
            "",
            "no Caffe that netbuilder knows has a field mystery in NetParameter: mystery: 3",
        ),
        ("unknown-field", "t", "no Caffe that netbuilder knows has this label of pool: pool: MEDIAN"),
    ]


def test_published_nets_give_no_warnings() -> None:
    shapes = {"data": (2, 3, 227, 227)}
    assert said(ALEXNET) == [("uncounted", "data", 3), ("uncounted", "data", 9)]
    assert said(ALEXNET, inputs=shapes, targets=("caffe-1.0",)) == []
    assert said(RESIDUAL, targets=("caffe-1.0", "opencv", "mnn", "ascend", "openvino")) == []


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("lenet_v1", {"uncounted", "zero-weights"}),
        ("lenet_v0", set()),
        ("groups_v0", set()),
        ("shared_v1", {"zero-weights"}),
    ],
)
def test_files_of_the_old_formats_are_examined(name: str, codes: set[str]) -> None:
    path = Path(__file__).parents[1] / "ground_truth" / "formats" / f"{name}.prototxt"
    (examined,) = examine(path, Wanted(targets=("rknn",)))
    assert {f.code for f in examined.findings} == codes | {"old-format"}


LAYER_CASES = json.loads((Path(__file__).parents[1] / "ground_truth" / "layer-cases.json").read_text())
# What Caffe refuses only for want of cuDNN, or of a database: to us, warnings.
ELSEWHERE = {"refuse_convolution_022": "engine-cudnn", "refuse_net_026": "leveldb-default"}
REFUSALS = {"shape", "field", "name-clash", "missing-bottom", "in-place-refused", "syntax"}
REFUSALS |= {"unknown-type", "unknown-field", "no-such-type", "no-such-field"}


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_the_verdict_is_real_caffes(verdict: str) -> None:
    wrong = []
    for case in LAYER_CASES[verdict]:
        found = examine_text(case["prototxt"], "net.prototxt", Wanted(phases=(case["phase"],))).findings
        refusals = [f for f in found if f.code in REFUSALS]
        assert all(f.severity == "error" and str(f) for f in refusals)
        warned = ELSEWHERE.get(case["id"]) in {f.code for f in found}
        if bool(refusals or warned) != (verdict == "refused"):
            wrong.append((case["id"], [str(f) for f in refusals]))
    assert wrong == []


def test_hints_stop_after_a_second_of_looking_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint compares a name with all others, which for each layer of a large file would take minutes."""
    known = 'layer { name: "x" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'
    text = known + 'layer { name: "t" type: "ReLU" bottom: "dato" top: "t" }'

    def hint() -> str:
        (finding,) = (
            f for f in examine_text(text, "net.prototxt", Wanted()).findings if f.severity == "error"
        )
        return finding.fix

    assert hint() == "did you mean 'data'?"
    monkeypatch.setattr(errors, "_spent", errors._SECONDS + time.process_time())
    assert hint() == ""
