"""Writing files: layout, comments, and that nobody's work is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder import Net, __version__, prototxt
from netbuilder.errors import FileError
from netbuilder.storage.files import write_files


def small() -> Net:
    net = Net("small", phase="TRAIN")
    x = net.add("Input", name="data", shape={"dim": [1, 3, 8, 8]})
    with net.scope("block", comment="block 0"):
        x = net.add("Convolution", x, name="c", num_output=4, kernel_size=3, bias_term=False)
        net.add("ReLU", x, name="r", in_place=True)
    return net


def test_the_layout_is_pinned() -> None:
    assert (
        prototxt.dumps(small(), header="network: small\n  width: 4")
        == f"""\
# Made by netbuilder {__version__}
# network: small
#   width: 4
name: "small"
layer {{
  name: "data"
  type: "Input"
  top: "data"
  input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 8 }} }}
}}

# block 0
layer {{
  name: "c"
  type: "Convolution"
  bottom: "data"
  top: "c"
  convolution_param {{ num_output: 4 bias_term: false kernel_size: 3 weight_filler {{ type: "msra" }} }}
}}
layer {{
  name: "r"
  type: "ReLU"
  bottom: "c"
  top: "c"
}}
"""
    )


def test_writing_and_reading_is_a_fixed_point() -> None:
    text = prototxt.dumps(small()).replace("\n\n# block 0", "")
    assert prototxt.dumps(prototxt.parse(text, "TRAIN")) == text


def test_a_net_without_a_name_has_no_name_line() -> None:
    assert prototxt.dumps(Net()).splitlines() == [f"# Made by netbuilder {__version__}"]


def test_our_own_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "net.prototxt"
    prototxt.write(Net("one"), path)
    prototxt.write(small(), path)
    assert path.read_text() == prototxt.dumps(small())
    assert [p.name for p in path.parent.iterdir()] == ["net.prototxt"]


def test_a_file_of_somebody_else_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("mine")
    with pytest.raises(FileError) as caught:
        prototxt.write(small(), path)
    assert str(caught.value) == (
        f"'{path}' is in the way, and netbuilder did not write it\n"
        "  hint:    choose another output folder, or use --force to replace it"
    )
    assert path.read_text() == "mine"
    prototxt.write(small(), path, force=True)
    assert path.read_text() == prototxt.dumps(small())


def test_of_several_files_all_are_written_or_none(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(FileError, match="it is a folder"):
        write_files({tmp_path / "a": "1", tmp_path / "b": "2"})
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with pytest.raises(FileError):
        write_files({tmp_path / "a": "1", tmp_path / "b": "2"}, force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "net.prototxt"
    with pytest.raises(
        FileError, match=f"cannot make the folder '{path.parent}': there is a file of that name"
    ):
        prototxt.write(small(), path)
