"""Every kind of mistake in a config, and what is said of it: file, line, dotted key, and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.config.places import ENVIRONMENT
from netbuilder.errors import ConfigError

NET = "network: resnet\nmain_branch: bottleneck\n"

# The text of case.yaml, and the error.
MISTAKES = {
    # keys
    "an unknown key": (
        NET + "blokcs: [1]\n",
        "unknown key 'blokcs': network resnet has no such option\n"
        "  where:   case.yaml:3, blokcs\n  hint:    did you mean 'blocks'?",
    ),
    "a key of configs, misspelt": (
        NET + "default: {}\n",
        "unknown key 'default': network resnet has no such option\n"
        "  where:   case.yaml:3, default\n  hint:    did you mean 'defaults'?",
    ),
    "a key twice": (
        NET + "classes: 10\nclasses: 12\n",
        "key 'classes' is given twice: already in line 3\n  where:   case.yaml:4, classes",
    ),
    "a key within a key twice": (
        NET + "defaults:\n  ReLU: {}\n  BatchNorm: {}\n  ReLU: {}\n",
        "key 'ReLU' is given twice: already in line 4\n  where:   case.yaml:6, defaults.ReLU",
    ),
    "a key that is a list": (
        NET + "[1, 2]: 3\n",
        "a key must be a word, got a list or a mapping\n  where:   case.yaml:3",
    ),
    "no network": (
        "main_branch: bottleneck\n",
        "network is missing; it names the network to which the other keys belong\n"
        "  where:   case.yaml\n  hint:    for example network: resnet; or give a base",
    ),
    "a network that is none": (
        "network: 3\n",
        "network must be a name, got 3\n  where:   case.yaml:1, network",
    ),
    "a missing option": (
        "network: resnet\n",
        "main_branch is missing: network resnet needs it\n"
        "  where:   case.yaml:1, main_branch\n  hint:    for example main_branch: normal",
    ),
    # types
    "text for an integer": (
        NET + "classes: ten\n",
        "classes must be an integer, got 'ten'\n  where:   case.yaml:3, classes",
    ),
    "a truth value for an integer": (
        NET + "classes: yes\n",
        "classes must be an integer, got yes\n  where:   case.yaml:3, classes",
    ),
    "nothing for an integer": (
        NET + "classes:\n",
        "classes must be an integer, got nothing\n  where:   case.yaml:3, classes",
    ),
    "a fraction for an integer": (
        NET + "classes: 10.5\n",
        "classes must be an integer, got 10.5\n  where:   case.yaml:3, classes",
    ),
    "a list for an integer": (
        NET + "classes: [10]\n",
        "classes must be an integer, got a list\n  where:   case.yaml:3, classes",
    ),
    "an integer in quotes": (
        NET + "classes: '10'\n",
        "classes must be an integer, got '10'\n  where:   case.yaml:3, classes\n"
        "  hint:    remove the quotes",
    ),
    "text for a number": (
        "network: davidnet\ncelu: much\n",
        "celu must be a number, or null, got 'much'\n  where:   case.yaml:2, celu",
    ),
    "a number for a truth value": (
        NET + "fc_layers: 1\n",
        "fc_layers must be true or false, got 1\n  where:   case.yaml:3, fc_layers",
    ),
    "a truth value in quotes": (
        NET + "fc_layers: 'yes'\n",
        "fc_layers must be true or false, got 'yes'\n  where:   case.yaml:3, fc_layers\n"
        "  hint:    remove the quotes",
    ),
    "a truth value for a word": (
        "network: resnet\nmain_branch: no\n",
        "main_branch must be one of normal, bottleneck, inception_trick, inception_trick_bottleneck, got no\n"
        "  where:   case.yaml:2, main_branch",
    ),
    "a truth value for text": (
        NET + "source: yes\n",
        "source must be text, got yes\n  where:   case.yaml:3, source\n  hint:    write it in quotes",
    ),
    "one number for a list": (
        NET + "blocks: 3\n",
        "blocks must be a list of integers, got 3\n  where:   case.yaml:3, blocks\n"
        "  hint:    write it in brackets: [3]",
    ),
    "a list as on the command line": (
        NET + "blocks: 3 4 6 3\n",
        "blocks must be a list of integers, got '3 4 6 3'\n  where:   case.yaml:3, blocks\n"
        "  hint:    write it in brackets: [3, 4, 6, 3]",
    ),
    "a wrong item of a list": (
        NET + "blocks:\n  - 3\n  - four\n",
        "blocks[1] must be an integer, got 'four'\n  where:   case.yaml:5, blocks[1]",
    ),
    "a list of the wrong length": (
        NET + "input_size: [224, 224, 3]\n",
        "input_size must be a list of 2 integers, got 3 of them\n  where:   case.yaml:3, input_size",
    ),
    "a size that is none": (
        NET + "input_size: big\n",
        "input_size must be a number or HEIGHTxWIDTH, got 'big'\n  where:   case.yaml:3, input_size",
    ),
    # numbers of which YAML thinks differently
    "an octal number": (
        NET + "classes: 010\n",
        "010 means 8 in YAML, which is easy to misread\n  where:   case.yaml:3, classes\n"
        "  hint:    write 8, or '010' in quotes if it is text",
    ),
    "a number to the base 60": (
        NET + "input_size: 3:44\n",
        "3:44 means 224 in YAML, which is easy to misread\n  where:   case.yaml:3, input_size\n"
        "  hint:    write 224, or '3:44' in quotes if it is text",
    ),
    "an endless number": (
        NET + "classes: .inf\n",
        ".inf is not a valid number in a config\n  where:   case.yaml:3, classes",
    ),
    # values out of range, as the config dataclass says
    "a number out of range": (
        NET + "classes: 0\n",
        "classes must be at least 1, got 0\n  where:   case.yaml:3, classes",
    ),
    "an unknown word": (
        "network: resnet\nmain_branch: botleneck\n",
        "main_branch must be one of normal, bottleneck, inception_trick, inception_trick_bottleneck, "
        "got 'botleneck'\n  where:   case.yaml:2, main_branch\n  hint:    did you mean 'bottleneck'?",
    ),
    "a default that does not go with the rest": (
        "network: resnet\nmain_branch: normal\n",
        "-m normal needs -n 64, got 128: the first block of stage 0 adds the 64 channels of the stem to its "
        "own 128 through an identity shortcut\n  where:   case.yaml, num_output_stage1 (by default)\n"
        "  hint:    use -n 64, or a bottleneck branch, which projects there",
    ),
    # YAML
    "an open bracket": (
        NET + "blocks: [3\n",
        "this is not YAML for a config: expected ',' or ']', but got '<stream end>'\n"
        "  where:   case.yaml:4:1",
    ),
    "a tab": (
        NET + "\tclasses: 10\n",
        "this is not YAML for a config: found character '\\t' that cannot start any token\n"
        "  where:   case.yaml:3:1",
    ),
    "an alias": (
        NET + "blocks: &b [1, 2]\nwidths: *b\n",
        "this is not YAML for a config: alias *b: write the value out, or use base\n"
        "  where:   case.yaml:4:9",
    ),
    "a tag of Python": (
        NET + "classes: !!python/object/apply:os.getpid []\n",
        "tag !!python/object/apply:os.getpid has no meaning in a config\n  where:   case.yaml:3, classes",
    ),
    "two documents": (
        NET + "---\nnetwork: resnet\n",
        "this is not YAML for a config: expected a single document in the stream, but found another "
        "document\n  where:   case.yaml:3:1",
    ),
    "a control character": (
        NET + "classes: \x01\n",
        "this is not YAML for a config: special characters are not allowed\n  where:   case.yaml",
    ),
    "brackets without end": (
        NET + f"blocks: {'[' * 5000}\n",
        "this is nested too deeply for a config\n  where:   case.yaml",
    ),
    "an empty file": (
        "",
        "a config must be a mapping of keys to values, got nothing\n  where:   case.yaml:1\n"
        "  hint:    for example `network: resnet`, one key per line",
    ),
    "a list": (
        "- network: resnet\n",
        "a config must be a mapping of keys to values, got a list\n  where:   case.yaml:1\n"
        "  hint:    for example `network: resnet`, one key per line",
    ),
    # expect
    "an unknown count": (
        NET + "expect: {learnable: 3}\n",
        "unknown count 'learnable'\n  where:   case.yaml:3, expect.learnable\n"
        "  hint:    did you mean 'learnable_params'?",
    ),
    "a count that is no integer": (
        NET + "expect:\n  macs: 3.9G\n",
        "macs must be an integer, got '3.9G'\n  where:   case.yaml:4, expect.macs",
    ),
    "no counts": (
        NET + "expect: 12\n",
        "expect must be a mapping of counts, got 12\n  where:   case.yaml:3, expect",
    ),
    # defaults
    "no layer types": (
        NET + "defaults: msra\n",
        "defaults must be a mapping of layer types to their fields, got 'msra'\n"
        "  where:   case.yaml:3, defaults",
    ),
    "no fields": (
        NET + "defaults: {BatchNorm: 3}\n",
        "defaults.BatchNorm must be a mapping of fields to their values, got 3\n"
        "  where:   case.yaml:3, defaults.BatchNorm",
    ),
    "an unknown layer type": (
        NET + "defaults:\n  Convolutoin: {}\n",
        "unknown layer type 'Convolutoin'\n  where:   case.yaml:4, defaults.Convolutoin\n"
        "  hint:    did you mean 'Convolution'?",
    ),
    "an unknown field of a layer": (
        NET + "defaults:\n  BatchNorm:\n    epz: 1e-4\n",
        "no field 'epz' in layer type BatchNorm\n  where:   case.yaml:5, defaults.BatchNorm.epz\n"
        "  hint:    did you mean 'eps'?",
    ),
    "a field that is each layer's own": (
        NET + "defaults: {BatchNorm: {name: x}}\n",
        "no field 'name' in layer type BatchNorm\n  where:   case.yaml:3, defaults.BatchNorm.name",
    ),
    "text for a number of a layer": (
        NET + "defaults: {BatchNorm: {eps: small}}\n",
        "eps must be a number, got 'small'\n  where:   case.yaml:3, defaults.BatchNorm.eps",
    ),
    "a truth value for a number of a layer": (
        NET + "defaults: {BatchNorm: {eps: yes}}\n",
        "eps must be a number, got yes\n  where:   case.yaml:3, defaults.BatchNorm.eps",
    ),
    "a number for a truth value of a layer": (
        NET + "defaults: {Convolution: {bias_term: 1}}\n",
        "bias_term must be true or false, got 1\n  where:   case.yaml:3, defaults.Convolution.bias_term",
    ),
    "a list for a number of a layer": (
        NET + "defaults: {BatchNorm: {eps: [1, 2]}}\n",
        "eps takes one value, got [1, 2]\n  where:   case.yaml:3, defaults.BatchNorm.eps",
    ),
    "a mapping for a number of a layer": (
        NET + "defaults: {BatchNorm: {eps: {value: 2}}}\n",
        "eps must be a number, got a mapping\n  where:   case.yaml:3, defaults.BatchNorm.eps",
    ),
    "an unknown filler": (
        NET + "defaults: {Convolution: {weight_filler: {type: msrb}}}\n",
        "weight_filler: unknown filler type 'msrb'\n"
        "  where:   case.yaml:3, defaults.Convolution.weight_filler\n  hint:    did you mean 'msra'?",
    ),
    "a filler that is not a mapping": (
        NET + "defaults: {Convolution: {weight_filler: msra}}\n",
        "weight_filler must be a mapping of FillerParameter's fields, got 'msra'\n"
        "  where:   case.yaml:3, defaults.Convolution.weight_filler\n  hint:    write {type: msra}",
    ),
    "an unknown field of a filler": (
        NET + "defaults:\n  Convolution:\n    weight_filler:\n      typ: msra\n",
        "no field 'typ' in FillerParameter\n"
        "  where:   case.yaml:6, defaults.Convolution.weight_filler.typ\n  hint:    did you mean 'type'?",
    ),
    "an unknown label": (
        NET + "defaults: {Convolution: {weight_filler: {type: msra, variance_norm: FANOUT}}}\n",
        "variance_norm must be one of FAN_IN, FAN_OUT, AVERAGE, got 'FANOUT'\n"
        "  where:   case.yaml:3, defaults.Convolution.weight_filler.variance_norm\n"
        "  hint:    did you mean 'FAN_OUT'?",
    ),
    "an unknown multiplier": (
        NET + "defaults: {Convolution: {param: [{lr_mul: 1}]}}\n",
        "no field 'lr_mul' in ParamSpec\n  where:   case.yaml:3, defaults.Convolution.param[0].lr_mul\n"
        "  hint:    did you mean 'lr_mult'?",
    ),
    # base
    "a base that is no name": ("base: 3\n", "base must be the name or the path of a config, got 3\n"
        "  where:   case.yaml:1, base"),
    "an unknown base": (
        "classes: 10\nbase: resnet_5\n",
        "base 'resnet_5': unknown config 'resnet_5'\n  where:   case.yaml:2, base\n"
        "  hint:    did you mean 'resnet_50'?",
    ),
    "a missing base file": (
        "base: sub/none.yaml\n",
        "base 'sub/none.yaml': cannot read 'sub/none.yaml': no such file or directory\n"
        "  where:   case.yaml:1, base",
    ),
    "a base that is the file itself": (
        "base: case.yaml\n",
        "base 'case.yaml': this is the config itself\n  where:   case.yaml:1, base",
    ),
    "a base with a base": (
        "base: resnet_50_stride_in_3x3\n",
        "base 'resnet_50_stride_in_3x3' itself has a base, 'resnet_50'; only one level is allowed\n"
        "  where:   case.yaml:1, base\n  hint:    copy the values of one of the two into this file",
    ),
    "a mistake in the base": (
        "base: base.yaml\n",
        "N must be an integer, or null, got 'three'\n  where:   base.yaml:2, N",
    ),
    "a key that goes with another network than the base's": (
        "base: resnet_50\nfamily: resnext\n",
        "unknown key 'family': network resnet has no such option\n  where:   case.yaml:2, family",
    ),
    # module
    "a module that is no name": (
        NET + "module: 3\n",
        "module must be a file or the name of a module, got 3\n  where:   case.yaml:3, module",
    ),
    "a missing file of a module": (
        NET + "module: none.py\n",
        "cannot load module 'none.py': file 'none.py' does not exist\n  where:   case.yaml:3, module\n"
        "  hint:    the path is relative to the config",
    ),
    "a missing module": (
        NET + "module: no_such_module\n",
        "cannot load module 'no_such_module': ModuleNotFoundError: No module named 'no_such_module'\n"
        "  where:   case.yaml:3, module\n"
        "  hint:    name a file, for example module: my_nets.py, or install the module",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    return tmp_path


def refused(text: str, *sets: str) -> ConfigError:
    Path("case.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load("case.yaml", sets)
    return error.value


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_reported_with_file_line_and_key(what: str) -> None:
    text, message = MISTAKES[what]
    Path("base.yaml").write_text("network: cifar_resnet\nN: three\n", encoding="utf-8")
    assert str(refused(text)) == message


SETTINGS = {
    "classes": "--set takes KEY=VALUE, got 'classes'\n  hint:    for example --set classes=10",
    "=3": "--set takes KEY=VALUE, got '=3'\n  hint:    for example --set classes=10",
    "defaults..eps=3": "--set takes KEY=VALUE, got 'defaults..eps=3'\n  hint:    for example --set "
    "classes=10",
    "clases=10": "unknown key 'clases': network resnet has no such option\n"
    "  where:   --set clases=10\n  hint:    did you mean 'classes'?",
    "classes=ten": "classes must be an integer, got 'ten'\n  where:   --set classes=ten",
    "classes=0": "classes must be at least 1, got 0\n  where:   --set classes=0",
    "classes=010": "010 means 8 in YAML, which is easy to misread\n  where:   --set classes=010\n"
    "  hint:    write 8, or '010' in quotes if it is text",
    "blocks=[3, 4": "this is not YAML for a config: expected ',' or ']', but got '<stream end>'\n"
    "  where:   --set blocks=[3, 4",
    "blocks.0=3": "--set sets options of the network and fields of defaults; blocks.0 is neither\n"
    "  where:   --set blocks.0=3\n"
    "  hint:    write it into your own config with this one as its base",
    "network=bl_resnet": "--set sets options of the network and fields of defaults; network is neither\n"
    "  where:   --set network=bl_resnet\n"
    "  hint:    write it into your own config with this one as its base",
    "defaults.BatchNorm={eps: 3}": "--set sets one field of defaults at a time\n"
    "  where:   --set defaults.BatchNorm={eps: 3}\n  hint:    for example --set defaults.BatchNorm.eps=1e-4",
    "defaults.BatchNorm.epz=3": "no field 'epz' in layer type BatchNorm\n"
    "  where:   --set defaults.BatchNorm.epz=3\n  hint:    did you mean 'eps'?",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_wrong_set_is_quoted_as_it_was_given(setting: str) -> None:
    assert str(refused(NET, setting)) == SETTINGS[setting]


def test_the_error_carries_file_and_key() -> None:
    error = refused(NET + "classes: 0\n")
    assert (error.path, error.key) == ("case.yaml", "classes")


def test_an_unknown_network_is_reported_with_the_nearest() -> None:
    lines = str(refused("network: resnt\n")).splitlines()
    assert lines[0].startswith("unknown network 'resnt': there are ")
    assert lines[1:] == ["  where:   case.yaml:1, network", "  hint:    did you mean 'resnet'?"]


def test_a_mistake_of_the_command_writes_nothing_and_exits_with_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "case.yaml").write_text(NET + "classes: ten\n", encoding="utf-8")
    assert main(["build", "case.yaml", "-o", "out"]) == 2
    assert capsys.readouterr() == (
        "", "ConfigError: classes must be an integer, got 'ten'\n  where:   case.yaml:3, classes\n",
    )  # fmt: skip
    assert not (folder / "out").exists()


def test_counts_that_the_net_does_not_have_write_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "case.yaml").write_text(f"{NET}expect:\n  learnable_params: 1\n", encoding="utf-8")
    assert main(["build", "case.yaml", "-o", "out"]) == 2
    assert capsys.readouterr().err == (  # the published count of resnet_50_1by2
        "ConfigError: learnable_params is 6,927,528, but the config expects 1\n"
        "  where:   case.yaml:4, expect.learnable_params\n"
        "  hint:    correct the net or the expected counts\n"
    )
    assert not (folder / "out").exists()


def test_a_layer_that_is_refused_for_its_defaults_names_their_line(folder: Path) -> None:
    text = f"{NET}defaults:\n  Convolution: {{param: [{{lr_mult: 1}}, {{lr_mult: 2}}]}}\n"
    (folder / "case.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(Exception, match="param is given 2 times for 1 parameter blobs") as error:
        load("case.yaml").stitch("train")
    assert str(error.value).splitlines()[1].endswith("; case.yaml:4, defaults.Convolution")


def test_a_net_that_cannot_be_built_names_the_config(folder: Path) -> None:
    (folder / "case.yaml").write_text(NET + "input_size: 2\n", encoding="utf-8")
    with pytest.raises(Exception, match="Caffe cannot process an empty blob") as error:
        load("case.yaml").stitch("train")
    assert str(error.value).splitlines()[1].endswith("; config case.yaml")


# ---- finding -----------------------------------------------------------------------------------------------


def told(target: str, *folders: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(target, folders=folders)
    return str(error.value)


def test_an_unknown_name_is_reported_with_the_nearest() -> None:
    assert told("resnt_50") == "unknown config 'resnt_50'\n  hint:    did you mean 'resnet_50'?"
    assert told("???") == "unknown config '???'\n  hint:    netbuilder list prints the names"


def test_a_missing_file_of_a_known_name_is_reported_with_the_name() -> None:
    assert told("resnet_50.yaml") == (
        "file 'resnet_50.yaml' does not exist\n  hint:    a config named resnet_50 exists"
    )


def test_a_name_that_is_twice_in_one_folder_is_refused(folder: Path) -> None:
    for sub in ("a", "b"):
        (folder / "mine" / sub).mkdir(parents=True)
        (folder / "mine" / sub / "net.yaml").write_text("network: cifar_resnet\nN: 1\n", encoding="utf-8")
    assert told("net", "mine") == (
        "config 'net' is ambiguous: mine/a/net.yaml and mine/b/net.yaml\n"
        "  hint:    give the path, or the name with its folder"
    )
    assert load("b/net", folders=["mine"]).found.path == Path("mine/b/net.yaml")


def test_a_folder_that_is_not_there_is_named_with_who_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "\n  hint:    create it, or correct the name"
    assert told("net", "none") == f"the folder 'none', which --configs names, does not exist{hint}"
    monkeypatch.setenv(ENVIRONMENT, "gone")
    assert told("net") == f"the folder 'gone', which NETBUILDER_CONFIGS names, does not exist{hint}"


def test_show_config_of_a_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show-config", "resnet"]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: unknown config 'resnet'\n")
