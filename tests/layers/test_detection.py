"""Layers for detection: SSD300 built layer by layer, R-CNN's heads, and what their Caffe would abort on.

No fork's Caffe can be installed, so these are the values that its sources prescribe and its papers print.
"""

from __future__ import annotations

from typing import Any

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.errors import ShapeError
from netbuilder.net import Blob, Layer

CLASSES = 21


def layer(type: str, *bottoms: tuple[int, ...], tops: int = 1, dialect: str = "any", **fields: Any) -> Layer:
    net = Net("n", dialect=dialect)
    blobs = [net.add("Input", name=f"x{i}", shape={"dim": shape}) for i, shape in enumerate(bottoms)]
    net.add(type, *blobs, name="t", tops=[f"y{i}" for i in range(tops)], **fields)
    return net["t"]


def shapes(type: str, *bottoms: tuple[int, ...], tops: int = 1, **fields: Any) -> list[tuple[int, ...]]:
    return [top.known_shape for top in layer(type, *bottoms, tops=tops, **fields).tops]


# --- SSD300 on VGG-16, as its paper and its Python script (examples/ssd/ssd_pascal.py) describe it

WIDTHS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
# source, smallest, largest box, ratios besides 1, step
MAPS = (
    ("conv4_3_norm", 30, 60, (2,), 8),
    ("fc7", 60, 111, (2, 3), 16),
    ("conv6_2", 111, 162, (2, 3), 32),
    ("conv7_2", 162, 213, (2, 3), 64),
    ("conv8_2", 213, 264, (2,), 100),
    ("conv9_2", 264, 315, (2,), 300),
)


def conv(net: Net, x: Blob, name: str, outputs: int, kernel: int, **fields: Any) -> Blob:
    x = net.add("Convolution", x, name=name, num_output=outputs, kernel_size=kernel, **fields)
    return net.add("ReLU", x, name=f"{name}_relu", in_place=True)


def ssd300(dialect: str) -> Net:
    net = Net("SSD300", phase="TEST", dialect=dialect)
    data = x = net.add("Input", name="data", shape={"dim": [1, 3, 300, 300]})
    found: dict[str, Blob] = {}
    for stage, (width, repeats) in enumerate(WIDTHS, 1):
        for i in range(1, repeats + 1):
            x = found[f"conv{stage}_{i}"] = conv(net, x, f"conv{stage}_{i}", width, 3, pad=1)
        size: dict[str, Any] = (
            {"kernel_size": 3, "stride": 1, "pad": 1} if stage == 5 else {"kernel_size": 2, "stride": 2}
        )
        x = net.add("Pooling", x, name=f"pool{stage}", pool="MAX", **size)
    x = conv(net, x, "fc6", 1024, 3, pad=6, dilation=6)
    x = found["fc7"] = conv(net, x, "fc7", 1024, 1)
    halved = {"pad": 1, "stride": 2}
    plain: dict[str, Any] = {}
    extras = ((256, 512, halved), (128, 256, halved), (128, 256, plain), (128, 256, plain))
    for n, (squeeze, width, more) in enumerate(extras, 6):
        x = conv(net, x, f"conv{n}_1", squeeze, 1)
        x = found[f"conv{n}_2"] = conv(net, x, f"conv{n}_2", width, 3, **more)
    found["conv4_3_norm"] = net.add(
        "Normalize",
        found["conv4_3"],
        name="conv4_3_norm",
        across_spatial=False,
        channel_shared=False,
        scale_filler={"type": "constant", "value": 20},
    )
    heads: dict[str, list[Blob]] = {"loc": [], "conf": [], "priorbox": []}
    for source, low, high, ratios, step in MAPS:
        boxes = 2 + 2 * len(ratios)
        for head, outputs in (("loc", 4 * boxes), ("conf", CLASSES * boxes)):
            name = f"{source}_mbox_{head}"
            y = net.add("Convolution", found[source], name=name, num_output=outputs, kernel_size=3, pad=1)
            y = net.add("Permute", y, name=f"{name}_perm", order=[0, 2, 3, 1])
            heads[head].append(net.add("Flatten", y, name=f"{name}_flat"))
        heads["priorbox"].append(
            net.add(
                "PriorBox",
                found[source],
                data,
                name=f"{source}_mbox_priorbox",
                min_size=[low],
                max_size=[high],
                aspect_ratio=list(ratios),
                variance=[0.1, 0.1, 0.2, 0.2],
                step=step,
            )
        )
    out = {
        head: net.add("Concat", *blobs, name=f"mbox_{head}", axis=2 if head == "priorbox" else 1)
        for head, blobs in heads.items()
    }
    scores = net.add("Reshape", out["conf"], name="reshape", shape={"dim": [0, -1, CLASSES]})
    scores = net.add("Softmax", scores, name="softmax", axis=2)
    scores = net.add("Flatten", scores, name="flatten")
    detected = net.add(
        "DetectionOutput",
        out["loc"],
        scores,
        out["priorbox"],
        name="detection_out",
        num_classes=CLASSES,
        nms_param={"nms_threshold": 0.45, "top_k": 400},
        code_type="CENTER_SIZE",
        keep_top_k=200,
        confidence_threshold=0.01,
    )
    truth = net.add("Input", name="label", shape={"dim": [1, 1, 12, 8]})
    net.add("DetectionEvaluate", detected, truth, name="detection_eval", num_classes=CLASSES)
    return net


