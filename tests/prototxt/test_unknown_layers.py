"""An unknown layer does not stop the count: fields that change no shape, and shapes that are given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder import Net, counts, prototxt
from netbuilder.cli.main import main
from netbuilder.errors import FieldError, ShapeError
from netbuilder.transforms.rebatch import rebatched

Printed = pytest.CaptureFixture[str]

DATA = (
    'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 8 dim: 8 } } }\n'
    'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 } } }\n'
)
CONV = (
    'layer { name: "c" type: "Convolution" bottom: "BOTTOM" top: "c" '
    "convolution_param { num_output: 3 kernel_size: 1 bias_term: false } }\n"
)
CONV_MACS = 3 * 4 * 8 * 8


def lenient(text: str, **given: tuple[int, ...]) -> Net:
    return prototxt.parse(text, "TRAIN", dialect="any", unknown="keep", inputs=given)


# ---- unknown fields ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ("Dropout", "dropout_param { scale_train: false }"),
        ("ReLU", "relu_param { relu6: true }"),
        ("Sigmoid", "sigmoid_param { new: 1 }"),
        ("TanH", "tanh_param { new { a: 1 } }"),
        ("Power", "power_param { new: 1 }"),
        ("LRN", "lrn_param { new: 1 }"),
        ("Softmax", "softmax_param { new: 1 }"),
    ],
)
@pytest.mark.parametrize("in_place", [False, True])
def test_an_unknown_field_of_a_layer_that_keeps_its_shape_leaves_nothing_open(
    type: str, message: str, in_place: bool
) -> None:
    top = "x" if in_place else "y"
    text = f'layer {{ name: "l" type: "{type}" bottom: "x" top: "{top}" {message} }}\n'
    net = lenient(DATA + text + CONV.replace("BOTTOM", top))
    counted = counts.count(net)
    assert (counted.uncounted, counted.macs) == ((), CONV_MACS)
    plain = lenient(DATA + text.replace(message, "") + CONV.replace("BOTTOM", top))
    assert counts.totals(counted) == counts.totals(counts.count(plain))
    assert message.partition("{ ")[2].removesuffix(" }") in prototxt.dumps(net), "it is written back"


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ("SoftmaxWithLoss", "softmax_param { new: 1 }"),
        ("SoftmaxWithLoss", "loss_param { new: 1 }"),
        ("HingeLoss", "hinge_loss_param { new: 1 }"),
        ("Accuracy", "accuracy_param { new: 1 }"),
    ],
)
def test_an_unknown_field_of_a_loss_leaves_nothing_open(type: str, message: str) -> None:
    flat = 'layer { name: "f" type: "Pooling" bottom: "x" top: "f" pooling_param { global_pooling: true } }\n'
    loss = f'layer {{ name: "l" type: "{type}" bottom: "f" bottom: "t" top: "l" {message} }}\n'
    net = lenient(DATA + flat + loss)
    assert (counts.count(net).uncounted, net.blobs["l"].shape) == ((), ())


@pytest.mark.parametrize(
    ("type", "message"),
    [("BatchNorm", "batch_norm_param { new: 1 }"), ("Scale", "scale_param { new: 1 }"),
     ("PReLU", "prelu_param { new: 1 }")],
)  # fmt: skip
def test_an_unknown_field_beside_parameters_leaves_these_open_and_not_the_shape(
    type: str, message: str
) -> None:
    text = f'layer {{ name: "l" type: "{type}" bottom: "x" top: "l" {message} }}\n'
    net = lenient(DATA + text + CONV.replace("BOTTOM", "l"))
    counted = counts.count(net)
    assert [layer.name for layer in counted.uncounted] == ["l"]
    assert (counted.macs, counted.stored_params, net.blobs["l"].shape) == (CONV_MACS, 12, (2, 4, 8, 8))


@pytest.mark.parametrize(
    ("type", "message"),
    [("Pooling", "pooling_param { kernel_size: 2 new: 1 }"), ("Flatten", "flatten_param { new: 1 }"),
     ("Convolution", "convolution_param { num_output: 2 kernel_size: 1 new: 1 }")],
)  # fmt: skip
def test_an_unknown_field_that_may_change_the_shape_leaves_it_open(type: str, message: str) -> None:
    net = lenient(DATA + f'layer {{ name: "l" type: "{type}" bottom: "x" top: "l" {message} }}\n')
    assert net.blobs["l"].shape is None
    assert [layer.name for layer in counts.count(net).uncounted] == ["l"]


def test_an_unknown_layer_in_place_keeps_the_shape_of_its_blob() -> None:
    text = 'layer { name: "w" type: "Warp" bottom: "x" top: "x" }\n'
    net = lenient(DATA + text + CONV.replace("BOTTOM", "x"))
    counted = counts.count(net)
    assert (counted.macs, [layer.name for layer in counted.uncounted]) == (CONV_MACS, ["w"])
    assert counts.count(rebatched(net, 4)).macs == CONV_MACS


# ---- shapes that are given ---------------------------------------------------------------------------------

WARP = 'layer { name: "w" type: "Warp" bottom: "x" top: "w" top: "v" }\n'
PYTHON = (
    'layer { name: "w" type: "Python" bottom: "x" top: "w" top: "v" '
    'python_param { module: "m" layer: "L" } }\n'
)
FIELD = 'layer { name: "w" type: "Pooling" bottom: "x" top: "w" pooling_param { kernel_size: 2 new: 1 } }\n'


@pytest.mark.parametrize("layer", [WARP, PYTHON, FIELD], ids=["type", "python", "field"])
def test_the_shape_of_an_unknown_layers_top_is_given_and_counting_goes_on(layer: str) -> None:
    net = lenient(DATA + layer + CONV.replace("BOTTOM", "w"), w=(2, 4, 8, 8))
    counted = counts.count(net)
    assert (counted.macs, net.blobs["c"].shape) == (CONV_MACS, (2, 3, 8, 8))
    (uncounted,) = counted.uncounted
    assert uncounted.name == "w"
    assert uncounted.unknown.endswith("; the shape is given")


@pytest.mark.parametrize("layer", [WARP, PYTHON], ids=["type", "python"])
def test_any_one_of_several_tops_may_be_given(layer: str) -> None:
    net = lenient(DATA + layer + CONV.replace("BOTTOM", "v"), v=(2, 4, 8, 8))
    assert (counts.count(net).macs, net.blobs["w"].shape) == (CONV_MACS, None)


def test_one_top_of_a_python_layer_without_bottoms_may_be_given() -> None:
    text = 'layer { name: "d" type: "Python" top: "a" top: "b" python_param { module: "m" layer: "L" } }\n'
    net = lenient(text + CONV.replace("BOTTOM", "b"), b=(2, 4, 8, 8))
    assert counts.count(net).macs == CONV_MACS
    both = lenient(text + CONV.replace("BOTTOM", "b"), b=(2, 4, 8, 8), a=(2,))
    assert counts.count(both).uncounted == ()


def test_a_shape_that_follows_from_the_layer_cannot_be_given_otherwise() -> None:
    assert lenient(DATA + CONV.replace("BOTTOM", "x"), c=(2, 3, 8, 8)).blobs["c"].shape == (2, 3, 8, 8)
    with pytest.raises(FieldError) as caught:
        lenient(DATA + CONV.replace("BOTTOM", "x"), c=(2, 3, 9, 9))
    assert caught.value.text == (
        "the shape of 'c' follows from Convolution 'c': it is (2,3,8,8), got (2,3,9,9)"
    )
    with pytest.raises(FieldError, match="'nowhere' is not an input of this net"):
        lenient(DATA, nowhere=(1,))


def test_the_command_asks_for_the_shape_and_counts_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(DATA + WARP + CONV.replace("BOTTOM", "w"))
    assert main(["count", "net.prototxt", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["totals"]["macs"] == 0
    assert err == (
        "what comes after unknown layers is not counted: give the shapes of their tops, as in "
        "--input w=N,...\n"
    )
    assert main(["count", "net.prototxt", "--json", "--input", "w=2,4,8,8"]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["totals"]["macs"], json.loads(out)["complete"], err) == (CONV_MACS, False, "")
    assert main(["count", "net.prototxt", "--json", "--input", "w=2,4,8,8", "--batch", "6"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["batch"], data["totals"]["macs"]) == (6, CONV_MACS)
    assert main(["check", "net.prototxt", "--input", "w=2,4,8,8"]) == 1  # Caffe lacks the type
    assert "'w' is not an input" not in capsys.readouterr().err
    assert main(["diff", "net.prototxt", "net.prototxt", "--input", "w=2,4,8,8"]) == 0


# ---- Faster R-CNN ------------------------------------------------------------------------------------------

A, H, W, CLASSES = 9, 37, 62, 21
SCORES = "".join(
    f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    for name, dims in (
        ("scores", f"dim: 1 dim: {2 * A} dim: {H} dim: {W}"),
        ("deltas", f"dim: 1 dim: {4 * A} dim: {H} dim: {W}"),
        ("rpn_rois", "dim: 1 dim: 5"),
    )
)  # fmt: skip
RPN_DATA = 'top: "data" top: "im_info" top: "gt_boxes"'
ROI_DATA = (
    "layer {{ name: 'input-data' type: 'Python' {tops} python_param {{ module: 'roi_data_layer.layer' "
    "layer: 'RoIDataLayer' param_str: \"'num_classes': 21\" }} }}\n"
)
ANCHORS = (
    "layer {{ name: 'rpn-data' type: 'Python' bottom: 'scores' bottom: 'gt_boxes' bottom: 'im_info' "
    "bottom: 'data' top: 'labels' top: 'targets' top: 'inside' top: 'outside' python_param {{ "
    "module: 'rpn.anchor_target_layer' layer: 'AnchorTargetLayer' param_str: \"{param}\" }} }}\n"
)
PROPOSALS = (
    "layer {{ name: 'proposal' type: 'Python' bottom: 'scores' bottom: 'deltas' bottom: 'im_info' {tops} "
    "python_param {{ module: 'rpn.proposal_layer' layer: 'ProposalLayer' "
    "param_str: \"'feat_stride': 16\" }} }}\n"
)
TARGETS = (
    "layer {{ name: 'roi-data' type: 'Python' bottom: 'rpn_rois' bottom: 'gt_boxes' top: 'rois' "
    "top: 'labels' top: 'bbox_targets' top: 'inside' top: 'outside' python_param {{ "
    "module: 'rpn.proposal_target_layer' layer: 'ProposalTargetLayer' param_str: {param} }} }}\n"
)
LOADED = ROI_DATA.format(tops=RPN_DATA)


def shapes(net: Net, layer: str) -> list[tuple[int, ...] | None]:
    return [top.shape for top in net[layer].tops]


def test_the_data_layer_of_faster_rcnn_is_known() -> None:
    net = lenient(LOADED)
    assert shapes(net, "input-data") == [(1, 3, 600, 1000), (1, 3), (1, 4)]
    assert counts.count(net).uncounted == ()
    fast = " ".join(f'top: "{t}"' for t in ("data", "rois", "labels", "bbox_targets", "inside", "outside"))
    assert shapes(lenient(ROI_DATA.format(tops=fast)), "input-data") == [
        (2, 3, 600, 1000), (1, 5), (1,), (1, 84), (1, 84), (1, 84),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("param", "anchors"),
    [("'feat_stride': 16", 9), ("{'feat_stride': 16, 'scales': [4, 8, 16, 32]}", 12),
     ("feat_stride: 16\\nscales: !!python/tuple [8, 16]", 6)],
)  # fmt: skip
def test_the_anchor_targets_follow_from_the_scores(param: str, anchors: int) -> None:
    net = lenient(SCORES + LOADED + ANCHORS.format(param=param))
    assert shapes(net, "rpn-data") == [(1, 1, anchors * H, W), *[(1, 4 * anchors, H, W)] * 3]


def test_the_proposals_have_their_shapes_after_loading() -> None:
    assert shapes(lenient(SCORES + LOADED + PROPOSALS.format(tops="top: 'r'")), "proposal") == [(1, 5)]
    both = lenient(SCORES + LOADED + PROPOSALS.format(tops="top: 'r' top: 's'"))
    assert shapes(both, "proposal") == [(1, 5), (1, 1, 1, 1)]


@pytest.mark.parametrize("param", ["\"'num_classes': 21\"", '"num_classes: 21"', "'{\"num_classes\": 21}'"])
def test_the_targets_of_proposals_follow_from_the_classes(param: str) -> None:
    net = lenient(SCORES + LOADED + TARGETS.format(param=param))
    assert shapes(net, "roi-data") == [(1, 5), (1, 1), *[(1, 4 * CLASSES)] * 3]


def test_classes_that_are_missing_are_reported_as_the_layer_reports_them() -> None:
    with pytest.raises(ShapeError, match="param_str lacks 'num_classes', which ProposalTargetLayer reads"):
        lenient(SCORES + LOADED + TARGETS.format(param="\"'feat_stride': 16\""))


def test_other_classes_of_the_same_module_stay_unknown() -> None:
    net = lenient(LOADED.replace("RoIDataLayer", "MyDataLayer"))
    assert (
        net["input-data"].unknown == "its shape depends on the Python class roi_data_layer.layer.MyDataLayer"
    )


POOLED = (
    'layer { name: "map" type: "Input" top: "map" input_param { shape { dim: 1 dim: 4 dim: 9 dim: 9 } } }\n'
    'layer { name: "pool" type: "ROIPooling" bottom: "map" bottom: "r" top: "pool" '
    "roi_pooling_param { pooled_w: 7 pooled_h: 7 } }\n"
    'layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" '
    "inner_product_param { num_output: 5 } }\n"
)


def test_the_work_of_as_many_regions_as_are_given_is_counted() -> None:
    text = SCORES + LOADED + PROPOSALS.format(tops="top: 'r'") + POOLED
    one, many = lenient(text), lenient(text, r=(300, 5), data=(1, 3, 320, 480))
    assert (counts.count(one).macs, counts.count(many).macs) == (5 * 4 * 49, 300 * 5 * 4 * 49)
    assert (many.blobs["data"].shape, counts.count(many).uncounted) == ((1, 3, 320, 480), ())
    assert rebatched(many, 2).blobs["r"].shape == (300, 5)
