"""Solver files, recognised whatever they hold, and the nets and states that they give; judged by Caffe."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import PrototxtError
from netbuilder.prototxt.reader import read_for
from netbuilder.prototxt.solver_file import is_solver, parse_solver
from netbuilder.schema import NetParameter

NET = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "all" type: "InnerProduct" bottom: "x" top: "all" '
    "inner_product_param { num_output: 2 } }\n"
    'layer { name: "a" type: "Power" bottom: "all" top: "a" include { stage: "a" } }\n'
    'layer { name: "b" type: "Power" bottom: "all" top: "b" include { phase: TEST stage: "b" } }\n'
    'layer { name: "high" type: "Power" bottom: "all" top: "high" include { min_level: 1 } }\n'
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)


def names(text: str, phase: str = "TEST", **state: object) -> list[str]:
    Path("solver.prototxt").write_text(text)
    return [x.name for x in prototxt.read("solver.prototxt", phase, unknown="keep", **state)][2:]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        'net: "net.prototxt" larc_policy: "scale" larc: true',
        'net: "net.prototxt" device_id: [0, 1, 2, 3]',
        'net: "net.prototxt" net: "net.prototxt"',
        'net: "net.prototxt" max_iter: lots type: "SGD"',
        'train_net: "net.prototxt" solver_mode: CPU',
        'test_net: "net.prototxt"',
        "net_param {\n" + NET + "}",
        "train_net_param: <\n" + NET + ">",
        "base_lr: 0.1 test_net_param {" + NET + "} test_net_param { }",
        'base_lr: 0.1 lr_policy: "fixed"',  # names no net
        'net_parm: "net.prototxt" base_lr: 0.1',
    ],
)
def test_a_solver_is_recognised_whatever_it_holds(text: str) -> None:
    assert is_solver(text)


@pytest.mark.parametrize(
    "text",
    [
        NET,
        "# net: net.prototxt\n" + NET,
        'name: "base_lr: 0.1"\n' + NET,
        'layer { name: "x" type: "Foo" foo_param { net: "a" base_lr: 1 } }',
        'layer { name: "x" type: "Python" top: "a" python_param { param_str: "net: 1 max_iter: 3" } }',
        'input: "data" input_dim: 1 base_lr: 3',
        'item { name: "cat" label: 1 }',
        "",
    ],
)
def test_a_net_is_not_a_solver(text: str) -> None:
    assert not is_solver(text)


def test_a_field_that_caffe_refuses_hides_no_other() -> None:
    read = parse_solver(
        'net: "n"\nlarc_policy: "x"\ndevice_id: [0, 1]\nbase_lr: 1\nbase_lr: 2\nmax_iter: 9\n', "s"
    )
    assert (read.solver.net, read.solver.base_lr, read.solver.max_iter) == ("n", 1, 9)
    assert [(e.line, e.column, e.text) for e in read.faults] == [
        (2, 1, "SolverParameter has no field 'larc_policy'"),
        (3, 12, "'device_id' takes an integer from -2147483648 to 2147483647, found '['"),
        (5, 1, "'base_lr' is given a second time in SolverParameter, which takes it once"),
    ]
    assert read.places["max_iter"] == [(6, 1)]
    with pytest.raises(PrototxtError, match=r"never closed|closes|end of the file") as caught:
        parse_solver('base_lr: 1\nnet_param {\n layer { name: "x" }\n', "s")
    assert caught.value.line > 1


# What real Caffe's solver makes of these (its layers, without Splits) is in brackets; see the test below.
STATES = [
    ("", [[], []]),
    ('train_state { stage: "a" }', [["a"], []]),
    ("train_state { level: 1 }", [["high"], []]),
    ('test_state { stage: "b" }', [[], ["b"]]),
    ('test_state { stage: "a" stage: "b" level: 2 }', [[], ["a", "b", "high"]]),
    ('train_state { stage: "b" } test_state { stage: "a" }', [[], ["a"]]),
]


@pytest.mark.parametrize(("states", "layers"), STATES)
def test_the_states_of_a_solver_choose_the_layers(states: str, layers: list[list[str]]) -> None:
    solver = f'net: "net.prototxt" test_iter: 1 test_interval: 1 base_lr: 0.1 {states}'
    assert [names(solver, "TRAIN"), names(solver, "TEST")] == layers
    inline = f"net_param {{ {NET} }} test_iter: 1 base_lr: 0.1 {states}"
    assert [names(inline, "TRAIN"), names(inline, "TEST")] == layers


def test_the_state_of_the_net_counts_unless_the_solver_sets_the_level() -> None:
    """As in real Caffe: Solver::InitTrainNet merges the states."""
    Path("net.prototxt").write_text('state { level: 1 stage: "b" }\n' + NET)
    assert names('net: "net.prototxt" train_state { stage: "a" }', "TRAIN") == ["a", "high"]
    assert names('net: "net.prototxt" train_state { level: 0 }', "TRAIN") == []
    assert names('net: "net.prototxt"', "TEST") == ["b", "high"]


def test_the_command_line_adds_to_train_state_and_replaces_test_state() -> None:
    """The first is what `caffe train` does; a test net has one state of several."""
    solver = (
        'net: "net.prototxt" test_iter: 1 test_iter: 1 train_state { stage: "b" } '
        'test_state { stage: "a" } test_state { stage: "b" } base_lr: 0.1'
    )
    assert names(solver, "TRAIN", stages=["a"]) == ["a"]
    assert names(solver, "TRAIN", level=1) == ["high"]
    assert names(solver, "TEST") == ["a"]
    assert names(solver, "TEST", stages=["b"]) == ["b"]
    read = parse_solver(solver)
    assert [net.stages for net in read.nets()] == [("b",), ("a",), ("b",)]
    assert [net.stages for net in read.nets(stages=["c"])] == [("b", "c"), ("c",)]


def test_test_nets_come_in_the_order_of_caffe() -> None:
    """Source: Solver::InitTestNets: test_net_param, test_net, then net for the rest of test_iter."""
    read = parse_solver(
        'net: "net.prototxt" test_net: "a" test_net: "b" test_net_param { } '
        "test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4"
    )
    assert [(n.field, n.phase, n.number, n.passes) for n in read.nets()] == [
        ("net", "TRAIN", 0, 0),
        ("test_net_param", "TEST", 0, 1),
        ("test_net", "TEST", 1, 2),
        ("test_net", "TEST", 2, 3),
        ("net", "TEST", 3, 4),
    ]


def test_an_inline_net_has_the_lines_of_the_solver() -> None:
    text = 'base_lr: 0.1\nnet_param { name: "n"\n' + NET.replace("num_output", "nm_output") + "}\n"
    with pytest.raises(PrototxtError) as caught:
        names(text)
    assert (caught.value.line, caught.value.column) == (4, text.splitlines()[3].index("nm_output") + 1)
    Path("solver.prototxt").write_text(f"base_lr: 0.1\nnet_param {{\n{NET}}}\n")
    net = prototxt.read("solver.prototxt")
    assert [x.origin.line for x in net] == [3, 4]


@pytest.mark.parametrize(
    ("net", "text", "line"),
    [
        ('layers { name: "x" type: DATA top: "x" }\n', "its 'layers' are ignored", 3),
        ('input: "x" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 1\n', "its 'input' is ignored", 0),
        (
            'layer { name: "b" type: "BatchNorm" bottom: "x" top: "b" param { } param { } param { } }\n',
            "takes no lr_mult but 0 in a BatchNorm",
            3,
        ),
    ],
)
def test_caffe_upgrades_no_net_inside_a_solver(net: str, text: str, line: int) -> None:
    """Tried with real Caffe: it builds a net without layers, drops the input, aborts in BatchNorm."""
    Path("solver.prototxt").write_text(
        f"base_lr: 0.1\nnet_param {{\n{net}{NET if 'Batch' in net else ''}}}\n"
    )
    for verb_phase in ("TRAIN", "TEST"):
        with pytest.raises(PrototxtError, match=text) as caught:
            prototxt.read("solver.prototxt", verb_phase, unknown="keep")
        assert caught.value.line == line
        assert "move the net to a file" in caught.value.hint or "leave the three" in caught.value.hint


def test_a_file_is_read_in_the_phase_that_it_is_for() -> None:
    data = (
        'layer { name: "d" type: "DummyData" top: "x" include { phase: TRAIN } '
        "dummy_data_param { shape { dim: 1 } } }\n"
    )
    rest = 'layer { name: "p" type: "Power" bottom: "x" top: "y" }\n'
    Path("train.prototxt").write_text(data + rest)
    assert read_for("train.prototxt", None)[0].phase == "TRAIN"
    Path("both.prototxt").write_text(data + data.replace("TRAIN", "TEST") + rest)
    assert read_for("both.prototxt", None)[0].phase == "TEST"
    Path("s.prototxt").write_text('train_net: "train.prototxt" base_lr: 1')
    assert read_for("s.prototxt", None)[0].phase == "TRAIN"
    Path("s.prototxt").write_text("train_net_param {" + data + rest + "}")
    assert read_for("s.prototxt", None)[0].phase == "TRAIN"
    Path("broken.prototxt").write_text(rest)
    with pytest.raises(Exception, match="bottom 'x'"):
        read_for("broken.prototxt", None)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('item { name: "none" label: 0 display_name: "background" }', "a label map"),
        ("node { name: 'a' op: 'Const' }", "a graph of TensorFlow"),
    ],
)
def test_other_files_are_named_for_what_they_are(text: str, what: str) -> None:
    Path("labelmap.prototxt").write_text(text)
    with pytest.raises(PrototxtError, match=f"this is {what}"):
        prototxt.read("labelmap.prototxt", unknown="keep")


@pytest.mark.parametrize(("states", "layers"), STATES)
def test_real_caffe_agrees_on_the_states(states: str, layers: list[list[str]], real_caffe: Caffe) -> None:
    """Caffe's own net, given the state that our reading of the solver has."""
    solver = parse_solver(f'net: "net.prototxt" test_iter: 1 test_interval: 1 base_lr: 0.1 {states}')
    for net, expected in zip(solver.nets(), layers, strict=True):
        loaded = real_caffe.load(net.read_text(), phase=net.phase, level=net.level or 0, stages=net.stages)
        assert [x.name for x in loaded.layers_as_written()][2:] == expected


def test_the_messages_of_caffe_have_no_field_of_both() -> None:
    """`is_solver` tells a solver by fields that nets lack; `layer`, `layers` and `input` are of nets."""
    assert {"layer", "layers", "input"} <= {f.name for f in NetParameter.DESCRIPTOR.fields}
