"""`netbuilder sweep` as a command: its results, the files it writes, how it resumes, what it refuses."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.memory import Nets, training_memory
from netbuilder.errors import ConfigError
from netbuilder.measure.counts import count
from netbuilder.measure.memory import memory
from netbuilder.networks import find_network
from netbuilder.transforms.rebatch import rebatched
from tests.command import Ran

ROOT = Path(__file__).parents[2]

SMALL = """\
network: resnet
main_branch: bottleneck
num_output_stage1: 64
blocks: [1, 1, 1]
input_size: 32
axes:
  main_branch: [bottleneck, inception_trick_bottleneck]
  num_output_stage1: [62..72 step 2]
  blocks: [[1..3, [1, 2], 1]]
constraints: [macs <= 4.8M, learnable_params > 0.39M]
objectives: [minimise macs, maximise learnable_params, maximise depth]
"""


@pytest.fixture
def sweep(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a sweep file and run `netbuilder sweep` on it in this process; the output folder is `out`."""
    monkeypatch.chdir(tmp_path)

    def run(text: str, *args: str, jobs: int = 1) -> Ran:
        Path("s.yaml").write_text(text)
        words = ["sweep", "s.yaml", "-o", "out", "--jobs", str(jobs), "--no-draw", *args]
        return Ran(main(words), *capsys.readouterr())

    return run


# ---- what it finds -----------------------------------------------------------------------------------------


def small_candidates() -> list[tuple[dict[str, Any], Any]]:
    """The candidates of SMALL in their order, each with the counts of its net, or None."""
    found: list[tuple[dict[str, Any], Any]] = []
    entry = find_network("resnet")
    for branch, n, first, second in itertools.product(
        ("bottleneck", "inception_trick_bottleneck"), range(62, 73, 2), (1, 2, 3), (1, 2)
    ):
        options: dict[str, Any] = {
            "main_branch": branch,
            "num_output_stage1": n,
            "blocks": (first, second, 1),
        }
        try:
            net = entry.stitch(entry.config(**options, input_size=(32, 32)), "train")
        except ConfigError:
            found.append((options, None))
        else:
            depth = (4 if branch.startswith("i") else 3) * sum(options["blocks"]) + 2
            found.append((options, (count(net), depth)))
    return found


def test_the_front_matches_a_pairwise_comparison_of_all_whole_nets(sweep: Any) -> None:
    data = json.loads(sweep(SMALL, "--json").out)
    every = small_candidates()
    nets = [(options, *found) for options, found in every if found]
    kept = [
        (options, (c.macs, -c.learnable_params, -depth))
        for options, c, depth in nets
        if c.macs <= 4_800_000 and c.learnable_params > 390_000
    ]
    front = [
        (key, options)
        for options, key in kept
        if not any(other != key and all(map(int.__le__, other, key)) for _, other in kept)
    ]
    assert len({key for key, _ in front}) == len(front) > 5  # no two are equal
    assert [row["options"] for row in data["front"]] == [
        options | {"blocks": list(options["blocks"])}
        for _, options in sorted(front, key=lambda pair: pair[0])
    ]
    assert data["counted"] == len(every) == 72
    assert data["kept"] == len(kept)
    over = sum(c.macs > 4_800_000 for _, c, _ in nets)
    under = sum(c.learnable_params <= 390_000 for _, c, _ in nets)
    assert data["constraints"] == [
        {"constraint": "macs <= 4.8M", "not_kept_by": over},
        {"constraint": "learnable_params > 0.39M", "not_kept_by": under},
    ]
    assert min(over, under) > 0
    assert [(reason["count"], reason["example"]["main_branch"]) for reason in data["invalid"]] == [
        (18, "bottleneck"), (18, "inception_trick_bottleneck"),
    ]  # fmt: skip


