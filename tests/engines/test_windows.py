"""Training by window files: images and labels are looked at first, and what Caffe only logs ends the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import VARIABLE, Caffe
from netbuilder.engines.caffe.log import serious
from tests.engines.case import refusal

NET = """layer { name: "d" type: "WindowData" top: "x" top: "y" transform_param { crop_size: 12 }
  window_data_param { source: "windows.txt" batch_size: 4 fg_fraction: 0.5 } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "gaussian" std: 0.0001 } } }
layer { name: "l" type: "SoftmaxWithLoss" bottom: "fc" bottom: "y" top: "l" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.00001 lr_policy: "fixed" max_iter: 5 display: 5
snapshot_prefix: "out/x" random_seed: 1
"""


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images, a damaged one, a net and a solver."""
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        (tmp_path / f"{i}.ppm").write_bytes(b"P6 40 40 255\n" + bytes((7 * k + i) % 256 for k in range(4800)))
    (tmp_path / "damaged.ppm").write_bytes(b"P6 40")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def windows(*names: str, label: int = 2, overlap: float = 0.9) -> None:
    """A window file with one foreground window and one of the background in each image."""
    images = [
        f"# {i}\n{name}\n3\n40\n40\n2\n{label} {overlap} 1 1 20 20\n1 0.1 5 5 30 30\n"
        for i, name in enumerate(names)
    ]
    Path("windows.txt").write_text("".join(images))


def test_windows_are_trained_on(images: Path, real_caffe: Caffe) -> None:
    windows("0.ppm", "1.ppm")
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    # A label that only a window of the background has is 0 for Caffe.
    windows("0.ppm", "1.ppm", label=9, overlap=0.2)
    Path("windows.txt").write_text(Path("windows.txt").read_text().replace("1 0.1", "1 0.9"))
    assert main(["train", "solver.prototxt", "--no-draw", "--force"]) == 0


@pytest.mark.parametrize(
    ("names", "label", "said"),
    [
        (("0.ppm", "gone.ppm"), 2, "layer 'd' reads 'gone.ppm', which is not there"),
        (
            ("0.ppm",),
            3,
            "label 3 of line 7 of 'windows.txt' is out of range: SoftmaxWithLoss 'l' takes 0 to 2",
        ),
    ],
)
def test_missing_images_and_labels_out_of_range_are_refused_before_caffe_starts(
    images: Path, names: tuple[str, ...], label: int, said: str, capsys: pytest.CaptureFixture[str],
    real_caffe: Caffe,
) -> None:  # fmt: skip
    windows(*names, label=label)
    assert refusal(["train", "solver.prototxt"], capsys).startswith(said)
    assert not Path("out").exists()
    main(["check", "solver.prototxt", "--json"])  # a missing image is a warning: it may be elsewhere
    texts = [f["text"] for file in json.loads(capsys.readouterr().out)["files"] for f in file["findings"]]
    assert any(text.startswith(said) for text in texts)


@pytest.mark.parametrize("kind", ["pycaffe", "binary"])
def test_an_image_that_caffe_cannot_read_ends_the_run(
    images: Path,
    kind: str,
    real_caffe: Caffe,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Caffe logs it, and trains on zeros."""
    if kind == "binary":
        container: Callable[..., str] = request.getfixturevalue("container")
        monkeypatch.setenv(VARIABLE, container("caffe"))
    windows("0.ppm", "damaged.ppm")
    words = ["train", "solver.prototxt", "--no-draw", "--set", "max_iter=500000"]
    assert refusal(words, capsys).startswith(
        "Caffe goes on without something that it could not read: Could not open or find file "
    )
    assert json.loads(Path("out/x_run.json").read_text())["end"] == "failed"
    assert not list(Path("out").glob("*.caffemodel"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("E0102 15:04:05.678901  7 io.cpp:80] Could not open or find file a.png",
         "Could not open or find file a.png (io.cpp:80)"),
        ("E0102 15:04:05.678901  7 upgrade_proto.cpp:619] Attempting to upgrade input file", ""),
        ("E0102 15:04:05.678901  7 common.cpp:114] Cannot create Cublas handle.", ""),
        ("I0102 15:04:05.678901  7 net.cpp:1] Could not", ""),
        ("Error of somebody else", ""),
    ],
)  # fmt: skip
def test_errors_in_the_log_are_serious_but_for_some(line: str, said: str) -> None:
    assert serious(line) == said
