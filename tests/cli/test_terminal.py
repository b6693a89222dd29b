"""What a person sees in a terminal of 80 columns, and that pipes see what they always did."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from netbuilder.networks import find_network
from netbuilder.prototxt import dumps
from tests.command import Command
from tests.terminal import in_terminal, lines_of


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
        assert max(map(len, lines_of(shown))) <= 80
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
    assert max(map(len, lines_of(shown))) <= 80
    assert "25.6 M" in shown


BAD = """\
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 8, 32, 32] } } }
layer {
  name: "norm"
  type: "LRN"
  bottom: "data"
  top: "norm"
\tlrn_param { alpha: 1 k: 2 local_size: 5 }
}
layer { name: "bn" type: "BatchNorm" bottom: "norm" top: "bn" batch_norm_param { eps: 1e-5 }
        param { lr_mult: 1 } }
"""
CHECK = ("check", "bad.prototxt", "--target", "opencv", "--target", "mnn")


@pytest.fixture
def bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bad.prototxt").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_shows_the_field_with_a_caret_and_one_finding_for_several_consumers(bad: Path) -> None:
    code, shown = in_terminal(*CHECK, cwd=bad, NO_COLOR="1")
    lines = shown.splitlines()
    assert code == 1
    assert "\x1b" not in shown
    assert max(map(len, lines)) <= 80
    (at,) = [i for i, line in enumerate(lines) if "k is taken for 1" in line]
    assert lines[at].startswith("bad.prototxt:2: error: norm: opencv, mnn: k is taken for 1 [lrn]")
    assert lines[at + 1] == "     7 |  lrn_param { alpha: 1 k: 2 local_size: 5 }"
    assert lines[at + 2].index("^") == lines[at + 1].index("k: 2")


def test_a_finding_in_the_net_of_a_solver_has_the_line_of_the_net(bad: Path) -> None:
    solver = 'net: "bad.prototxt"\n\n\n\n\n\n\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 1\n'
    (bad / "solver.prototxt").write_text(solver)
    _, shown = in_terminal("check", "solver.prototxt", "--target", "opencv", cwd=bad, NO_COLOR="1")
    assert "     7 |  lrn_param { alpha: 1 k: 2 local_size: 5 }\n" in shown


def test_severities_are_coloured_on_a_terminal_alone(bad: Path, netbuilder: Command) -> None:
    assert "\x1b[1;31merror\x1b[0m: norm" in in_terminal(*CHECK, cwd=bad)[1]
    assert "\x1b" not in in_terminal(*CHECK, "--color", "never", cwd=bad)[1]
    assert "\x1b" not in netbuilder(*CHECK).out
    assert "\x1b[1;31merror" in netbuilder(*CHECK, "--color", "always").out


def test_what_fix_mends_is_said_and_is_what_it_mends(bad: Path, netbuilder: Command) -> None:
    shown = in_terminal(*CHECK, cwd=bad, NO_COLOR="1", COLUMNS="200")[1].splitlines()
    starts = [i for i, line in enumerate(shown) if line.startswith("bad.prototxt:")]
    said = {
        shown[begin].partition(" [")[2].rstrip("]")
        for begin, end in zip(starts, [*starts[1:], len(shown)], strict=True)
        if "  --fix mends it" in shown[begin:end]
    }

    (file,) = json.loads(netbuilder(*CHECK, "--fix", "--json").out)["files"]
    assert said == {mended["code"] for mended in file["mended"]}


def test_a_pipe_has_no_excerpts_and_joins_consumers(bad: Path, netbuilder: Command) -> None:
    ran = netbuilder(*CHECK)
    assert "bad.prototxt:2: error: norm: opencv, mnn: k is taken for 1 [lrn]\n" in ran.out
    assert "^" not in ran.out
    both = netbuilder(*CHECK, "--json").out
    assert both.count("k is taken for 1") == 2


def test_a_syntax_error_has_its_caret(tmp_path: Path) -> None:
    (tmp_path / "a.prototxt").write_text('layer {\n  name "x"\n}\nlayer { nam: "y" ' + "# " * 80 + "\n")
    code, shown = in_terminal("check", "a.prototxt", cwd=tmp_path, NO_COLOR="1")
    assert code == 2
    assert max(map(len, lines_of(shown))) <= 80
    assert "^" in shown


def test_diff_begins_with_its_summary(tmp_path: Path, netbuilder: Command) -> None:
    good = BAD.replace("param { lr_mult: 1 }", "")
    (tmp_path / "a.prototxt").write_text(good)
    (tmp_path / "b.prototxt").write_text(good.replace('"bn" type', '"other" type').replace("k: 2", "k: 1"))
    ran = netbuilder("diff", tmp_path / "a.prototxt", tmp_path / "b.prototxt")
    first, second, *_ = ran.out.splitlines()
    assert first == "1 layer renamed, 1 layer changed"
    assert second.startswith("weights of A do not fit B: nothing is loaded into other")
    assert ran.out.index("r bn -> other") > ran.out.index(second)
    code, shown = in_terminal("diff", "resnet_50", "resnet_101", cwd=tmp_path)
    assert code == 1
    assert max(map(len, lines_of(shown))) <= 80
    assert "+19.0 M" in shown


def test_without_a_terminal_nothing_more_is_imported(nets: Path) -> None:
    code = (
        "import sys\nfrom netbuilder.cli.main import main\nmain(sys.argv[1:])\n"
        "print('MODULES', *sys.modules, file=sys.stderr)"
    )
    words = [sys.executable, "-c", code, "count", str(nets / "resnet.prototxt")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    modules = set(done.stderr.rpartition("MODULES ")[2].split())
    assert not modules & {"netbuilder.report.terminal", "netbuilder.report.excerpts", "netbuilder.config"}
    assert not modules & {"netbuilder.measure.memory", "rich", "yaml", "shutil", "unicodedata"}