def test_the_table_accounts_for_every_candidate(sweep: Any) -> None:
    text = SMALL.replace("[62..72 step 2]", "[62, 64]").replace("  blocks: [[1..3, [1, 2], 1]]\n", "")
    ran = sweep(text.replace("0.39M", "0.38M"))
    assert ran.code == 0
    table = [line.split() for line in ran.out.partition("ref:")[0].splitlines()]
    figures = ["learnable_params", "macs", "depth"]
    assert table[0] == ["rank", "main_branch", "num_output_stage1", *figures]
    assert [row[0] for row in table[2:]] == ["1", "ref"]
    entry = find_network("resnet")
    options = {"main_branch": "bottleneck", "num_output_stage1": 64, "blocks": (1, 1, 1)}
    whole = count(entry.stitch(entry.config(**options, input_size=(32, 32)), "train"))
    row = [f"{whole.learnable_params:,}", f"{whole.macs:,}", "11"]
    assert table[2:] == [["1", "bottleneck", "64", *row], ["ref", *row]]
    assert ran.out.partition("ref: ")[2] == (
        "resnet_11_1by4, the config without axes\n"
        "\n"
        "4 candidates counted\n"
        "  2 are invalid:\n"
        "    1 like this one: -n must be a multiple of 4 for -m bottleneck, got 62: the inner convolutions "
        "have a quarter of the width\n"
        "    1 like this one: -n must be a multiple of 4 for -m inception_trick_bottleneck, got 62: the "
        "inner convolutions have a quarter of the width\n"
        "  0 violate macs <= 4.8M\n"
        "  1 violate learnable_params > 0.38M\n"
        "  1 satisfy all constraints; the front has 1 of them\n"
    )


def test_the_csv_has_the_options_and_all_figures_of_the_front(sweep: Any) -> None:
    data = json.loads(sweep(SMALL, "--json").out)
    rows = list(csv.DictReader(Path("out/front.csv").read_text().splitlines()))
    assert [int(row["rank"]) for row in rows] == [row["rank"] for row in data["front"]]
    for row, one in zip(rows, data["front"], strict=True):
        assert row["name"] == one["name"]
        assert row["blocks"] == " ".join(map(str, one["options"]["blocks"]))
        assert {key: float(row[key]) for key in one["figures"]} == one["figures"]
    assert json.loads(Path("out/sweep.json").read_text()) == data


def test_the_chosen_nets_are_written_with_a_config_that_builds_the_same(sweep: Any) -> None:
    data = json.loads(sweep(SMALL, "--build", "2", "--json").out)
    folders = [path for path in Path("out").iterdir() if path.is_dir()]
    name = data["front"][1]["name"]
    assert [folder.name for folder in folders] == [f"002_{name}"]
    assert main(["build", str(folders[0] / "config.yaml"), "-o", "again"]) == 0
    for phase in ("train", "test", "deploy"):
        ours, again = (folder / f"{phase}.prototxt" for folder in (folders[0], Path("again")))
        body = [line for line in ours.read_text().splitlines() if not line.startswith("#")]
        assert body == [line for line in again.read_text().splitlines() if not line.startswith("#")]
        assert len(body) > 50


def test_a_sample_and_its_report_are_always_the_same(sweep: Any) -> None:
    ran = sweep(SMALL, "--limit", "40")
    assert "\n40 candidates counted of 72\n" in ran.out
    assert sweep(SMALL + "limit: 40\n", "--force").out == ran.out
    assert sweep(SMALL, "--force").out != ran.out


def test_the_pictures_are_the_same_bytes_each_time(sweep: Any) -> None:
    kinds = {"png": b"\x89PNG", "svg": b"<?xml"}
    made = []
    for _ in range(2):
        sweep(SMALL, "--draw")
        made.append([Path(f"out/front.{kind}").read_bytes() for kind in kinds])
    assert made[0] == made[1]
    assert [image[: len(head)] for image, head in zip(made[0], kinds.values(), strict=True)] == [
        *kinds.values()
    ]
    assert b">resnet_11_1by4<" in made[0][1]
    assert b">learnable_params<" in made[0][1]


