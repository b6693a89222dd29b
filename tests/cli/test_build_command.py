"""The command as its users meet it: what it prints, what it writes, and what it says of mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netbuilder import __version__
from netbuilder.cli.main import main
from netbuilder.errors import ConfigError, FileError, NetBuilderError
from netbuilder.networks import NETWORKS, find_network
from netbuilder.networks.registry import parse_size
from tests.command import Command, Ran

ROOT = Path(__file__).parents[2]
IMAGENET = ROOT / "app" / "imagenet" / "build_resnet.py"
CIFAR = ROOT / "app" / "cifar10" / "build_resnet.py"
FILES = ["deploy.prototxt", "test.prototxt", "train.prototxt"]
RESNET_50 = ["build", "resnet", "--main_branch", "bottleneck", "-n", "256"]
TINY = ["build", "cifar_resnet", "-m", "normal", "-n", "1"]


@pytest.fixture
def netbuilder(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="module")
def resnet_50(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of ResNet-50, to be read only."""
    folder = tmp_path_factory.mktemp("resnet_50")
    assert main([*RESNET_50, "-o", str(folder)]) == 0
    return folder


def script(path: Path, *args: str | Path, cwd: Path | None = None) -> Ran:
    ran = subprocess.run(
        [sys.executable, path, *args], capture_output=True, text=True, cwd=cwd, check=False, timeout=60
    )
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


# ---- what is printed and written ---------------------------------------------------------------------------


def test_the_tutorials_command_prints_its_two_lines(tmp_path: Path) -> None:
    flags = ["-m", "bottleneck", "-b", "3", "4", "6", "3", "-n", "256", "--no-fc_layers", "-o", "resnet_50"]
    ran = script(IMAGENET, *flags, cwd=tmp_path)
    assert ran.out.splitlines()[:3] == [
        "Number of params: 25.556032 Million",
        "Number of flops: 3858.026368 Million",
        "",
    ]
    assert ran.code == 0
    assert names(tmp_path / "resnet_50") == FILES


def test_the_cifar_script_prints_its_two_lines(tmp_path: Path) -> None:
    ran = script(CIFAR, "-m", "normal", "-n", "18", "-o", "out", cwd=tmp_path)
    assert ran.out.splitlines()[:2] == [
        "Number of params: 1.730704 Million",
        "Number of flops: 253.158112 Million",
    ]
    assert ran.code == 0
    assert names(tmp_path / "out") == FILES


def test_the_table_names_each_convention_with_its_figure(netbuilder: Command, tmp_path: Path) -> None:
    ran = netbuilder(*RESNET_50, "--conv_bias", "-o", tmp_path)
    rows = {
        line[:19].rstrip(): line[19:].split()[0] for line in ran.out.splitlines()[5:] if line[19:].strip()
    }
    published = {
        "learnable params": "25,583,592",
        "stored params": "25,636,765",
        "MACs": "3,857,973,248",
        "FLOPs": "7,715,946,496",
        "pynetbuilder params": "25,556,032",
        "pynetbuilder flops": "3,858,026,368",
    }
    assert {name: rows[name] for name in published} == published


def test_figures_go_to_stdout_and_the_list_of_files_to_stderr(netbuilder: Command, tmp_path: Path) -> None:
    ran = netbuilder(*TINY, "-o", tmp_path)
    assert ran.err == "".join(
        f"wrote {tmp_path / f'{phase}.prototxt'}\n" for phase in ("train", "test", "deploy")
    )
    assert "wrote" not in ran.out


def test_every_python_process_writes_the_same_bytes(tmp_path: Path, netbuilder: Command) -> None:
    script(CIFAR, "-m", "normal", "-n", "1", "-o", tmp_path / "there")
    netbuilder(*TINY, "-o", tmp_path / "here")
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_the_net_its_input_and_its_layers_are_named_under_the_two_lines(
    netbuilder: Command, tmp_path: Path
) -> None:
    # The layers from data to fc1000 are 228; the train net has a loss as well.
    assert netbuilder(*RESNET_50, "-o", tmp_path).out.splitlines()[3] == (
        "resnet_50, input 3x224x224, 229 layers"
    )


