"""`netbuilder draw` as a person types it: formats, defaults, refusals."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from netbuilder import Net, report
from netbuilder.draw import draw
from netbuilder.errors import ConfigError, FileError
from tests.command import Command

ZOO = Path(__file__).parents[1] / "zoo"
NET = ZOO / "squeezenet_v1.1.prototxt"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(capsys, "draw")


@pytest.mark.parametrize(
    ("suffix", "begins"),
    [("html", b"<!DOCTYPE html>"), ("svg", b"<?xml"), ("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-")],
)
def test_a_drawing_is_replaced_by_the_next_one_but_no_file_of_somebody_else(
    run: Command, suffix: str, begins: bytes, graphviz: None
) -> None:
    path = Path(f"net.{suffix}")
    for net in (NET, ZOO / "mobilenet.prototxt"):
        ran = run(net, "-o", path)
        assert (ran.code, ran.out, ran.err) == (0, "", f"wrote {path}\n")
        assert path.read_bytes().startswith(begins)
    path.write_bytes(begins + b"\nof somebody else")
    assert run(NET, "-o", path).code == 2
    assert path.read_bytes().endswith(b"else")
    assert run(NET, "-o", path, "--force").code == 0


def test_the_name_of_the_page_is_that_of_the_net(run: Command, graphviz: None) -> None:
    assert run("cifar_resnet_20").err == "wrote cifar_resnet_20.html\n"
    assert Path("cifar_resnet_20.html").exists()


def test_a_net_comes_from_stdin(run: Command, monkeypatch: pytest.MonkeyPatch, graphviz: None) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(NET.read_text("utf-8")))
    assert run("-").err == "wrote stdin.html\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(NET.read_text("utf-8")))
    assert run("-", "--tree").out == run(NET, "--tree").out


def test_equal_nets_give_equal_pages_and_pictures(run: Command, graphviz: None) -> None:
    for suffix in ("html", "svg", "png"):
        run(NET, "-o", f"a.{suffix}")
        run(NET, "-o", f"b.{suffix}")
        assert Path(f"a.{suffix}").read_bytes() == Path(f"b.{suffix}").read_bytes()


def test_depth_opens_the_blocks_of_a_picture(run: Command, graphviz: None) -> None:
    texts = []
    for depth in (0, 1, 2):
        assert run(NET, "--depth", str(depth), "-o", "net.svg").code == 0
        texts.append(Path("net.svg").read_text("utf-8"))
    assert "fire2/squeeze1x1" not in texts[0]
    assert "fire2/squeeze1x1" in texts[1]
    assert "1×64×113×113" in texts[0]


def test_what_cannot_be_drawn_is_refused_with_a_way_out(run: Command, graphviz: None) -> None:
    for words, said in (
        ((NET, "-o", "net.jpg"), "html, svg, png or pdf"),
        ((NET, "-o", "."), "name it net.html"),
        ((NET, "-o", "/"), "name it /net.html"),
        ((NET, NET, NET), "two side by side; got 3"),
        ((NET, NET, "-o", "net.png"), "are a page"),
        ((NET, "--depth", "-1"), "at least 0"),
        (("nothing.prototxt",), "no such file"),
        (("resnet_5000",), "unknown config 'resnet_5000'"),
        (("davidnet",), "davidnet is a network: netbuilder build davidnet --help"),
        ((NET, "--set", "classes=10"), "--set changes values of a config"),
        ((NET, "--times", "nothing.json"), "nothing.json"),
        (("cifar_resnet_1202_a", "--depth", "9", "-o", "net.png"), "smaller --depth"),
    ):
        ran = run(*words)
        assert ran.code == 2, words
        assert said in ran.err
        assert "Traceback" not in ran.err
    assert not list(Path().iterdir())


def test_without_graphviz_the_tree_works_and_a_drawing_says_what_to_install(
    run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    ran = run(ZOO / "cifar10_quick.prototxt")
    assert ran.code == 2
    assert "pip install 'pygraphviz>=2'" in ran.err
    assert "conv1 Convolution 5x5 p2" in run(ZOO / "cifar10_quick.prototxt", "--tree").out


def test_the_tree_goes_to_stdout(run: Command) -> None:
    ran = run(NET, "--tree", "--depth", "1")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.splitlines()[1].split() == ["layer", "out", "params", "MACs", "part"]


def test_build_draws_the_nets_that_it_writes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, graphviz: None
) -> None:
    build = Command(capsys, "build", "cifar_resnet_20", "-o", str(tmp_path / "net"), "--draw")
    for _ in range(2):
        ran = build()
        assert ran.code == 0, ran.err
        assert f"wrote {tmp_path / 'net' / 'net.html'}" in ran.err
    data = (
        (tmp_path / "net" / "net.html")
        .read_text("utf-8")
        .partition('id="data">')[2]
        .partition("</script>")[0]
    )
    assert list(json.loads(data)["nets"][0]["phases"]) == ["deploy", "test", "train"]


def test_a_net_of_ones_own_draws_from_python(tmp_path: Path, graphviz: None) -> None:
    net = Net("own")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    net.add("Convolution", x, name="conv", num_output=4, kernel_h=1, kernel_w=3, pad_w=1)
    draw(net, tmp_path / "net.html")
    assert "1x3 p0x1" in (tmp_path / "net.html").read_text("utf-8")
    draw(net, str(tmp_path / "net.svg"))
    assert report.draw is draw
    with pytest.raises(ConfigError, match="by the suffix"):
        draw(net, tmp_path / "net")
    (tmp_path / "net.html").write_text("mine", "utf-8")
    with pytest.raises(FileError):
        draw(net, tmp_path / "net.html")
