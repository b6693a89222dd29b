"""Verdicts of CaffeOnSpark's own classes on files with mistakes, which netbuilder must reproduce.

CaffeOnSpark's `Config` and data sources, compiled unchanged, read the three examples and mutations of them.
This table holds the files that they refused, and those that they accepted although the job must fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from netbuilder.caffeonspark import CODES, validate
from netbuilder.caffeonspark.layer_rules import data_layers
from tests.caffeonspark.job_files import EXAMPLES, IMAGENET, Edit, example, found, validated

TRAIN_RULE = "  include { phase: TRAIN }\n"
TEST_RULE = "  include { phase: TEST }\n"


def layer(kind: str, phase: str) -> str:
    """The text of an example's data layer of a phase."""
    _, net = example(kind)
    first, second = net.split("layer {\n")[1:3]
    return "layer {\n" + (first if phase == "TRAIN" else second)


class Verdict(NamedTuple):
    """CaffeOnSpark's verdict on an edited example, and the corresponding code of netbuilder."""

    edits: tuple[Edit, ...]
    said: str
    code: str
    told: str = "driver"
    kind: str = "cos_lmdb"
    severity: str = "error"
    line: int = 0  # the line that CaffeOnSpark named, if any


_FRAME = (
    'source_class: "com.yahoo.ml.caffe.LMDB"\n  memory_data_param {\n    source: "file:/data/',
    'source_class: "com.yahoo.ml.caffe.ImageDataFrame"\n  memory_data_param {\n    COLUMNS source: "hdfs:///data/',
)


def frame(columns: str) -> tuple[Edit, ...]:
    """Edits that make both data layers read a data frame of images with this selection."""
    edit: Edit = ("net", _FRAME[0], _FRAME[1].replace("COLUMNS", columns))
    return (edit, edit)