def test_missing_folders_are_made(netbuilder: Command, tmp_path: Path) -> None:
    assert netbuilder(*TINY, "-o", tmp_path / "a" / "b").code == 0
    assert names(tmp_path / "a" / "b") == FILES


def test_the_verb_writes_the_same_bytes_as_the_script(resnet_50: Path, tmp_path: Path) -> None:
    script(IMAGENET, "-m", "bottleneck", "-n", "256", "-o", tmp_path)
    assert contents(resnet_50) == contents(tmp_path)


def test_the_header_says_who_made_the_file_and_with_which_settings(resnet_50: Path) -> None:
    lines = (resnet_50 / "train.prototxt").read_text(encoding="utf-8").splitlines()
    header = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
    assert header[0] == f"# Made by netbuilder {__version__}"
    assert set(header[1:]) >= {
        "# network: resnet",
        "#   main_branch: bottleneck",
        "#   num_output_stage1: 256",
        "#   blocks: 3 4 6 3",
        "#   fc_layers: false",
        "#   stride_in: 1x1",
        "#   conv_bias: false",
        "#   classes: 1000",
    }


def test_classes_and_input_size_shape_the_net(netbuilder: Command, tmp_path: Path) -> None:
    options = ["--classes", "10", "--input_size", "160x256", "--json"]
    data = json.loads(netbuilder(*RESNET_50, *options, "-o", tmp_path).out)
    layers = {layer["name"]: layer for layer in data["counts"]["layers"]}
    assert layers["data"]["tops"][0]["shape"] == [1, 3, 160, 256]
    # 160x256 over 32 is 5x8, which the last pooling must cover whole.
    assert layers["pool"]["bottoms"][0]["shape"] == [1, 2048, 5, 8]
    assert layers["fc10"]["tops"][0]["shape"] == [1, 10]


def test_fc_layers_and_its_negation_are_both_flags(netbuilder: Command, tmp_path: Path) -> None:
    one_each = ["build", "resnet", "-m", "bottleneck", "-b", "1", "1"]
    netbuilder(*one_each, "--fc_layers", "-o", tmp_path / "with")
    netbuilder(*one_each, "--no-fc_layers", "-o", tmp_path / "without")
    assert b'"conv_1by1_4096"' in (tmp_path / "with" / "train.prototxt").read_bytes()
    assert b'"conv_1by1_4096"' not in (tmp_path / "without" / "train.prototxt").read_bytes()


def test_deploy_has_an_input_and_probabilities_and_no_labels(netbuilder: Command, tmp_path: Path) -> None:
    netbuilder(*TINY, "-o", tmp_path)
    ran = netbuilder("count", tmp_path / "deploy.prototxt", "--json")
    layers = json.loads(ran.out)["layers"]
    assert [layer["type"] for layer in (layers[0], layers[-2], layers[-1])] == [
        "Input", "InnerProduct", "Softmax",
    ]  # fmt: skip
    assert layers[-1]["tops"] == [{"name": "prob", "shape": [1, 10]}]
    assert not {"MemoryData", "SoftmaxWithLoss", "Accuracy"} & {layer["type"] for layer in layers}


# ---- JSON --------------------------------------------------------------------------------------------------


def test_json_of_a_build_says_what_was_built_where_and_what_it_costs(
    netbuilder: Command, tmp_path: Path
) -> None:
    ran = netbuilder(*RESNET_50, "--json", "-o", tmp_path)
    data = json.loads(ran.out)
    assert data["network"] == "resnet"
    assert data["config"]["main_branch"] == "bottleneck"
    assert data["config"]["blocks"] == [3, 4, 6, 3]
    assert data["files"] == {p: str(tmp_path / f"{p}.prototxt") for p in ("train", "test", "deploy")}
    assert data["counts"]["totals"]["pynetbuilder_params"] == 25_556_032
    assert names(tmp_path) == FILES


