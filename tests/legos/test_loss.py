"""Losses against their definitions in NumPy, in real Caffe: value and gradient."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legos import (
    InfogainLossLego,
    LabelSmoothingLossLego,
    LogitsScaleLego,
    SoftTargetLossLego,
    smoothing_matrix,
)
from netbuilder import Net, checks, prototxt
from netbuilder.engines.caffe import Caffe, RunResult
from netbuilder.errors import ConfigError
from netbuilder.net import Phase
from netbuilder.weights.write import write_blob
from tests import consumers
from tests.legos.judge import drawn, forward_backward

K, BATCH = 10, 4
LABELS = np.array([3, 0, 9, 1])


def log_softmax(z: Any) -> Any:
    z = z.astype(np.float64)
    z = z - z.max(1, keepdims=True)
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def smoothed(epsilon: float, labels: Any = LABELS) -> Any:
    """The targets of label smoothing."""
    return (1 - epsilon) * np.eye(K)[labels] + epsilon / K


def expected(scores: Any, targets: Any) -> tuple[float, Any]:
    """The loss and its gradient."""
    logs = log_softmax(scores)
    return float(-(targets * logs).sum() / len(scores)), (np.exp(logs) - targets) / len(scores)


def train_net(
    lego: Any, target_shape: tuple[int, ...], scores: tuple[int, ...] = (BATCH, K), phase: Phase = "TRAIN"
) -> Net:
    net = Net("n", phase)
    net.proto.force_backward = True
    blobs = [
        net.add("Input", name="scores", shape={"dim": list(scores)}),
        net.add("Input", name="target", shape={"dim": list(target_shape)}),
    ]
    lego.attach(net, blobs)
    return net


def run(caffe: Caffe, net: Net, scores: Any, target: Any, **more: Any) -> RunResult:
    return caffe.run(
        prototxt.dumps(net), phase=net.phase, inputs={"scores": scores, "target": target},
        outputs=["scores"], backward=True, **more,
    )  # fmt: skip


@pytest.mark.parametrize("epsilon", [0.1, 0.2, 0.9])
def test_label_smoothing_has_the_loss_and_the_gradient_of_its_formula(
    real_caffe: Caffe, epsilon: float
) -> None:
    net = train_net(LabelSmoothingLossLego(name="loss", epsilon=epsilon), (BATCH,))
    assert checks.check(net) == []
    scores = drawn(BATCH, K)
    ran = run(real_caffe, net, scores, LABELS)
    loss, gradient = expected(scores, smoothed(epsilon))
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["scores"] - gradient).max() <= 1e-7


def test_label_smoothing_takes_scores_of_four_axes_and_any_batch(real_caffe: Caffe) -> None:
    net = train_net(LabelSmoothingLossLego(name="loss", epsilon=0.2), (2,), scores=(2, K, 1, 1))
    scores = drawn(BATCH, K, 1, 1)  # not the batch of the file
    ran = run(real_caffe, net, scores, LABELS)
    loss, gradient = expected(scores.reshape(BATCH, K), smoothed(0.2))
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["scores"].reshape(BATCH, K) - gradient).max() <= 1e-7


@pytest.mark.parametrize("soft", [False, True], ids=["label smoothing", "soft targets"])
def test_where_probabilities_underflow_the_gradient_is_exact_and_the_loss_finite(
    real_caffe: Caffe, soft: bool
) -> None:
    scores = 60 * drawn(BATCH, K)
    assert np.exp(log_softmax(scores)).min() < 1e-60  # nothing at all, in single precision
    targets = np.random.default_rng(3).dirichlet(np.ones(K), BATCH) if soft else smoothed(0.2)
    lego = SoftTargetLossLego(name="loss") if soft else LabelSmoothingLossLego(name="loss", epsilon=0.2)
    net = train_net(lego, (BATCH, K) if soft else (BATCH,))
    ran = run(real_caffe, net, scores, targets if soft else LABELS)
    assert np.isfinite(ran.loss)
    assert abs(ran.diffs["scores"] - expected(scores, targets)[1]).max() <= 1e-7


def test_the_net_loss_of_label_smoothing_is_the_weighted_sum_of_its_parts() -> None:
    net = train_net(LabelSmoothingLossLego(name="loss", epsilon=0.2), (BATCH,))
    weights = {layer.name: [round(w, 6) for w in layer.proto.loss_weight] for layer in net.layers[2:]}
    assert weights == {
        "loss": [0.8], "loss_zero": [], "loss_smooth": [0.2], "loss_slice": [],
        "loss_first": [0.18], "loss_rest": [-0.18],
    }  # fmt: skip


def test_soft_targets_have_the_loss_and_the_gradient_of_their_formula(real_caffe: Caffe) -> None:
    net = train_net(SoftTargetLossLego(name="loss"), (2, K), scores=(2, K))
    assert checks.check(net) == []
    scores = drawn(BATCH, K)  # not the batch of the file
    targets = np.random.default_rng(3).dirichlet(np.ones(K), BATCH)
    ran = run(real_caffe, net, scores, targets)
    loss, gradient = expected(scores, targets)
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["scores"] - gradient).max() <= 1e-7


def test_one_hot_targets_are_the_plain_loss(real_caffe: Caffe) -> None:
    scores = drawn(BATCH, K)
    ran = run(real_caffe, train_net(SoftTargetLossLego(name="loss"), (BATCH, K)), scores, np.eye(K)[LABELS])
    loss, gradient = expected(scores, np.eye(K)[LABELS])
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["scores"] - gradient).max() <= 1e-7


def test_infogain_with_a_matrix_file_is_label_smoothing(real_caffe: Caffe, tmp_path: Path) -> None:
    write_blob(tmp_path / "smooth.binaryproto", smoothing_matrix(K, 0.2))
    net = train_net(InfogainLossLego(name="loss", source="smooth.binaryproto"), (BATCH,))
    scores = drawn(BATCH, K)
    files = {"smooth.binaryproto": (tmp_path / "smooth.binaryproto").read_bytes()}
    ran = run(real_caffe, net, scores, LABELS, files=files)
    loss, gradient = expected(scores, smoothed(0.2))
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["scores"] - gradient).max() <= 1e-7


def test_infogain_takes_any_matrix_as_a_third_blob(real_caffe: Caffe) -> None:
    matrix = np.random.default_rng(4).dirichlet(np.ones(K), K)
    net = Net("n", "TRAIN")
    shapes = {"scores": (BATCH, K), "target": (BATCH,), "matrix": (K, K)}
    blobs = [net.add("Input", name=name, shape={"dim": list(shape)}) for name, shape in shapes.items()]
    # Something to learn, so that there is a gradient: forced, it would be asked of the matrix, too.
    blobs[0] = net.add("Scale", blobs[0], name="same")
    InfogainLossLego(name="loss").attach(net, blobs)
    scores = drawn(BATCH, K)
    inputs = {"scores": scores, "target": LABELS, "matrix": matrix}
    ran = real_caffe.run(prototxt.dumps(net), phase="TRAIN", inputs=inputs, outputs=["same"], backward=True)
    loss, gradient = expected(scores, matrix[LABELS])
    assert abs(ran.loss - loss) <= 1e-6
    assert abs(ran.diffs["same"] - gradient).max() <= 1e-7


def test_the_matrix_keeps_most_for_the_label_and_spreads_the_rest() -> None:
    assert smoothing_matrix(4, 0.2).tolist() == pytest.approx(
        np.array([[0.85 if i == j else 0.05 for j in range(4)] for i in range(4)]).astype(np.float32)
    )


@pytest.mark.parametrize("dialect", ["caffeonspark", "nvcaffe", "ssd"])
def test_infogain_is_refused_where_it_takes_probabilities(dialect: str) -> None:
    net = Net("n", "TRAIN", dialect=dialect)
    blobs = [
        net.add("Input", name=n, shape={"dim": s}) for n, s in (("s", [2, 3]), ("l", [2]), ("m", [3, 3]))
    ]
    with pytest.raises(ConfigError) as refused:
        InfogainLossLego(name="loss").attach(net, blobs)
    assert str(refused.value) == (
        f"InfogainLossLego 'loss': InfogainLoss takes probabilities, not scores, in dialect {dialect}\n"
        "  hint:    for label smoothing use LabelSmoothingLossLego, which is the same in every dialect"
    )


@pytest.mark.parametrize(
    "lego",
    [LabelSmoothingLossLego(name="loss", epsilon=0.2), InfogainLossLego(name="loss", source="x")],
    ids=["smoothing", "infogain"],
)
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_only_a_test_net_has_the_accuracy(lego: Any, phase: Phase) -> None:
    assert ("accuracy" in train_net(lego, (BATCH,), phase=phase)) == (phase == "TEST")


@pytest.mark.parametrize("epsilon", [0, 1, -0.1])
def test_an_epsilon_that_smooths_nothing_or_all_is_refused(epsilon: float) -> None:
    with pytest.raises(ConfigError) as refused:
        LabelSmoothingLossLego(name="loss", epsilon=epsilon)
    assert refused.value.text == (
        f"LabelSmoothingLossLego 'loss': epsilon must be above 0 and below 1, got {epsilon:g}"
    )


@pytest.mark.parametrize(
    "lego", [LabelSmoothingLossLego(name="l", epsilon=0.1), SoftTargetLossLego(name="l")]
)
def test_one_class_is_refused(lego: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        train_net(lego, (2, 1), scores=(2, 1))
    assert refused.value.text == f"{type(lego).__name__} 'l': needs at least 2 classes, got 1"


def test_the_scale_of_the_scores_is_exact_forward_and_backward(real_caffe: Caffe) -> None:
    net = Net("n")
    scores = net.add("Input", name="scores", shape={"dim": [BATCH, K]})
    top = LogitsScaleLego(name="logits", factor=0.125).attach(net, scores)
    z, diff = drawn(BATCH, K), drawn(BATCH, K, seed=2)
    ran = forward_backward(real_caffe, net, top, {"scores": z}, diff)
    assert np.array_equal(ran.outputs["logits"], z * np.float32(0.125))
    assert np.array_equal(ran.diffs["scores"], diff * np.float32(0.125))


def test_opencv_and_mnn_scale_the_scores_alike(tmp_path: Path) -> None:
    consumers.require("cv2")
    consumers.require("MNN")
    net = Net("n")
    scores = net.add("Input", name="scores", shape={"dim": [1, K, 1, 1]})
    LogitsScaleLego(name="logits", factor=0.0625).attach(net, scores)
    consumers.write_model(net, {}, tmp_path)
    z = drawn(1, K, 1, 1)
    assert np.array_equal(consumers.opencv(tmp_path, z, "logits"), z / 16)
    assert np.array_equal(consumers.mnn(tmp_path, z), z / 16)
