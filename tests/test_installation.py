"""What an installation brings: two packages with our own names, which a user's files cannot break."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installation import PIP, ROOT, run


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A user's folder, full of modules and packages with the names of this repository's folders."""
    for name in ("app", "configs", "tests", "bench", "tools", "docs", "examples"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('{name}/ of the user')\n")
    for name in ("app", "main", "setup", "config", "networks", "layers", "net"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name}.py of the user')\n")
    (tmp_path / "configs" / "resnet_18.yaml").write_text("this: is not ours\n")
    return tmp_path


def test_a_wheel_installs_netbuilder_and_legos_only(installed: Path) -> None:
    shown = run(*PIP, "--python", installed / "python", "show", "-f", "caffe-netbuilder", cwd=installed)
    files = [line.strip() for line in shown.partition("Files:\n")[2].splitlines() if line.strip()]
    tops = {file.partition("/")[0] for file in files if not file.startswith("../")}
    (metadata,) = {top for top in tops if top.endswith(".dist-info")}
    assert metadata.startswith("caffe_netbuilder-")
    assert tops - {metadata} == {"netbuilder", "legos"}
    assert [file for file in files if file.startswith("../")] == ["../../../bin/netbuilder"]
    shipped = {file.removeprefix("netbuilder/configs/") for file in files if "/configs/" in file}
    here = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.*")}
    assert shipped == here


@pytest.mark.parametrize("command", [("netbuilder",), ("python", "-m", "netbuilder")])
def test_the_command_works_beside_a_hostile_folder(
    installed: Path, hostile: Path, command: tuple[str, ...]
) -> None:
    words: tuple[str | Path, ...] = (installed / command[0], *command[1:])
    built = run(*words, "build", "resnet_18", "-o", "out", cwd=hostile, PYTHONPATH=".")
    assert "Number of params: 11.688512 Million\n" in built
    assert (hostile / "out" / "train.prototxt").exists()
    assert "resnet_50" in run(*words, "list", "resnet_50", cwd=hostile, PYTHONPATH=".")
    assert "MACs" in run(*words, "count", "out/deploy.prototxt", cwd=hostile, PYTHONPATH=".")


def test_python_finds_the_networks_beside_a_hostile_folder(installed: Path, hostile: Path) -> None:
    code = "from netbuilder.networks import find_network; print(find_network('resnet').name)"
    assert run(installed / "python", "-c", code, cwd=hostile, PYTHONPATH=".") == "resnet\n"


def test_scripts_of_the_clone_work_beside_a_hostile_folder(installed: Path, hostile: Path) -> None:
    script = ROOT / "app" / "cifar10" / "build_resnet.py"
    words = ("-m", "normal", "-n", "3", "-o", "out")
    assert "Number of params: 0.272464 Million\n" in run(
        installed / "python", script, *words, cwd=hostile, PYTHONPATH="."
    )