def test_json_of_a_count_keeps_its_contract(netbuilder: Command, resnet_50: Path) -> None:
    data = json.loads(netbuilder("count", resnet_50 / "test.prototxt", "--json").out)
    assert {"name", "phase", "batch", "totals", "layers", "uncounted"} <= set(data)
    assert (data["name"], data["phase"], data["batch"]) == ("resnet_50", "TEST", 1)
    published = {
        "learnable_params": 25_557_032,
        "macs": 3_857_973_248,
        "flops": 2 * 3_857_973_248,
        "pynetbuilder_params": 25_556_032,
        "pynetbuilder_flops": 3_858_026_368,
    }
    assert {key: data["totals"][key] for key in published} == published
    assert {"stored_params", "activations"} <= set(data["totals"])
    assert data["uncounted"] == []


def test_json_describes_a_layer_by_its_blobs_its_params_and_its_cost(
    netbuilder: Command, resnet_50: Path
) -> None:
    data = json.loads(netbuilder("count", resnet_50 / "deploy.prototxt", "--json").out)
    fc = {layer["name"]: layer for layer in data["layers"]}["fc1000"]
    assert fc.pop("total_flops") == 2 * 2_048_000 + 1000  # and the bias
    expected = {
        "name": "fc1000",
        "type": "InnerProduct",
        "bottoms": [{"name": "pool", "shape": [1, 2048, 1, 1]}],
        "tops": [{"name": "fc1000", "shape": [1, 1000]}],
        "params": [{"shape": [1000, 2048], "learnable": True}, {"shape": [1000], "learnable": True}],
        "macs": 2_048_000,
        "flops": 2 * 2_048_000,
    }
    assert {key: fc[key] for key in expected} == expected


def test_json_says_that_the_statistics_of_batchnorm_are_not_learnable(
    netbuilder: Command, tmp_path: Path
) -> None:
    netbuilder(*TINY, "-o", tmp_path)
    data = json.loads(netbuilder("count", tmp_path / "train.prototxt", "--json").out)
    bn = next(layer for layer in data["layers"] if layer["name"] == "bn_1")
    assert bn["params"] == [{"shape": shape, "learnable": False} for shape in ([16], [16], [1])]


def test_the_layers_of_the_json_add_up_to_its_totals(netbuilder: Command, resnet_50: Path) -> None:
    data = json.loads(netbuilder("count", resnet_50 / "train.prototxt", "--json").out)
    layers, totals = data["layers"], data["totals"]
    assert sum(layer["macs"] for layer in layers) == totals["macs"]
    assert sum(layer["flops"] for layer in layers) == totals["flops"]
    assert sum(layer["total_flops"] for layer in layers) == totals["total_flops"]


# ---- count -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["train", "test", "deploy"])
def test_count_of_a_written_file_gives_the_figures_of_the_build(
    netbuilder: Command, resnet_50: Path, phase: str
) -> None:
    assert netbuilder("count", resnet_50 / f"{phase}.prototxt").out.splitlines()[:2] == [
        "Number of params: 25.556032 Million",
        "Number of flops: 3858.026368 Million",
    ]


def test_count_of_the_train_file_gives_every_total_of_the_build(netbuilder: Command, tmp_path: Path) -> None:
    built = json.loads(netbuilder(*TINY, "--json", "-o", tmp_path).out)["counts"]
    ran = netbuilder("count", tmp_path / "train.prototxt", "--phase", "TRAIN", "--json")
    assert json.loads(ran.out) == built


def test_a_missing_file_is_named(netbuilder: Command, tmp_path: Path) -> None:
    path = tmp_path / "none.prototxt"
    assert netbuilder("count", path) == Ran(
        2, "", f"FileError: cannot read '{path}': no such file or directory\n"
    )


def test_a_folder_is_not_a_prototxt(netbuilder: Command, tmp_path: Path) -> None:
    assert netbuilder("count", tmp_path) == Ran(
        2,
        "",
        f"FileError: there is no .prototxt file in the folder '{tmp_path}'\n"
        "  hint:    name a prototxt file, - for stdin, or the name of a config\n",
    )