VERDICTS = {
    "s_trainonly": Verdict(
        (("net", layer("cos_lmdb", "TEST"), ""), ("net", " include { phase: TEST } }", " }")),
        "IndexOutOfBoundsException: Index 230 out of bounds for length 230", "phase-missing",
    ),
    "s_notestdata_but_testacc": Verdict(
        (("net", layer("cos_lmdb", "TEST"), ""),),
        "accepted: train layer 0, test layer 229, test source null", "wrong-data-layer", "later",
    ),
    "s_nosource": Verdict(
        (("net", '  source_class: "com.yahoo.ml.caffe.LMDB"\n', ""),) * 2,
        "accepted: sources null", "source-class-missing", "later",
    ),
    "s_badclass": Verdict(
        (("net", "com.yahoo.ml.caffe.LMDB", "com.yahoo.ml.caffe.Nope"),),
        "ClassNotFoundException: com.yahoo.ml.caffe.Nope", "source-class",
    ),
    "s_nomemsource": Verdict(
        (
            ("net", '    source: "file:/data/ilsvrc12_train_lmdb"\n', ""),
            ("net", '    source: "file:/data/ilsvrc12_val_lmdb"\n', ""),
        ),
        "accepted: init() false", "source", "later",
    ),
    "s_layerwise": Verdict(
        (("solver", "solver_mode: GPU", "solver_mode: GPU\nlayer_wise_reduce: false"),),
        "ParseException: 18:1: Input contains unknown fields", "solver-field", line=18,
    ),
    "s_weightsfield": Verdict(
        (("solver", "solver_mode: GPU", 'solver_mode: GPU\nweights: "x.caffemodel"'),),
        "ParseException: 18:1: Input contains unknown fields", "solver-field", line=18,
    ),
    "s_trainnet": Verdict(
        (("solver", "net: ", "train_net: "),), "FileNotFoundException: (No such file)", "train-net"
    ),
    "s_notestiter": Verdict(
        (("solver", "test_iter: 2000\n", ""),), "IndexOutOfBoundsException: Index:0, Size:0", "test-iter"
    ),
    "s_trainlayerbetween": Verdict(
        (
            (
                "net", layer("cos_lmdb", "TEST"),
                'layer { name: "between" type: "Dropout" bottom: "data" top: "data" '
                "include { phase: TRAIN } }\n" + layer("cos_lmdb", "TEST"),
            ),
        ),
        "accepted: train layer 1, test layer 2, train source null", "wrong-data-layer", "later",
    ),
    "s_exclude": Verdict(
        (
            ("net", TRAIN_RULE, "  exclude { phase: TEST }\n"),
            ("net", TEST_RULE, "  exclude { phase: TRAIN }\n"),
            ("net", " include { phase: TEST } }", " }"),
        ),
        "IndexOutOfBoundsException: Index 231 out of bounds for length 231", "exclude-ignored",
    ),
    "s_unknownfield": Verdict(
        (("net", "    crop_size: 224\n", "    crop_size: 224\n    color_augmentation: true\n"),),
        "ParseException: 20:5: Input contains unknown fields", "unknown-field", line=20,
    ),
    "s_v1": Verdict(
        (("net", layer("cos_lmdb", "TRAIN"), 'layers { name: "data" type: MEMORY_DATA top: "data" }\n'),
         ("net", layer("cos_lmdb", "TEST"), "")),
        "ParseException", "old-format",
    ),
    "s_roundmode": Verdict(
        (("net", "kernel_size: 3 stride: 2 }", "kernel_size: 3 stride: 2 round_mode: FLOOR }"),),
        "ParseException: 75:94: Input contains unknown fields", "newer-field", line=75,
    ),
    "s_idf": Verdict(
        frame('dataframe_column_select: "data" dataframe_column_select: "label"'),
        "ClassCastException of Integer, in an executor", "label-type", "later", severity="warning",
    ),
    "s_idf2": Verdict(
        frame('image_encoded: true dataframe_column_select: "data" '
              'dataframe_column_select: "cast(label as string) as label"'),
        "NullPointerException, in an executor", "encoded-column", "later", severity="warning",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["cos_lmdb", "cos_seq", "cos_df"])
def test_the_examples_that_caffeonspark_accepts_have_no_findings(kind: str) -> None:
    result = validate(EXAMPLES / f"solver_{kind}.prototxt", IMAGENET)
    # They train, but no resume of theirs does, which the driver does not notice.
    assert [f.code for f in result.findings] == ["snapshot-hangs"]
    assert result.fits
    assert result.loop == "interleaved"


@pytest.mark.parametrize("name", VERDICTS)
def test_each_mistake_that_caffeonspark_refuses_has_its_own_code(name: str, tmp_path: Path) -> None:
    verdict = VERDICTS[name]
    result = validated(tmp_path, verdict.kind, verdict.edits)
    findings = found(result, verdict.code)
    assert findings, [str(f) for f in result.findings]
    assert findings[0].line == verdict.line or not verdict.line
    assert CODES[verdict.code].told == verdict.told
    assert CODES[verdict.code].severity == verdict.severity
    assert result.fits == (verdict.severity != "error")


def test_four_of_them_are_accepted_by_the_driver_and_fail_later() -> None:
    accepted = {name for name, v in VERDICTS.items() if v.said.startswith("accepted")}
    assert accepted == {"s_notestdata_but_testacc", "s_nosource", "s_nomemsource", "s_trainlayerbetween"}
    assert {CODES[VERDICTS[name].code].told for name in accepted} == {"later"}


def test_a_test_iter_of_0_is_accepted_and_means_plain_training(tmp_path: Path) -> None:
    edits = [
        ("solver", "test_iter: 2000", "test_iter: 0"),
        ("solver", "test_interval: 5000", "test_interval: 0"),
    ]
    result = validated(tmp_path, edits=edits)
    assert [str(f) for f in result.findings] == []
    assert result.loop == "plain"
    assert result.arithmetic[-1] == ("partitions", "16 of the LMDB, a multiple of 16 executors", "16")


@pytest.mark.parametrize(
    "edit", [("test_iter: 2000", "test_iter: 0"), ("test_interval: 5000", "test_interval: 0")]
)
def test_either_value_of_0_means_plain_training(edit: tuple[str, str], tmp_path: Path) -> None:
    result = validated(tmp_path, edits=[("solver", *edit)])
    assert result.loop == "plain"
    assert result.fits


def test_a_solver_for_plain_caffe_is_refused_with_a_reason_per_data_layer() -> None:
    result = validate(EXAMPLES / "solver_bvlc.prototxt", IMAGENET)
    net = str(EXAMPLES / "resnet50_bvlc.prototxt")
    assert [(f.severity, f.code, f.file, f.line) for f in result.findings] == [
        ("error", "data-type", net, 2),
        ("error", "data-type", net, 17),
    ]


def test_the_data_layers_are_those_that_caffeonspark_logged(tmp_path: Path) -> None:
    # CaffeOnSpark logged "train layer 0, test layer 229" and "train layer 1, test layer 2".
    for name, taken in (("s_notestdata_but_testacc", (0, 229)), ("s_trainlayerbetween", (1, 2))):
        net = validated(tmp_path / name, edits=VERDICTS[name].edits).sources.net
        assert net is not None
        assert data_layers(net) == {"TRAIN": taken[0], "TEST": taken[1]}