@pytest.mark.parametrize("dialect", ["ssd", "nvcaffe", "intel", "any"])
def test_ssd300_has_8732_priors_and_26_million_parameters(dialect: str) -> None:
    net = ssd300(dialect)
    maps = [net.blobs[source].known_shape for source, *_ in MAPS]
    assert maps == [
        (1, 512, 38, 38), (1, 1024, 19, 19), (1, 512, 10, 10), (1, 256, 5, 5), (1, 256, 3, 3), (1, 256, 1, 1),
    ]  # fmt: skip
    boxes = [2 + 2 * len(ratios) for _, _, _, ratios, _ in MAPS]
    priors = sum(h * w * n for (*_, h, w), n in zip(maps, boxes, strict=True))
    assert priors == 8732
    assert net.blobs["mbox_loc"].shape == (1, 4 * priors) == (1, 34928)
    assert net.blobs["mbox_conf"].shape == (1, CLASSES * priors)
    assert net.blobs["mbox_priorbox"].shape == (1, 2, 4 * priors)
    assert net.blobs["conv4_3_norm_mbox_loc_perm"].shape == (1, 38, 38, 16)
    assert net.blobs["detection_out"].shape == (1, 1, 1, 7)
    assert net.blobs["detection_eval"].shape == (1, 1, 20 + 1, 5)
    counted = counts.count(net)
    assert counted.learnable_params == 26_285_486
    assert not counted.uncounted


def test_the_parameters_of_ssd300_are_those_of_its_parts() -> None:
    pairs = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 512)]
    pairs += [(512, 512)] * 5 + [(512, 1024)]
    squares = [(256, 512), (128, 256), (128, 256), (128, 256)]
    ones = [(1024, 1024), (1024, 256), (512, 128), (256, 128), (256, 128)]
    depth = {"conv4_3_norm": 512, "fc7": 1024, "conv6_2": 512, "conv7_2": 256, "conv8_2": 256, "conv9_2": 256}
    heads = [(depth[name], (4 + CLASSES) * (2 + 2 * len(r))) for name, _, _, r, _ in MAPS]
    total = sum(9 * a * b + b for a, b in pairs + squares + heads) + sum(a * b + b for a, b in ones) + 512
    assert total == 26_285_486


def test_ssd300_is_read_back_as_it_was_written() -> None:
    net = ssd300("ssd")
    text = prototxt.dumps(net)
    again = prototxt.parse(text, dialect="ssd")
    assert [b.shape for x in again for b in x.tops] == [b.shape for x in net for b in x.tops]
    assert prototxt.dumps(again) == text
    in_bvlcs = prototxt.parse(text, unknown="keep")
    assert in_bvlcs["conv4_3_norm"].unknown == "dialect caffe-master has no layer type Normalize"
    assert in_bvlcs.blobs["fc7"].shape == (1, 1024, 19, 19)


def test_ssds_loss_is_a_scalar_of_what_the_heads_and_the_truth_say() -> None:
    fields: dict[str, Any] = {"num_classes": 3, "mining_type": "MAX_NEGATIVE", "share_location": True}
    found = layer("MultiBoxLoss", (2, 40), (2, 30), (1, 2, 40), (1, 1, 5, 8), **fields)
    assert [top.shape for top in found.tops] == [()]
    assert found.ops == 5 * 60


# --- PriorBox: priors = min_sizes * (1 + other ratios, twice with flip) + max_sizes


@pytest.mark.parametrize(
    ("fields", "priors"),
    [
        ({"min_size": [30]}, 1),
        ({"min_size": [30], "max_size": [60]}, 2),
        ({"min_size": [30], "aspect_ratio": [2]}, 3),
        ({"min_size": [30], "aspect_ratio": [2], "flip": False}, 2),
        ({"min_size": [30], "max_size": [60], "aspect_ratio": [2, 3]}, 6),
        ({"min_size": [30, 40], "max_size": [60, 70], "aspect_ratio": [2, 3]}, 12),
        ({"min_size": [30], "aspect_ratio": [1, 1, 1]}, 1),
        ({"min_size": [30], "aspect_ratio": [2, 2]}, 3),
        ({"min_size": [30], "aspect_ratio": [2, 0.5]}, 3),
        ({"min_size": [30], "aspect_ratio": [2, 0.5], "flip": False}, 3),
    ],
)
def test_the_number_of_priors_at_each_place(fields: dict[str, Any], priors: int) -> None:
    found = layer("PriorBox", (1, 8, 4, 5), (1, 3, 40, 50), **fields)
    assert [top.shape for top in found.tops] == [(1, 2, 4 * 5 * priors * 4)]
    assert found.ops == 2 * 4 * 5 * priors * 4
    assert not found.params