def test_a_binary_file_that_is_not_a_model_is_refused(netbuilder: Command, tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(b"\n\x04\xff\xfe")
    ran = netbuilder("count", path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"PrototxtError: '{path}' is cut short or damaged in the net's name")


def test_an_unknown_layer_type_is_listed_as_not_counted_with_the_nearest(
    netbuilder: Command, tmp_path: Path
) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 } } }\n'
        'layer { name: "a" type: "Relu" bottom: "x" top: "y" }\n',
        encoding="utf-8",
    )
    ran = netbuilder("count", path)
    assert ran.code == 0
    assert ran.out.endswith("  a: dialect any has no layer type Relu: did you mean ReLU?\n")


BROKEN = {
    "an unknown field": (
        'layer {\n  name: "a"\n  type: "ReLU"\n  botom: "x"\n}\n',
        "PrototxtError: LayerParameter has no field 'botom'\n  where:   {path}:4:3\n"
        "  hint:    did you mean 'bottom'?\n",
    ),
    "an unclosed brace": (
        '\nlayer {\n  name: "a"\n  type: "ReLU"\n',
        "PrototxtError: 'layer' is opened here and never closed: expected '}}' before the end of the file\n"
        "  where:   {path}:2:1\n",
    ),
    "an unknown bottom": (
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 } } }\n'
        'layer { name: "a" type: "ReLU" bottom: "date" top: "y" }\n',
        "StaleBlob: ReLU 'a': bottom 'date' is not the top of any layer before\n  where:   {path}:2\n"
        "  hint:    did you mean 'data'?\n",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_prototxt_is_refused_with_its_line(netbuilder: Command, tmp_path: Path, what: str) -> None:
    text, message = BROKEN[what]
    path = tmp_path / "net.prototxt"
    path.write_text(text, encoding="utf-8")
    assert netbuilder("count", path) == Ran(2, "", message.format(path=path))


# ---- writing -----------------------------------------------------------------------------------------------


def test_a_second_run_replaces_our_files_with_the_same_bytes(netbuilder: Command, tmp_path: Path) -> None:
    netbuilder(*TINY, "-o", tmp_path)
    first = contents(tmp_path)
    assert netbuilder(*TINY, "-o", tmp_path).code == 0
    assert contents(tmp_path) == first


def test_another_net_replaces_our_files(netbuilder: Command, tmp_path: Path) -> None:
    netbuilder("build", "resnet", "-m", "bottleneck", "-b", "1", "-o", tmp_path)
    assert netbuilder(*TINY, "-o", tmp_path).code == 0
    assert names(tmp_path) == FILES
    assert all(b"# network: cifar_resnet\n" in text for text in contents(tmp_path).values())


def test_a_foreign_file_in_the_way_is_refused_and_left_alone(netbuilder: Command, tmp_path: Path) -> None:
    foreign = tmp_path / "test.prototxt"
    foreign.write_text('name: "mine"\n', encoding="utf-8")
    assert netbuilder(*TINY, "-o", tmp_path) == Ran(
        2,
        "",
        f"FileError: '{foreign}' is in the way, and netbuilder did not write it\n"
        "  hint:    choose another output folder, or use --force to replace it\n",
    )
    assert contents(tmp_path) == {"test.prototxt": b'name: "mine"\n'}


