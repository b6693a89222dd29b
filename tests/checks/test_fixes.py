"""Mending: what each fix writes, that all else stays as it was, and that nothing is made worse."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

from collections import Counter
from unittest.mock import patch

import pytest

from netbuilder.checks import Finding, fields, found
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.checks.fixes import FIXES, header, mend
from netbuilder.checks.remedies import Edit, Place
from netbuilder.net import Layer
from tests.checks.gallery import CASES, INPUT, LOSS, conv, learnt, one, trained

# Each fix on its own case of the gallery: what the old stretch of the text becomes.
WRITTEN = {
    "batch-stats": ("batch_norm_param { eps: 0.1 }", "batch_norm_param { eps: 0.1 use_global_stats: true }"),
    "batchnorm-batch-stats": ("batch_norm_param { use_global_stats: false }", "batch_norm_param { }"),
    "batchnorm-trained": (
        "param { lr_mult: 0 }",
        "param { lr_mult: 0 }" + 2 * " param { lr_mult: 0 decay_mult: 0 }",
    ),
    "crop-offset": ('top: "t"', 'top: "t" crop_param { offset: 0 }'),
    "engine-cudnn": ("engine: CUDNN ", ""),
    "ignored-field": ("coeff: 1 coeff: 2 ", ""),
    "ignored-param": ("pooling_param { kernel_size: 3 } ", ""),
    "in-place": ('bottom: "x" top: "x"', 'bottom: "x" top: "t"'),
    "in-place-chain": (
        'bottom: "t" top: "t"  }\nlayer { name: "fc" type: "InnerProduct" bottom: "t"',
        'bottom: "t" top: "drop"  }\nlayer { name: "fc" type: "InnerProduct" bottom: "drop"',
    ),
    "in-place-gradient": (
        'top: "x" power_param { scale: 3 } }\nlayer { name: "fc" type: "InnerProduct" bottom: "x"',
        'top: "t" power_param { scale: 3 } }\nlayer { name: "fc" type: "InnerProduct" bottom: "t"',
    ),
    "in-place-refused": ('bottom: "x" top: "x"', 'bottom: "x" top: "t"'),
    "input-overwritten": ('bottom: "x" top: "x"', 'bottom: "x" top: "t"'),
    "leveldb-default": ("batch_size: 2", "batch_size: 2 backend: LMDB"),
    "lone-pair": ("pad_w: 1", "pad_w: 1 pad_h: 0"),
    "lrn-alpha": ('top: "t"', 'top: "t" lrn_param { alpha: 1 }'),
    "slice-equal": ('top: "v"', 'top: "v" slice_param { slice_point: 1 slice_point: 2 }'),
    "slice-unread": ('top: "v"', 'top: "v" slice_param { slice_point: 1 slice_point: 2 }'),
    "statistics-trained": ('top: "t"', 'top: "t"' + 3 * " param { lr_mult: 0 decay_mult: 0 }"),
    "uneven-window": ("kernel_size: 3 kernel_size: 1", "kernel_h: 3 kernel_w: 1"),
    "zero-scale": ("filler { }", "filler { value: 1 }"),
    "zero-weights": ("kernel_size: 1", 'kernel_size: 1 weight_filler { type: "msra" }'),
}
# These depend on more than the case has.
BELOW = {"round-mode", "mirror-in-test"}


def mended(text: str, *targets: str, only: str = "") -> str:
    """The text after mending; of all fixes only that of one code, if it is named."""
    wanted = Wanted(targets=targets)
    fixes = {only: FIXES[only]} if only else FIXES
    with patch.dict(FIXES, fixes, clear=True):
        return mend(examine_text(text, "net.prototxt", wanted), wanted).text


def test_each_fix_has_a_case() -> None:
    assert set(WRITTEN) | BELOW == set(FIXES)


@pytest.mark.parametrize("code", WRITTEN)
def test_a_fix_writes_the_remedy_and_nothing_else(code: str) -> None:
    case, (old, new) = CASES[code], WRITTEN[code]
    wanted = Wanted(targets=case.targets)
    result = mend(examine_text(case.text, "net.prototxt", wanted), wanted)
    assert code in {finding.code for finding, _ in result.done}
    assert not any(f.code == code for f in result.examined.findings)
    assert old in case.text
    if {finding.code for finding, _ in result.done} == {code}:
        start = case.text.index(case.text.splitlines()[case.line - 1])
        assert result.text == case.text[:start] + case.text[start:].replace(old, new, 1)
    else:  # a net that has several faults
        assert new in result.text


LAID_OUT = """\
# A net of mine.   (two spaces stay)
name: "n"

