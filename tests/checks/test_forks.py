"""What checks say of files that are written for forks of Caffe, and what --fix leaves alone in them."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.checks.fixes import mend
from tests.checks.gallery import DATA, FILLER, INPUT, LOSS, SCORES, conv, learnt, one

LMDB = 'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" backend: LMDB batch_size: 2 } }\n'
PAIR = INPUT + INPUT.replace('"x"', '"y"')
LOSS_NONE = "loss_param { normalization: NONE }"
QUANTIZED = "quantization_param { bw_layer_in: 8 bw_layer_out: 8 bw_params: 8 scale_in: 32.5 scale_out: 2 scale_params: 64 }"
DETECTED = (
    'layer { name: "loc" type: "Input" top: "loc" input_param { shape { dim: 1 dim: 16 } } }\n'
    'layer { name: "conf" type: "Input" top: "conf" input_param { shape { dim: 1 dim: 8 } } }\n'
    'layer { name: "prior" type: "Input" top: "prior" input_param { shape { dim: 1 dim: 2 dim: 16 } } }\n'
    'layer { name: "t" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "t" '
    "detection_output_param { num_classes: 2 nms_param { } } transform_param { mean_value: 104 resize_param { prob: 1 height: 300 width: 300 } } }\n"
)


def codes(text: str, *targets: str) -> list[str]:
    return [f.code for f in examine_text(text, "n", Wanted(targets=targets)).findings]


def fixed(text: str, *targets: str) -> str:
    wanted = Wanted(targets=targets)
    return mend(examine_text(text, "n", wanted), wanted).text


# A net, and the forks that read what BVLC ignores in it.
READ = {
    "euclidean": (PAIR + one("EuclideanLoss", LOSS_NONE, bottom='x" bottom: "y'), ("intel",)),
    "multinomial": (
        INPUT.replace("dim: 3 dim: 8 dim: 8", "dim: 3")
        + INPUT.replace('"x"', '"y"').replace("dim: 3 dim: 8 dim: 8", "")
        + one("MultinomialLogisticLoss", LOSS_NONE, bottom='x" bottom: "y'),
        ("intel",),
    ),
    "hinge": (
        INPUT.replace("dim: 3 dim: 8 dim: 8", "dim: 3")
        + INPUT.replace('"x"', '"y"').replace("dim: 3 dim: 8 dim: 8", "")
        + one("HingeLoss", "hinge_loss_param { norm: L2 } " + LOSS_NONE, bottom='x" bottom: "y'),
        ("intel",),
    ),
    "convolution": (INPUT + conv("kernel_size: 3").replace("} }\n", "} } " + QUANTIZED + " }\n", 1).replace("} } }", "} }", 1), ("intel",)),
    "pooling": (INPUT + one("Pooling", "pooling_param { kernel_size: 2 stride: 2 } " + QUANTIZED), ("intel",)),
    "detection": (DETECTED, ("ssd", "nvcaffe", "intel")),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_parameter_that_a_fork_reads_is_not_ignored_there_and_never_left_out(name: str) -> None:
    text, forks = READ[name]
    for fork in forks:
        assert "ignored-param" not in codes(text, fork), fork
        assert fixed(text, fork) == text
    assert fixed(text) == text
    assert fixed(text, "any") == text
    assert "ignored-param" not in codes(text, "any")


def test_what_bvlc_ignores_is_still_reported_for_bvlc_and_names_the_fork_that_reads_it() -> None:
    text, _ = READ["euclidean"]
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert finding.code == "ignored-param"
    assert finding.text == "EuclideanLoss does not read loss_param in caffe-master: it has no effect"
    assert finding.fix == "leave loss_param out, unless the file is also for intel, which read it"


def test_a_file_for_a_fork_is_judged_by_the_forks_that_fit() -> None:
    """Its other layers need intel, so the loss is read."""
    text, _ = READ["euclidean"]
    text += INPUT.replace('"x"', '"z"') + conv("kernel_size: 3 engine: MKLDNN").replace(
        'bottom: "x"', 'bottom: "z"'
    ).replace('"t"', '"c"')
    assert "no-such-field" in codes(text)
    assert "ignored-param" not in codes(text)
    assert not {"no-such-field", "ignored-param"} & set(codes(text, "intel"))


@pytest.mark.parametrize(
    "field", ["scale_bias: true", "scale_filler { value: 1 }", "bias_filler { value: 0 }"]
)
@pytest.mark.parametrize("data", [DATA, LMDB], ids=["shape", "no shape"])
def test_a_batch_norm_that_scales_by_itself_needs_no_scale_whatever_its_shape(field: str, data: str) -> None:
    text = learnt(one("BatchNorm", f"batch_norm_param {{ {field} }}", bottom="x")).replace(DATA, data)
    assert not {"batchnorm-without-scale", "batchnorm-trained"} & set(codes(text, "nvcaffe"))
    assert fixed(text, "nvcaffe") == text


def test_a_batch_norm_of_intel_scales_unless_told_otherwise() -> None:
    net = LMDB + conv("kernel_size: 3").replace('bottom: "x"', 'bottom: "data"')
    bn = one("BatchNorm", "batch_norm_param { FIELD }", bottom="t", top="u").replace('name: "t"', 'name: "b"')
    assert "batchnorm-without-scale" not in codes(net + bn.replace("FIELD", "bias_term: true"), "intel")
    assert "batchnorm-without-scale" in codes(net + bn.replace("FIELD", "use_weight_bias: false"), "intel")


def test_engine_cudnn_is_no_fault_where_the_forks_of_the_file_have_it() -> None:
    text = INPUT + conv("kernel_size: 3 engine: CUDNN")
    assert codes(text) == ["engine-cudnn"]
    assert codes(text, "nvcaffe") == []
    assert fixed(text, "nvcaffe") == text


PERMUTE = one("Permute", "permute_param { order: 0 order: 2 }")
AXPY = 'layer { name: "a" type: "Axpy" bottom: "g" bottom: "x" bottom: "x" top: "a" }\n'
GATE = INPUT.replace('"x"', '"g"').replace("dim: 8 dim: 8", "")
INTERP = (
    one("Interp", "interp_param { zoom_factor: 2 }")
    .replace('name: "t"', 'name: "i"')
    .replace('top: "t"', 'top: "i"')
)


def test_a_message_names_the_forks_that_can_load_the_whole_file() -> None:
    fixes = {f.text: f.fix for f in examine_text(INPUT + GATE + PERMUTE + AXPY, "n", Wanted()).findings}
    assert fixes["caffe-master: there is no layer type Permute"] == (
        "it is in nvcaffe, intel, ssd; nvcaffe, intel can load the whole file; else express it by other layers"
    )
    assert fixes["caffe-master: there is no layer type Axpy"] == (
        "it is in nvcaffe, intel; else express it by other layers"
    )


def test_a_message_says_if_no_one_fork_can_load_the_file() -> None:
    fixes = {f.text: f.fix for f in examine_text(INPUT + PERMUTE + INTERP, "n", Wanted()).findings}
    assert fixes["caffe-master: there is no layer type Permute"] == (
        "it is in nvcaffe, intel, ssd; no one Caffe has all of this file, --target any takes it; "
        "else express it by other layers"
    )


def test_the_target_any_takes_what_any_caffe_has_and_nothing_else() -> None:
    text = INPUT + GATE + PERMUTE + AXPY + INTERP
    assert codes(text, "any") == []
    assert codes(text + one("Warp", top="w").replace('name: "t"', 'name: "w"'), "any") == ["unknown-type"]
    assert codes(
        text + one("ReLU", "relu_param { slope: 1 }", top="w").replace('name: "t"', 'name: "w"'), "any"
    ) == ["unknown-field", "uncounted"]


def test_fields_outside_of_layers_are_checked_too() -> None:
    text = "default_forward_type: FLOAT16\n" + INPUT + conv("kernel_size: 3")
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert (finding.code, finding.text, finding.fix) == (
        "no-such-field",
        "caffe-master: there is no NetParameter.default_forward_type; the whole file is refused",
        "leave it out; it is in nvcaffe",
    )
    assert codes(text, "nvcaffe") == []


def test_the_axis_of_infogain_loss_is_intels_and_bvlcs_alone() -> None:
    scores = DATA + SCORES.replace("BOTTOM", "data")
    loss = 'layer { name: "loss" type: "InfogainLoss" bottom: "fc" bottom: "label" bottom: "h" top: "loss" infogain_loss_param { axis: 1 } }\n'
    text = (
        scores
        + 'layer { name: "h" type: "DummyData" top: "h" dummy_data_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }\n'
        + loss
    )
    assert FILLER in text
    assert "no-such-field" not in codes(text, "intel")
    assert "no-such-field" not in codes(text, "caffe-1.0")
    assert "no-such-field" in codes(text, "ssd")
    assert "no-such-field" in codes(text, "nvcaffe")


FILLED = INPUT + one("Convolution", 'convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "FILLER" } }') + one(
    "Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", bottom="t", top="u"
).replace('name: "t"', 'name: "u"')  # fmt: skip


@pytest.mark.parametrize(
    ("filler", "fork"),
    [("gabor", "intel"), ("xavierstatic", "nvcaffe"), ("diagonal", "any"), ("gabor", "any")],
)
def test_a_filler_of_a_fork_is_taken_there_and_reported_elsewhere(filler: str, fork: str) -> None:
    text = FILLED.replace("FILLER", filler)
    assert codes(text, fork) == []
    (finding,) = examine_text(text, "n", Wanted()).findings
    assert (finding.code, finding.severity, finding.layer) == ("field", "error", "t")
    assert finding.text == f"weight_filler: unknown filler type '{filler}'"
    if fork != "any":
        assert finding.fix == f"it is in {fork}"
        assert prototxt.parse(text, dialect=fork).blobs["u"].shape == (2, 4, 4, 4)


def test_a_filler_that_nobody_knows_is_kept_with_a_finding() -> None:
    """The shapes after it stay known."""
    text = FILLED.replace("FILLER", "warped")
    assert codes(text) == codes(text, "any") == ["field"]
    net = prototxt.parse(text, dialect="any", unknown="keep")
    assert net.blobs["u"].shape == (2, 4, 4, 4)
    assert [p.shape for p in net["t"].params] == [(4, 3, 3, 3), (4,)]
    assert 'type: "warped"' in prototxt.dumps(net)


def test_a_filler_that_is_not_read_is_not_reported() -> None:
    text = FILLED.replace(
        'weight_filler { type: "FILLER" }', 'bias_term: false bias_filler { type: "warped" }'
    )
    assert codes(text) == []


def test_images_may_be_resized_in_several_ways() -> None:
    twice = (
        "resize_param { prob: 0.5 height: 300 width: 300 } resize_param { prob: 0.5 height: 512 width: 512 }"
    )
    text = LMDB.replace("data_param", f"transform_param {{ {twice} }} data_param") + LOSS
    net = prototxt.parse(
        LMDB.replace("data_param", f"transform_param {{ {twice} }} data_param"), dialect="any"
    )
    assert [r.height for r in net["d"].proto.transform_param.resize_param] == [300, 512]
    assert "syntax" not in codes(text)
    assert "syntax" not in codes(text.replace(twice, twice[: len(twice) // 2]), "ssd")
