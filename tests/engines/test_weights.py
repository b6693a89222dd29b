"""`--weights` of train, test and check: the layers that Caffe takes, and a model of which it takes none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.checks.weights import Fit
from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.write import write_model
from tests.engines.case import SOLVER, refusal

Printed = pytest.CaptureFixture[str]

SHAPES: dict[str, list[tuple[int, ...]]] = {
    "conv": [(8, 3, 3, 3), (8,)],
    "bn": [(8,), (8,), (1,)],
    "fc": [(5, 288), (5,)],
}
ALL = {"conv": "conv", "bn": "bn", "fc": "fc"}


def model(path: str, names: Mapping[str, str], value: float = 0.01) -> str:
    """A model with the parameters of these layers, under these names."""
    write_model(path, {new: [numbers(s) * value for s in SHAPES[old]] for old, new in names.items()})
    return path


def numbers(shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape))
    return (1 + np.arange(count).reshape(shape)) / count


@pytest.fixture
def solver(folder: Path) -> str:
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 21"))
    return "solver.prototxt"


def lists(data: Any) -> tuple[list[str], ...]:
    return data["files"], data["taken"], data["new"], data["unused"], data["refused"]


def test_train_lists_what_is_taken_and_records_it(solver: str, real_caffe: Caffe, capsys: Printed) -> None:
    model("m.caffemodel", {"conv": "conv", "bn": "bn", "fc": "fc8"})
    assert main(["train", solver, "--weights", "m.caffemodel", "--no-draw", "--json"]) == 0
    printed = capsys.readouterr()
    assert (
        "taken from the model: 2 layers: conv, bn\n"
        "new, left as filled: 1 layer: fc\n"
        "unused in the model: 1 layer: fc8\n"
    ) in printed.err
    expected: Any = (["m.caffemodel"], ["conv", "bn"], ["fc"], ["fc8"], [])
    assert lists(json.loads(printed.out)["model"]) == expected
    assert lists(json.loads(Path("out/x_run.json").read_text())["model"]) == expected
    # A training without weights has nothing to list.
    assert main(["train", solver, "--no-draw", "--json", "--force"]) == 0
    printed = capsys.readouterr()
    assert "taken from" not in printed.err
    assert "model" not in json.loads(printed.out)


def test_test_and_check_list_the_same(folder: Path, real_caffe: Caffe, capsys: Printed) -> None:
    model("m.caffemodel", {"conv": "conv", "bn": "bn", "fc": "fc8"})
    lines = (
        "taken from the model: 2 layers: conv, bn\n"
        "new, left as filled: 1 layer: fc\n"
        "unused in the model: 1 layer: fc8\n"
    )
    words = ["net.prototxt", "--weights", "m.caffemodel", "--json"]
    assert main(["test", "--engine", "caffe", *words, "--iterations", "1"]) == 0
    tested = capsys.readouterr()
    assert lines in tested.err
    assert main(["check", *words]) == 0
    checked = capsys.readouterr()
    assert lines in checked.err
    expected: Any = (["m.caffemodel"], ["conv", "bn"], ["fc"], ["fc8"], [])
    assert lists(json.loads(tested.out)["model"]) == expected
    assert lists(json.loads(checked.out)["files"][0]["model"]) == expected


@pytest.mark.parametrize("verb", ["train", "test"])
def test_a_model_of_which_nothing_fits_is_an_error(
    verb: str, solver: str, real_caffe: Caffe, capsys: Printed
) -> None:
    model("m.caffemodel", {"conv": "conv_1", "bn": "bn_1", "fc": "fc_1"})
    words = [solver] if verb == "train" else ["net.prototxt", "--engine", "caffe", "--iterations", "1"]
    assert refusal([verb, *words, "--weights", "m.caffemodel"], capsys) == (
        "no layer of the net takes its weights from 'm.caffemodel': all 3 with parameters stay as "
        "they are filled\n"
        "hint:    Caffe matches layers by name: the net has 'conv', 'bn', 'fc', the model has 'conv_1', "
        "'bn_1', 'fc_1'; did you mean 'conv_1'?\n"
    )
    assert not Path("out").exists()
    # Of several, each must give something.
    model("good.caffemodel", ALL)
    given = ["--weights", "good.caffemodel,m.caffemodel"]
    assert "takes its weights from 'm.caffemodel'" in refusal([verb, *words, *given], capsys)


def test_a_model_without_numbers_is_an_error(folder: Path, real_caffe: Caffe, capsys: Printed) -> None:
    write_model("m.caffemodel", {"data": [], "relu": []})
    words = ["test", "--engine", "caffe", "net.prototxt", "--weights", "m.caffemodel"]
    assert "the net has 'conv', 'bn', 'fc', the model has no parameters; " in refusal(words, capsys)


def test_several_models_are_loaded_in_turn(folder: Path, real_caffe: Caffe, capsys: Printed) -> None:
    """By commas, given again, and from a file whose name has a comma: the same numbers as from one."""
    model("all.caffemodel", ALL)
    model("wrong.caffemodel", ALL, 0.02)
    model("a,b.caffemodel", {"conv": "conv"})
    model("rest.caffemodel", {"bn": "bn", "fc": "fc"})
    outputs = []
    for given in (
        ["--weights", "all.caffemodel"],
        ["--weights", "wrong.caffemodel,all.caffemodel"],
        ["--weights", "wrong.caffemodel", "--weights", "rest.caffemodel, all.caffemodel"],
        ["--weights", "wrong.caffemodel", "--weights", "a,b.caffemodel", "--weights", "rest.caffemodel"],
    ):
        assert main(["test", "--engine", "caffe", "net.prototxt", *given, "--iterations", "1", "--json"]) == 0
        data = json.loads(capsys.readouterr().out)
        assert data["model"]["taken"] == list(ALL)
        outputs.append((data["loss"], data["outputs"]))
    assert outputs == [outputs[0]] * 4
    assert (
        main(
            [
                "test",
                "--engine",
                "caffe",
                "net.prototxt",
                "--weights",
                "wrong.caffemodel",
                "--iterations",
                "1",
                "--json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["loss"] != outputs[0][0]
    missing = ["test", "--engine", "caffe", "net.prototxt", "--weights", "all.caffemodel,no.caffemodel"]
    assert refusal(missing, capsys) == "there is no weights file 'no.caffemodel'\n"


def test_models_that_the_solver_names_are_listed(solver: str, real_caffe: Caffe, capsys: Printed) -> None:
    model("one.caffemodel", {"conv": "conv"})
    model("two.caffemodel", {"bn": "bn", "fc": "fc8"})
    with open(solver, "a", encoding="utf-8") as file:
        file.write('weights: "one.caffemodel, two.caffemodel"')
    assert main(["train", solver, "--no-draw", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["model"]
    assert lists(data) == (["one.caffemodel", "two.caffemodel"], ["conv", "bn"], ["fc"], ["fc8"], [])
    assert main(["train", solver, "--no-draw", "--resume", "latest"]) == 0
    assert "taken from" not in capsys.readouterr().err  # a snapshot has all weights


def test_models_in_hdf5_are_listed(folder: Path, real_caffe: Caffe, capsys: Printed) -> None:
    short = SOLVER.replace("max_iter: 200", "max_iter: 21")
    (folder / "solver.prototxt").write_text(short + "snapshot_format: HDF5")
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    capsys.readouterr()
    words = ["net.prototxt", "--weights", "out/x_iter_21.caffemodel.h5", "--iterations", "1", "--json"]
    assert main(["test", "--engine", "caffe", *words]) == 0
    data = json.loads(capsys.readouterr().out)["model"]
    assert (data["taken"], data["new"], data["unused"]) == (list(ALL), [], [])


def test_long_lists_are_cut_in_text_only() -> None:
    names = tuple(f"conv{i}" for i in range(30))
    told = Fit(names, (), names[:1], ("fc",))
    taken, new, unused, refused = told.lines()
    assert taken == f"taken from the model: 30 layers: {', '.join(names[:20])}, and 10 more"
    assert (new, unused) == ("new, left as filled: none", "unused in the model: 1 layer: conv0")
    assert refused == "refused by Caffe: 1 layer: fc"
    assert told.as_data(["m"])["taken"] == list(names)
