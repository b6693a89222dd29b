"""Caffe's published examples run from check to test by the commands alone, on small data made here."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.weights.write import write_blob
from tests.command import Command
from tests.databases import noise, write_lmdb
from tests.published_examples import EXAMPLES, PYLOSS, Example

BATCH = 4


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of each kind that the examples read."""
    import h5py
    from PIL import Image

    place = tmp_path_factory.mktemp("data")
    labels = [i % 2 for i in range(10)]
    write_lmdb(place / "mnist", noise(10, 1, 28, 28), labels)
    write_lmdb(place / "pairs", noise(10, 2, 28, 28), labels)
    write_lmdb(place / "cifar", noise(10, 3, 32, 32), labels)
    write_blob(place / "mean.binaryproto", np.full((1, 3, 32, 32), 120.0))
    with h5py.File(place / "data.h5", "w") as file:
        file["data"] = noise(10, 4, 1, 1).reshape(10, 4) / np.float32(255)
        file["label"] = np.array(labels, np.float32)
    (place / "hdf5.txt").write_text(f"{place}/data.h5\n")
    images = []
    for i, pixels in enumerate(noise(10, 3, 80, 80)):
        Image.fromarray(pixels.transpose(1, 2, 0)).save(place / f"{i}.png")
        images.append(f"{place}/{i}.png")
    (place / "images.txt").write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate(images)))
    window = "3\n80\n80\n3\n1 0.9 5 5 60 60\n7 0.8 20 20 75 75\n0 0.2 1 1 40 40\n"
    (place / "windows.txt").write_text("".join(f"# {i}\n{name}\n{window}" for i, name in enumerate(images)))
    (place / "pyloss.py").write_text(PYLOSS)
    return place


@pytest.fixture
def command(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    for file in data.iterdir():
        Path(file.name).symlink_to(file)
    return Command(capsys)


def run(command: Command, example: Example, weights: tuple[str, ...] = ()) -> dict[str, object]:
    """The record of a short training of an example, after its check."""
    Path("net.prototxt").write_text(re.sub(r"batch_size: \d+", f"batch_size: {BATCH}", example.net))
    Path("solver.prototxt").write_text(re.sub(r"batch_size: \d+", f"batch_size: {BATCH}", example.solver))
    checked = command("check", "solver.prototxt", "--json")
    errors = [
        f for file in json.loads(checked.out)["files"] for f in file["findings"] if f["severity"] == "error"
    ]
    assert errors == []
    settings = [word for setting in example.set for word in ("--set", setting)]
    words = ["--cpu", "--trust", "--seed", "1", "--no-draw", "--json", *settings, *weights]
    trained = command("train", "solver.prototxt", *words)
    assert trained.code == 0, trained
    record: dict[str, object] = json.loads(trained.out)
    assert record["end"] == "done"
    return record


OTHERS = ("autoencoder", "cifar_quick", "caffenet", "flickr", "rcnn")  # of the tests below


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in OTHERS])
def test_an_example_runs_from_check_to_test(name: str, command: Command, real_caffe: Caffe) -> None:
    run(command, EXAMPLES[name])
    if name in ("lenet_adam", "lenet_multistep", "lenet_rmsprop", "lenet_adadelta"):
        return  # they differ from `lenet` in the solver alone
    model = next(Path().glob("*_iter_*.caffemodel*"))
    ran = command(
        "test", "solver.prototxt", "--weights", model, "--engine", "caffe", "--iterations", "2", "--json"
    )
    if name == "linreg":  # its solver tests nothing, and its net is that of both phases
        ran = command(
            "test",
            "net.prototxt",
            "--weights",
            model,
            "--engine",
            "caffe",
            "--iterations",
            "2",
            "--json",
            "--trust",
        )
    assert ran.code == 0, ran
    assert all(np.isfinite(values).all() for values in json.loads(ran.out)["outputs"].values())


def test_the_states_of_the_autoencoder_are_tested_each(command: Command, real_caffe: Caffe) -> None:
    run(command, EXAMPLES["autoencoder"])
    with Path("autoencoder_test.csv").open() as file:
        rows = [(row["iteration"], row["net"], row["passes"]) for row in csv.DictReader(file)]
    assert set(rows) == {(i, net, passes) for i in ("0", "3") for net, passes in (("0", "2"), ("1", "1"))}
    words = ("--weights", "autoencoder_iter_3.caffemodel", "--engine", "caffe", "--iterations", "2")
    assert "l2_error" in command("test", "solver.prototxt", *words).out


def test_cifar_goes_on_with_a_lower_rate_from_its_hdf5_snapshot(command: Command, real_caffe: Caffe) -> None:
    run(command, EXAMPLES["cifar_quick"])
    words = ["--set", "base_lr=0.0001", "--set", "max_iter=5", "--set", "test_iter=", "--cpu", "--no-draw"]
    ran = command("train", "solver.prototxt", "--resume", "cifar_quick_iter_3.solverstate.h5", *words)
    assert ran.code == 0, ran
    assert Path("cifar_quick_iter_5.caffemodel.h5").exists()
    assert command("count", "cifar_quick_iter_5.caffemodel.h5").code == 0
    words = ["--weights", "cifar_quick_iter_5.caffemodel.h5", "--engine", "caffe", "--iterations", "2"]
    assert "accuracy" in command("test", "solver.prototxt", *words).out


def test_a_trained_net_is_tuned_on_a_list_of_images_and_on_windows(
    command: Command, real_caffe: Caffe
) -> None:
    run(command, EXAMPLES["caffenet"])
    for name in ("flickr", "rcnn"):
        record = run(command, EXAMPLES[name], ("--weights", "caffenet_iter_3.caffemodel"))
        model = record["model"]
        assert isinstance(model, dict)
        assert (len(model["taken"]), model["unused"]) == (7, ["fc8"])
        words = ["--weights", f"{name}_iter_3.caffemodel", "--engine", "caffe", "--iterations", "2"]
        assert command("test", "solver.prototxt", *words).code == 0
