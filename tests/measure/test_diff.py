"""Differences of two nets, by hand on small ones; files of all formats and forks."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder import Net, prototxt
from netbuilder.cli.main import main
from netbuilder.measure.diff import diff


def small(name: str = "c", num_output: int = 4, stride: int = 1) -> Net:
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    x = net.add("Convolution", x, name=name, num_output=num_output, kernel_size=3, stride=stride)
    x = net.add("ReLU", x, name="relu", in_place=True)
    net.add(
        "InnerProduct",
        net.add("Pooling", x, name="pool", pool="AVE", global_pooling=True),
        name="fc",
        num_output=2,
    )
    return net


def test_a_net_is_the_same_as_itself() -> None:
    found = diff(small(), small())
    assert found.same
    assert found.weights_fit
    assert found.costs == {}


def test_a_changed_field_is_reported_with_its_shapes_and_cost_and_weights_still_fit() -> None:
    found = diff(small(), small(stride=2))
    assert [c.layer for c in found.changed] == ["c", "relu"]
    conv = found.changed[0]
    assert conv.tops == ((("c", (1, 4, 6, 6)),), (("c", (1, 4, 3, 3)),))
    assert conv.params is None
    assert found.costs["macs"] == (4 * 36 * 27 + 8, 4 * 9 * 27 + 8)
    assert found.weights_fit


def test_a_wider_layer_has_other_parameters_on_which_caffe_aborts() -> None:
    found = diff(small(), small(num_output=5))
    assert found.refused == ("c", "fc")
    assert not found.weights_fit


def test_a_renamed_layer_is_found_and_its_weights_are_lost() -> None:
    found = diff(small(), small(name="conv1"))
    assert found.renamed == (("c", "conv1"),)
    assert (found.removed, found.added) == ((), ())
    assert found.unfilled == ("conv1",)


def test_added_and_removed_layers() -> None:
    longer = small()
    longer.add("Softmax", longer.blobs["fc"], name="prob")
    assert diff(small(), longer).added == ("prob",)
    assert diff(longer, small()).removed == ("prob",)
    assert diff(small(), longer).weights_fit


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.prototxt", tmp_path / "b.prototxt"
    prototxt.write(small(), first)
    prototxt.write(small(name="conv1", num_output=5), second)
    assert main(["diff", str(first), str(first)]) == 0
    assert capsys.readouterr().out == "the nets are the same\n\nweights of A fit B\n"
    assert main(["diff", str(first), str(second)]) == 1
    printed = capsys.readouterr().out
    assert (
        "\n\n- c\n+ conv1\n~ relu\n    bottoms:\n      A c\n      B conv1\n"
        "    tops:\n      A c (1,4,6,6)\n      B conv1 (1,5,6,6)\n"
    ) in printed
    assert printed.startswith(
        "1 layer only in A, 1 layer only in B, 3 layers changed\n"
        "weights of A do not fit B: Caffe aborts on fc, whose parameters have other shapes; "
        "nothing is loaded into conv1, for want of a layer of that name\n"
    )
    assert main(["diff", str(first), str(second), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert (data["version"], data["same"], data["weights_fit"], list(data["phases"])) == (
        1,
        False,
        False,
        ["TEST"],
    )
    test = data["phases"]["TEST"]
    assert (test["removed"], test["added"], test["weights_fit"]) == (["c"], ["conv1"], False)
    assert main(["diff", str(first), str(tmp_path / "none")]) == 2


TRAIN_VAL = """
layer { name: "data" type: "DATA_TYPE" top: "data" top: "label" include { phase: TRAIN } DATA_PARAM }
layer { name: "data" type: "DATA_TYPE" top: "data" top: "label" include { phase: TEST } DATA_PARAM }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "perm" type: "Permute" bottom: "conv" top: "perm" permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "mine" type: "MyWarp" bottom: "perm" top: "mine" my_warp_param { size: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }
"""


def train_val(tmp_path: Path, name: str, text: str, own: str = "Data", param: str = "") -> str:
    path = tmp_path / name
    param = param or 'data_param { source: "db" batch_size: 4 }'
    path.write_text(text.replace("DATA_TYPE", own).replace("DATA_PARAM", param), encoding="utf-8")
    return str(path)


def test_files_of_both_phases_and_with_forks_layers_are_compared_in_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train_val(tmp_path, "a.prototxt", TRAIN_VAL)
    changed = TRAIN_VAL.replace('size: 3 } }\nlayer { name: "loss', 'size: 4 } }\nlayer { name: "loss')
    accuracy = 'layer { name: "acc" type: "Accuracy" bottom: "conv" bottom: "label" include { phase: TRAIN } top: "acc" }'
    second = train_val(tmp_path, "b.prototxt", changed + accuracy)
    assert main(["diff", first, first]) == 0
    assert capsys.readouterr().out == "the nets are the same\n\nweights of A fit B\n"
    assert main(["diff", first, second]) == 1
    mine = (
        '~ mine\n    fields:\n      A type: "MyWarp" my_warp_param { size: 3 }\n'
        '      B type: "MyWarp" my_warp_param { size: 4 }\n'
    )
    # The label (4) is 16 bytes; with a second reader Caffe splits it into two more.
    table = "\n".join(
        [
            "figure             A   B  B - A",
            "----------------  --  --  -----",
            "caffe_data_bytes  16  48    +32",
        ]
    )
    fits = "weights of A fit B\n\n"
    train = f"TRAIN:\n1 layer only in B, 1 layer changed\n{fits[:-1]}\n{table}\n\n+ acc\n{mine}"
    assert capsys.readouterr().out == f"{train}\nTEST:\n1 layer changed\n{fits}{mine}"
    assert main(["diff", first, second, "--phase", "TEST"]) == 1
    assert capsys.readouterr().out == f"1 layer changed\n{fits}{mine}"


def test_shapes_that_one_file_does_not_know_are_not_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = "".join(line + "\n" for line in TRAIN_VAL.splitlines() if "perm" not in line)
    memory = "memory_data_param { batch_size: 4 channels: 3 height: 3 width: 3 }"
    first = train_val(tmp_path, "a.prototxt", plain)
    second = train_val(tmp_path, "b.prototxt", plain, "MemoryData", memory)
    assert main(["diff", first, second, "--phase", "TRAIN"]) == 1
    said = capsys.readouterr().out
    assert said == (
        "1 layer changed\n"
        "weights of A fit B, as far as their shapes are known\n"
        "one of the nets does not know the shapes of data, conv, loss: give those of its data by --input\n\n"
        '~ data\n    fields:\n      A type: "Data" include { phase: TRAIN } data_param { source: "db" batch_size: 4 }\n'
        f'      B type: "MemoryData" include {{ phase: TRAIN }} {memory}\n'
    )
    shapes = ["--input", "data=4,3,3,3", "--input", "label=4"]
    assert main(["diff", first, second, "--phase", "TRAIN", *shapes]) == 1
    said = capsys.readouterr().out
    assert said.startswith("1 layer changed\nweights of A fit B\n\n~ data")
    assert said.endswith("}\n")


@pytest.mark.parametrize(("pair", "code"), [(("lenet_v1", "lenet_v1"), 0), (("lenet_v1", "lenet_v0"), 1)])
def test_files_of_the_old_formats_are_compared(pair: tuple[str, str], code: int) -> None:
    folder = Path(__file__).parents[1] / "ground_truth" / "formats"
    assert main(["diff", *(str(folder / f"{name}.prototxt") for name in pair)]) == code


def test_a_layer_of_the_same_name_without_parameters_is_refused_by_caffe() -> None:
    bare = Net("n")
    x = bare.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    x = bare.add("ReLU", x, name="c")
    found = diff(bare, small())
    assert found.refused == ("c",)
    assert found.unfilled == ("fc",)
