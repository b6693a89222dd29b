"""Real Caffe in a root of its own reads what lists name, and runs Python layers, as it does without one."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from netbuilder.engines.caffe.jobs import seen_net
from netbuilder.engines.caffe.lists import SeenLists
from tests.command import Command
from tests.databases import noise

FC = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
IMAGES = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { scale: 0.001 } image_data_param { source: "list.txt" batch_size: 3 %s } }
"""
WINDOWS = """layer { name: "data" type: "WindowData" top: "data" top: "label"
  transform_param { crop_size: 8 } window_data_param { source: "list.txt" batch_size: 4 scale: 0.001
  fg_threshold: 0.5 bg_threshold: 0.5 fg_fraction: 0.5 %s } }
"""
HDF5 = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "list.txt" batch_size: 3 } }
"""
PYTHON = """layer { name: "loss" type: "Python" bottom: "fc" top: "loss" loss_weight: 1
  python_param { module: "square_layer" layer: "Square" } }
layer { name: "silence" type: "Silence" bottom: "label" }
"""
LAYER = """import caffe

class Square(caffe.Layer):
    def setup(self, bottom, top):
        pass
    def reshape(self, bottom, top):
        top[0].reshape(1)
    def forward(self, bottom, top):
        top[0].data[...] = (bottom[0].data ** 2).sum()
    def backward(self, top, down, bottom):
        bottom[0].diff[...] = 2 * bottom[0].data * top[0].diff[0]
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 3 random_seed: 1
snapshot_after_train: false snapshot_prefix: "%s"
"""
pytestmark = pytest.mark.usefixtures("real_caffe")


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`netbuilder train` in a folder with images and HDF5 data, there, in a linked folder and as links."""
    import h5py
    import numpy as np
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "stored").mkdir()
    for i, pixels in enumerate(noise(6, 3, 12, 12)):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(f"stored/{i}.png")
    with h5py.File("stored/0.h5", "w") as file:
        file["data"], file["label"] = noise(6, 1, 4, 4) / np.float32(255), np.arange(6, dtype=np.float32) % 3
    (tmp_path / "linked").symlink_to(tmp_path / "stored")
    (tmp_path / "links").mkdir()
    for place in (tmp_path / "stored").iterdir():
        (tmp_path / "links" / place.name).symlink_to(place)
    return Command(capsys, "train", "--no-draw")


def write(kind: str, *folders: str, root: str = "", rest: str = FC) -> None:
    """A net over a list whose names are in these folders, in turn."""
    names = [f"{folders[i % len(folders)]}{i}.png" for i in range(6)]
    if kind == HDF5:
        text = "".join(f"{folder}0.h5\n" for folder in (folders * 3)[:3])
    elif kind == IMAGES:
        text = "".join(f"{name} {i % 3}\n" for i, name in enumerate(names))
    else:
        window = "3\n12\n12\n2\n1 0.9 1 1 9 9\n0 0.1 2 2 8 8\n"
        text = "".join(f"# {i}\n{name}\n{window}" for i, name in enumerate(names))
    Path("list.txt").write_text(text, encoding="utf-8")
    data = kind if kind == HDF5 else kind % (f'root_folder: "{root}"' if root else "")
    Path("net.prototxt").write_text(data + rest, encoding="utf-8")


def losses(train: Command, name: str) -> list[str]:
    Path("solver.prototxt").write_text(SOLVER % name, encoding="utf-8")
    ran = train("solver.prototxt")
    assert ran.code == 0, ran
    with Path(f"{name}_train.csv").open() as file:
        return [row["loss"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("kind", [IMAGES, WINDOWS, HDF5], ids=["images", "windows", "hdf5"])
def test_a_list_of_absolute_or_linked_names_gives_the_losses_of_relative_ones(
    kind: str, train: Command, tmp_path: Path
) -> None:
    write(kind, "stored/")
    plain = losses(train, "plain")
    write(kind, f"{tmp_path}/stored/", "linked/", "links/")
    assert losses(train, "mapped") == plain
    assert len(set(plain)) > 1


@pytest.mark.parametrize("kind", [IMAGES, WINDOWS], ids=["images", "windows"])
def test_an_absolute_root_folder_gives_the_same_losses(kind: str, train: Command, tmp_path: Path) -> None:
    write(kind, "", root="stored/")
    plain = losses(train, "plain")
    write(kind, "", root=f"{tmp_path}/links/")
    assert losses(train, "mapped") == plain


@pytest.mark.parametrize("where", ["PYTHONPATH", "the folder of the net"])
def test_a_python_layer_is_found_on_pythonpath_and_beside_what_is_trained(
    where: str, train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {"PYTHONPATH": "modules", "the folder of the net": "nets"}
    Path("nets").mkdir()
    Path("modules").mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/modules" if where == "PYTHONPATH" else "")
    Path(folders[where], "square_layer.py").write_text("from square_of import Square\n", encoding="utf-8")
    Path(folders[where], "square_of.py").write_text(LAYER, encoding="utf-8")
    write(IMAGES, f"{tmp_path}/stored/", rest=FC.partition('layer { name: "loss"')[0] + PYTHON)
    Path("net.prototxt").rename("nets/net.prototxt")
    Path("solver.prototxt").write_text((SOLVER % "out").replace('"net', '"nets/net'), encoding="utf-8")
    ran = train("solver.prototxt", "--trust")
    assert ran.code == 0, ran


def test_gpus_of_a_caffe_without_nccl_are_refused_in_words(train: Command) -> None:
    write(IMAGES, "stored/")
    Path("solver.prototxt").write_text(SOLVER % "out", encoding="utf-8")
    ran = train("solver.prototxt", "--gpu", "0,1")
    assert ran.code == 2
    assert "EngineError: this Caffe has no NCCL, which several GPUs need: train on one\n" in ran.err


@pytest.mark.usefixtures("train")
def test_a_list_of_plain_relative_names_is_not_copied() -> None:
    write(IMAGES, "stored/")
    lists = SeenLists(lambda path: path)
    assert 'source: "list.txt"' in seen_net(IMAGES % "", lambda path: path, lists)
    assert lists.files == {}


def test_a_model_of_a_copied_list_is_the_same_in_every_run(train: Command, tmp_path: Path) -> None:
    """Caffe writes the name of the copy, which is in a folder of another name each time, into the model."""
    write(IMAGES, f"{tmp_path}/stored/")
    Path("solver.prototxt").write_text(SOLVER.replace("after_train: false", "after_train: true") % "x")
    models = []
    for _ in range(2):
        assert train("solver.prototxt", "--force").code == 0
        models.append(Path("x_iter_3.caffemodel").read_bytes())
    assert models[0] == models[1]
    assert not list(tmp_path.glob(".*"))
