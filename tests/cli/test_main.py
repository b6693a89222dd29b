"""The command itself: its help, its version, and words that are no verb."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netbuilder._version import __version__
from netbuilder.cli.main import GROUPS, VERBS
from netbuilder.cli.options import Parser
from tests.command import Command, Ran

ROOT = Path(__file__).parents[2]
CLI = ROOT / "netbuilder" / "cli"


@pytest.fixture
def netbuilder(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def run_and_list_modules(*words: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run the command in a fresh interpreter; returns what it printed, and the modules that it imported."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('MODULES', *sys.modules, file=sys.stderr))\n"
        "from netbuilder.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    done.stderr, _, modules = done.stderr.rpartition("MODULES ")
    return done, set(modules.split())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("help",), 0),
        (("-h",), 0),
        (("--help",), 0),
        (("-V",), 0),
        (("--version",), 0),
        (("cuont", "x.prototxt"), 2),
        (("help", "cuont"), 2),
        (("--json",), 2),
    ],
)
def test_what_is_about_the_command_imports_no_verb_and_no_net(words: tuple[str, ...], code: int) -> None:
    done, modules = run_and_list_modules(*words)
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)
    assert bool(done.stderr) == (code != 0)
    assert not modules & {f"netbuilder.cli.{verb.module}" for verb in VERBS.values()}
    assert not modules & {"netbuilder.net", "netbuilder.layers", "google.protobuf", "argparse"}


def test_a_build_imports_no_shutil_and_no_python_half_of_protobuf(tmp_path: Path) -> None:
    done, modules = run_and_list_modules("build", "resnet", "-m", "normal", "-n", "64", "-o", str(tmp_path))
    assert done.returncode == 0
    assert not modules & {"shutil", "google.protobuf.text_format", "google.protobuf.internal.python_message"}


@pytest.mark.parametrize("columns", [60, 100])
def test_help_is_as_wide_as_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ours = Parser(prog="x", description="word " * 40).format_help()
    assert ours == argparse.ArgumentParser(prog="x", description="word " * 40).format_help()
    assert max(map(len, ours.splitlines())) <= columns - 2


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_the_version(netbuilder: Command, word: str) -> None:
    assert netbuilder(word) == Ran(0, f"netbuilder {__version__}\n", "")


def test_help_lists_every_verb_below_its_group(netbuilder: Command) -> None:
    ran = netbuilder("help")
    assert netbuilder("-h") == netbuilder("--help") == ran
    assert netbuilder() == Ran(2, "", ran.out)
    lines = ran.out.splitlines()
    assert all(len(line) < 80 for line in lines)
    for verb in VERBS.values():
        (at,) = [i for i, line in enumerate(lines) if line.split() == [verb.name, *verb.help.split()]]
        heading = next(line for line in reversed(lines[:at]) if line and not line.startswith(" "))
        assert heading == f"{GROUPS[verb.group]}:"


def test_the_table_has_every_verb_once_and_no_group_is_empty() -> None:
    declaring = {path.stem for path in CLI.glob("*.py") if "\ndef add_parser(" in path.read_text()}
    modules = [verb.module for verb in VERBS.values()]
    assert sorted(modules) == sorted(declaring)
    assert {verb.group for verb in VERBS.values()} == set(GROUPS)
    assert all(verb.help for verb in VERBS.values())


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_is_that_verb_with_help(netbuilder: Command, verb: str) -> None:
    ran = netbuilder("help", verb)
    assert ran.code == 0
    assert ran.out.startswith(f"usage: netbuilder {verb} ")
    assert ran == netbuilder(verb, "--help") == netbuilder("help", verb, "-h")


def test_help_goes_on_to_what_a_verb_takes(netbuilder: Command) -> None:
    assert netbuilder("help", "data", "lmdb").out.startswith("usage: netbuilder data lmdb ")
    assert netbuilder("help", "build", "resnet").out.startswith("usage: netbuilder build resnet ")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cuont", "count"), ("Build", "build"), ("show_config", "show-config"), ("tarin", "train")],
)
def test_a_misspelt_verb_is_answered_with_the_nearest(netbuilder: Command, wrong: str, near: str) -> None:
    told = f"ConfigError: there is no verb '{wrong}'\n  hint:    did you mean '{near}'?\n"
    assert netbuilder(wrong, "a.prototxt", "--json") == Ran(2, "", told)
    assert netbuilder("help", wrong) == Ran(2, "", told)


def test_a_word_like_no_verb_is_answered_with_where_they_are_listed(netbuilder: Command) -> None:
    hint = "  hint:    netbuilder help lists the verbs\n"
    assert netbuilder("xyzzy") == Ran(2, "", f"ConfigError: there is no verb 'xyzzy'\n{hint}")
    assert netbuilder("--json", "count") == Ran(
        2, "", f"ConfigError: the verb comes first, got '--json'\n{hint}"
    )


@pytest.mark.parametrize("script", ["imagenet/build_resnet.py", "cifar10/whiten.py"])
def test_a_script_before_the_set_up_names_what_is_missing(script: str, tmp_path: Path) -> None:
    words = ["-m", "normal", "-n", "64"] if "build" in script else ["a.bin"]
    # -S leaves out the folder of installed packages, as in a fresh clone.
    command = [sys.executable, "-S", "-E", str(ROOT / "app" / script), *words, "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    what, hint = done.stderr.splitlines()
    package = "protobuf" if "build" in script else "numpy"
    assert done.returncode == 2
    assert what.startswith(f"ConfigError: {package} is missing, which netbuilder needs")
    assert "`make demo`" in hint


def test_the_version_costs_less_than_half_of_a_build_of_resnet_50(tmp_path: Path) -> None:
    def seconds(*words: str | Path) -> float:
        command = [sys.executable, "-m", "netbuilder", *map(str, words)]
        begin = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - begin

    build = ("build", "resnet", "--main_branch", "bottleneck", "-n", "256", "-o", tmp_path)
    # The fastest of five, taken in turns: other work on the machine only ever adds.
    pairs = [(seconds("--version"), seconds(*build)) for _ in range(5)]
    version, built = (min(times) for times in zip(*pairs, strict=True))
    assert version < built / 2
