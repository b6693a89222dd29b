"""`netbuilder caffeonspark`: what it prints, what it writes, and its exit codes."""

# ruff: noqa: E501 (a text is a text)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.caffeonspark.job_files import EXAMPLES, RESUMABLE, Edit, make
from tests.command import Command

# More iterations between two tests than the data has images for, with snapshots to match.
MANY: list[Edit] = [
    ("solver", "test_interval: 5000", "test_interval: 5005"),
    ("solver", RESUMABLE, "snapshot: 10011"),
]
SIZES = ("--executors", "16", "--train_images", "1281167", "--test_images", "50000")
MODEL = ("--model", "hdfs:///models/r50.caffemodel")


@pytest.fixture
def caffeonspark(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, "caffeonspark")


def test_without_a_folder_the_command_only_checks(
    caffeonspark: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = caffeonspark(make(tmp_path), *SIZES)
    assert ran.code == 0
    assert ran.out.splitlines()[:4] == [
        "what                  how                                                  value",
        "--------------------  ---------------------------------------------------  -------------------",
        "loop                  test_interval 5000 and test_iter 2000, both above 0  training with tests",
        "global batch          16 a device * 1 device * 16 executors                256",
    ]
    assert ran.err == "0 findings, 0 errors, 0 warnings\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "resnet50_cos_lmdb.prototxt",
        "solver.prototxt",
    ]


def test_errors_give_exit_code_1_and_nothing_is_written(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path / "from", edits=MANY)
    ran = caffeonspark(path, *SIZES, *MODEL, "-o", tmp_path / "job")
    assert ran.code == 1
    assert ran.out.splitlines()[-2:] == [
        f"{path}:3: error: test_interval 5005 * batch 16 * 1 device * 16 executors = 1281280 images, but the "
        "training set has 1281167: the job ends without training [train-images]",
        "  fix: write test_interval: 5004, or less",
    ]
    assert ran.err == "1 finding, 1 error, 0 warnings\nnothing written\n"
    assert not (tmp_path / "job").exists()


def test_the_solver_for_plain_caffe_is_refused(caffeonspark: Command) -> None:
    ran = caffeonspark(EXAMPLES / "solver_bvlc.prototxt", *SIZES)
    assert ran.code == 1
    assert ran.out == (
        f"{EXAMPLES / 'resnet50_bvlc.prototxt'}:2: error: data: Data reads its own data, but "
        "CaffeOnSpark feeds only MemoryData and CoSData: executors abort [data-type]\n"
        "  fix: use MemoryData with a source_class: netbuilder build NET --data cos_lmdb\n"
        "  also: data (line 17)\n"
    )


def test_warnings_are_printed_and_the_job_is_written(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path / "from", edits=[("net", "    share_in_parallel: false\n", "")])
    ran = caffeonspark(path, *SIZES, *MODEL, "-o", tmp_path / "job")
    assert ran.code == 0
    assert "[share-in-parallel]" in ran.out
    assert ran.err == (
        "1 finding, 0 errors, 1 warning\n"
        f"wrote {tmp_path / 'job'}: solver.prototxt, resnet50_cos_lmdb.prototxt, submit_yarn.sh, "
        "submit_standalone.sh, README.md\n"
    )
    assert "[share-in-parallel]" in (tmp_path / "job" / "README.md").read_text(encoding="utf-8")


def test_json_has_findings_numbers_loop_and_commands(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path / "from", edits=[("net", "file:/data/ilsvrc12_val_lmdb", "hdfs:///val_lmdb")])
    ran = caffeonspark(path, *SIZES, *MODEL, "--test", "--json", "-o", tmp_path / "job")
    data = json.loads(ran.out)
    assert ran.code == 0
    assert {key: data[key] for key in ("version", "solver", "loop", "totals")} == {
        "version": 1, "solver": str(path), "loop": "interleaved",
        "totals": {"error": 0, "warning": 1, "info": 0},
    }  # fmt: skip
    assert data["net"] == str(path.parent / "resnet50_cos_lmdb.prototxt")
    assert data["arithmetic"][1] == {
        "what": "global batch", "how": "16 a device * 1 device * 16 executors", "value": "256",
    }  # fmt: skip
    (finding,) = data["findings"]
    assert {key: finding[key] for key in ("severity", "code", "layer", "line", "rule", "told")} == {
        "severity": "warning", "code": "lmdb-copied", "layer": "data", "line": 25, "rule": 6, "told": "nobody",
    }  # fmt: skip
    assert list(data["commands"]) == ["yarn", "standalone"]
    assert data["commands"]["yarn"][0] == "spark-submit"
    assert data["commands"]["yarn"][-9:] == [
        "-test", "-conf", "solver.prototxt", "-devices", "1", "-connection", "ethernet",
        "-model", "hdfs:///models/r50.caffemodel",
    ]  # fmt: skip
    assert data["written"] == [str(tmp_path / "job" / name) for name in (
        "solver.prototxt", "resnet50_cos_lmdb.prototxt", "submit_yarn.sh", "submit_standalone.sh", "README.md",
    )]  # fmt: skip