def test_a_batch_of_images_has_one_set_of_priors() -> None:
    assert shapes("PriorBox", (8, 8, 4, 5), (8, 3, 40, 50), min_size=[30]) == [(1, 2, 80)]


# --- the regions of R-CNN and its successors


def test_regions_are_pooled_to_one_size() -> None:
    image, regions = (1, 512, 38, 50), (300, 5)
    fields: dict[str, Any] = {"pooled_h": 7, "pooled_w": 6, "spatial_scale": 0.0625}
    assert shapes("ROIPooling", image, regions, **fields) == [(300, 512, 7, 6)]
    fields = {"output_dim": 21, "group_size": 7, "spatial_scale": 0.0625}
    assert shapes("PSROIPooling", (1, 21 * 49, 38, 50), regions, **fields) == [(300, 21, 7, 7)]
    assert shapes("PSROIPooling", (1, 21 * 49, 38, 50), (300, 5, 1, 1), **fields) == [(300, 21, 7, 7)]


def test_proposals_are_as_many_as_may_be_kept() -> None:
    bottoms = (1, 18, 38, 50), (1, 36, 38, 50), (1, 3)
    assert shapes("Proposal", *bottoms, post_nms_topn=300) == [(300, 5)]
    assert shapes("Proposal", *bottoms, tops=2, post_nms_topn=300) == [(300, 5), (300,)]


def test_smooth_l1_takes_one_set_of_weights_or_two() -> None:
    for bottoms in (2, 3, 4):
        found = layer("SmoothL1Loss", *[(128, 84)] * bottoms)
        assert [top.shape for top in found.tops] == [()]
        assert found.ops == (3 + bottoms) * 128 * 84


# --- data


@pytest.mark.parametrize(
    ("type", "fields", "on"),
    [
        (
            "AnnotatedData",
            {"data_param": {"source": "lmdb", "batch_size": 8}, "transform_param": {"mirror": True}},
            "the records of the database 'lmdb'",
        ),
        (
            "VideoData",
            {"data_param": {"batch_size": 1}, "video_data_param": {"device_id": 2}},
            "the frames of camera 2",
        ),
        (
            "VideoData",
            {
                "data_param": {"batch_size": 1},
                "video_data_param": {"video_type": "VIDEO", "video_file": "a.avi"},
            },
            "the frames of 'a.avi'",
        ),
    ],
)
def test_the_shape_of_images_is_in_the_data(type: str, fields: dict[str, Any], on: str) -> None:
    found = layer(type, **fields)
    assert [top.shape for top in found.tops] == [None]
    assert on in found.unknown


def test_shapes_given_for_a_database_of_boxes_are_taken() -> None:
    text = """
    layer { name: "data" type: "AnnotatedData" top: "data" top: "label"
      data_param { source: "a" batch_size: 8 }
      transform_param { resize_param { prob: 1 resize_mode: WARP height: 300 width: 300 } }
      annotated_data_param { batch_sampler { max_sample: 1 max_trials: 1 } label_map_file: "l.prototxt" } }
    """
    net = prototxt.parse(text, dialect="ssd", inputs={"data": (8, 3, 300, 300), "label": (1, 1, 20, 8)})
    assert [b.shape for b in net["data"].tops] == [(8, 3, 300, 300), (1, 1, 20, 8)]


# --- what the forks' Caffe aborts on

IMAGE = (1, 3, 40, 50)


