"""docs/add-an-engine.md: its engine trains and resumes; a forgotten step is named."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines import ENGINES, find_engine, register
from netbuilder.errors import EngineError

PAGE = Path(__file__).parents[2] / "docs" / "add-an-engine.md"
FILES = dict(re.findall(r"```python\n# file: (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
SOLVER = (
    'net: "net.prototxt" base_lr: 0.25 lr_policy: "fixed" max_iter: {} display: 1 random_seed: 1 '
    'snapshot_prefix: "out/x"'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("netbuilder.engines.ENGINES", dict(ENGINES))
    monkeypatch.delitem(sys.modules, "tiny_engine", raising=False)
    (tmp_path / "tiny_engine.py").write_text(FILES["tiny_engine.py"])
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 1 } } }'
    )
    return tmp_path


def test_it_trains_and_resumes(folder: Path) -> None:
    (folder / "solver.prototxt").write_text(SOLVER.format(2))
    exec(FILES["train.py"], {})
    (folder / "solver.prototxt").write_text(SOLVER.format(4))
    words = ["train", "solver.prototxt", "--engine", "tiny", "--no-draw", "--resume", "latest"]
    assert main(words) == 0
    with (folder / "out/x_train.csv").open(newline="") as file:
        losses = [float(row["output loss"]) for row in csv.DictReader(file)]
    # Each step takes a quarter of the error away: error 1, 3/4, 9/16, 27/64.
    assert losses == [0.75 ** (2 * i) / 2 for i in range(4)]
    assert float((folder / "out/x_iter_4.model").read_text()) == 1 - 0.75**4
    assert not list((folder / "out").glob(".*"))


def test_a_forgotten_step_is_named(folder: Path) -> None:
    with pytest.raises(EngineError, match=r"there is no engine 'tiny'[\s\S]*step 3"):
        find_engine("tiny")
    register("tiny", "no_such_engine:TinyEngine")
    with pytest.raises(EngineError, match=r"there is no module 'no_such_engine'[\s\S]*step 1"):
        find_engine("tiny")
    register("other", "tiny_engine:Other")
    with pytest.raises(EngineError, match=r"'tiny_engine' has no class 'Other'[\s\S]*step 2"):
        find_engine("other")
    with pytest.raises(EngineError, match="there is an engine 'other' already"):
        register("other", "tiny_engine:TinyEngine")


@pytest.mark.parametrize("member", ["describe", "train", "test", "time", "snapshots"])
def test_a_forgotten_member_is_named(member: str, folder: Path) -> None:
    text = (
        FILES["tiny_engine.py"]
        .replace(f"def {member}(", "def other(")
        .replace("    snapshots =", "    names =")
    )
    if member != "snapshots":
        text = text.replace("    names =", "    snapshots =")
    (folder / "tiny_engine.py").write_text(text)
    register("tiny", "tiny_engine:TinyEngine")
    with pytest.raises(EngineError, match=f"engine 'tiny' lacks `{member}`"):
        find_engine("tiny")
