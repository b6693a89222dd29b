"""What every verb's output has in common: JSON for each table, and terminals of any encoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Command

ROOT = Path(__file__).parents[2]
NET = """name: "жé"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 28 dim: 28 } } }
layer { name: "c жé" type: "Convolution" bottom: "data" top: "c"
  convolution_param { num_output: 3 kernel_size: 30 } }
"""
SOLVER_NET = """layer { name: "data" type: "Data" top: "data" top: "label"
  data_param { source: "жé" backend: LMDB batch_size: 8 } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def netbuilder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET, encoding="utf-8")
    (tmp_path / "жé.prototxt").write_text(SOLVER_NET, encoding="utf-8")
    return Command(capsys)


@pytest.mark.parametrize("words", [["--targets", "--json"], ["--json", "--targets"]])
def test_the_targets_as_json(netbuilder: Command, words: list[str]) -> None:
    ran = netbuilder("check", *words)
    listed = {target["target"]: target for target in json.loads(ran.out)["targets"]}
    assert ran.code == 0
    assert listed["caffe-1.0"]["how"] == "Caffe"
    assert listed["ncnn"]["how"] == "cited"


def test_check_without_a_file_says_so(netbuilder: Command) -> None:
    ran = netbuilder("check")
    assert (ran.code, ran.err.splitlines()[0]) == (2, "ConfigError: check takes a FILE")


def test_the_recipes_and_what_stock_caffe_has_as_json(netbuilder: Command) -> None:
    recipes = json.loads(netbuilder("solver", "--list", "--json").out)["recipes"]
    assert "resnet" in [recipe["recipe"] for recipe in recipes]
    assert all(recipe["source"] for recipe in recipes)
    words = ("solver", "davidnet", "--net", "жé.prototxt", "--images", "800", "--test-images", "80")
    near = json.loads(netbuilder(*words, "--stock", "--json").out)
    assert near["stock"], near
    assert [offer["mean"] for offer in near["stock"]] == sorted(offer["mean"] for offer in near["stock"])


def test_a_database_that_is_made_is_reported_as_json(netbuilder: Command) -> None:
    image = pytest.importorskip("PIL.Image")
    for name in ("cat", "dog"):
        Path("images", name).mkdir(parents=True)
        image.new("RGB", (8, 8)).save(f"images/{name}/a.png")
    made = {"version": 1, "made": True, "databases": [{"database": "db", "records": 2}], "skipped": []}
    assert json.loads(netbuilder("data", "lmdb", "images", "-o", "db", "--json").out) == made
    again = json.loads(netbuilder("data", "lmdb", "images", "-o", "db", "--json", "--resume").out)
    assert again == {**made, "made": False}


C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def run(*words: str, **locale: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "netbuilder.cli.main", *words]
    return subprocess.run(command, capture_output=True, env={**os.environ, **locale, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(
    ("encoding", "locale"),
    [
        ("ascii", C),
        ("utf-8", {"LANG": "C"}),
        ("ascii", {"PYTHONIOENCODING": "ascii"}),
        ("latin-1", {"PYTHONIOENCODING": "latin-1"}),
    ],
)
@pytest.mark.usefixtures("netbuilder")
def test_a_terminal_that_lacks_characters_gets_escapes(encoding: str, locale: dict[str, str]) -> None:
    done = run("check", "net.prototxt", **locale)
    assert b": error: " + "c жé".encode(encoding, "backslashreplace") + b": " in done.stdout, done.stderr
    assert done.returncode == 1


@pytest.mark.usefixtures("netbuilder")
def test_a_file_for_stdout_is_utf_8_whatever_the_terminal_is() -> None:
    words = ("davidnet", "--net", "жé.prototxt", "--images", "800", "--test-images", "80", "-o", "-")
    assert 'net: "жé.prototxt"\n' in run("solver", *words, PYTHONIOENCODING="ascii").stdout.decode()
    done = run("solver", *words, **C)  # where the name is not text
    assert (done.returncode, done.stderr[:32]) == (2, b"ConfigError: a name is not UTF-8")


@pytest.mark.parametrize("words", [["count", "--json"], ["check"], ["list"]])
def test_a_full_disk_behind_the_output_is_one_error(tmp_path: Path, words: list[str]) -> None:
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 } } }\n')
    command = [sys.executable, "-m", "netbuilder", *words, *([str(net)] if words != ["list"] else [])]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        2, "FileError: cannot read or write the output: no space left on device\n",
    )  # fmt: skip