def test_json_of_a_job_with_errors_has_no_commands(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path, edits=[("solver", "net:", "train_net:")])
    data = json.loads(caffeonspark(path, *SIZES, *MODEL, "--json").out)
    assert (data["commands"], data["net"], data["written"]) == (None, None, [])
    assert data["totals"]["error"] == 2


def test_a_text_that_is_not_a_prototxt_gives_exit_code_2(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path, edits=[("net", "batch_size: 16", "batch_size 16")])
    ran = caffeonspark(path, *SIZES)
    assert ran.code == 2
    assert ran.out.startswith(f"{tmp_path / 'resnet50_cos_lmdb.prototxt'}:11: error: expected ':'")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "job"), "ConfigError: a job needs a model: training writes it, a test reads it\n"
         "  hint:    give --model hdfs:///FOLDER/NAME.caffemodel\n"),
        (("--executors", "0"), "ConfigError: executors must be at least 1, got 0\n"),
        (("--train_images", "-3"), "ConfigError: train_images must be at least 1, got -3\n"),
        (("--no-train",), "ConfigError: the job runs nothing\n  hint:    train, test, or name features\n"),
        (("--label", "label"), "ConfigError: --label needs --features\n"),
    ],
)  # fmt: skip
def test_wrong_options_give_exit_code_2(
    words: tuple[str, ...], told: str, caffeonspark: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = caffeonspark(make(tmp_path / "from"), *words)
    assert (ran.code, ran.out, ran.err) == (2, "", told)
    assert not Path("job").exists()


def test_a_missing_solver_gives_exit_code_2(caffeonspark: Command, tmp_path: Path) -> None:
    ran = caffeonspark(tmp_path / "none.prototxt")
    assert ran.code == 2
    assert ran.err == f"FileError: cannot read '{tmp_path / 'none.prototxt'}': no such file or directory\n"


def test_a_recipe_gives_the_rate_to_compare_with(caffeonspark: Command, tmp_path: Path) -> None:
    # The recipe of resnet has 0.1 for a batch of 256; 8 executors of 16 images are half of that.
    path = make(tmp_path)
    assert caffeonspark(path, *SIZES, "--recipe", "resnet").err == "0 findings, 0 errors, 0 warnings\n"
    ran = caffeonspark(path, *SIZES, "--executors", "8", "--recipe", "resnet")
    assert ran.code == 0
    assert (
        f"{path}:4: warning: base_lr is 0.1; the recipe's 0.1 for a batch of 256 scales to 0.05 for 128"
        in ran.out
    )


def test_copied_files_of_another_folder_are_reported(caffeonspark: Command, tmp_path: Path) -> None:
    path = make(tmp_path / "from", edits=[("solver", 'net: "', 'net: "nets/')])
    (path.parent / "nets").mkdir()
    (path.parent / "resnet50_cos_lmdb.prototxt").rename(path.parent / "nets" / "resnet50_cos_lmdb.prototxt")
    assert caffeonspark(path, *SIZES).code == 1  # CaffeOnSpark would not find the net
    ran = caffeonspark(path, *SIZES, *MODEL, "-o", tmp_path / "job")
    assert ran.code == 0
    assert ran.err.splitlines()[0] == (
        "note: net: 'nets/resnet50_cos_lmdb.prototxt' is written as 'resnet50_cos_lmdb.prototxt'"
    )


def test_existing_files_are_overwritten_only_with_force(caffeonspark: Command, tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "README.md").write_text("mine", encoding="utf-8")
    words = (make(tmp_path / "from"), *SIZES, *MODEL, "-o", tmp_path / "job")
    ran = caffeonspark(*words)
    assert ran.code == 2
    assert ran.err.startswith(f"FileError: '{tmp_path / 'job' / 'README.md'}' is in the way")
    assert caffeonspark(*words, "--force").code == 0


def test_the_help_lists_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Command(capsys)("--help")
    assert "caffeonspark" in ran.out
