"""Networks and legos of the user's own: a module named in the config, an entry point, a wheel."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbuilder.cli.build import script_parser
from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.config.places import ENVIRONMENT
from netbuilder.errors import ConfigError
from netbuilder.networks import NETWORKS, all_networks, find_network
from tests.installation import run

ROOT = Path(__file__).parents[2]

MODULE = '''\
from dataclasses import dataclass

from netbuilder.networks import NetConfig, network, option
from netbuilder.networks.residual import finish, source
from legos import ClassifierLego, ConvBNReLULego
from legos.base import Lego


@dataclass(frozen=True, kw_only=True)
class DilatedLego(Lego):
    """3x3 at a distance, ReLU; as large as its bottom."""

    num_output: int
    dilation: int = 2

    def build(self, net, *bottoms):
        (x,) = bottoms
        x = net.add("Convolution", x, name=f"conv_{self.name}", num_output=self.num_output, bias_term=False,
                    kernel_size=3, pad=self.dilation, dilation=self.dilation)
        return net.add("ReLU", x, name=f"relu_{self.name}", in_place=True)


@dataclass(frozen=True, kw_only=True)
class TinyConfig(NetConfig):
    """How deep and wide."""

    depth: int = option(help="number of dilated convolutions")
    width: int = option(help="their channels", default=8)
    slope: float = option(help="not used", default=0.5, parse=float)

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least("depth", 1)

    @property
    def title(self):
        return f"tiny_{self.depth}"


@network("tiny", TinyConfig)
def stitch(cfg, phase):
    """A net of the user's own."""
    net = cfg.net(phase)
    x, label = source(cfg, net, phase)
    x = ConvBNReLULego(name="1", num_output=cfg.width, kernel=3).attach(net, x)
    for i in range(cfg.depth):
        x = DilatedLego(name=f"dilated{i}", num_output=cfg.width).attach(net, x)
    x = ClassifierLego(name="fc", num_output=cfg.classes).attach(net, x)
    finish(net, x, label)
    return net