layer {
\tname: "x"  type: "Input"
\ttop: "x" ; # what goes in
\tinput_param: < shape { dim: [1, 3, 8, 8] } >
}
layer {
  name: "c"
  type: 'Convolution'
  bottom: "x"
  top: "c"
  convolution_param {
    num_output: 4   kernel_h: 1
    kernel_w: 3     # wide
    pad_w: 1        # pad { pad_h: 0 } is missing
    engine: CUDNN
  }
  pooling_param { # nobody reads this
    kernel_size: 3
  }
}  # end
layer { name: "n" type: "LRN" bottom: "c" top: "c" lrn_param { alpha: 1 } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""


def test_comments_order_and_layout_survive() -> None:
    assert mended(LAID_OUT, "opencv") == (
        LAID_OUT.replace(
            "    pad_w: 1        # pad { pad_h: 0 } is missing\n    engine: CUDNN\n",
            "    pad_w: 1        # pad { pad_h: 0 } is missing\n    pad_h: 0\n",
        )
        .replace("  pooling_param { # nobody reads this\n    kernel_size: 3\n  }\n", "")
        .replace('bottom: "c" top: "c" lrn', 'bottom: "c" top: "n" lrn')
        .replace('bottom: "c" top: "c" }', 'bottom: "n" top: "n" }')
        .replace('bottom: "c" top: "p"', 'bottom: "n" top: "p"')
    )


@pytest.mark.parametrize(
    ("layer", "gone"),
    [
        (
            one("Eltwise", "eltwise_param { operation: MAX coeff: 1 coeff: 2 }", bottom='x" bottom: "x'),
            "coeff: 1 coeff: 2 ",
        ),
        (one("LRN", "lrn_param { norm_region: WITHIN_CHANNEL k: 2 }"), "k: 2 "),
        (one("ReLU", "relu_param { } lrn_param { k: 2 }"), "lrn_param { k: 2 } "),
    ],
)
def test_a_fix_does_not_depend_on_the_wording_of_a_finding(layer: str, gone: str) -> None:
    def reworded(
        code: str, layer: Layer, text: str, fix: str = "", *, target: str = "", field: str = ""
    ) -> Finding:
        return found(code, layer, "worded in another way", fix, target=target, field=field)

    with patch.object(fields, "found", reworded):
        assert [f.text for f in examine_text(INPUT + layer, "net.prototxt", Wanted()).findings] == [
            "worded in another way"
        ]
        assert mended(INPUT + layer) == INPUT + layer.replace(gone, "")


def test_the_header_says_what_was_done() -> None:
    wanted = Wanted()
    result = mend(examine_text(CASES["engine-cudnn"].text, "nets/net.prototxt", wanted), wanted)
    first, *others = header("nets/net.prototxt", result).splitlines()
    assert first.startswith("# Made by netbuilder ")
    assert first.endswith(": net.prototxt, mended by `netbuilder check --fix`:")
    assert others == ["#   t: left engine out: Caffe takes cuDNN where it has it [engine-cudnn]"]


def test_round_mode_is_left_out_where_it_changes_nothing_and_stays_where_it_does() -> None:
    text = INPUT + one("Pooling", "pooling_param { kernel_size: 2 stride: 2 round_mode: FLOOR }")
    assert mended(text, "opencv") == text.replace(" round_mode: FLOOR", "")
    matters = text.replace("kernel_size: 2", "kernel_size: 3")
    assert mended(matters, "opencv") == matters
    assert mended(matters.replace("FLOOR", "CEIL"), "opencv") == matters.replace(" round_mode: FLOOR", "")


def test_a_mirror_is_set_to_false_in_test_alone() -> None:
    data = (
        'layer { name: "d" type: "MemoryData" top: "d" top: "label" include { phase: TEST } '
        "transform_param { mirror: true } memory_data_param { batch_size: 1 channels: 3 height: 8 width: 8 } }\n"
    )
    net = conv("kernel_size: 3").replace('bottom: "x"', 'bottom: "d"') + (
        'layer { name: "acc" type: "Accuracy" bottom: "label" bottom: "label" top: "acc" }\n'
    )
    train = data.replace("TEST", "TRAIN")
    text = train + data + net
    assert mended(text, only="mirror-in-test") == train + data.replace("true", "false") + net
    both = data.replace("include { phase: TEST } ", "") + net
    assert mended(both + LOSS.replace('"fc"', '"t"'), only="mirror-in-test") == both + LOSS.replace(
        '"fc"', '"t"'
    )


def test_weights_that_somebody_wants_to_start_at_zero_stay() -> None:
    text = trained(
        one("Convolution", "convolution_param { num_output: 2 kernel_size: 1 weight_filler { value: 0 } }")
    )
    assert mended(text, only="zero-weights") == text


def test_a_layer_of_one_phase_keeps_its_top() -> None:
    text = learnt(one("Power", "power_param { scale: 3 } include { phase: TRAIN }", top="x"), "x")
    assert mended(text, only="in-place-gradient") == text


def test_old_formats_are_not_touched() -> None:
    text = 'layers { name: "x" type: DUMMY_DATA top: "x" dummy_data_param { num: 1 channels: 3 height: 8 width: 8 } }\n'
    text += 'layers { name: "n" type: LRN bottom: "x" top: "x" }\n'
    assert "in-place" in {f.code for f in examine_text(text, "", Wanted()).findings}
    assert mended(text) == text


def test_many_faults_of_one_kind_are_mended_together() -> None:
    layers = "".join(
        one("BatchNorm", bottom="x", top="x").replace('name: "t"', f'name: "b{i}"')
        + one("Scale", bottom="x", top="x").replace('name: "t"', f'name: "s{i}"')
        for i in range(60)
    )
    text = mended(learnt(layers, "x"))
    assert text.count("param { lr_mult: 0 decay_mult: 0 }") == 3 * 60


def test_findings_of_several_kinds_are_fixed_with_one_examination() -> None:
    """However many there are: in-place chains, insertions at one place, and fields left out."""
    block = (
        one("BatchNorm", bottom="x", top="x").replace('name: "t"', 'name: "bn{i}"')
        + one("Scale", "pooling_param { kernel_size: 2 }", bottom="x", top="x").replace('"t"', '"s{i}"')
        + one("LRN", bottom="x", top="x").replace('name: "t"', 'name: "lrn{i}"')
    )
    text = learnt("".join(block.replace("{i}", str(i)) for i in range(12)), "x")
    wanted = Wanted(targets=("caffeonspark", "opencv"))
    with patch("netbuilder.checks.fixes.examine_text", wraps=examine_text) as examinations:
        result = mend(examine_text(text, "net.prototxt", wanted), wanted)
    assert examinations.call_count == 1
    codes = [finding.code for finding, _ in result.done]
    assert Counter(codes) == {
        "statistics-trained": 12, "ignored-param": 12, "in-place": 12, "in-place-chain": 11, "lrn-alpha": 12,
    }  # fmt: skip
    assert 'name: "s11" type: "Scale" bottom: "bn11" top: "bn11"' in result.text
    assert 'name: "fc" type: "InnerProduct" bottom: "lrn11"' in result.text


def test_a_fix_that_fails_is_left_out_and_the_others_are_made() -> None:
    def spoil(place: Place, finding: Finding) -> tuple[list[Edit], str]:
        more = place.insert("stride: 2" if place.layer.name == "b" else "stride: 1", "convolution_param")
        return [more], "wrote a stride"

    names = "abcdefgh"
    convs = "".join(
        conv("kernel_size: 3 engine: CUDNN", top=n).replace('name: "t"', f'name: "{n}"') for n in names
    )
    text = INPUT + convs
    with patch.dict(FIXES, {"engine-cudnn": spoil}, clear=True):
        assert mended(text) == text  # none of them takes the findings away
    drop = FIXES["engine-cudnn"]

    def some(place: Place, finding: Finding) -> tuple[list[Edit], str] | None:
        edits, remedy = drop(place, finding) or ([], "")
        return (edits + spoil(place, finding)[0] if place.layer.name == "b" else edits), remedy

    with patch.dict(FIXES, {"engine-cudnn": some}, clear=True):
        after = mended(text)
    assert after.count("engine: CUDNN") == 1
    assert (
        'name: "b" type: "Convolution" bottom: "x" top: "b" convolution_param { num_output: 4 kernel_size: 3 engine'
        in after
    )


LAST_LINE = one(
    "Convolution",
    "\n  convolution_param {\n    num_output: 2\n    kernel_size: 3\n    engine: CUDNN\n  }\n",
)


@pytest.mark.parametrize(
    ("layer", "fixed"),
    [
        (LAST_LINE, LAST_LINE.replace("engine: CUDNN", 'weight_filler { type: "msra" }')),
        (
            one("Convolution", "convolution_param { num_output: 2 kernel_size: 3 engine: CUDNN }"),
            one(
                "Convolution",
                'convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "msra" } }',
            ),
        ),
    ],
)
def test_a_field_takes_the_place_of_one_that_is_left_out(layer: str, fixed: str) -> None:
    text = trained(layer)
    wanted = Wanted()
    with patch("netbuilder.checks.fixes.examine_text", wraps=examine_text) as examinations:
        result = mend(examine_text(text, "net.prototxt", wanted), wanted)
    assert result.text == trained(fixed)
    assert examinations.call_count == 1


def test_three_fixes_of_one_message_are_all_made() -> None:
    fields = "num_output: 2\n    kernel_h: 3\n    kernel_w: 3\n    pad_h: 1\n    engine: CUDNN\n"
    after = mended(trained(one("Convolution", f"\n  convolution_param {{\n    {fields}  }}\n")))
    assert "engine" not in after
    assert "pad_w: 0" in after
    assert "msra" in after


def test_fixes_of_one_place_are_made_in_turn() -> None:
    """Leaving a message out, and writing into it."""
    text = INPUT + one("ReLU", "lrn_param { k: 2 }")

    def write(place: Place, finding: Finding) -> tuple[list[Edit], str]:
        return [place.insert("alpha: 1", "lrn_param")], "wrote alpha"

    with patch.dict(FIXES, {"ignored-param": FIXES["ignored-param"], "input-overwritten": write}, clear=True):
        assert mended(text) == INPUT + one("ReLU").replace("  }", " }")
        text = INPUT + one("ReLU", "lrn_param { k: 2 }", top="x")
        assert mended(text) == INPUT + one("ReLU", top="x").replace("  }", " }")


def test_all_readers_of_one_input_get_the_new_name_once() -> None:
    """Two layers overwrite one blob, one after the other; each gets a top of its own."""
    text = INPUT + "".join(
        one("ReLU", bottom="x", top="x").replace('name: "t"', f'name: "{n}"') for n in ("a", "b")
    ) + one("TanH", bottom="x", top="y")  # fmt: skip
    assert mended(text) == text.replace(
        'name: "a" type: "ReLU" bottom: "x" top: "x"', 'name: "a" type: "ReLU" bottom: "x" top: "a"'
    ).replace('name: "b" type: "ReLU" bottom: "x" top: "x"', 'name: "b" type: "ReLU" bottom: "a" top: "a"'
    ).replace('type: "TanH" bottom: "x"', 'type: "TanH" bottom: "a"')  # fmt: skip
