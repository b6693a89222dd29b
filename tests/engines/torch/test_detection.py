"""Detection layers, which BVLC's Caffe lacks: against OpenCV, and loops over the published formulas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.errors import EngineError
from tests.consumers import computed, require, write_model
from tests.engines.torch.cases import difference

Arrays = Mapping[str, np.ndarray[Any, Any]]
MOST = 5e-6


def text_of(inputs: Arrays, type: str, fields: str) -> str:
    sources = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {d}' for d in value.shape)} }} }} }}\n"
        for name, value in inputs.items()
    )
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    return f'{sources}layer {{ name: "y" type: "{type}" {bottoms} top: "y" {fields} }}'


def made(inputs: Arrays, type: str, fields: str) -> NetModule:
    return module(prototxt.parse(text_of(inputs, type, fields), dialect="any"))


def ours(inputs: Arrays, type: str, fields: str) -> torch.Tensor:
    m = made(inputs, type, fields)
    return m(**{name: torch.tensor(value, dtype=torch.float32) for name, value in inputs.items()})["y"]


def by_opencv(inputs: Arrays, type: str, fields: str, folder: Path) -> Any:
    require("cv2")
    write_model(prototxt.parse(text_of(inputs, type, fields), dialect="any"), {}, folder)
    return computed("opencv", folder, inputs, [("y", 0, "y")])[0]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


PRIORS = [
    "min_size: 30 clip: false variance: 0.1",
    "min_size: 30 max_size: 60 aspect_ratio: 2 aspect_ratio: 3 clip: true variance: 0.2",
    "min_size: 20 min_size: 40 max_size: 41 max_size: 60 aspect_ratio: 2 flip: false "
    "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.3 step: 16 offset: 0.3 clip: false",
    "min_size: 35 aspect_ratio: 2 aspect_ratio: 2 aspect_ratio: 0.5 step_h: 9 step_w: 7 "
    "clip: false variance: 0.1",
]


@pytest.mark.parametrize("fields", PRIORS)
def test_prior_boxes(fields: str, tmp_path: Path) -> None:
    inputs = {"x": rng().random((1, 4, 3, 5)), "image": rng().random((1, 3, 48, 64))}
    fields = f"prior_box_param {{ {fields} }}"
    theirs = by_opencv(inputs, "PriorBox", fields, tmp_path)
    assert difference(ours(inputs, "PriorBox", fields), theirs) <= MOST


def test_prior_boxes_are_divided_by_the_size_that_is_given() -> None:
    inputs = {"x": np.zeros((1, 1, 1, 1)), "image": np.zeros((1, 3, 9, 9))}
    top = ours(inputs, "PriorBox", "prior_box_param { min_size: 10 img_h: 50 img_w: 100 }")
    assert top[0, 0].tolist() == pytest.approx([0.45, 0.4, 0.55, 0.6])
    assert top[0, 1].tolist() == pytest.approx([0.1] * 4)


# OpenCV wants each of these fields spelt out.
DETECTIONS = [
    "num_classes: 4 share_location: true background_label_id: 0 code_type: CORNER keep_top_k: 9 "
    "nms_param { nms_threshold: 0.3 top_k: 20 }",
    "num_classes: 4 share_location: true background_label_id: 0 code_type: CENTER_SIZE keep_top_k: 200 "
    "confidence_threshold: 0.3 nms_param { nms_threshold: 0.45 top_k: 100 }",
    "num_classes: 4 share_location: false background_label_id: 0 code_type: CENTER_SIZE keep_top_k: 30 "
    "nms_param { nms_threshold: 0.5 top_k: 10 }",
    "num_classes: 4 share_location: true background_label_id: 2 code_type: CORNER keep_top_k: 15 "
    "confidence_threshold: 0.01 nms_param { nms_threshold: 0.5 top_k: 100 }",
]


@pytest.mark.parametrize("fields", DETECTIONS)
def test_detections(fields: str, tmp_path: Path) -> None:
    n, count, classes = 2, 12, 4
    low = rng(1).random((count, 2)) * 0.6
    boxes = np.concatenate([low, low + 0.2 + rng(2).random((count, 2)) * 0.2], 1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (count, 1))
    sets = 1 if "share_location: true" in fields else classes
    scores = rng(4).random((n, count, classes)) + 0.01
    inputs = {
        "shifts": rng(3).normal(size=(n, count * sets * 4)) * 0.3,
        "scores": (scores / scores.sum(2, keepdims=True)).reshape(n, -1),
        "priors": np.stack([boxes.ravel(), variances.ravel()])[None],
    }
    fields = f"detection_output_param {{ {fields} }}"
    theirs = by_opencv(inputs, "DetectionOutput", fields, tmp_path).reshape(-1, 7)
    theirs = theirs[theirs[:, 2] > 0]  # it fills up to keep_top_k, and sorts by score alone
    theirs = theirs[np.lexsort((-theirs[:, 2], theirs[:, 1], theirs[:, 0]))]
    found = ours(inputs, "DetectionOutput", fields)
    assert found.shape[:2] == (1, 1)
    assert difference(found[0, 0], theirs) <= MOST


def test_variances_may_be_in_the_shifts() -> None:
    variances = np.array([0.1, 0.1, 0.2, 0.3])
    shifts = rng(3).normal(size=(1, 8))
    inputs = {
        "shifts": shifts,
        "scores": np.array([[0.1, 0.9, 0.3, 0.7]]),
        "priors": np.stack([[0.1, 0.1, 0.5, 0.5, 0.4, 0.5, 0.7, 0.9], np.tile(variances, 2)])[None],
    }
    fields = "num_classes: 2 code_type: CENTER_SIZE nms_param { nms_threshold: 0.9 }"
    apart = ours(inputs, "DetectionOutput", f"detection_output_param {{ {fields} }}")
    inputs["shifts"] = shifts * np.tile(variances, 2)
    fields += " variance_encoded_in_target: true"
    within = ours(inputs, "DetectionOutput", f"detection_output_param {{ {fields} }}")
    assert within.shape == (1, 1, 2, 7)
    assert difference(within, apart.numpy()) <= MOST


def test_an_image_without_detections_is_a_row_of_minus_one() -> None:
    inputs = {
        "shifts": np.zeros((2, 4)),
        "scores": np.full((2, 2), 0.1),
        "priors": np.array([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.2, 0.2]]]),
    }
    top = ours(
        inputs, "DetectionOutput", "detection_output_param { num_classes: 2 confidence_threshold: 0.5 }"
    )
    assert top.tolist() == [[[[0, *[-1] * 6], [1, *[-1] * 6]]]]


def regions(count: int, images: int, size: int) -> np.ndarray[Any, Any]:
    """Regions (count, 5) in the coordinates of an image; a few lie partly outside, or are points."""
    found = np.zeros((count, 5))
    found[:, 0] = rng(5).integers(0, images, count)
    found[:, 1:3] = rng(6).integers(-4, size, (count, 2))
    found[:, 3:] = found[:, 1:3] + rng(7).integers(0, size, (count, 2))
    return found


def c_round(x: float) -> int:
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


@pytest.mark.parametrize("scale", [1, 0.5, 0.0625])
def test_region_pooling_is_the_published_loop_also_backward(scale: float) -> None:
    x = np.round(rng(8).normal(size=(2, 3, 9, 11)) * 2).astype(np.float32)  # with ties
    boxes = regions(12, 2, int(10 / scale))
    fields = f"roi_pooling_param {{ pooled_h: 3 pooled_w: 2 spatial_scale: {scale} }}"
    m = made({"x": x, "boxes": boxes}, "ROIPooling", fields)
    given = torch.tensor(x, requires_grad=True)
    top = m(x=given, boxes=torch.tensor(boxes, dtype=torch.float32))["y"]
    weights = rng(9).random(top.shape).astype(np.float32)
    (top * torch.from_numpy(weights)).sum().backward()

    wanted, gradient = np.zeros(top.shape, np.float32), np.zeros_like(x)
    for r, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = (c_round(c * scale) for c in corners)
        bin_h = np.float32(max(y2 - y1 + 1, 1) / 3)
        bin_w = np.float32(max(x2 - x1 + 1, 1) / 2)
        for c, ph, pw in np.ndindex(3, 3, 2):
            h0 = min(max(math.floor(np.float32(ph) * bin_h) + y1, 0), 9)
            h1 = min(max(math.ceil(np.float32(ph + 1) * bin_h) + y1, 0), 9)
            w0 = min(max(math.floor(np.float32(pw) * bin_w) + x1, 0), 11)
            w1 = min(max(math.ceil(np.float32(pw + 1) * bin_w) + x1, 0), 11)
            best, at = -np.inf, None
            for h in range(h0, h1):
                for w in range(w0, w1):
                    if x[int(image), c, h, w] > best:
                        best, at = x[int(image), c, h, w], (int(image), c, h, w)
            if at is not None:
                wanted[r, c, ph, pw] = best
                gradient[at] += weights[r, c, ph, pw]
    assert difference(top, wanted) == 0
    assert given.grad is not None
    assert difference(given.grad, gradient) <= MOST


@pytest.mark.parametrize("scale", [1, 0.5, 0.0625])
def test_position_sensitive_pooling_is_the_published_loop(scale: float) -> None:
    x = rng(10).normal(size=(2, 18, 9, 11)).astype(np.float32)
    boxes = regions(12, 2, int(10 / scale))
    fields = f"psroi_pooling_param {{ spatial_scale: {scale} output_dim: 2 group_size: 3 }}"
    top = ours({"x": x, "boxes": boxes}, "PSROIPooling", fields)
    wanted = np.zeros(top.shape)
    for r, (image, *corners) in enumerate(boxes):
        x1, y1 = (np.float32(c_round(c) * scale) for c in corners[:2])
        x2, y2 = (np.float32((c_round(c) + 1.0) * scale) for c in corners[2:])
        bin_h, bin_w = (np.float32(max(d, 0.1) / 3) for d in (y2 - y1, x2 - x1))
        for c, ph, pw in np.ndindex(2, 3, 3):
            h0 = min(max(math.floor(ph * bin_h + y1), 0), 9)
            h1 = min(max(math.ceil((ph + 1) * bin_h + y1), 0), 9)
            w0 = min(max(math.floor(pw * bin_w + x1), 0), 11)
            w1 = min(max(math.ceil((pw + 1) * bin_w + x1), 0), 11)
            if h1 > h0 and w1 > w0:
                wanted[r, c, ph, pw] = x[int(image), (c * 3 + ph) * 3 + pw, h0:h1, w0:w1].mean()
    assert difference(top, wanted) <= MOST


@pytest.mark.parametrize("weights", [0, 1, 2])
def test_smooth_l1_is_the_published_formula_also_backward(weights: int) -> None:
    shapes = dict.fromkeys(["a", "b", "inside", "outside"][: 2 + weights], (3, 4, 2, 1))
    inputs = {name: rng(i).normal(size=s) for i, (name, s) in enumerate(shapes.items())}
    sigma = 1 if weights == 1 else 2
    m = made(inputs, "SmoothL1Loss", f"loss_weight: 0.7 smooth_l1_loss_param {{ sigma: {sigma} }}")
    given = {n: torch.tensor(v, dtype=torch.float32, requires_grad=True) for n, v in inputs.items()}
    out = m(**given)
    assert out.loss is not None
    out.loss.backward()
    inside, outside = inputs.get("inside", np.ones(1)), inputs.get("outside", np.ones(1))
    d = inside * (inputs["a"] - inputs["b"])
    small = np.abs(d) < 1 / sigma**2
    value = np.where(small, 0.5 * sigma**2 * d**2, np.abs(d) - 0.5 / sigma**2)
    slope = np.where(small, sigma**2 * d, np.sign(d)) * outside * (inside if weights == 2 else 1)
    assert float(out["y"].detach()) == pytest.approx((value * outside).sum() / 3, rel=MOST)
    for name, sign in (("a", 1), ("b", -1)):
        grad = given[name].grad
        assert grad is not None
        assert difference(grad, sign * 0.7 * slope / 3) <= MOST


def test_what_is_not_computed_is_refused_with_the_reason() -> None:
    inputs = {"scores": np.zeros((1, 18, 2, 2)), "shifts": np.zeros((1, 36, 2, 2)), "info": np.zeros((1, 3))}
    with pytest.raises(EngineError, match="does not compute Proposal 'y': forks publish several layers"):
        made(inputs, "Proposal", "proposal_param { ratio: 1 scale: 8 }")


MULTIBOX = [
    "code_type: CENTER_SIZE",
    "code_type: CORNER loc_loss_type: L2 loc_weight: 0.5 match_type: BIPARTITE neg_pos_ratio: 2",
    "code_type: CORNER_SIZE mining_type: NONE overlap_threshold: 0.3 use_difficult_gt: false",
    "code_type: CENTER_SIZE encode_variance_in_target: true neg_overlap: 0.2 overlap_threshold: 0.2 "
    "ignore_cross_boundary_bbox: true",
]


def jaccard(a: Any, b: Any) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return float(common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common))


def matched(priors: Any, boxes: Any, fields: str) -> tuple[list[int], list[float]]:
    """MatchBBox as published, by dictionaries."""
    threshold = 0.3 if "old: 0.3" in fields else 0.2 if "old: 0.2" in fields else 0.5
    matches, best = [-1] * len(priors), [0.0] * len(priors)
    table: dict[int, dict[int, float]] = {}
    for i, prior in enumerate(priors):
        if "ignore_cross" in fields and (min(prior) < 0 or max(prior) > 1):
            matches[i] = -2
            continue
        for j, box in enumerate(boxes):
            overlap = jaccard(prior, box)
            if overlap > 1e-6:
                best[i] = max(best[i], overlap)
                table.setdefault(i, {})[j] = overlap
    pool = set(range(len(boxes)))
    while pool:
        pairs = [(o, i, j) for i, of in table.items() if matches[i] == -1 for j, o in of.items() if j in pool]
        if not pairs:
            break
        overlap, i, j = max(pairs)
        matches[i], best[i] = j, overlap
        pool.remove(j)
    if "BIPARTITE" not in fields:
        for i, of in table.items():
            if matches[i] == -1 and max(of.values()) >= threshold:
                matches[i] = max(of, key=lambda j: of[j])
    return matches, best


def encoded(box: Any, prior: Any, variance: Any, fields: str) -> Any:
    size = np.tile(prior[2:] - prior[:2], 2)
    if "CENTER_SIZE" in fields:
        center = ((box[:2] + box[2:]) - (prior[:2] + prior[2:])) / 2 / size[:2]
        return np.concatenate([center, np.log((box[2:] - box[:2]) / size[:2])]) / variance
    return (box - prior) / (size if "CORNER_SIZE" in fields else 1) / variance


@pytest.mark.parametrize("fields", MULTIBOX)
@pytest.mark.parametrize("normalization", ["VALID", "BATCH_SIZE", "NONE"])
def test_multibox_loss_is_the_published_procedure_also_backward(fields: str, normalization: str) -> None:
    n, count, classes = 3, 30, 4
    low = rng(1).random((count, 2)) * 0.7 - 0.02
    priors = np.concatenate([low, low + 0.15 + rng(2).random((count, 2)) * 0.2], 1)
    variance = np.array([0.1, 0.1, 0.2, 0.2])
    truth = np.zeros((6, 8))  # the last image has none
    truth[:, 0] = [0, 0, 0, 1, 1, -1]
    truth[:, 1] = rng(3).integers(1, classes, 6)
    near = priors[rng(4).integers(0, count, 6)].clip(0, 1)
    truth[:, 3:7] = near + rng(5).normal(size=near.shape) * 0.02
    truth[4, 7] = 1
    inputs = {
        "shifts": rng(6).normal(size=(n, count * 4)),
        "scores": rng(7).normal(size=(n, count * classes)) * 2,
        "priors": np.stack([priors.ravel(), np.tile(variance, count)])[None],
        "truth": truth[None, None],
    }
    mining = "mining_type: NONE" not in fields
    shifts, scores = inputs["shifts"].reshape(n, count, 4), inputs["scores"].reshape(n, count, classes)
    loss, found = 0.0, 0
    slopes, moves = np.zeros_like(scores), np.zeros_like(shifts)
    weight = 0.5 if "loc_weight" in fields else 1
    for i in range(n):
        rows = [row for row in truth if row[0] == i and not ("use_difficult_gt: false" in fields and row[7])]
        matches, best = matched(priors, [row[3:7] for row in rows], fields)
        labels = [int(rows[m][1]) if m >= 0 else 0 for m in matches]
        p = np.exp(scores[i])
        p /= p.sum(1, keepdims=True)
        losses = [-math.log(p[j, labels[j]]) for j in range(count)]
        positive = [j for j in range(count) if matches[j] >= 0]
        limit = 0.2 if "neg_overlap: 0.2" in fields else 0.5
        negative = sorted(
            (j for j in range(count) if matches[j] == -1 and best[j] < limit), key=lambda j: -losses[j]
        )
        negative = negative[: int(len(positive) * (2 if "neg_pos_ratio" in fields else 3))]
        for j in [*positive, *negative] if mining else range(count):
            loss += losses[j]
            slopes[i, j] = p[j] - np.eye(classes)[labels[j]]
        for j in positive:
            scale = variance if "encode_variance" in fields else 1
            d = shifts[i, j] / scale - encoded(rows[matches[j]][3:7], priors[j], variance, fields)
            small = (np.abs(d) < 1) | ("L2" in fields)
            loss += weight * np.where(small, d * d / 2, np.abs(d) - 0.5).sum()
            moves[i, j] = weight * np.where(small, d, np.sign(d)) / scale
        found += len(positive)
    divisor = {"VALID": found, "BATCH_SIZE": n, "NONE": 1}[normalization]
    assert found >= 5
    m = made(
        inputs,
        "MultiBoxLoss",
        f"multibox_loss_param {{ num_classes: 4 {fields} }} loss_param {{ normalization: {normalization} }}",
    )
    given = {k: torch.tensor(v, dtype=torch.float32, requires_grad=True) for k, v in inputs.items()}
    top = m(**given)["y"]
    assert float(top.detach()) == pytest.approx(loss / divisor, rel=MOST)
    top.backward()
    for name, slope in (("scores", slopes), ("shifts", moves)):
        grad = given[name].grad
        assert grad is not None
        assert difference(grad.reshape(slope.shape), slope / divisor) <= MOST


def test_what_multibox_loss_does_not_compute_is_named() -> None:
    inputs = {
        "shifts": np.zeros((1, 4)),
        "scores": np.zeros((1, 2)),
        "priors": np.zeros((1, 2, 4)),
        "truth": np.zeros((1, 1, 1, 8)),
    }
    with pytest.raises(EngineError, match="mining_type: HARD_EXAMPLE of MultiBoxLoss 'y'"):
        made(inputs, "MultiBoxLoss", "multibox_loss_param { num_classes: 2 mining_type: HARD_EXAMPLE }")