'''

# The counts by hand: 3x3 of 3 to 8 and BatchNorm; twice 3x3 of 8 to 8; 8 to 10 with biases; at 16x16.
CONFIG = """\
module: tiny_nets.py
network: tiny
depth: 2
classes: 10
input_size: 16
expect: {learnable_params: 1474, macs: 350288}
"""
assert 3 * 8 * 9 + 2 * 8 + 2 * (8 * 8 * 9) + 8 * 10 + 10 == 1474
assert 16 * 16 * (3 * 8 * 9 + 2 * 8 * 8 * 9) + 8 * 10 == 350_288


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with tiny.yaml and its module; what they register is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    Path("nets").mkdir()
    Path("nets/tiny.yaml").write_text(CONFIG, encoding="utf-8")
    Path("nets/tiny_nets.py").write_text(MODULE, encoding="utf-8")
    before = dict(NETWORKS)
    yield tmp_path
    NETWORKS.clear()
    NETWORKS.update(before)


def figure(name: str, printed: str) -> str:
    """The figure of this name in the table that a build prints."""
    (line,) = (line for line in printed.splitlines() if line.startswith(f"{name}  "))
    return line.removeprefix(name).split()[0]


def refused(text: str) -> str:
    Path("nets/case.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load("nets/case.yaml")
    return str(error.value)


# ---- module ------------------------------------------------------------------------------------------------


def test_a_module_beside_the_config_brings_its_network(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "nets/tiny.yaml", "-o", "out"]) == 0
    assert figure("learnable params", capsys.readouterr().out) == "1,474"
    text = Path("out/train.prototxt").read_text(encoding="utf-8")
    assert "\n# module: tiny_nets.py, sha256 " in text
    assert "\n#   depth: 2\n" in text
    assert 'name: "conv_dilated1"' in text


def test_errors_in_the_users_own_lego_name_his_line(folder: Path) -> None:
    text = MODULE.replace("pad=self.dilation, ", "pad=0, ")
    Path("nets/tiny_nets.py").write_text(text, encoding="utf-8")
    Path("nets/case.yaml").write_text(CONFIG.replace("input_size: 16", "input_size: 3"), encoding="utf-8")
    with pytest.raises(Exception, match="the kernel does not fit") as error:
        load("nets/case.yaml").stitch("train")
    lines = text.splitlines()
    line = 1 + next(i for i, words in enumerate(lines) if "net.add(" in words)
    where = str(error.value).splitlines()[1]
    assert where.endswith("DilatedLego(dilated0); config nets/case.yaml")
    assert where.startswith(f"  where:   nets/tiny_nets.py:{line}, ")


def test_two_configs_share_their_module(folder: Path) -> None:
    Path("nets/other.yaml").write_text(CONFIG.replace("depth: 2", "depth: 3"), encoding="utf-8")
    assert load("nets/tiny.yaml").entry is load("nets/other.yaml").entry


def test_a_base_brings_its_module(folder: Path) -> None:
    Path("own.yaml").write_text("base: nets/tiny.yaml\ndepth: 3\n", encoding="utf-8")
    loaded = load("own.yaml")
    assert loaded.config.title == "tiny_3"
    assert [line.split(",")[0] for line in loaded.origin.splitlines()] == [
        "config: own.yaml", "base: nets/tiny.yaml", "module: tiny_nets.py",
    ]  # fmt: skip


def test_a_module_that_can_be_imported_is_named_without_py(folder: Path) -> None:
    sys.path.insert(0, str(folder / "nets"))
    Path("importable.yaml").write_text(CONFIG.replace("tiny_nets.py", "tiny_nets"), encoding="utf-8")
    assert load("importable.yaml").config.title == "tiny_2"


def test_a_module_may_add_a_branch_to_existing_networks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from legos import BRANCHES

    monkeypatch.setitem(BRANCHES, "separable", BRANCHES["normal"])  # so that it is taken out again
    Path("branches.py").write_text(
        "from legos import BRANCHES, NormalBranch\n\n\n"
        "class WideBranch(NormalBranch):\n    pass\n\n\nBRANCHES['separable'] = WideBranch\n",
        encoding="utf-8",
    )
    Path("own.yaml").write_text(
        "module: branches.py\nnetwork: cifar_resnet\nmain_branch: separable\nN: 1\n", encoding="utf-8"
    )
    net = load("own.yaml").stitch("deploy")
    assert any("WideBranch(stage0_block0)" in layer.origin.scope for layer in net.layers)


def test_options_of_an_own_network_are_checked_like_any(folder: Path) -> None:
    assert refused(CONFIG.replace("depth: 2", "depht: 2")) == (
        "unknown key 'depht': network tiny has no such option\n"
        "  where:   nets/case.yaml:3, depht\n  hint:    did you mean 'depth'?"
    )
    assert refused(CONFIG.replace("depth: 2", "slope: 1")) == (
        "depth is missing: network tiny needs it\n  where:   nets/case.yaml:2, depth"
    )
    assert refused(CONFIG.replace("depth: 2", "depth: 0")) == (
        "depth must be at least 1, got 0\n  where:   nets/case.yaml:3, depth"
    )


BROKEN = {
    "def f(:\n": "SyntaxError: invalid syntax (broken.py, line 1) (nets/broken.py:1)",
    "\nx = nothing\n": "NameError: name 'nothing' is not defined (nets/broken.py:2)",
    "import sys\nsys.exit(3)\n": "SystemExit: 3 (nets/broken.py:2)",
    "import no_such_package\n": "ModuleNotFoundError: No module named 'no_such_package' (nets/broken.py:1)",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_module_is_reported_with_its_line_and_the_configs(folder: Path, text: str) -> None:
    Path("nets/broken.py").write_text(text, encoding="utf-8")
    assert refused("module: broken.py\nnetwork: tiny\n") == (
        f"cannot load module 'broken.py': {BROKEN[text]}\n  where:   nets/case.yaml:1, module"
    )


def test_a_module_that_takes_the_name_of_another_network_is_refused(folder: Path) -> None:
    text = MODULE.replace('@network("tiny"', '@network("resnet"')
    Path("nets/taken.py").write_text(text, encoding="utf-8")
    assert refused("module: taken.py\nnetwork: resnet\n") == (
        "cannot load module 'taken.py': there is already a network 'resnet', "
        "from netbuilder.networks.resnet\n"
        "  where:   nets/case.yaml:1, module\n  hint:    take another name"
    )


def test_an_option_that_is_called_like_a_key_of_configs_is_refused(folder: Path) -> None:
    text = MODULE.replace("slope:", "source:")
    Path("nets/clash.py").write_text(text, encoding="utf-8")
    assert refused("module: clash.py\nnetwork: tiny\ndepth: 2\n") == (
        "network tiny has an option 'source', which is a reserved key of configs\n  where:   "
        "nets/case.yaml:2, network"
    )


def test_an_option_that_is_called_like_one_of_build_s_is_refused(folder: Path) -> None:
    own = '    batch: int = option(help="of its own", default=1)\n    depth: int'
    text = MODULE.replace("    depth: int", own)
    Path("nets/tiny_nets.py").write_text(text, encoding="utf-8")
    load("nets/tiny.yaml")  # registers it
    with pytest.raises(ConfigError) as refused:
        script_parser("tiny")
    assert refused.value.text == "network tiny has an option 'batch', which build itself has"


def test_list_counts_own_networks_with_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tiny", "--configs", "nets", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["file"], row["network"], row["learnable_params"], row["macs"]) == (
        "nets/tiny.yaml", "tiny", 1474, 350_288,
    )  # fmt: skip


# ---- entry points ------------------------------------------------------------------------------------------


def install(folder: Path, module: str, entry: str) -> None:
    """What installing a package with one module and one entry point leaves in a folder of the path."""
    (folder / "tiny_package.py").write_text(module, encoding="utf-8")
    info = folder / "tiny_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text(f"[netbuilder.networks]\n{entry}\n", encoding="utf-8")
    sys.path.insert(0, str(folder))


def test_an_entry_point_brings_its_network_to_build_by_flags_and_by_config(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(folder, MODULE, "tiny = tiny_package")
    flags = ["--depth", "2", "--classes", "10", "--input_size", "16", "--slope", "0.25"]
    assert main(["build", "tiny", *flags, "-o", "flags"]) == 0
    assert figure("MACs", capsys.readouterr().out) == "350,288"
    Path("own.yaml").write_text("network: tiny\ndepth: 2\nexpect: {}\n", encoding="utf-8")
    assert load("own.yaml").config.title == "tiny_2"
    assert "tiny" in all_networks()


def test_an_entry_point_that_cannot_be_loaded_names_its_package(folder: Path) -> None:
    install(folder, "import no_such_package\n", "tiny = tiny_package")
    with pytest.raises(ConfigError) as error:
        find_network("tiny")
    assert str(error.value) == (
        "cannot load the networks of tiny-package: ModuleNotFoundError: No module named 'no_such_package'\n"
        "  where:   entry point tiny = tiny_package\n  hint:    fix or remove tiny-package"
    )
    assert find_network("resnet").name == "resnet"  # the others are not concerned


# ---- a wheel -----------------------------------------------------------------------------------------------


def test_a_wheel_in_a_clean_environment_builds_own_and_shipped_configs(installed: Path, folder: Path) -> None:
    netbuilder = installed / "netbuilder"
    shown = run(netbuilder, "build", "tiny", "--configs", "nets", "-o", "out", cwd=folder)
    assert figure("learnable params", shown) == "1,474"
    assert 'name: "conv_dilated1"' in Path("out/deploy.prototxt").read_text(encoding="utf-8")
    own = json.loads(run(netbuilder, "list", "tiny", "--json", cwd=folder, NETBUILDER_CONFIGS="nets"))
    assert [(row["name"], row["macs"]) for row in own] == [("tiny", 350_288)]
    shipped = run(netbuilder, "build", "resnet_18", "-o", "shipped", cwd=folder)
    assert "Number of params: 11.688512 Million\nNumber of flops: 1814.082944 Million\n" in shipped
    # As here, config for config.
    listed = json.loads(run(netbuilder, "list", "--json", cwd=folder))
    assert {row["file"] for row in listed} == {
        path.relative_to(ROOT / "configs").as_posix()
        for path in (ROOT / "configs").rglob("*.yaml")
        if path.parent.name != "solvers"
    }


def test_an_entry_point_in_a_clean_environment_brings_its_network(installed: Path, folder: Path) -> None:
    # An environment on top of that of the wheel, which other tests use as it is.
    python = folder / "env" / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", "env", cwd=folder)
    (packages,) = folder.glob("env/lib/python*/site-packages")
    (below,) = installed.parent.glob("lib/python*/site-packages")
    (packages / "wheel.pth").write_text(f"{below}\n", encoding="utf-8")
    install(packages, MODULE, "tiny = tiny_package")
    flags = ["--depth", "2", "--classes", "10", "--input_size", "16"]
    built = run(python, "-m", "netbuilder", "build", "tiny", *flags, "-o", "out", cwd=folder)
    assert figure("MACs", built) == "350,288"
