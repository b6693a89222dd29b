"""Reading files: phases, levels and stages, inputs, and what a broken file is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.errors import FileError, NetBuilderError, PrototxtError

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def names(text: str, phase: str = "TEST", **state: object) -> list[str]:
    return [layer.name for layer in prototxt.parse(text, phase, **state)]  # type: ignore[arg-type]


def relu(name: str, rules: str) -> str:
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "x" top: "{name}" {rules} }}\n'


def test_include_keeps_a_layer_if_any_rule_is_met_and_exclude_drops_it() -> None:
    text = INPUT + relu("train", "include { phase: TRAIN }") + relu("test", "exclude { phase: TRAIN }")
    text += relu("either", "include { phase: TRAIN } include { phase: TEST }") + relu("always", "include { }")
    assert names(text, "TRAIN") == ["x", "train", "either", "always"]
    assert names(text, "TEST") == ["x", "test", "either", "always"]


def test_levels_and_stages_select_layers() -> None:
    text = (
        INPUT
        + relu("deep", "include { min_level: 1 max_level: 2 }")
        + relu("s", 'include { stage: "a" stage: "b" }')
    )
    text += relu("not_s", 'include { not_stage: "a" }')
    assert names(text) == ["x", "not_s"]
    assert names(text, level=2, stages=["a", "b"]) == ["x", "deep", "s"]
    assert names('state { stage: "a" }\n' + text, level=3) == ["x"]


def test_input_fields_become_one_input_layer() -> None:
    net = prototxt.parse(
        'name: "n" input: "a" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5 force_backward: true'
    )
    assert (net.name, net.layers[0].type, net.blobs["a"].shape) == ("n", "Input", (1, 3, 4, 5))
    assert "force_backward: true" in prototxt.dumps(net)
    shaped = prototxt.parse('input: "a" input: "b" input_shape { dim: 2 } input_shape { dim: 3 }')
    assert [b.shape for b in shaped.inputs] == [(2,), (3,)]


def test_a_layer_knows_the_line_it_stands_at() -> None:
    net = prototxt.parse(INPUT + "\n\n" + relu("r", ""), path="net.prototxt")
    assert str(net["r"].origin) == "net.prototxt:4"


def refusal(text: str) -> str:
    with pytest.raises(NetBuilderError) as caught:
        prototxt.parse(text, path="net.prototxt")
    return f"{type(caught.value).__name__}: {caught.value}"


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileError) as caught:
        prototxt.read("no/such.prototxt")
    assert str(caught.value) == "cannot read 'no/such.prototxt': no such file or directory"


def test_a_binary_file_is_distinguished_from_text(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"\x0a\x03net\xff\xfe\x00")
    with pytest.raises(
        FileError, match=r"it is not text \(byte 5 is not UTF-8\)\n  hint:    a .caffemodel is binary"
    ):
        prototxt.read(path)


def test_an_unknown_field_has_line_column_and_the_nearest() -> None:
    assert refusal('layer {\n  name: "c"\n  type: "ReLU"\n  botom: "x"\n}') == (
        "PrototxtError: LayerParameter has no field 'botom'\n"
        "  where:   net.prototxt:4:3\n"
        "  hint:    did you mean 'bottom'?"
    )


def test_a_missing_brace_is_reported_where_it_was_opened() -> None:
    assert refusal('layer {\n  name: "c"\n') == (
        "PrototxtError: 'layer' is opened here and never closed: expected '}' before the end of the file\n"
        "  where:   net.prototxt:1:1"
    )


def test_an_unknown_layer_type_in_a_file_is_refused_at_its_line() -> None:
    assert refusal(INPUT + 'layer { name: "c" type: "convolution" bottom: "x" top: "c" }') == (
        "FieldError: convolution 'c': unknown layer type 'convolution'\n"
        "  where:   net.prototxt:2\n"
        "  hint:    did you mean 'Convolution'?"
    )


def test_a_bottom_that_nobody_makes_offers_the_nearest() -> None:
    assert refusal(INPUT.replace('"x"', '"data"') + relu("r", "").replace('"x"', '"date"')) == (
        "StaleBlob: ReLU 'r': bottom 'date' is not the top of any layer before\n"
        "  where:   net.prototxt:2\n"
        "  hint:    did you mean 'data'?"
    )


def test_a_shape_error_in_a_file_names_its_line() -> None:
    text = (
        INPUT
        + 'layer { name: "c" type: "Convolution" bottom: "x" top: "c"\n convolution_param { num_output: 2 } }'
    )
    assert refusal(text) == (
        "ShapeError: Convolution 'c': kernel_size is missing: 2 spatial axes need it once or 2 times\n"
        "  where:   net.prototxt:2\n"
        "  bottoms: x (1,3,8,8) from x"
    )


def test_include_and_exclude_together_are_refused() -> None:
    assert refusal(INPUT + relu("r", "include { phase: TEST } exclude { phase: TRAIN }")) == (
        "PrototxtError: layer 'r' has both include and exclude\n  where:   net.prototxt:2"
    )


@pytest.mark.parametrize("head", ["", "# net: of lenet\n", 'name: "the net: lenet"\n'])
def test_a_word_in_a_comment_a_string_or_a_field_of_a_fork_makes_no_solver_of_a_net(
    head: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        head + 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'
        'layer { name: "x" type: "Foo" bottom: "data" top: "y" foo_param {\n  net: "other"\n} }\n'
    )
    assert [layer.name for layer in prototxt.read(path, unknown="keep")] == ["data", "x"]


def test_a_solver_names_its_net_anywhere_on_a_line(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'
    )
    solver = tmp_path / "solver.prototxt"
    solver.write_text('base_lr: 0.1 net: "net.prototxt" type: "SGD"\n')
    assert [layer.name for layer in prototxt.read(solver)] == ["data"]


def test_a_solver_file_leads_to_the_net_it_names(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(INPUT)
    (tmp_path / "train.prototxt").write_text(INPUT + relu("r", ""))
    solver = tmp_path / "solver.prototxt"
    solver.write_text('# how to train\nnet: "net.prototxt"\nbase_lr: 0.1\ntype: "SGD"\n')
    for unknown in ("refuse", "keep"):
        assert len(prototxt.read(solver, unknown=unknown)) == 1
    solver.write_text('train_net: "train.prototxt"\nsolver_mode: CPU\n')
    assert len(prototxt.read(solver, "TRAIN")) == 2
    with pytest.raises(PrototxtError, match="this solver names no net for phase TEST"):
        prototxt.read(solver, "TEST")
    solver.write_text('net: "gone.prototxt"\n')
    with pytest.raises(FileError, match=r"gone\.prototxt"):
        prototxt.read(solver)
