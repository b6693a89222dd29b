"""`netbuilder test` from a net's scores: each record once, judged by NumPy and by real Caffe's Accuracy."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.weights.write import write_model
from tests.databases import noise, write_lmdb
from tests.engines.case import refusal

CLASSES = 7
DATA = """layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { crop_size: 6 scale: 0.01 mean_value: 100 mean_value: 110 mean_value: 120 }
  data_param { source: "db" backend: LMDB batch_size: BATCH } }
"""
LIST = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { scale: 0.01 mean_value: 100 }
  image_data_param { source: "list.txt" batch_size: 4 SIZE } }
"""
HDF5 = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "rows.txt" batch_size: 4 } }
"""
FC = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 7 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
ACCURACY = """layer { name: "top1" type: "Accuracy" bottom: "fc" bottom: "label" top: "top1" }
layer { name: "top5" type: "Accuracy" bottom: "fc" bottom: "label" top: "top5" accuracy_param { top_k: 5 } }
"""
MEAN = np.array([100, 110, 120], np.float32).reshape(3, 1, 1)


class Case:
    """A linear net over 45 random images of 10x10, whose middle of 6x6 is taken, and its scores."""

    def __init__(self) -> None:
        draw = np.random.default_rng(4)
        self.images = noise(45, 3, 10, 10)
        self.labels = draw.integers(0, CLASSES, 45)
        write_lmdb("db", self.images, self.labels.tolist())
        self.weights: Any = draw.normal(size=(CLASSES, 3 * 6 * 6)).astype(np.float32)
        bias: Any = np.zeros(CLASSES)
        write_model("a.caffemodel", {"fc": [self.weights, bias]})
        write_model("b.caffemodel", {"fc": [-self.weights, bias]})
        Path("net.prototxt").write_text(DATA.replace("BATCH", "10") + FC)
        self.blobs = (self.images[:, :, 2:8, 2:8] - MEAN).reshape(45, -1) * np.float32(0.01)

    def scores(self) -> Any:
        return self.blobs.astype(np.float64) @ self.weights.T.astype(np.float64)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(tmp_path)
    return Case()


def right(scores: Any, labels: Any, k: int) -> int:
    """How many labels are among the k best, by sorting."""
    return sum(label in np.argsort(-row)[:k] for row, label in zip(scores, labels, strict=True))


def answer(capsys: pytest.CaptureFixture[str], *words: str, net: str = "net.prototxt") -> Any:
    assert main(["test", net, "--json", "--weights", "a.caffemodel", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_record_counts_once_by_both_engines(
    case: Case, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = {k: right(case.scores(), case.labels, k) for k in (1, 5)}
    assert 0 < expected[1] < expected[5] < 45
    for engine in ("torch", "caffe"):
        found = answer(capsys, "--top", "1,5", "--engine", engine)
        (model,) = found["models"]
        assert found["classes"] == CLASSES
        assert model["images"] == 45  # 4 passes of 10 and one of 5
        assert {k: model[f"right{k}"] for k in (1, 5)} == expected
        assert model["top5"] == expected[5] / 45


def test_real_caffes_accuracy_says_the_same(
    case: Case, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("whole.prototxt").write_text(DATA.replace("BATCH", "15") + FC + ACCURACY)
    words = ["test", "whole.prototxt", "--weights", "a.caffemodel", "--iterations", "3", "--json"]
    assert main([*words, "--engine", "caffe"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    (model,) = answer(capsys, "--top", "1,5")["models"]
    assert model["top1"] == pytest.approx(outputs["top1"][0], abs=1e-6)
    assert model["top5"] == pytest.approx(outputs["top5"][0], abs=1e-6)


def test_equal_scores_are_wrong_as_in_caffe(
    case: Case, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = case.weights.copy()
    weights[3] = weights[5]
    write_model("a.caffemodel", {"fc": [weights, np.zeros(CLASSES)]}, force=True)
    Path("whole.prototxt").write_text(DATA.replace("BATCH", "15") + FC + ACCURACY)
    words = ["test", "whole.prototxt", "--weights", "a.caffemodel", "--iterations", "3", "--json"]
    assert main([*words, "--engine", "caffe"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    (model,) = answer(capsys, "--engine", "caffe", "--top", "1", "--per-class")["models"]
    assert model["top1"] == pytest.approx(outputs["top1"][0], abs=1e-6)
    assert [model["per_class"][i]["top1"] for i in (3, 5)] == [0, 0]


def test_the_table_of_classes_and_the_confusion(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    Path("names.txt").write_text("".join(f"name {i}\n" for i in range(CLASSES)))
    files = [f"confusion.{kind}" for kind in ("png", "csv", "json")]
    words = [word for file in files for word in ("--confusion", file)]
    (model,) = answer(capsys, "--per-class", "--labels", "names.txt", *words)["models"]
    expected = np.zeros((CLASSES, CLASSES), int)
    for row, label in zip(case.scores(), case.labels, strict=True):
        expected[label, row.argmax()] += 1
    assert model["confusion"] == json.loads(Path("confusion.json").read_text())["matrix"] == expected.tolist()
    with open("confusion.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["label", *(f"name {i}" for i in range(CLASSES))]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == expected.tolist()
    for i, row in enumerate(model["per_class"]):
        assert row["images"] == expected[i].sum() == (case.labels == i).sum()
        assert row["top1"] == expected[i, i] / expected[i].sum()
        assert row["label"] == f"name {i}"
        wrong = np.where(np.arange(CLASSES) == i, 0, expected[i])
        assert row["taken_for"] == {"class": wrong.argmax(), "images": wrong.max()}
    with Image.open("confusion.png") as image:
        pixels = np.asarray(image)
    # Cells are 48 pixels; the corner of each has the colour of its part of the row.
    left = pixels.shape[1] - 20 - CLASSES * 48
    parts = expected / expected.sum(1, keepdims=True)
    corners = pixels[60 + 2 : 60 + CLASSES * 48 : 48, left + 2 : left + CLASSES * 48 : 48]
    assert np.abs(corners[:, :, 0] - (255 - 247 * parts)).max() <= 1


def test_several_models_in_one_table(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "net.prototxt", "--weights", "a.caffemodel", "b.caffemodel", "--images", "33"]) == 0
    lines = capsys.readouterr().out.splitlines()
    scores, labels = case.scores()[:33], case.labels[:33]
    for line, sign in zip(lines[2:], (1, -1), strict=True):
        percent = [f"{100 * right(sign * scores, labels, k) / 33:.2f}" for k in (1, 5)]
        assert line.split()[1:] == ["33", *percent]
    found = answer(capsys, "b.caffemodel")
    assert [model["weights"] for model in found["models"]] == [["a.caffemodel"], ["b.caffemodel"]]


def test_other_numbers_of_the_best(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = answer(capsys, "--top", "6,2,3,9", "--confusion", "c.png")["models"]
    expected = {f"right{k}": right(case.scores(), case.labels, k) for k in (2, 3, 6)}
    assert {key: value for key, value in model.items() if key.startswith("right")} == expected


def test_models_loaded_in_turn_stay_one_model(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = answer(capsys, "--weights", "b.caffemodel", "--top", "1")["models"]
    assert model["weights"] == ["a.caffemodel", "b.caffemodel"]
    assert model["right1"] == right(-case.scores(), case.labels, 1)


def test_both_sides_of_an_image(case: Case, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]) -> None:
    flipped = case.blobs.reshape(45, 3, 6, 6)[..., ::-1].reshape(45, -1)
    scores = (case.scores() + flipped.astype(np.float64) @ case.weights.T.astype(np.float64)) / 2
    expected = [right(scores, case.labels, k) for k in (1, 5)]
    assert expected != [right(case.scores(), case.labels, k) for k in (1, 5)]
    for engine in ("torch", "caffe"):
        found = answer(capsys, "--flip", "--engine", engine)
        assert [found["models"][0][f"right{k}"] for k in (1, 5)] == expected
        assert found["flip"] is True


def write_images(sizes: list[tuple[int, int]]) -> Any:
    draw = np.random.default_rng(2)
    pictures = [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    lines = []
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(f"{i}.png")
        lines.append(f"{i}.png {i % CLASSES}\n")
    Path("list.txt").write_text("".join(lines))
    return pictures


def test_the_short_side_is_resized_and_the_middle_taken(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2 = pytest.importorskip("cv2")
    pictures = write_images([(20, 30), (41, 20), (17, 17), (9, 9), (30, 21), (12, 40)])
    Path("list.prototxt").write_text(LIST.replace("SIZE", "new_height: 6 new_width: 6") + FC)
    rows = []
    for pixels in pictures:
        h, w = pixels.shape[:2]
        size = round(w * 8 / min(h, w)), round(h * 8 / min(h, w))
        small = cv2.resize(pixels[:, :, ::-1].copy(), size)
        top, left = (small.shape[0] - 6) // 2, (small.shape[1] - 6) // 2
        middle = small[top : top + 6, left : left + 6].transpose(2, 0, 1).astype(np.float32)
        rows.append((middle - 100).reshape(-1) * np.float32(0.01))
    scores = np.stack(rows).astype(np.float64) @ case.weights.T.astype(np.float64)
    words = ["--resize", "8", "--crop", "6", "--confusion", "c.csv", "--top", "1,3"]
    found = answer(capsys, *words, net="list.prototxt")
    (model,) = found["models"]
    assert found["resize"] == 8
    assert found["crop"] == [6, 6]
    labels = np.arange(6) % CLASSES
    assert [model["right1"], model["right3"]] == [right(scores, labels, k) for k in (1, 3)]
    assert [int(np.argmax(row)) for row in model["confusion"][:6]] == scores.argmax(1).tolist()


def test_stored_images_are_resized_too(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2")
    small = np.stack([cv2.resize(x.transpose(1, 2, 0), (7, 7)).transpose(2, 0, 1) for x in case.images])
    blobs = (small[:, :, :6, :6] - MEAN).reshape(45, -1) * np.float32(0.01)
    (model,) = answer(capsys, "--resize", "7", "--confusion", "c.json")["models"]
    scores = blobs.astype(np.float64) @ case.weights.T.astype(np.float64)
    expected = np.zeros((CLASSES, CLASSES), int)
    np.add.at(expected, (case.labels, scores.argmax(1)), 1)
    assert model["confusion"] == expected.tolist()


def test_rows_of_hdf5(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    h5py = pytest.importorskip("h5py")
    for name, part in (("x.h5", slice(0, 20)), ("y.h5", slice(20, 45))):
        with h5py.File(name, "w") as file:
            file["data"], file["label"] = case.blobs[part], case.labels[part].astype("f4")
    Path("rows.txt").write_text("x.h5\ny.h5\n")
    Path("rows.prototxt").write_text(HDF5 + FC)
    (model,) = answer(capsys, "--top", "1", net="rows.prototxt")["models"]
    assert (model["images"], model["right1"]) == (45, right(case.scores(), case.labels, 1))
    words = ["test", "rows.prototxt", "--weights", "a.caffemodel", "--resize", "8"]
    assert "stores no images to resize" in refusal(words, capsys)


def test_an_ignored_label_does_not_count(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ignoring = FC.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: 2 } }')
    Path("net.prototxt").write_text(DATA.replace("BATCH", "10") + ignoring)
    (model,) = answer(capsys, "--top", "1")["models"]
    kept = case.labels != 2
    assert (model["images"], model["ignored"]) == (kept.sum(), (~kept).sum())
    assert model["right1"] == right(case.scores()[kept], case.labels[kept], 1)


def test_scores_that_are_not_finite_are_wrong(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    weights: Any = np.full_like(case.weights, np.nan)
    write_model("a.caffemodel", {"fc": [weights, np.zeros(CLASSES)]}, force=True)
    assert main(["test", "net.prototxt", "--weights", "a.caffemodel", "--top", "1,5", "--json"]) == 1
    said = capsys.readouterr()
    assert [json.loads(said.out)["models"][0][f"right{k}"] for k in (1, 5)] == [0, 0]
    assert "the scores are not finite" in said.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--top", "1", "--images", "46"], "--images must be 1 to the 45 of the test set, got 46"),
        (["--top", "1", "--iterations", "2"], "scores are counted over whole records"),
        (["--crop", "11"], "a crop of 11x11 is larger than record 0 of 'db', which is 10x10"),
        (["--scores", "fd"], "the net has no blob 'fd'"),
        (["--scores", "label"], "no score for each class"),
        (["--confusion", "x.jpg"], "the kind of 'x.jpg' is not known"),
        (["--confusion", "list.csv"], "'list.csv' exists already"),
        (["b.caffemodel", "--confusion", "x.png"], "--confusion is of one model"),
        (["gone.caffemodel"], "there is no weights file 'gone.caffemodel'"),
        (["--labels", "list.csv"], "names 1 of the 7 classes"),
    ],
)
def test_what_is_refused(case: Case, words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.csv").write_text("one\n")
    assert text in refusal(["test", "net.prototxt", "--weights", "a.caffemodel", *words], capsys)
    assert not Path("x.png").exists()


def test_a_number_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for option, text in (("--top", "takes whole numbers from 1 on"), ("--resize", "a size is N or HxW")):
        with pytest.raises(SystemExit):
            main(["test", "net.prototxt", "--weights", "a.caffemodel", option, "0"])
        assert text in capsys.readouterr().err
