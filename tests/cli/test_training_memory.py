"""`count --training`: what a person types, and the figures of real Caffe's trainings."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import judge
from netbuilder.measure.counts import count
from tests.command import Command
from tests.engines.test_memory import NET

SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 test_iter: 1 test_interval: 10\n'
# The anonymous memory that three iterations and a test took in real Caffe on the CPU, by type of solver.
IN_CAFFE = {
    "SGD": 1238687744, "Nesterov": 1254977536, "AdaGrad": 1254977536, "RMSProp": 1254977536,
    "AdaDelta": 1287557120, "Adam": 1271267328,
}  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def test_trainings_take_what_they_took_in_real_caffe(run: Command, tmp_path: Path) -> None:
    made = run(
        "build", "davidnet_extra_l1_l3", "--data", "lmdb", "--train_source", "db", "--test_source", "db",
        "--batch", "100", "--test_batch", "50", "-o", "net",
    )  # fmt: skip
    assert made.code == 0
    solver = tmp_path / "solver.prototxt"
    solver.write_text(SOLVER.replace("net.prototxt", "net/train_val.prototxt"))
    for type, resident in IN_CAFFE.items():
        words = ("--training", "--solver-type", type, "--input", "data=1,3,32,32", "--json")
        data = json.loads(run("count", solver, *words).out)
        assert (data["solver"], data["batch"], data["test_batches"]) == (type, 100, [50])
        assert 0.995 < data["training"]["caffe"]["total_bytes"] / resident < 1


def test_the_command_fits_a_batch_and_says_what_one_more_takes(run: Command) -> None:
    text = run("count", "solver.prototxt", "--fit-memory", "1M").out
    assert text.startswith("small, training by SGD: batch 4, 1 test net of batch 4\n")
    batch = re.search(r"largest batch in 1M +(\d+) +(\d+)", text)
    assert batch
    data = json.loads(run("count", "solver.prototxt", "--fit-memory", "1M", "--json").out)
    for engine, column in (("caffe", 1), ("torch", 2)):
        fit = data["fit"][engine]
        assert fit["batch"] == int(batch[column])
        assert fit["total_bytes"] <= data["fit"]["limit_bytes"] == 10**6 < fit["next_bytes"]
        with_it = json.loads(
            run("count", "solver.prototxt", "--training", "--batch", str(fit["batch"]), "--json").out
        )
        assert with_it["training"][engine]["total_bytes"] == fit["total_bytes"]
    half = json.loads(run("count", "solver.prototxt", "--fit-memory", "1M", "--bytes", "2", "--json").out)
    assert half["fit"]["caffe"]["batch"] > 2 * data["fit"]["caffe"]["batch"]
    assert 2 * half["training"]["caffe"]["total_bytes"] == data["training"]["caffe"]["total_bytes"]


def test_the_type_is_the_solvers_and_a_net_may_stand_alone(run: Command) -> None:
    Path("solver.prototxt").write_text(SOLVER + 'type: "AdaDelta"')
    data = json.loads(run("count", "solver.prototxt", "--training", "--json").out)
    assert data["solver"] == "AdaDelta"
    assert run("count", "net.prototxt", "--training").out.startswith(
        "small, training by SGD: batch 4, 1 test"
    )
    assert "training by Adam" in run("count", "davidnet_extra_l1_l3", "--solver-type", "Adam").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("solver.prototxt", "--fit-memory", "1k"), "not even batch 1 fits into 1,000 bytes"),
        (("solver.prototxt", "--fit-memory", "lots"), "'lots' is not a number"),
        (("solver.prototxt", "--fit-memory", "0"), "must be above 0"),
        (("net.prototxt", "--training", "--solver-type", "adam"), "did you mean 'Adam'"),
        (("net.prototxt", "--training", "--memory"), "leave out --memory"),
        (("net.prototxt", "solver.prototxt", "--training"), "is for one file"),
    ],
)
def test_wrong_words_get_an_answer(run: Command, words: tuple[str, ...], said: str) -> None:
    ran = run("count", *words)
    assert ran.code == 2
    assert said in ran.err


def test_caffe_says_the_data_memory_of_both_nets(real_caffe: judge.Caffe) -> None:
    """Caffe's own lines, one for each net that a solver makes."""
    text = SOLVER.replace('net: "net.prototxt"', f"net_param {{ {NET} }}")
    script = (
        "import caffe, sys, tempfile; f = tempfile.NamedTemporaryFile('w'); f.write(sys.stdin.read());"
        "f.flush(); caffe.get_solver(f.name)"
    )
    done = subprocess.run(
        [*real_caffe.install.command, "-c", script], input=text, text=True, capture_output=True, check=True
    )
    said = [int(n) for n in re.findall(r"Memory required for data: (\d+)", done.stderr)]
    nets = [prototxt.parse(NET, phase) for phase in ("TRAIN", "TEST")]
    totals = [count(net).caffe_data_bytes for net in nets]
    assert said[len(said) // 2 - 1] == totals[0]
    assert said[-1] == totals[1]
