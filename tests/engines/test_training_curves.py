"""What a training with either engine leaves for curves: the images of an epoch, a picture, and events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Command
from tests.engines.case import SOLVER
from tests.installation import require_torch
from tests.training.test_tensorboard import scalars


@pytest.mark.parametrize("engine", ["caffe", "torch"])
def test_a_training_in_two_parts_has_one_history(
    engine: str, folder: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if engine == "caffe":
        request.getfixturevalue("real_caffe")
    else:
        require_torch()
    netbuilder = Command(capsys)
    short = SOLVER.replace("display: 25", "display: 5").replace("snapshot: 60", "snapshot: 10")
    short = short.replace("test_interval: 40", "test_interval: 15")
    (folder / "solver.prototxt").write_text(short.replace("max_iter: 200", "max_iter: 40"))
    words = ("train", "solver.prototxt", "--engine", engine, "--tensorboard", "tb")
    assert netbuilder(*words, "--set", "max_iter=22").code == 0
    assert netbuilder(*words, "--resume", "out/x_iter_10.solverstate").code == 0
    record = json.loads(Path("out/x_run.json").read_text())
    assert (record["batch"], record["images"]) == (7 * 2, 50)
    assert Path("out/x_curves.png").read_bytes().startswith(b"\x89PNG")
    found = scalars(Path("tb/x"))
    rows = {row["iteration"]: row for row in record["train"]}
    assert list(rows) == [*range(0, 40, 5), 39]
    assert [step for step, _ in found["train/loss"]] == list(rows)
    assert found["train/lr"] == [(i, pytest.approx(row["lr"])) for i, row in rows.items()]
    assert found["test/accuracy"] == [
        (test["iteration"], pytest.approx(test["outputs"]["accuracy"][0])) for test in record["tests"]
    ]
    assert netbuilder("plot", "out", "--x", "epochs", "-o", "epochs.svg").code == 0
    assert ">10<" in Path("epochs.svg").read_text()  # 40 iterations of 14 images are 11.2 epochs
    assert ">12<" not in Path("epochs.svg").read_text()
