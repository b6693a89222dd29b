"""The options of all verbs: their spelling, and that the same word means the same."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from netbuilder.cli.build import script_parser
from netbuilder.cli.main import VERBS, verb_parser
from netbuilder.cli.options import Parser
from netbuilder.networks import all_networks, options
from netbuilder.networks.data_layers import DataOptions
from tests.command import Command

# Spelt as pynetbuilder spelt it.
KEPT = {"--output_folder"}

# What a verb does with these is its own: the help must say it, and so differs.
OWN_MEANING = {
    "--batch": "of the net that is counted, or of the training",
    "--by-block": "figures printed besides, or the rows of the table",
    "--crop": "as wide as the net's input, or as its crop_size",
    "--dialect": "that a file is read in, or a solver is written for",
    "--draw": "the front of a sweep, or samples of a database",
    "--engine": "the default is another in training",
    "--force": "the snapshots, databases and journals that are replaced",
    "--format": "each verb has its own formats",
    "--gpu": "one device, or several",
    "--images": "of the training set, or to test on",
    "--input": "the shape of a blob, or the images that weights are for",
    "--iterations": "of a test, or to time",
    "--jobs": "a sweep counts on processors, a database is made on cores",
    "--label": "a blob that is left out of a net, or written with the features",
    "--labels": "a database of labels, or a file of class names",
    "--list": "the recipes that there are, or the images of a file",
    "--master": "of any cluster of Spark, or of a standalone one",
    "--mean": "the image to write, or to subtract",
    "--net": "of a solver, or of a model that is compared",
    "--no-draw": "the front of a sweep, or the curves of a training",
    "--output": "what is written",
    "--output_folder": "what is written",
    "--pad-value": "another default in each set of images",
    "--per-class": "images of each set, or a table",
    "--phase": "one that is counted or timed, or those that are compared and checked",
    "--resize": "the short side in a test, or a switch of CaffeOnSpark",
    "--resume": "a training, or making a database",
    "--rgb": "as stored, or as drawn",
    "--schema": "of configs, or of counts",
    "--seed": "of a training, or of images that are shuffled",
    "--set": "an option of a config, or a field of a solver",
    "--test-images": "of the training record, or of the job",
    "--top": "rows of a table",
    "--verify": "an ONNX file as it is written, or a model that is brought in",
    "--weights": "to begin with, to test, or to fit",
    "-o": "what is written",
}


def _leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parsers that have no verbs, networks or kinds of data below them."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for one in action.choices.values():
            yield from _leaves(one)


@cache
def _parsers() -> dict[str, argparse.ArgumentParser]:
    found = [leaf for verb in VERBS for leaf in _leaves(verb_parser([verb]))]
    found += _leaves(verb_parser(["build", "resnet_50"]))
    return {parser.prog: parser for parser in found}


def _of_configs() -> set[str]:
    """The options that are read off a dataclass, each spelt as its field."""
    configs: list[type[Any]] = [DataOptions, *(entry.config for entry in all_networks().values())]
    return {f"--{field.name}" for config in configs for field in options(config)}


def test_every_verb_is_looked_at() -> None:
    assert {prog.split()[1] for prog in _parsers()} == set(VERBS)
    assert {"netbuilder data lmdb", "netbuilder build resnet"} <= set(_parsers())


def test_only_the_kept_options_have_an_underscore() -> None:
    spelt = {word for parser in _parsers().values() for word in parser._option_string_actions}
    spelt = {word.replace("--no-", "--", 1) for word in spelt}  # of a switch
    assert {word for word in spelt - _of_configs() if "_" in word} == KEPT


def test_the_same_option_has_the_same_help_and_type_in_all_verbs() -> None:
    meanings: dict[str, dict[object, list[str]]] = defaultdict(lambda: defaultdict(list))
    of_configs = _of_configs()
    for prog, parser in _parsers().items():
        verb = prog.split()[1]
        for word, action in parser._option_string_actions.items():
            if verb in ("build", "train-val") and word.replace("--no-", "--", 1) in of_configs:
                continue
            if len(word) == 2 and word != "-o":
                continue  # short for an option of a config
            meaning = (action.help, action.type, action.nargs, action.metavar, str(action.choices))
            meanings[word][meaning].append(prog)
    differing = {word: list(found.values()) for word, found in meanings.items() if len(found) > 1}
    assert set(differing) == set(OWN_MEANING), "share its declaration in netbuilder/cli/options.py"


@pytest.mark.parametrize(
    "words",
    [("--iter-size", "3"), ("--iter_size", "3"), ("--iter_size=3",), ("--iter", "3"), ("--iter_s=3",)],
)
def test_an_underscore_is_taken_for_a_dash(words: tuple[str, ...]) -> None:
    args = verb_parser(["solver"]).parse_args(["solver", "resnet", *words])
    assert args.iter_size == 3


def test_old_spellings_in_the_verbs_below_a_verb() -> None:
    words = ["data", "lmdb", "images", "-o", "db", "--resize_height", "5", "--resize_width=6", "--check_size"]
    args = verb_parser(words).parse_args(words)
    assert (args.resize_height, args.resize_width, args.check_size) == (5, 6, True)


def test_what_has_no_dashed_spelling_is_refused_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Parser(prog="x")
    parser.add_argument("--main_branch")
    parser.add_argument("--per-layer")
    assert parser.parse_args(["--main_branch", "a_b", "--per_layer", "c_d"]) == argparse.Namespace(
        main_branch="a_b", per_layer="c_d"
    )
    with pytest.raises(SystemExit):
        parser.parse_args(["--not_there"])
    assert capsys.readouterr().err.endswith("unrecognized arguments: --not_there\n")


def test_help_has_the_dashed_spelling_only(capsys: pytest.CaptureFixture[str]) -> None:
    ran = Command(capsys)("solver", "--help")
    assert "--iter-size N" in ran.out
    assert "iter_size" not in ran.out


@pytest.mark.parametrize(
    ("word", "value"),
    [("--test_batch", 7), ("--test-batch", 7), ("--test-batch=7", 7), ("--test-ba", 7), ("--test_ba", 7)],
)
def test_an_option_of_a_network_can_be_spelt_with_dashes(word: str, value: int) -> None:
    parser = script_parser("cifar_resnet")
    words = [word] if "=" in word else [word, "7"]
    assert parser.parse_args(["-m", "normal", "-n", "3", "-o", "out", *words]).test_batch == value
    args = parser.parse_args(["-m", "normal", "-n", "3", "-o", "out", "--no-conv-bias", "--input-size", "32"])
    assert (args.conv_bias, args.input_size) == (False, (32, 32))
