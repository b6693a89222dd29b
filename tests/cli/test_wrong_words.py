"""What is wrong on a command line is answered in a line, with an example or what was meant."""

from __future__ import annotations

import pytest

from tests.command import Command, Ran


@pytest.fixture
def netbuilder(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.mark.parametrize(
    ("words", "what", "example"),
    [
        ("count", "count takes FILE", "for example netbuilder count "),
        ("diff a", "diff takes B", "for example netbuilder diff "),
        ("build", "build takes NETWORK|CONFIG", "for example netbuilder build "),
        ("deploy", "deploy takes FILE, -o/--output", "for example netbuilder deploy "),
        ("weights", "weights takes WHAT", "for example netbuilder weights "),
        ("count x --batch 0", "argument --batch: takes a whole number from 1 on, got '0'", "for example"),
        ("diff a b c", "there is nothing to take 'c'", "for example netbuilder diff "),
    ],
)
def test_a_missing_word_costs_a_line_and_an_example(
    netbuilder: Command, words: str, what: str, example: str
) -> None:
    ran = netbuilder(*words.split())
    assert (ran.code, ran.out) == (2, "")
    first, hint = ran.err.splitlines()
    assert first == f"ConfigError: {what}"
    assert hint.startswith(f"  hint:    {example}")
    assert "Exit code" not in hint


@pytest.mark.parametrize(
    ("words", "near"),
    [
        ("count x --per-layr", "--per-layer"),
        ("count x --frmat=csv", "--format"),
        ("build resnet_50 --clases 10", "--classes"),
        ("build resnet -m normal --num_output_stag1 64", "--num_output_stage1"),
        ("data lmdb x --shufle", "--shuffle"),
        ("count x --format jsn", "json"),
        ("weights imprt", "import"),
        ("diff a b --phase TES", "TEST"),
        ("solver resnt --net x --batch 8 -o y", "resnet"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(netbuilder: Command, words: str, near: str) -> None:
    ran = netbuilder(*words.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"  hint:    did you mean '{near}'?"


def test_every_verb_has_an_example_without_its_exit_codes(netbuilder: Command) -> None:
    from netbuilder.cli.main import VERBS

    for verb in VERBS:
        ran = netbuilder(verb, "--no-such-option", "a", "b", "c", "d", "e")
        assert ran.code == 2
        assert len(ran.err.splitlines()) <= 3, ran.err


def completed(script: str, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    import subprocess

    code = (
        f'{script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _netbuilder; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", code, "bash", *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_verbs_options_their_words_and_configs(netbuilder: Command) -> None:
    script = netbuilder("completion", "bash").out
    assert completed(script, "netbuilder", "dep") == ["deploy"]
    assert completed(script, "netbuilder", "count", "a", "--per") == ["--per-layer"]
    assert completed(script, "netbuilder", "count", "a", "--format", "j") == ["json"]
    assert completed(script, "netbuilder", "data", "lm") == ["lmdb"]
    assert completed(script, "netbuilder", "data", "lmdb", "--shuf") == ["--shuffle"]
    for verb in ("build", "count", "diff", "check", "show-config"):
        assert "resnet_50" in completed(script, "netbuilder", verb, "resnet_5")


def test_other_shells_have_every_verb_and_option(netbuilder: Command) -> None:
    zsh, fish = netbuilder("completion", "zsh").out, netbuilder("completion", "fish").out
    assert zsh.startswith("#compdef netbuilder\n")
    for word in ("deploy", "resnet_50", "lmdb"):
        assert word in zsh
        assert word in fish
    assert "-l per-layer" in fish
    assert "-l format -x -a 'table csv markdown latex json'" in fish


def test_a_shell_that_is_not_known(netbuilder: Command) -> None:
    ran = netbuilder("completion", "zhs")
    assert ran == Ran(2, "", ran.err)
    assert "did you mean 'zsh'?" in ran.err
