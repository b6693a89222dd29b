"""`netbuilder count`: several files, rows of layers and blocks, formats, another batch; what goes where."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.schema import NetParameter

Printed = pytest.CaptureFixture[str]

SMALL = (
    'name: "small"\nlayer { name: "data" type: "Input" top: "data" '
    "input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n"
    'layer { name: "m/conv" type: "Convolution" bottom: "data" top: "conv" '
    "convolution_param { num_output: 2 kernel_h: 1 kernel_w: 3 pad_h: 0 pad_w: 1 } }\n"
    'layer { name: "m/fc" type: "InnerProduct" bottom: "conv" top: "fc" '
    "inner_product_param { num_output: 5 } }\n"
)
BROKEN = 'layer { name: "r" type: "ReLU" bottom: "nothing" top: "r" }\n'
WARPED = SMALL.replace("small", "warped") + 'layer { name: "w" type: "Warp" bottom: "fc" top: "w" }\n'


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the tests name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.prototxt").write_text(SMALL)
    Path("wide.prototxt").write_text(SMALL.replace("small", "wide").replace("num_output: 2", "num_output: 4"))
    Path("broken.prototxt").write_text(BROKEN)
    Path("warped.prototxt").write_text(WARPED)
    proto = NetParameter(name="model")
    for name, size in (("a", 3), ("b", 40), ("c", 5)):
        blob = proto.layer.add(name=name, type="Convolution").blobs.add()
        blob.shape.dim.append(size)
        blob.data.extend([0.0] * size)
    Path("net.caffemodel").write_bytes(proto.SerializeToString())


pytestmark = pytest.mark.usefixtures("files")


def run(capsys: Printed, *args: str) -> tuple[int, str, str]:
    code = main(["count", *args])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_files_are_set_side_by_side(capsys: Printed) -> None:
    code, out, err = run(capsys, "small.prototxt", "wide.prototxt")
    assert (code, err) == (0, "")
    lines = {line[:19].strip(): line[19:].split() for line in out.splitlines()}
    assert lines["figure"] == ["small", "wide"]
    assert lines["layers"] == ["3", "3"]
    assert lines["learnable params"] == [str(2 * 9 + 2 + 5 * 128 + 5), "1,325"]
    assert lines["MACs"] == [f"{2 * 64 * 9 + 5 * 128:,}", f"{4 * 64 * 9 + 5 * 256:,}"]


def test_a_file_that_cannot_be_read_does_not_hide_the_others(capsys: Printed) -> None:
    code, out, err = run(capsys, "small.prototxt", "broken.prototxt", "wide.prototxt", "none.prototxt")
    assert code == 2
    assert out.splitlines()[0].split() == ["figure", "small", "wide"]
    assert err == (
        "broken.prototxt: StaleBlob: ReLU 'r': bottom 'nothing' is not the top of any layer before\n"
        "  where:   broken.prototxt:1\n"
        "none.prototxt: FileError: cannot read 'none.prototxt': no such file or directory\n"
    )


def test_a_single_file_that_cannot_be_read_is_reported_as_before(capsys: Printed) -> None:
    code, out, err = run(capsys, "broken.prototxt")
    assert (code, out) == (2, "")
    assert err.startswith("StaleBlob: ReLU 'r': bottom 'nothing' is not the top of any layer before\n")


def test_nothing_is_printed_where_no_file_can_be_read(capsys: Printed) -> None:
    code, out, err = run(capsys, "broken.prototxt", "none.prototxt")
    assert (code, out, err.count("Error: ")) == (2, "", 1)


def test_columns_are_called_by_file_where_nets_have_one_name(capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", "./small.prototxt")
    assert out.splitlines()[0].split() == ["figure", "small.prototxt", "./small.prototxt"]


def test_a_model_among_nets_is_refused_and_the_nets_are_shown(capsys: Printed) -> None:
    code, out, err = run(capsys, "small.prototxt", "net.caffemodel", "wide.prototxt")
    assert (code, out.splitlines()[0].split()) == (2, ["figure", "small", "wide"])
    assert err == (
        "net.caffemodel: ConfigError: 'net.caffemodel' is not text; a .caffemodel holds stored parameters, "
        "and no net to set beside others\n"
        "  hint:    give it alone: netbuilder count net.caffemodel\n"
    )


def test_what_was_not_counted_is_listed_by_net(capsys: Printed) -> None:
    _, out, err = run(capsys, "small.prototxt", "warped.prototxt")
    lines = out.splitlines()
    macs = next(line for line in lines if line.startswith("MACs"))
    assert macs.split() == ["MACs", "1,792", ">=", "1,792"]
    assert lines[-2] == "warped: not counted: 1 layer"
    assert lines[-1].startswith("  w: dialect ")
    assert err == ""


@pytest.mark.parametrize("option", ["--per-layer", "--per_layer"])
def test_a_row_per_layer(option: str, capsys: Printed) -> None:
    code, out, _ = run(capsys, "small.prototxt", option)
    assert code == 0
    assert out.split("\n\n")[0] == (
        "layer   type          kernel    output     params   MACs  FLOPs  other ops  activations\n"
        "------  ------------  --------  ---------  ------  -----  -----  ---------  -----------\n"
        "data    Input                   (2,3,8,8)       0      0      0          0          192\n"
        "m/conv  Convolution   1x3 p0x1  (2,2,8,8)      20  1,152  2,304        128          128\n"
        "m/fc    InnerProduct            (2,5)         645    640  1,280          5            5\n"
        "total                                         665  1,792  3,584        133          325"
    )
    assert out.split("\n\n")[1].startswith("Number of params: ")


def test_a_row_per_block(capsys: Printed) -> None:
    code, out, err = run(capsys, "small.prototxt", "--by-block")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[2:5]] == [
        ["data", "1", "(2,3,8,8)", "0", "0", "0", "0", "192"],
        ["m", "2", "(2,5)", "665", "1,792", "3,584", "133", "133"],
        ["total", "3", "665", "1,792", "3,584", "133", "325"],
    ]


def test_a_file_without_blocks_is_reported(capsys: Printed) -> None:
    Path("flat.prototxt").write_text(SMALL.replace("m/", ""))
    code, _, err = run(capsys, "flat.prototxt", "--by-block")
    assert code == 0
    assert err == "the file names no blocks: a row is a layer, and what works on it in place\n"


@pytest.mark.parametrize("options", [["--sort", "macs"], ["--top", "2"], ["--receptive-field"]])
def test_what_is_about_rows_of_layers_brings_them(options: list[str], capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", *options)
    assert out.startswith("layer ")


def test_rows_are_sorted_and_the_rest_is_summed_up(capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", "--sort", "params", "--top", "1")
    lines = out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["m/fc", "2", "total"]
    assert lines[3].split() == ["2", "others", "20", "1,152", "2,304", "128", "320"]


def test_the_receptive_field_is_a_column_in_height_and_width(capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", "--receptive-field", "--format", "csv")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(out))}
    assert [(r["receptive_field"], r["jump"]) for r in rows.values()] == [
        ("1x1", "1"),
        ("1x3", "1"),
        ("whole", "-"),
    ]


@pytest.mark.parametrize("form", ["csv", "markdown", "latex"])
@pytest.mark.parametrize("rows", [[], ["--per-layer"], ["--by-block"]])
@pytest.mark.parametrize("names", [["warped.prototxt"], ["small.prototxt", "warped.prototxt"]])
def test_other_formats_are_one_table_and_talk_is_on_stderr(
    form: str, rows: list[str], names: list[str], capsys: Printed
) -> None:
    code, out, err = run(capsys, *names, *rows, "--format", form)
    assert code == 0
    lines = out.splitlines()
    about = "warped.prototxt: " if len(names) > 1 else ""
    assert err.startswith(f"{about}figures are at least\nnot counted: 1 layer\n  w: dialect ")
    if form == "csv":
        table = list(csv.reader(io.StringIO(out)))
        assert {len(row) for row in table} == {len(table[0])}
        assert (table[0][0] == "net") == bool(rows and len(names) > 1)
    elif form == "markdown":
        assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    else:
        assert (lines[1][:15], lines[-1]) == ("\\begin{tabular}", "\\end{tabular}")


def test_csv_of_several_nets_names_them_in_the_first_column(capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", "wide.prototxt", "--per-layer", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["net"], row["name"], row["macs"]) for row in rows] == [
        ("small", "data", "0"), ("small", "m/conv", "1152"), ("small", "m/fc", "640"),
        ("wide", "data", "0"), ("wide", "m/conv", "2304"), ("wide", "m/fc", "1280"),
    ]  # fmt: skip


def test_rows_of_several_nets_come_under_their_titles(capsys: Printed) -> None:
    _, out, _ = run(capsys, "small.prototxt", "wide.prototxt", "--per-layer")
    parts = out.split("\n\n")
    assert [part.splitlines()[0] for part in parts[:2]] == ["small, TEST, 3 layers", "wide, TEST, 3 layers"]
    assert parts[2].splitlines()[0].split() == ["figure", "small", "wide"]


def test_another_batch_changes_the_memory_alone(capsys: Printed) -> None:
    figures = []
    for options in ([], ["--batch", "8"]):
        _, out, _ = run(capsys, "small.prototxt", "--json", *options)
        figures.append(json.loads(out))
    two, eight = figures
    assert (two["batch"], eight["batch"]) == (2, 8)
    assert eight["layers"][1]["tops"][0]["shape"] == [8, 2, 8, 8]
    for key in ("learnable_params", "macs", "total_flops", "activations", "weight_bytes"):
        assert eight["totals"][key] == two["totals"][key]
    for key in ("activation_bytes", "peak_bytes"):
        assert eight["totals"][key] == 4 * two["totals"][key]


def test_a_batch_for_data_of_unknown_shape_needs_its_shape(capsys: Printed) -> None:
    Path("data.prototxt").write_text(
        'layer { name: "data" type: "Data" top: "data" data_param { source: "nowhere" batch_size: 64 } }\n'
    )
    code, out, err = run(capsys, "data.prototxt", "--batch", "8")
    assert (code, out) == (2, "")
    assert err == (
        "ConfigError: --batch needs the shapes of the data, which are not in the file\n"
        "  where:   data.prototxt\n"
        "  hint:    give them too, as in --input data=64,C,H,W\n"
    )
    code, out, _ = run(capsys, "data.prototxt", "--batch", "8", "--input", "data=64,3,4,4", "--json")
    assert (code, json.loads(out)["batch"]) == (0, 8)


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_batch_is_a_whole_number_from_1_on(number: str, capsys: Printed) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["count", "small.prototxt", f"--batch={number}"])
    assert ended.value.code == 2
    assert f"argument --batch: takes a whole number from 1 on, got '{number}'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "--sort", "macs"],
         "--sort and --top are for tables: JSON has every layer, in file order"),
        (["--by-block", "--receptive-field"],
         "--receptive-field is a figure of layers: give --per-layer, not --by-block"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(options: list[str], said: str, capsys: Printed) -> None:
    assert run(capsys, "small.prototxt", *options) == (2, "", f"ConfigError: {said}\n")


@pytest.mark.parametrize("option", ["--by-block", "--receptive-field", "--batch=2", "--input=data=1"])
def test_a_model_has_no_shapes_of_blobs(option: str, capsys: Printed) -> None:
    name = option.partition("=")[0]
    said = f"ConfigError: {name} is for a prototxt file: a .caffemodel stores no input shapes\n"
    assert run(capsys, "net.caffemodel", option) == (2, "", said)


def test_a_model_is_sorted_and_formatted_like_a_net(capsys: Printed) -> None:
    _, out, _ = run(capsys, "net.caffemodel", "--sort", "params", "--top", "1", "--format", "markdown")
    assert out == (
        "| layer | type | blobs | stored params |\n"
        "| --- | --- | --- | ---: |\n"
        "| b | Convolution | (40) | 40 |\n"
        "| 2 others |  |  | 8 |\n"
        "| total |  |  | 48 |\n"
    )
    said = "ConfigError: --sort macs is for a prototxt file: a .caffemodel stores parameters only\n"
    assert run(capsys, "net.caffemodel", "--sort", "macs") == (2, "", said)


def test_building_a_net_tells_what_its_blocks_cost(capsys: Printed) -> None:
    arguments = ["build", "cifar_resnet", "-m", "normal", "-n", "1", "-o", "cifar_8", "--by-block"]
    assert main(arguments) == 0
    built = capsys.readouterr().out.split("\n\n")[0]
    _, read, _ = run(capsys, "cifar_8/train.prototxt", "--phase", "TRAIN", "--by-block")
    assert built == read.split("\n\n")[0]
    names = [line.split()[0] for line in built.splitlines()[2:]]
    assert names == ["data", "stem", "stage0_block0", "stage1_block0", "stage2_block0", "head", "total"]
    assert main([*arguments, "--json"]) == 0
    blocks = json.loads(capsys.readouterr().out)["counts"]["blocks"]
    assert [block["name"] for block in blocks] == names[:-1]
    assert blocks[1]["macs"] == 32 * 32 * 16 * 27