def test_without_pillow_the_picture_is_svg_and_a_note_says_why(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    ran = sweep(SMALL, "--draw")
    assert ran.code == 0
    assert "no front.png: a PNG needs Pillow 10.1 or newer, which is missing; pip install" in ran.err
    assert [path.name for path in Path("out").glob("front.[ps]*g")] == ["front.svg"]


# ---- going on ----------------------------------------------------------------------------------------------

# Many candidates that consist of few pieces.
LARGE = """\
network: resnet
main_branch: bottleneck
num_output_stage1: 64
blocks: [1, 1, 1]
input_size: 32
axes:
  num_output_stage1: [64, 72]
  blocks: [[1..8, 1..8, 1..8]]
constraints: [macs <= 8M]
objectives: [minimise macs, maximise learnable_params]
"""


def outcome(folder: str = "out") -> list[bytes]:
    return [Path(folder, name).read_bytes() for name in ("sweep.json", "front.csv")]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of an undisturbed sweep, which nobody changes."""
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("s.yaml").write_text(LARGE)
        assert main(["sweep", "s.yaml", "-o", "out", "--jobs", "1", "--no-draw"]) == 0
    return folder / "out"


def test_any_number_of_processes_gives_the_same_result(sweep: Any, large: Path) -> None:
    shutil.copytree(large, "out")
    one = outcome()
    assert sweep(LARGE, "--force", jobs=3).code == 0
    assert outcome() == one


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_sweep_resumes_and_ends_with_the_same_files(
    sweep: Any, large: Path, number: signal.Signals
) -> None:
    Path("s.yaml").write_text(LARGE)
    whole, journal = outcome(str(large)), (large / "sweep.journal").read_bytes()
    command = [
        sys.executable,
        "-m",
        "netbuilder.cli.main",
        "sweep",
        "s.yaml",
        "-o",
        "killed",
        "--jobs",
        "2",
        "--no-draw",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a background job
    )  # fmt: skip
    half = Path("killed/sweep.journal")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (half.exists() and half.read_bytes().count(b"\n") >= 2):
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate()
    done = half.read_bytes().count(b"\n") - 1
    assert 1 <= done < journal.count(b"\n") - 1, "it was not stopped in the middle"
    if number == signal.SIGINT:  # what it prints is pasted into a shell
        assert process.returncode == 130
        (printed,) = [line for line in err.splitlines() if line.startswith("to go on: ")]
        command = ["sh", "-c", printed.removeprefix("to go on: ")]
    resumed = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert resumed.stderr.startswith("resuming after ")
    assert outcome("killed") == whole


def test_a_journal_cut_off_anywhere_is_resumed(sweep: Any, large: Path) -> None:
    shutil.copytree(large, "out")
    whole, path = outcome(), Path("out/sweep.journal")
    text = path.read_bytes()
    head = text.index(b"\n") + 1
    for length in (10, head + 50, len(text) - 1):
        path.write_bytes(text[:length])
        assert sweep(LARGE).code == 0
        assert outcome() == whole
        assert path.read_bytes() == text


def test_a_finished_sweep_is_not_counted_again(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sweep(SMALL)
    monkeypatch.setattr("netbuilder.designing.counting.Counter.figures", None)
    again = sweep(SMALL)
    assert again.out == first.out
    assert again.err.startswith("resuming after 72 of 72 candidates counted\n")


def test_processes_stop_when_their_parent_is_killed(sweep: Any, tmp_path: Path) -> None:
    Path("s.yaml").write_text(LARGE.replace("1..8]]", "1..99]]"))
    command = [
        sys.executable,
        "-m",
        "netbuilder.cli.main",
        "sweep",
        "s.yaml",
        "-o",
        "killed",
        "--jobs",
        "2",
        "--no-draw",
    ]
    process = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while (
        not Path("killed/sweep.journal").exists()
        or Path("killed/sweep.journal").read_bytes().count(b"\n") < 2
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.stderr
    # The pipe reports its end only after every process with its other end has died.
    begin = time.monotonic()
    process.stderr.read()
    process.wait()
    assert time.monotonic() - begin < 30


def test_a_chip_is_a_budget_and_an_objective(sweep: Any) -> None:
    """The same nets at a byte and at four bytes per number: another front, of figures of whole nets."""
    chip = SMALL.replace(
        "macs <= 4.8M, learnable_params > 0.39M", "working_bytes <= 600Ki, weight_bytes <= 2M"
    )
    chip = chip.replace("maximise depth", "minimise peak_bytes") + "phase: deploy\n"
    entry = find_network("resnet")
    for width in (1, 2):
        data = json.loads(sweep(f"{chip}bytes: {width}\n", "--json", "--force").out)
        assert data["sweep"]["bytes"] == width
        for chosen in data["front"]:
            options = {
                **chosen["options"],
                "blocks": tuple(chosen["options"]["blocks"]),
                "input_size": (32, 32),
            }
            rows = memory(entry.stitch(entry.config(**options), "deploy"), width)
            figures = chosen["figures"]
            assert figures["working_bytes"] == max(row.working or 0 for row in rows) <= 600 * 1024
            assert figures["peak_bytes"] == max(row.alive for row in rows)
            assert figures["weight_bytes"] == width * figures["stored_params"] <= 2_000_000
    assert sweep(f"{chip}bytes: 3\n", "--force").err.startswith("ConfigError: bytes must be 1, 2 or 4, got 3")


def test_the_memory_of_a_training_is_that_of_whole_nets(sweep: Any) -> None:
    text = SMALL.replace("learnable_params > 0.39M", "caffe_training_bytes <= 25M") + "batch: 8\n"
    ran = sweep(text, "--json")
    data, entry = json.loads(ran.out), find_network("resnet")
    assert data["sweep"]["batch"] == 8
    assert data["front"]
    for chosen in data["front"]:
        options = {**chosen["options"], "blocks": tuple(chosen["options"]["blocks"]), "input_size": (32, 32)}
        train, test = (entry.stitch(entry.config(**options), phase) for phase in ("train", "test"))
        nets = Nets(rebatched(train, 8), (test,))
        total = training_memory(nets, "caffe").total
        assert chosen["figures"]["caffe_training_bytes"] == total <= 25_000_000
        assert "torch_training_bytes" not in chosen["figures"]
    reference = data["reference"]["figures"]
    assert reference["caffe_training_bytes"] > 10_000_000
    assert "caffe_training_bytes" in Path("out/front.csv").read_text().splitlines()[0]


# ---- what it refuses ---------------------------------------------------------------------------------------

HEAD = "network: resnet\nmain_branch: bottleneck\n"
AXES = HEAD + "axes: {num_output_stage1: [64]}\n"
FIGURES = (
    "learnable_params, stored_params, fixed_params, macs, fixed_macs, flops, total_flops, activations, "
    "activation_bytes, peak_bytes, weight_bytes, train_bytes, caffe_data_bytes, pynetbuilder_params, "
    "pynetbuilder_flops, working_bytes, depth, layers, caffe_training_bytes, torch_training_bytes"
)

# A sweep file, and its error: the text, the place, and the hint.
REFUSALS = {
    "no axes": (
        HEAD,
        "axes is missing; it lists the options to vary and their values",
        "",
        "for example axes: {num_output_stage1: [64..256 step 8]}",
    ),
    "axes that are none": (
        HEAD + "axes: 3\n",
        "axes must map options to lists of values, got 3",
        "s.yaml:3, axes",
        "",
    ),
    "unknown axis": (
        HEAD + "axes:\n  num_output_stage: [64]\n",
        "unknown axis 'num_output_stage': network resnet has no such option",
        "s.yaml:4, axes.num_output_stage",
        "did you mean 'num_output_stage1'?",
    ),
    "unknown key": (
        HEAD + "axis: {num_output_stage1: [64]}\n",
        "unknown key 'axis': network resnet has no such option",
        "s.yaml:3, axis",
        "did you mean 'axes'?",
    ),
    "axis that is no list": (
        HEAD + "axes: {num_output_stage1: 64..128}\n",
        "axis num_output_stage1 must be a list of values and ranges, got '64..128'",
        "s.yaml:3, axes.num_output_stage1",
        "write it in brackets: [64..128]",
    ),
    "empty axis": (
        HEAD + "axes: {num_output_stage1: []}\n",
        "axis num_output_stage1 is empty",
        "s.yaml:3, axes.num_output_stage1",
        "give it values, or remove it",
    ),
    "empty choices": (
        HEAD + "axes: {blocks: [[3, [], 6]]}\n",
        "this list of choices is empty",
        "s.yaml:3, axes.blocks[0][1]",
        "give it values",
    ),
    "no range": (
        HEAD + "axes: {num_output_stage1: [64..]}\n",
        "'64..' is not a range",
        "s.yaml:3, axes.num_output_stage1",
        "for example 64..256 step 8",
    ),
    "backward range": (
        HEAD + "axes: {num_output_stage1: [256..64 step 8]}\n",
        "range 256..64 step 8 is empty: its end is below its start",
        "s.yaml:3, axes.num_output_stage1",
        "write 64..256 step 8",
    ),
    "range with step 0": (
        HEAD + "axes: {num_output_stage1: [64..256 step 0]}\n",
        "range 64..256 step 0 must have a step above 0",
        "s.yaml:3, axes.num_output_stage1",
        "",
    ),
    "fractions without a step": (
        HEAD + "axes: {num_output_stage1: [0.5..2]}\n",
        "range 0.5..2 needs a step",
        "s.yaml:3, axes.num_output_stage1",
        "for example 0.5..2 step 0.1",
    ),
    "endless range": (
        HEAD + "axes: {num_output_stage1: [1..9000000]}\n",
        "range 1..9000000 has 9,000,000 values; at most 1,000,000 are allowed",
        "s.yaml:3, axes.num_output_stage1",
        "",
    ),
    "value of the wrong type": (
        HEAD + "axes: {num_output_stage1: [64, wide]}\n",
        "num_output_stage1 must be an integer, got 'wide'",
        "s.yaml:3, num_output_stage1",
        "",
    ),
    "list of the wrong type": (
        HEAD + "axes: {blocks: [[3, 4..5, x]]}\n",
        "blocks[2] must be an integer, got 'x'",
        "s.yaml:3, blocks[2]",
        "",
    ),
    "constraint of an unknown figure": (
        AXES + "constraints: [learnable_parms <= 1M]\n",
        "constraint 'learnable_parms <= 1M' names 'learnable_parms', which is not a figure",
        "s.yaml:4, constraints[0]",
        "did you mean 'learnable_params'?",
    ),
    "constraint that compares nothing": (
        AXES + "constraints:\n  - macs\n",
        "constraint 'macs' compares nothing at its end",
        "s.yaml:5, constraints[0]",
        "for example macs <= 1.5G",
    ),
    "constraint without a figure": (
        AXES + "constraints: 1G <= 2G\n",
        "constraint '1G <= 2G' names no figure",
        "s.yaml:4, constraints",
        f"the figures are {FIGURES}",
    ),
    "constraint with a bad number": (
        AXES + "constraints: [macs <= 1.5X]\n",
        "constraint 'macs <= 1.5X' has '1.5X', which is not a number",
        "s.yaml:4, constraints[0]",
        "for example 1.5G, 10M or 64MiB",
    ),
    "constraint with an open bracket": (
        AXES + "constraints: [(macs + 1G <= 2G]\n",
        "constraint '(macs + 1G <= 2G' lacks a ) before '<='",
        "s.yaml:4, constraints[0]",
        "",
    ),
    "constraint with words left over": (
        AXES + "constraints: [macs <= 1G learnable_params]\n",
        "constraint 'macs <= 1G learnable_params' should end before 'learnable_params'",
        "s.yaml:4, constraints[0]",
        "",
    ),
    "constraint that is code": (
        AXES + "constraints: ['__import__(\"os\") <= 1']\n",
        "constraint '__import__(\"os\") <= 1' names '__import__', which is not a figure",
        "s.yaml:4, constraints[0]",
        f"the figures are {FIGURES}",
    ),
    "constraint that ends early": (
        AXES + "constraints: [macs <=]\n",
        "constraint 'macs <=' needs a figure or a number instead of its end",
        "s.yaml:4, constraints[0]",
        "",
    ),
    "constraint that is a number": (
        AXES + "constraints: [3]\n",
        "constraints must be a list of texts, got 3",
        "s.yaml:4, constraints[0]",
        "",
    ),
    "objective without a sense": (
        AXES + "objectives: [maximize_depth]\n",
        "objective 'maximize_depth' must begin with minimise or maximise",
        "s.yaml:4, objectives[0]",
        "did you mean 'maximise'?",
    ),
    "no objectives": (
        AXES + "objectives: []\n",
        "objectives is empty",
        "s.yaml:4, objectives",
        "for example [minimise macs]",
    ),
    "unknown phase": (
        AXES + "phase: deply\n",
        "phase must be one of train, test, deploy, got 'deply'",
        "s.yaml:4, phase",
        "did you mean 'deploy'?",
    ),
    "limit of none": (
        AXES + "limit: 0\n",
        "limit must be an integer of at least 1, got 0",
        "s.yaml:4, limit",
        "",
    ),
    "nothing is a net": (
        HEAD + "axes: {num_output_stage1: [62, 66]}\n",
        "none of 2 candidates is a valid net",
        "s.yaml",
        "2 times: -n must be a multiple of 4 for -m bottleneck, got 62: the inner convolutions have a "
        "quarter of the width",
    ),
    "nothing keeps the constraints": (
        SMALL.replace("4.8M", "1k").replace("> 0.39M", ">= 10k"),
        "no candidate satisfies all constraints: of 36 nets, 36 violate macs <= 1k; "
        "0 violate learnable_params >= 10k",
        "s.yaml",
        "the least macs is 3,811,328, with main_branch inception_trick_bottleneck, num_output_stage1 64, "
        "blocks 1 1 1",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_wrong_sweep_file_is_refused_with_its_line_and_a_hint(sweep: Any, kind: str) -> None:
    text, said, where, hint = REFUSALS[kind]
    details = (("where:   ", where), ("hint:    ", hint))
    lines = [f"ConfigError: {said}", *(f"  {label}{detail}" for label, detail in details if detail)]
    assert sweep(text) == Ran(2, "", "\n".join(lines) + "\n")


def test_the_journal_of_another_sweep_is_not_resumed(sweep: Any) -> None:
    sweep(SMALL)
    before = outcome()
    assert sweep(SMALL.replace("4.8M", "4.7M")) == Ran(
        2,
        "",
        "FileError: 'out/sweep.journal' is the journal of another sweep: the file, a flag or netbuilder "
        "has changed\n  hint:    choose another output folder, or use --force to start over\n",
    )
    assert outcome() == before
    assert sweep(SMALL.replace("4.8M", "4.7M"), "--force").code == 0
    assert outcome() != before


def test_foreign_files_are_not_overwritten(sweep: Any) -> None:
    Path("out").mkdir()
    Path("out/front.csv").write_text("mine")
    assert sweep(SMALL) == Ran(
        2,
        "",
        "FileError: 'out/front.csv' is in the way, without a sweep.journal beside it\n"
        "  hint:    choose another output folder, or use --force to replace it\n",
    )
    Path("out/front.csv").rename("out/sweep.journal")
    assert sweep(SMALL) == Ran(
        2,
        "",
        "FileError: 'out/sweep.journal' is in the way, and netbuilder did not write it\n"
        "  hint:    choose another output folder, or use --force to replace it\n",
    )
    assert Path("out/sweep.journal").read_text() == "mine"


def test_a_full_disk_is_reported_and_the_sweep_can_resume(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, left = os.write, [2]

    def full(file: int, data: bytes) -> int:
        if left[0] == 0 and data.startswith(b"["):
            raise OSError(28, "No space left on device")
        left[0] -= 1
        return write(file, data)

    monkeypatch.setattr(os, "write", full)
    assert sweep(LARGE) == Ran(
        2,
        "",
        "FileError: cannot write 'out/sweep.journal': no space left on device\n"
        "  hint:    fix that and run the sweep again: it resumes where it stopped\n",
    )
    monkeypatch.setattr(os, "write", write)
    assert sweep(LARGE).err.startswith("resuming after 250 of 1,024 candidates counted\n")


def test_an_output_folder_that_cannot_be_created_is_refused(sweep: Any) -> None:
    Path("out").write_text("a file")
    ran = sweep(SMALL)
    assert ran.code == 2
    assert ran.err == (
        "FileError: cannot write 'out/sweep.journal': file exists\n"
        "  hint:    fix that and run the sweep again: it resumes where it stopped\n"
    )


MODULE = """\
from dataclasses import dataclass

from netbuilder.networks import NetConfig, network, option
from legos import ConvBNReLULego, InputLego
from legos.base import Lego


@dataclass(frozen=True, kw_only=True)
class Named(Lego):
    def build(self, net, *bottoms):
        width = 4 + HOW
        return ConvBNReLULego(name=self.name, num_output=width).attach(net, bottoms)


@dataclass(frozen=True, kw_only=True)
class Config(NetConfig):
    count: int = option(help="number of units", default=1)
    title = "mine"


@network("NAME", Config)
def stitch(cfg, phase):
    \"\"\"Units side by side.\"\"\"
    net = cfg.net(phase)
    x = InputLego(name="data", shape=cfg.input_shape).attach(net, [])
    for i in range(cfg.count):
        Named(name="u" * (i + 1)).attach(net, x)
    return net
"""
OWN = """\
module: nets.py
network: NAME
input_size: 8
axes: {count: [1..3]}
objectives: [maximise learnable_params, minimise layers]
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_users_network_is_swept_like_any_other(sweep: Any, jobs: int) -> None:
    name = f"own_{jobs}"
    Path("nets.py").write_text(MODULE.replace("NAME", name).replace("HOW", "0"))
    data = json.loads(sweep(OWN.replace("NAME", name), "--json", jobs=jobs).out)
    # A unit of 4 channels: 4 x 3 weights, gamma and beta.
    params = [(row["options"]["count"], row["figures"]["learnable_params"]) for row in data["front"]]
    assert params == [(3, 60), (2, 40), (1, 20)]


def test_a_lego_whose_cost_depends_on_its_name_is_detected(sweep: Any) -> None:
    Path("nets.py").write_text(MODULE.replace("NAME", "impure").replace("HOW", "len(self.name)"))
    assert sweep(OWN.replace("NAME", "impure")) == Ran(
        2,
        "",
        # Units of 5, 6 and 7 channels, which look like three units of 5.
        "NetBuilderError: count 3 has learnable_params 75 as the sum of its pieces, but 90 as a whole net\n"
        "  hint:    a lego of this network depends on more than its fields and the shapes of its bottoms; if "
        "it is "
        "one of netbuilder's own, please report it\n",
    )


def test_the_death_of_a_process_is_reported(sweep: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netbuilder.designing.counting.Counter.figures", lambda self, config: os._exit(9))
    assert sweep(LARGE, jobs=2) == Ran(
        2,
        "",
        "NetBuilderError: a process of the sweep died (exit code 9)\n"
        "  hint:    if memory ran out, use fewer --jobs; run again, the sweep resumes here\n",
    )


def test_a_rank_that_is_not_on_the_front_is_refused(sweep: Any) -> None:
    ran = sweep(SMALL, "--build", "99")
    assert (ran.code, ran.err) == (2, "ConfigError: --build 99: the front has 12 nets\n")
