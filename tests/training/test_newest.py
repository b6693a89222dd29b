"""`latest` in the place of a model: the newest snapshot, found from a solver, a net or a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netbuilder.errors import FileError
from netbuilder.training.newest import newest_model
from tests.command import Command

NET = """\
name: "n"
layer { name: "d" type: "Input" top: "d" input_param { shape { dim: [1, 3, 4, 4] } } }
layer { name: "r" type: "ReLU" bottom: "d" top: "r" }
"""
SOLVER = 'net: "job/train_val.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 100\n'


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net and a solver that writes snapshots in the folder beside it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("job", "out"):
        Path(folder).mkdir()
    for name in ("train_val", "deploy"):
        Path(f"job/{name}.prototxt").write_text(NET)
    Path("job/solver.prototxt").write_text(f'{SOLVER}snapshot_prefix: "out/x"\n')
    return tmp_path


def snapshot(name: str, age: int = 0) -> Path:
    path = Path(name)
    path.write_bytes(b"")
    stamp = 1_700_000_000 - age
    os.utime(path, (stamp, stamp))
    return path


def test_the_most_iterations_win_whatever_the_order_of_names(job: Path) -> None:
    for i in (90, 1000, 200):
        snapshot(f"out/x_iter_{i}.caffemodel", age=i)
    snapshot("out/x_iter_2000.ema.caffemodel")
    snapshot("out/x_iter_3000.solverstate")
    snapshot("out/xy_iter_4000.caffemodel")
    for word in ("job/solver.prototxt", "job/train_val.prototxt", "job/deploy.prototxt", "job"):
        assert newest_model(word) == Path("out/x_iter_1000.caffemodel")
    snapshot("out/x_iter_1500.caffemodel.h5")
    assert newest_model("job") == Path("out/x_iter_1500.caffemodel.h5")


def test_without_a_prefix_snapshots_are_named_like_the_solver(job: Path) -> None:
    Path("job/solver.prototxt").write_text(SOLVER)
    snapshot("job/solver_iter_5.caffemodel")
    assert newest_model("job/train_val.prototxt") == Path("job/solver_iter_5.caffemodel")


def test_of_two_trainings_beside_a_net_the_one_that_wrote_last_is_meant(job: Path) -> None:
    Path("job/more.prototxt").write_text(f'{SOLVER}snapshot_prefix: "out/more"\n')
    snapshot("out/x_iter_900.caffemodel", age=60)
    snapshot("out/more_iter_10.caffemodel")
    assert newest_model("job/deploy.prototxt") == Path("out/more_iter_10.caffemodel")
    assert newest_model("job/solver.prototxt") == Path("out/x_iter_900.caffemodel")


def test_a_record_says_where_a_training_with_another_prefix_wrote(job: Path) -> None:
    """As with `netbuilder train --set snapshot_prefix=out/second`; that of another solver does not count."""
    for name, solver in (("second", "job/solver.prototxt"), ("others", "job/other.prototxt")):
        Path(f"out/{name}_run.json").write_text(json.dumps({"solver": solver}))
    snapshot("out/others_iter_70.caffemodel")
    snapshot("out/second_iter_7.caffemodel", age=60)
    assert newest_model("job/solver.prototxt") == Path("out/second_iter_7.caffemodel")


def test_the_error_names_every_place(job: Path) -> None:
    Path("out/second_run.json").write_text('{"solver": "job/solver.prototxt"}')
    with pytest.raises(FileError) as raised:
        newest_model("job/deploy.prototxt")
    assert raised.value.text == (
        "there is no snapshot of 'job/deploy.prototxt': looked for out/x_iter_*.caffemodel "
        "(snapshot_prefix of job/solver.prototxt); out/second_iter_*.caffemodel (the record second_run.json)"
    )
    Path("job/solver.prototxt").unlink()
    with pytest.raises(FileError, match="looked for a solver or the record of a training in 'job'"):
        newest_model("job/deploy.prototxt")


def test_verbs_take_latest_and_name_the_model(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot("out/x_iter_5.caffemodel")
    netbuilder = Command(capsys)
    for words in (("check", "job", "--weights", "latest"), ("fold", "job", "--weights", "latest", "-o", "f"),
                  ("weights", "export", "job", "latest", "-o", "x.npz")):  # fmt: skip
        assert "weights: out/x_iter_5.caffemodel\n" in netbuilder(*words).err
    Path("latest").write_bytes(b"")  # a file of that name is that file
    assert "weights: " not in netbuilder("check", "job", "--weights", "latest").err


def test_train_takes_the_folder_of_a_solver(job: Path, capsys: pytest.CaptureFixture[str]) -> None:
    netbuilder = Command(capsys)
    Path("job/more.prototxt").write_text(SOLVER)
    ran = netbuilder("train", "job", "--engine", "torch")
    assert ran.code == 2
    assert "'job' is a folder with several solvers\n  hint:    name one of them: job/more.prototxt" in ran.err
    for name in ("more", "solver"):
        Path(f"job/{name}.prototxt").unlink()
    assert "'job' is a folder with no solver" in netbuilder("train", "job").err