@pytest.mark.parametrize(
    ("type", "bottoms", "fields", "expected"),
    [
        ("PriorBox", [(1, 8, 4, 5), IMAGE], {}, "min_size must be given, and positive, got []"),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [0]},
            "min_size must be given, and positive, got [0]",
        ),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [3, 4], "max_size": [5]},
            "max_size is given 1 times for 2 min_size",
        ),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [5], "max_size": [5]},
            "max_size 5 must be larger than min_size 5",
        ),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [5], "variance": [0.1, 0.2]},
            "variance must be given once or 4 times, and positive, got [0.1, 0.2]",
        ),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [5], "step": 8, "step_h": 8},
            "step and step_h/step_w are both given: give one of them",
        ),
        ("PriorBox", [(1, 8, 4, 5), IMAGE], {"min_size": [5], "step": 0}, "step must be positive, got 0"),
        ("PriorBox", [(1, 8, 4, 5), IMAGE], {"min_size": [5], "img_h": 9}, "img_w must be positive, got 0"),
        (
            "PriorBox",
            [(1, 8, 4, 5), IMAGE],
            {"min_size": [5], "aspect_ratio": [0]},
            "aspect_ratio cannot be 0",
        ),
        ("DetectionOutput", [(1, 40), (1, 30), (1, 2, 40)], {}, "num_classes is missing"),
        (
            "DetectionOutput",
            [(1, 40), (1, 30), (1, 2, 40)],
            {"num_classes": 4},
            "10 priors of 4 classes need 40 scores (bottom 1), got (1,30)",
        ),
        (
            "DetectionOutput",
            [(1, 44), (1, 30), (1, 2, 40)],
            {"num_classes": 3},
            "10 priors need 40 shifts (bottom 0), got (1,44)",
        ),
        (
            "DetectionOutput",
            [(1, 40), (1, 30), (1, 2, 40)],
            {"num_classes": 3, "share_location": False},
            "10 priors need 120 shifts (bottom 0), got (1,40)",
        ),
        (
            "DetectionOutput",
            [(2, 40), (1, 30), (1, 2, 40)],
            {"num_classes": 3},
            "bottoms 0 and 1 must have the same batch (axis 0), got (2,40) and (1,30)",
        ),
        (
            "DetectionOutput",
            [(1, 40), (1, 30), (1, 2, 40)],
            {"num_classes": 3, "nms_param": {"nms_threshold": -1}},
            "nms_threshold must be 0 or more, and eta above 0 and at most 1, got -1 and 1",
        ),
        (
            "MultiBoxLoss",
            [(1, 40), (1, 30), (1, 2, 40), (1, 1, 5, 8)],
            {},
            "num_classes is missing or 0",
        ),
        (
            "MultiBoxLoss",
            [(1, 40), (1, 30), (1, 2, 40), (1, 1, 5, 8)],
            {"num_classes": 3, "mining_type": "NONE", "do_neg_mining": True},
            "do_neg_mining and mining_type disagree: give mining_type",
        ),
        (
            "MultiBoxLoss",
            [(1, 120), (1, 30), (1, 2, 40), (1, 1, 5, 8)],
            {"num_classes": 3, "share_location": False},
            "without share_location mining_type must be NONE",
        ),
        (
            "MultiBoxLoss",
            [(1, 40), (1, 30), (1, 2, 40), (1, 1, 5, 8)],
            {"num_classes": 3, "background_label_id": 3},
            "background_label_id 3 is not one of the 3 classes",
        ),
        (
            "DetectionEvaluate",
            [(1, 1, 9, 8), (1, 1, 5, 8)],
            {"num_classes": 3},
            "bottom 0 must be (1,1,boxes,7), got (1,1,9,8)",
        ),
        ("SmoothL1Loss", [(2, 8), (2, 9)], {}, "bottoms 0 and 1 must have equal shapes, got (2,8) and (2,9)"),
        (
            "ROIPooling",
            [IMAGE, (7, 5)],
            {"pooled_h": 7},
            "pooled_h and pooled_w must both be given and positive",
        ),
        ("PSROIPooling", [IMAGE, (7, 5)], {"output_dim": 2, "group_size": 3}, "spatial_scale is missing"),
        (
            "PSROIPooling",
            [IMAGE, (7, 5)],
            {"output_dim": 2, "group_size": 3, "spatial_scale": 0.5},
            "output_dim 2 and group_size 3 need 18 channels, got 3",
        ),
        ("AnnotatedData", [], {"data_param": {"source": "a"}}, "batch_size is missing or 0"),
        ("VideoData", [], {"video_data_param": {"video_type": "VIDEO"}}, "video_file is missing"),
    ],
)
def test_what_the_source_aborts_on_is_refused(
    type: str, bottoms: list[tuple[int, ...]], fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        layer(type, *bottoms, **fields)
    assert str(caught.value).splitlines()[0] == f"{type} 't': {expected}"


def test_without_a_background_every_class_is_evaluated() -> None:
    net = prototxt.parse(
        """
        layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 dim: 1 dim: 9 dim: 7 } } }
        layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 1 dim: 1 dim: 5 dim: 8 } } }
        layer { name: "e" type: "DetectionEvaluate" bottom: "d" bottom: "t" top: "e"
          detection_evaluate_param { num_classes: 20 background_label_id: 4294967295 } }
        """,
        dialect="ssd",
    )
    assert net.blobs["e"].shape == (1, 1, 29, 5)
