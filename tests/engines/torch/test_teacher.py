"""A teacher's scores as targets of a training: one update against arithmetic, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.weights.arrays import read_arrays
from netbuilder.weights.write import write_model
from tests.databases import noise, write_lmdb
from tests.engines.case import refusal

DATA = """layer { name: "data" type: "Data" top: "data" top: "label"
  transform_param { scale: 0.01 mean_value: 128 } data_param { source: "db" backend: LMDB batch_size: 8 } }
"""
INPUT = """layer { name: "in" type: "Input" top: "image"
  input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
"""
FC = """layer { name: "fc" type: "InnerProduct" bottom: "BOTTOM" top: "fc"
  inner_product_param { num_output: 5 bias_term: false weight_filler { type: "xavier" } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
PROB = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
SOLVER = """net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 display: 1 random_seed: 1
snapshot_prefix: "x" type: "SGD"
"""
WORDS = ["train", "solver.prototxt", "--engine", "torch", "--no-draw", "--weights", "start.caffemodel"]


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder that one is in, with a linear net, two linear teachers, and what they are made of."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(6)
    images, labels = noise(8, 3, 4, 4), draw.integers(0, 5, 8)
    write_lmdb("db", images, labels.tolist())
    own, theirs = draw.normal(size=(2, 5, 48)).astype(np.float32)
    write_model("start.caffemodel", {"fc": [own]})
    write_model("teacher.caffemodel", {"fc": [theirs]})
    Path("net.prototxt").write_text(DATA + FC.replace("BOTTOM", "data") + LOSS)
    Path("teacher.prototxt").write_text(DATA + FC.replace("BOTTOM", "data") + LOSS)
    Path("deploy.prototxt").write_text(INPUT + FC.replace("BOTTOM", "image") + PROB)
    Path("solver.prototxt").write_text(SOLVER)
    x = (images.reshape(8, -1).astype(np.float64) - 128) * 0.01
    return {"x": x, "labels": labels, "own": own.astype(float), "theirs": theirs.astype(float)}


def softmax(scores: Any) -> Any:
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def expected(d: dict[str, Any], heat: float, share: float, smoothing: float = 0.0) -> Any:
    """The weights after one update at rate 0.1."""
    scores, taught = d["x"] @ d["own"].T, d["x"] @ d["theirs"].T
    targets = (1 - smoothing) * np.eye(5)[d["labels"]] + smoothing / 5
    slope = softmax(scores) - targets
    slope += share * heat * (softmax(scores / heat) - softmax(taught / heat))  # heat^2 / heat
    return d["own"] - 0.1 * slope.T @ d["x"] / 8


@pytest.mark.parametrize("file", ["teacher.prototxt", "deploy.prototxt"])
@pytest.mark.parametrize(("more", "numbers"), [
    ("", (1, 1)),
    ("teacher_temperature: 2\nteacher_share: 0.7\nlabel_smoothing: 0.2\n", (2, 0.7, 0.2)),
])  # fmt: skip
def test_an_update_with_a_teacher_is_what_arithmetic_says(
    drawn: dict[str, Any], file: str, more: str, numbers: tuple[float, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Path("solver.extras.yaml").write_text(f"teacher: {file}\nteacher_weights: teacher.caffemodel\n{more}")
    assert main(WORDS) == 0
    assert f"extra teacher: {file}\n" in capsys.readouterr().err
    (found,) = (s.arrays[0] for s in read_arrays("x_iter_1.caffemodel") if s.arrays)
    np.testing.assert_allclose(np.reshape(found, (5, 48)), expected(drawn, *numbers), rtol=0, atol=2e-6)
    assert np.abs(expected(drawn, *numbers) - expected(drawn, 1, 0)).max() > 0.005  # which a teacher changes


@pytest.mark.parametrize(
    ("extras", "text"),
    [
        ("teacher: teacher.prototxt\n", "a teacher needs its prototxt and its model"),
        ("teacher_share: 2\n", "a teacher needs its prototxt and its model"),
        ("teacher: gone.prototxt\nteacher_weights: teacher.caffemodel\n", "gone.prototxt"),
        ("teacher: teacher.prototxt\nteacher_weights: gone.caffemodel\n", "gone.caffemodel"),
        ("teacher: six.prototxt\nteacher_weights: teacher.caffemodel\n", "they need as many classes"),
        ("teacher: bare.prototxt\nteacher_weights: teacher.caffemodel\n", "has no softmax"),
        (
            "teacher: teacher.prototxt\nteacher_weights: teacher.caffemodel\nteacher_temperature: 0\n",
            "teacher_temperature must be above 0",
        ),
    ],
)
def test_what_is_refused(
    drawn: dict[str, Any], extras: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("six.prototxt").write_text(Path("teacher.prototxt").read_text().replace("output: 5", "output: 6"))
    Path("bare.prototxt").write_text(INPUT + FC.replace("BOTTOM", "image"))
    Path("solver.extras.yaml").write_text(extras)
    assert text in refusal(WORDS, capsys)
    assert not list(Path().glob("x_*"))
