"""What a person sees in a terminal of 80 columns, and that pipes see what they always did."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.networks import find_network
from netbuilder.prototxt import dumps
from tests.command import Command
from tests.terminal import in_terminal


@pytest.fixture
def netbuilder(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with resnet.prototxt."""
    folder = tmp_path_factory.mktemp("nets")
    entry = find_network("resnet")
    config = entry.config(main_branch="normal", num_output_stage1=64)
    (folder / "resnet.prototxt").write_text(dumps(entry.stitch(config, "test")))
    return folder


def test_count_fits_the_terminal_in_short_numbers(nets: Path) -> None:
    file = nets / "resnet.prototxt"
    for words in ((), ("--by-block",), ("--per-layer",), ("--per-layer", "--exact")):
        code, shown = in_terminal("count", file, *words)
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80
        assert (" G" in shown) == ("--exact" not in words)


def test_a_pipe_gets_all_columns_and_digits(netbuilder: Command, nets: Path) -> None:
    out = netbuilder("count", nets / "resnet.prototxt", "--by-block").out
    assert out == netbuilder("count", nets / "resnet.prototxt", "--by-block", "--exact").out
    assert "other ops" in out.splitlines()[0]
    assert "FLOPs" in out.splitlines()[0]
    assert " G" not in out


@pytest.mark.parametrize("form", ["csv", "json", "markdown", "latex"])
def test_other_formats_are_the_same_on_a_terminal(netbuilder: Command, nets: Path, form: str) -> None:
    words = ("count", nets / "resnet.prototxt", "--by-block", "--format", form)
    assert in_terminal(*words) == (0, netbuilder(*words).out)


def test_list_fits_80_columns() -> None:
    code, shown = in_terminal("list", "resnet_50")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    assert "25.6 M" in shown