def test_an_empty_file_in_the_way_is_somebody_elses(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").touch()
    assert netbuilder(*TINY, "-o", tmp_path).code == 2
    assert contents(tmp_path) == {"deploy.prototxt": b""}


def test_force_replaces_a_foreign_file(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "test.prototxt").write_text('name: "mine"\n', encoding="utf-8")
    assert netbuilder(*TINY, "--force", "-o", tmp_path).code == 0
    assert names(tmp_path) == FILES
    assert b'"mine"' not in (tmp_path / "test.prototxt").read_bytes()


def test_other_files_in_the_folder_are_left_alone(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "solver.prototxt").write_text("base_lr: 0.1\n", encoding="utf-8")
    assert netbuilder(*TINY, "-o", tmp_path).code == 0
    assert contents(tmp_path)["solver.prototxt"] == b"base_lr: 0.1\n"


def test_a_folder_of_a_files_name_is_refused_before_anything_is_written(
    netbuilder: Command, tmp_path: Path
) -> None:
    (tmp_path / "test.prototxt").mkdir()
    assert netbuilder(*TINY, "-o", tmp_path) == Ran(
        2,
        "",
        f"FileError: cannot write '{tmp_path / 'test.prototxt'}': it is a folder\n"
        "  hint:    choose another output folder\n",
    )
    assert names(tmp_path) == ["test.prototxt"]


def test_a_folder_of_a_files_name_is_refused_with_force_too_before_anything_is_written(
    netbuilder: Command, tmp_path: Path
) -> None:
    (tmp_path / "test.prototxt").mkdir()
    assert netbuilder(*TINY, "--force", "-o", tmp_path) == Ran(
        2,
        "",
        f"FileError: cannot write '{tmp_path / 'test.prototxt'}': it is a folder\n"
        "  hint:    choose another output folder\n",
    )
    assert names(tmp_path) == ["test.prototxt"]


def test_an_output_folder_that_is_a_file_is_refused(netbuilder: Command, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("mine", encoding="utf-8")
    assert netbuilder(*TINY, "-o", file) == Ran(
        2,
        "",
        f"FileError: cannot make the folder '{file}': there is a file of that name\n"
        "  hint:    choose another output folder\n",
    )
    assert contents(tmp_path) == {"out": b"mine"}


def test_an_output_folder_that_cannot_be_made_is_refused(netbuilder: Command, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")  # not even root can make a folder below a file
    assert netbuilder(*TINY, "-o", file / "below") == Ran(
        2,
        "",
        f"FileError: cannot make the folder '{file / 'below'}': not a directory\n"
        "  hint:    choose another output folder\n",
    )
    assert contents(tmp_path) == {"file": b"mine"}


def test_nothing_is_left_when_the_disk_refuses_the_last_file(
    netbuilder: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, *args: Any, **kwargs: Any) -> int:
        if "deploy" in self.name:
            raise OSError(28, "No space left on device")
        return write_bytes(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = netbuilder(*TINY, "-o", tmp_path)
    assert ran.err == (
        f"FileError: cannot write '{tmp_path / 'deploy.prototxt'}': no space left on device\n"
        "  hint:    choose another output folder\n"
    )
    assert contents(tmp_path) == {}


# ---- wrong combinations ------------------------------------------------------------------------------------

REFUSED = {
    "normal with the default width": (
        ["resnet", "-m", "normal"],
        "ConfigError: -m normal needs -n 64, got 128: the first block of stage 0 adds the 64 channels of the "
        "stem to its own 128 through an identity shortcut\n"
        "  hint:    use -n 64, or a bottleneck branch, which projects there\n",
    ),
    "inception_trick with 256": (
        ["resnet", "-m", "inception_trick", "-n", "256"],
        "ConfigError: -m inception_trick needs -n 64, got 256: the first block of stage 0 adds the 64 "
        "channels of the stem to its own 256 through an identity shortcut\n"
        "  hint:    use -n 64, or a bottleneck branch, which projects there\n",
    ),
    "a bottleneck of no quarter": (
        ["resnet", "-m", "bottleneck", "-n", "130"],
        "ConfigError: -n must be a multiple of 4 for -m bottleneck, got 130: the inner convolutions have a "
        "quarter of the width\n  hint:    use -n 128\n",
    ),
    "stride_in without a bottleneck": (
        ["resnet", "-m", "normal", "-n", "64", "--stride_in", "3x3"],
        "ConfigError: stride_in 3x3 needs a bottleneck; main_branch normal has no 1x1\n"
        "  hint:    leave stride_in out, or take main_branch bottleneck or inception_trick_bottleneck\n",
    ),
    "a stage without blocks": (
        ["resnet", "-m", "bottleneck", "-b", "3", "0", "6", "3"],
        "ConfigError: blocks must be one number of at least 1 per stage, got 3 0 6 3\n",
    ),
    "no classes": (
        ["resnet", "-m", "bottleneck", "--classes", "0"],
        "ConfigError: classes must be at least 1, got 0\n",
    ),
    "an empty image": (
        ["resnet", "-m", "bottleneck", "--input_size", "0x224"],
        "ConfigError: input_size must be at least 1x1, got 0x224\n",
    ),
    "a CIFAR net without blocks": (
        ["cifar_resnet", "-m", "normal", "-n", "0"],
        "ConfigError: N must be at least 1, got 0\n",
    ),
    "a CIFAR net with stride_in without a bottleneck": (
        ["cifar_resnet", "-m", "inception_trick", "-n", "3", "--stride_in", "3x3"],
        "ConfigError: stride_in 3x3 needs a bottleneck; main_branch inception_trick has no 1x1\n"
        "  hint:    leave stride_in out, or take main_branch bottleneck or inception_trick_bottleneck\n",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_combination_is_refused_before_anything_is_written(
    netbuilder: Command, tmp_path: Path, what: str
) -> None:
    flags, message = REFUSED[what]
    assert netbuilder("build", *flags, "-o", tmp_path / "out") == Ran(2, "", message)
    assert names(tmp_path) == []


BAD_FLAGS = {
    "no size": (
        ["resnet", "-m", "bottleneck", "--input_size", "big"],
        "ConfigError: argument --input_size: input_size must be a number or HEIGHTxWIDTH, got 'big'",
    ),
    "no number": (
        ["resnet", "-m", "bottleneck", "-n", "many"],
        "ConfigError: argument -n/--num_output_stage1: invalid int value: 'many'",
    ),
    "no main branch": (
        ["resnet"],
        "ConfigError: build resnet takes -m/--main_branch",
    ),
}


@pytest.mark.parametrize("what", BAD_FLAGS)
def test_a_bad_flag_is_refused_before_anything_is_written(
    netbuilder: Command, tmp_path: Path, what: str
) -> None:
    flags, message = BAD_FLAGS[what]
    ran = netbuilder("build", *flags, "-o", tmp_path / "out")
    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", message)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "args",
    [
        ["resnet", "-m", "botleneck"],
        ["resnet", "-m", "bottleneck", "--stride_in", "5x5"],
        ["resnet", "-m", "bottleneck", "--dialect", "caffe2"],
    ],
)
def test_an_unknown_word_is_refused_and_the_known_ones_are_listed(
    netbuilder: Command, tmp_path: Path, args: list[str]
) -> None:
    ran = netbuilder("build", *args, "-o", tmp_path / "out")
    words = {
        "botleneck": (
            "main_branch must be one of normal, bottleneck, inception_trick, inception_trick_bottleneck, "
            "got 'botleneck'\n  hint:    did you mean 'bottleneck'?"
        ),
        "5x5": "stride_in must be one of 1x1, 3x3, got '5x5'",
        "caffe2": "dialect must be one of caffe-1.0, caffe-master, caffe-cudnn, caffeonspark, nvcaffe, "
        "intel, ssd, got 'caffe2'",
    }
    assert ran == Ran(2, "", f"ConfigError: {words[args[-1]]}\n")
    assert names(tmp_path) == []


def test_an_unknown_network_or_config_is_refused_with_the_nearest(
    netbuilder: Command, tmp_path: Path
) -> None:
    assert netbuilder("build", "resnt", "-o", tmp_path / "out") == Ran(
        2, "",
        "ConfigError: no network or config is named 'resnt'\n  hint:    did you mean 'resnet'?\n",
    )  # fmt: skip
    assert names(tmp_path) == []


def test_a_number_of_classes_that_clashes_with_the_fc_stage_is_refused(
    netbuilder: Command, tmp_path: Path
) -> None:
    ran = netbuilder(*RESNET_50, "--fc_layers", "--classes", "2048", "-o", tmp_path / "out")
    assert ran == Ran(
        2,
        "",
        "ConfigError: with fc_layers, classes 2048 would give two layers the name conv_1by1_2048\n"
        "  hint:    leave fc_layers out, or take another number of classes\n",
    )
    assert names(tmp_path) == []


def test_a_file_without_layers_is_not_counted_as_zero(netbuilder: Command, tmp_path: Path) -> None:
    path = tmp_path / "empty.prototxt"
    path.write_text('name: "nothing"\n', encoding="utf-8")
    assert netbuilder("count", path) == Ran(
        2, "", f"PrototxtError: there is no layer for phase TEST in this file\n  where:   {path}\n"
    )


@pytest.mark.parametrize("size", ["1", "2"])
def test_an_image_too_small_for_the_stem_is_refused(netbuilder: Command, tmp_path: Path, size: str) -> None:
    # conv_1 leaves 1x1, and pool1 (3x3, stride 2, no pad) makes 0x0 of it: ceil((1 - 3) / 2) + 1.
    ran = netbuilder(*RESNET_50, "--input_size", size, "-o", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert "the bottom is empty, (1,256,0,0): Caffe cannot process an empty blob" in ran.err
    assert names(tmp_path) == []


def test_the_smallest_image_that_leaves_one_pixel_is_built(netbuilder: Command, tmp_path: Path) -> None:
    assert netbuilder(*RESNET_50, "--input_size", "3", "-o", tmp_path / "out").code == 0


def test_an_unknown_main_branch_in_a_config_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as refused:
        find_network("resnet").config(main_branch="botleneck", num_output_stage1=256)
    assert str(refused.value) == (
        "main_branch must be one of normal, bottleneck, inception_trick, inception_trick_bottleneck, "
        "got 'botleneck'\n  hint:    did you mean 'bottleneck'?"
    )
    assert refused.value.key == "main_branch"


def test_an_unknown_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as refused:
        find_network("resnt")
    assert str(refused.value) == (
        f"unknown network 'resnt': there are {', '.join(sorted(NETWORKS))}\n  hint:    did you mean 'resnet'?"
    )


@pytest.mark.parametrize("text", ["", "x", "224x", "x224", "224x224x3", "-1", "22.4", "224 x 224"])
def test_a_size_that_is_neither_a_number_nor_two_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_size(text)
    assert str(refused.value) == f"input_size must be a number or HEIGHTxWIDTH, got '{text}'"


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("160x256", (160, 256))])
def test_a_size_is_one_number_or_height_by_width(text: str, size: tuple[int, int]) -> None:
    assert parse_size(text) == size


# ---- debug -------------------------------------------------------------------------------------------------


def test_a_mistake_shows_no_traceback(tmp_path: Path) -> None:
    ran = script(IMAGENET, "-m", "normal", "-o", tmp_path / "out")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == REFUSED["normal with the default width"][1]


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    ran = script(IMAGENET, "-m", "normal", "--debug", "-o", tmp_path / "out")
    assert ran.code != 0
    assert ran.err.startswith("Traceback (most recent call last):\n")
    assert "ConfigError: -m normal needs -n 64, got 128" in ran.err


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["build", "resnet", "-m", "normal", "-o", "out", "--debug"], ConfigError),
        (["--debug", "build", "resnet", "-m", "normal", "-o", "out"], ConfigError),
        (["count", "none.prototxt", "--debug"], FileError),
    ],
)
def test_debug_lets_the_error_through_wherever_it_stands(
    args: list[str], error: type[NetBuilderError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        main(args)


def test_a_right_command_is_not_changed_by_debug(netbuilder: Command, tmp_path: Path) -> None:
    plain = netbuilder(*TINY, "-o", tmp_path)
    assert netbuilder(*TINY, "--debug", "-o", tmp_path) == plain


def test_version_is_printed(netbuilder: Command) -> None:
    assert netbuilder("--version") == Ran(0, f"netbuilder {__version__}\n", "")
