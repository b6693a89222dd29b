"""Every verb in a terminal of 80 columns: no line is wider, and what it lacks costs a line and an example."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbuilder.cli.main import VERBS, main, verb_parser
from tests.command import Command
from tests.databases import noise, write_lmdb
from tests.engines.case import NET as TRAINED
from tests.engines.case import SOLVER
from tests.installation import require_torch
from tests.terminal import in_terminal, lines_of

NET = """\
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }
layer { name: "a_convolution_with_a_name_longer_than_most_people_would_give"
        type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
"""

UNFED = """\
name: "unfed"
layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 8 }
        data_param { source: "a/database/that/is/not/here/with_images_for_training_lmdb" batch_size: 1 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 8 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }
"""

SWEEP = """\
network: cifar_resnet
depth: 20
axes:
  depth: [20, 32]
  main_branch: [normal, bottleneck, inception_trick_bottleneck]
  width: [16, 32]
constraints: [macs <= 1G, learnable_params <= 6M, activations >= 1]
objectives: [minimise macs, maximise learnable_params, maximise pynetbuilder_params]
"""


def parsers(words: list[str], parser: argparse.ArgumentParser) -> Iterator[tuple[list[str], bool]]:
    """The words of each verb and sub-command, and whether it needs more."""
    inner = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    names = dict(inner[0]) if inner else {}
    yield words, any(action.required for action in parser._actions)
    for name, sub in names.items():
        yield from parsers([*words, name], sub)


def every() -> list[tuple[list[str], bool]]:
    found: list[tuple[list[str], bool]] = []
    for verb in VERBS:
        top = verb_parser([verb])
        (inner,) = [a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction)]
        found += parsers([verb], dict(inner)[verb])
    return found


PARSERS = every()
INCOMPLETE = [words for words, needs in PARSERS if needs] + [["check"], ["solver"], ["solver", "resnet"]]


@pytest.mark.parametrize("words", [words for words, _ in PARSERS], ids=" ".join)
def test_help_fits(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    usage = shown.partition("\n\n")[0]
    assert usage.count("\n") < 6, "the options are listed below it"


@pytest.mark.parametrize("words", INCOMPLETE, ids=" ".join)
def test_what_is_missing_costs_a_line_and_an_example_that_parses(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Command(capsys)(*words)
    assert ran.code == 2
    first, second = ran.err.splitlines()
    assert " takes " in first
    example = re.fullmatch(r"  hint:    for example netbuilder ([^;]*)(;.*)?", second)
    assert example, second
    given = shlex.split(example[1])
    assert verb_parser(given).parse_args(given).verb == words[0]


SHOWN = [
    "--help",
    "list",
    "show-config bl_resnet_50_a2_b4",
    "count cifar_resnet_20 --per-layer",
    "count resnet_50 resnet_101 bl_resnet_50_a2_b4 assemble_resnet50",
    "count long.prototxt --by-block",
    "check long.prototxt cifar_resnet_20 --target any",
    "diff long.prototxt cifar_resnet_20",
    "draw cifar_resnet_20 --tree",
    "draw long.prototxt --tree",
    "build cifar_resnet_20 --by-block -o built",
    "solver --list",
    "solver cifar_resnet --net built/train.prototxt --batch 32",
    "fit cifar_resnet_20 --macs 20M",
    "sweep sweep.yaml -o swept --no-draw",
    "weights import",
    "build resnet -m normal -n 128",
    "build resnet_5O",
    "list nothing_of_this_name",
    "count no/such/folder/with/a/long/name/train_val_of_mine.prototxt",
    "count no/such/folder/with/a/long/name/train_val_of_mine.prototxt long.prototxt",
    "check no/such/folder/with/a/long/name/train_val_of_mine.prototxt long.prototxt",
    "count unfed.prototxt",
    "count unfed.prototxt long.prototxt",
    "draw unfed.prototxt --tree",
    "deploy unfed.prototxt -o deploy.prototxt",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide")
    (path / "long.prototxt").write_text(NET)
    (path / "unfed.prototxt").write_text(UNFED)
    (path / "sweep.yaml").write_text(SWEEP)
    return path


@pytest.mark.parametrize("line", SHOWN)
def test_what_a_verb_shows_fits(line: str, folder: Path) -> None:
    _, shown = in_terminal(*line.split(), cwd=folder)
    wide = [text for text in lines_of(shown) if len(text) > 80]
    assert wide == []
    assert shown.strip()


def test_a_training_and_its_test_fit(tmp_path: Path) -> None:
    require_torch()
    write_lmdb(str(tmp_path / "db"), noise(50, 3, 10, 10), (i % 5 for i in range(50)))
    (tmp_path / "net.prototxt").write_text(TRAINED)
    (tmp_path / "solver.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 30"))
    lines = (
        "train solver.prototxt --engine torch",
        "test solver.prototxt --weights latest --engine torch",
        "check solver.prototxt",
        "data show db",
        "weights show out/x_iter_30.caffemodel",
    )
    for line in lines:
        code, shown = in_terminal(*line.split(), cwd=tmp_path)
        assert code == 0, shown
        assert [text for text in lines_of(shown) if len(text) > 80] == []


@pytest.mark.parametrize("line", ["count cifar_resnet_20", "diff cifar_resnet_20 cifar_resnet_32", "build"])
def test_colours_are_for_a_terminal_alone(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line.split()
    _, shown = in_terminal(*words, cwd=folder)
    assert "\x1b[1" in shown
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        _, plain = in_terminal(*words, cwd=folder, columns=80, **{name: value})
        assert "\x1b" not in plain
        assert lines_of(shown) == plain.splitlines()
    ran = Command(capsys)(*words)
    assert "\x1b" not in ran.out + ran.err
    if words[1:]:
        assert "\x1b" not in in_terminal(*words, "--color", "never", cwd=folder)[1]
        assert "\x1b" not in in_terminal(*words, "--json", cwd=folder)[1]


def test_a_command_longer_than_a_line_can_be_pasted(folder: Path) -> None:
    _, shown = in_terminal("weights", "import", cwd=folder, NO_COLOR="1")
    hint = shown[shown.index("netbuilder weights") :]
    assert " \\\n" in hint
    words = shlex.split(hint.replace("\\\n", ""))[1:]
    assert verb_parser(words).parse_args(words).verify
