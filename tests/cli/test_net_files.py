"""Names, configs, folders and stdin in the place of a file."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from tests.command import Command
from tests.installation import require_torch

NET = """\
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 8, 8] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 } }
"""


@pytest.fixture
def netbuilder(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Command(capsys)


def test_a_name_is_the_net_that_build_writes(netbuilder: Command) -> None:
    assert netbuilder("build", "cifar_resnet_20", "-o", "built").code == 0
    for phase in ("TEST", "TRAIN"):
        named = netbuilder("count", "cifar_resnet_20", "--phase", phase, "--json").out
        file = f"built/{phase.lower()}.prototxt"
        assert json.loads(named) == json.loads(netbuilder("count", file, "--phase", phase, "--json").out)


def test_a_name_means_the_same_in_each_verb_of_a_process(netbuilder: Command) -> None:
    assert netbuilder("count", "cifar_resnet_20").code == 0  # of the nets that are trained and tested
    drawn = netbuilder("draw", "cifar_resnet_20", "--tree", "--depth", "0").out
    assert "cifar_resnet_20, TEST, 95 layers" in drawn  # of deploy


def test_diff_and_check_take_names(netbuilder: Command) -> None:
    assert netbuilder("diff", "cifar_resnet_20", "cifar_resnet_20").code == 0
    ran = netbuilder("diff", "cifar_resnet_20", "cifar_resnet_32", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["phases"]["TEST"]["costs"]["learnable_params"] == [272_474, 466_906]
    assert netbuilder("check", "cifar_resnet_20", "resnet_18").code == 0


def test_other_verbs_take_names(netbuilder: Command) -> None:
    assert netbuilder("deploy", "cifar_resnet_20", "-o", "deploy.prototxt").code == 0
    assert netbuilder("build", "cifar_resnet_20", "-o", "built").code == 0
    assert "cifar_resnet_20, TEST, 96 layers" in netbuilder("draw", "built", "--tree", "--depth", "0").out
    assert "MACs" in netbuilder("count", "deploy.prototxt").out


def test_verbs_that_run_a_net_take_names_and_folders(netbuilder: Command) -> None:
    require_torch()
    words = ("--engine", "torch", "--phase", "TEST", "--iterations", "1", "--json")
    named = json.loads(netbuilder("time", "cifar_resnet_20", *words).out)
    assert netbuilder("build", "cifar_resnet_20", "-o", "built").code == 0
    folder = json.loads(netbuilder("time", "built", *words).out)
    assert [row["name"] for row in named["layers"]] == [row["name"] for row in folder["layers"]]
    assert "did you mean 'cifar_resnet_" in netbuilder("time", "cifar_resnet_2O", *words).err


def test_a_file_wins_over_a_config_of_its_name(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "resnet_50").write_text(NET)
    data = json.loads(netbuilder("count", "resnet_50", "--json").out)
    assert (data["name"], data["totals"]["stored_params"]) == ("small", 4 * 3 * 9 + 4)
    (tmp_path / "resnet_50").unlink()
    assert json.loads(netbuilder("count", "resnet_50", "--json").out)["name"] == "resnet_50"


def test_a_config_by_its_path_and_one_of_the_users(
    netbuilder: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("base: cifar_resnet_20\nclasses: 7\n")
    # A class of CIFAR-10's head has 64 weights and a bias.
    params = 272_474 - 3 * 65
    for word in ("mine.yaml", str(tmp_path / "mine.yaml")):
        assert json.loads(netbuilder("count", word, "--json").out)["totals"]["learnable_params"] == params
    monkeypatch.setenv("NETBUILDER_CONFIGS", str(tmp_path))
    assert json.loads(netbuilder("count", "mine", "--json").out)["totals"]["learnable_params"] == params


def test_stdin(netbuilder: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for verb in ("count", "check"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(NET))
        ran = netbuilder(verb, "-", "--json")
        assert ran.code == 0, ran.err
    monkeypatch.setattr(sys, "stdin", io.StringIO(NET + "layer {"))
    ran = netbuilder("check", "-")
    assert ran.code == 2
    assert ran.out.startswith("<stdin>:5:")


def test_a_folder_is_the_files_in_it(netbuilder: Command, tmp_path: Path) -> None:
    for name in ("b/inner.prototxt", "a.prototxt", ".git/hidden.prototxt", "notes.txt"):
        (tmp_path / "nets" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "nets" / name).write_text(NET)
    (tmp_path / "nets" / "solver.prototxt").write_text(
        'net: "nets/a.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\n'
    )
    counted = json.loads(netbuilder("count", "nets", "--json").out)
    assert [net["file"] for net in counted["nets"]] == ["nets/a.prototxt", "nets/b/inner.prototxt"]
    checked = {file["file"] for file in json.loads(netbuilder("check", "nets", "--json").out)["files"]}
    assert {"nets/a.prototxt", "nets/b/inner.prototxt", "nets/solver.prototxt"} <= checked
    assert "nets/.git/hidden.prototxt" not in checked


def test_a_net_that_its_solver_names_is_checked_once(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    data = 'layer { name: "data" type: "Data" top: "data" data_param { source: "db" batch_size: 1 } }\n'
    loss = 'layer { name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "data" top: "loss" }\n'
    (tmp_path / "nets" / "train_val.prototxt").write_text(data + loss)
    (tmp_path / "nets" / "solver.prototxt").write_text(
        'net: "nets/train_val.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\n'
    )
    alone = netbuilder("check", "nets/train_val.prototxt").out.splitlines()
    found = netbuilder("check", "nets").out.splitlines()
    about_the_net = [line for line in alone if "[uncounted" in line]
    assert about_the_net
    assert [found.count(line) for line in about_the_net] == [1] * len(about_the_net)


def test_a_folder_without_a_net_or_with_several(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    ran = netbuilder("check", "nets")
    assert (ran.code, ran.err.splitlines()[0]) == (
        2, "FileError: there is no .prototxt file in the folder 'nets'",
    )  # fmt: skip
    for name in ("a", "b"):
        (tmp_path / "nets" / f"{name}.prototxt").write_text(NET)
    ran = netbuilder("diff", "nets", "nets")
    assert ran.code == 2
    assert "name one of them: a.prototxt, b.prototxt" in ran.err
    (tmp_path / "nets" / "b.prototxt").unlink()
    assert netbuilder("diff", "nets", "nets/a.prototxt").code == 0


def test_what_build_wrote_is_compared_by_its_folder(netbuilder: Command) -> None:
    assert netbuilder("build", "cifar_resnet_20").code == 0
    assert netbuilder("build", "cifar_resnet_20", "--classes", "7", "-o", "seven").code == 0
    assert netbuilder("diff", "cifar_resnet_20", "seven", "--json").code == 1


def test_a_word_that_is_nothing_is_answered_with_the_nearest(netbuilder: Command, tmp_path: Path) -> None:
    (tmp_path / "a.prototxt").write_text(NET)
    ran = netbuilder("count", "resnet_5O")
    assert ran.code == 2
    assert ran.err.splitlines() == [
        "FileError: cannot read 'resnet_5O': no such file, and no config has that name",
        "  hint:    did you mean 'resnet_50'?",
    ]
    ran = netbuilder("count", "a.prototxt", "resnet_5O")
    assert ran.code == 2
    assert "stored params" in ran.out
    assert "resnet is a network" in netbuilder("count", "resnet").err
    assert "no such file" in netbuilder("count", "resnet_50.prototxt").err


def test_fix_needs_a_file(netbuilder: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(NET))
    for word in ("-", "cifar_resnet_20"):
        ran = netbuilder("check", word, "--fix")
        assert ran.code == 2
        assert "--fix writes beside a file" in ran.err
    assert not list(tmp_path.iterdir())


def test_a_config_takes_the_flags_of_its_network(netbuilder: Command, tmp_path: Path) -> None:
    flags = ("--classes", "10", "--blocks", "1", "1", "1", "1", "--input-size", "64", "--no-fc_layers")
    assert netbuilder("build", "resnet_50", *flags, "-o", "flags").code == 0
    sets = [f"--set={s}" for s in ("classes=10", "blocks=[1, 1, 1, 1]", "input_size=64", "fc_layers=false")]
    assert netbuilder("build", "resnet_50", *sets, "-o", "sets").code == 0
    assert netbuilder("diff", "flags/train.prototxt", "sets/train.prototxt").code == 0
    head = (tmp_path / "flags" / "train.prototxt").read_text().splitlines()[:8]
    assert "# set: classes=10" in head
    help = netbuilder("build", "resnet_50", "--help").out
    assert "of the network resnet" in help
    assert "--main_branch" in help


def test_a_network_by_flags_takes_set(netbuilder: Command, tmp_path: Path) -> None:
    words = ("build", "cifar_resnet", "-m", "normal", "--depth", "20", "--set", "defaults.BatchNorm.eps=1e-4")
    assert netbuilder(*words, "--set", "depth=32", "-o", "flags").code == 0
    sets = ("--set", "defaults.BatchNorm.eps=1e-4")
    assert netbuilder("build", "cifar_resnet_32", *sets, "-o", "config").code == 0
    assert netbuilder("diff", "flags/train.prototxt", "config/train.prototxt").code == 0
    assert "eps: 0.0001" in (tmp_path / "flags" / "train.prototxt").read_text()
    assert "# set: depth=32" in (tmp_path / "flags" / "train.prototxt").read_text()
    for wrong, said in (("depht=32", "did you mean 'depth'?"), ("depth=31", "--set depth=31"),
                        ("defaults=1", "sets one field of defaults at a time")):  # fmt: skip
        ran = netbuilder("build", "cifar_resnet", "-m", "normal", "-n", "3", "--set", wrong, "-o", "no")
        assert ran.code == 2
        assert said in ran.err
    assert not (tmp_path / "no").exists()


def test_a_wrong_flag_over_a_config_is_refused(netbuilder: Command, tmp_path: Path) -> None:
    ran = netbuilder("build", "resnet_50", "--main_branch", "bottlneck")
    assert ran.code == 2
    assert "bottleneck" in ran.err
    assert netbuilder("build", "resnet_50", "--classes", "ten").code == 2
    assert not list(tmp_path.iterdir())


def test_the_folder_is_named_like_the_net(netbuilder: Command, tmp_path: Path) -> None:
    assert netbuilder("build", "cifar_resnet_20").code == 0
    assert netbuilder("build", "resnet", "-m", "normal", "-n", "64").code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar_resnet_20", "resnet_34"]
