"""Findings: each code where the fault is, and not in the same net without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, checks, prototxt
from netbuilder.checks import CODES
from netbuilder.checks import consumers as targets
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.checks.fixes import FIXES
from netbuilder.networks import PHASES, all_networks, find_network
from tests.checks.gallery import CASES, INPUT

# `syntax` is in tests/cli/test_check_command.py, the others in tests/checks/test_model_fits.py.
ELSEWHERE = {"syntax", "weights-missing", "weights-shape", "weights-unused"}


def test_each_code_has_a_case() -> None:
    assert set(CASES) | ELSEWHERE == set(CODES)


@pytest.mark.parametrize("code", CASES)
def test_a_fault_is_found_once_where_it_is_and_a_net_without_it_is_free_of_it(code: str) -> None:
    case = CASES[code]
    wanted = Wanted(targets=case.targets)
    found = [f for f in examine_text(case.text, "net.prototxt", wanted).findings if f.code == code]
    targets = {f.target for f in found}
    assert [(f.layer, f.line) for f in found] == [(case.layer, case.line)], found
    of_consumer = targets - {""} and code != "unread-top"
    assert {f.severity for f in found} == {"error" if of_consumer else CODES[code].severity}
    assert all(f.text and f.file == "net.prototxt" for f in found)
    assert case.old in case.text
    without = examine_text(case.text.replace(case.old, case.new, 1), "net.prototxt", wanted)
    assert [f for f in without.findings if f.code in (code, "syntax", "shape", "field")] == []


def test_what_has_a_remedy_says_it() -> None:
    # A hint is all that is said of what Caffe refuses, and there is not always one.
    no_remedy = {
        "shape",
        "field",
        "name-clash",
        "missing-bottom",
        "unknown-type",
        "unknown-field",
        "no-layers",
    }
    without = {
        f.code
        for code, case in CASES.items()
        for f in examine_text(case.text, "", Wanted(targets=case.targets)).findings
        if f.code == code and not f.fix
    }
    assert without <= no_remedy | {"uncounted"}


@pytest.mark.parametrize("network", all_networks())
def test_our_nets_have_no_findings(network: str) -> None:
    entry = find_network(network)
    needed: dict[str, dict[str, Any]] = {
        "resnet": {"main_branch": "inception_trick_bottleneck"},
        "cifar_resnet": {"main_branch": "normal", "N": 1},
    }
    config = entry.config(**needed.get(network, {}))
    for phase in PHASES:
        # A batch of one is one value per channel for the BatchNorm of an attention.
        text = prototxt.dumps(entry.stitch(config, phase)).replace("{ batch_size: 1 ", "{ batch_size: 2 ")
        assert [str(f) for f in examine_text(text, "", Wanted()).findings] == []


def test_a_bias_before_batch_norm_is_reported_for_each_convolution() -> None:
    entry = find_network("cifar_resnet")
    net = entry.stitch(entry.config(main_branch="normal", N=1, conv_bias=True), "train")
    found = checks.check(net)
    assert {(f.severity, f.code) for f in found} == {("info", "bias-before-batchnorm")}
    assert len(found) == 9


def test_half_a_pair_is_reported_in_full() -> None:
    (finding,) = checks.check(prototxt.parse(CASES["lone-pair"].text))
    assert str(finding) == (
        "warning: t: pad_w is given without pad_h: OpenCV and some chip compilers then ignore it "
        "[lone-pair]\n"
        "  fix: write pad_h as well"
    )


def test_findings_of_training_are_not_reported_for_a_deploy_net() -> None:
    power = 'layer { name: "p" type: "Power" bottom: "x" top: "x" power_param { scale: 3 } }'
    zeros = (
        'layer { name: "f" type: "InnerProduct" bottom: "x" top: "f" inner_product_param { num_output: 2 } }'
    )
    found = checks.check(prototxt.parse(INPUT + power + zeros))
    assert [f.code for f in found] == ["input-overwritten"]
    assert [f.code for f in checks.check(prototxt.parse(INPUT + power + zeros, "TRAIN"))] == [
        "input-overwritten"
    ]


def test_uncounted_layers_are_reported_where_they_begin_and_not_after() -> None:
    text = (
        'layer { name: "data" type: "Data" top: "data" data_param { source: "db" batch_size: 2 } }\n'
        'layer { name: "conv" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 2 kernel_size: 3 } }\n"
        'layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }\n'
    )
    assert [(f.code, f.layer) for f in checks.check(prototxt.parse(text))] == [("uncounted", "data")]


def test_custom_layers_and_equal_names_without_parameters_are_not_findings() -> None:
    net = Net("n")
    x = net.add("Input", name="x", shape={"dim": [1, 3, 8, 8]})
    net.add("MyWarp", x, name="w", top_shapes=[(1, 3, 8, 8)])
    copy = Net("n")
    for layer in net:
        copy.append(layer.proto, top_shapes=[t.shape or () for t in layer.tops])
    twin = copy["x"].proto.__class__()
    twin.CopyFrom(copy["x"].proto)
    twin.top[0] = "y"
    copy.append(twin)
    assert [(f.severity, f.code, f.layer) for f in checks.check(copy)] == [("info", "uncounted", "w")]


def test_the_page_lists_exactly_the_existing_codes_with_severity_and_title() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    table = page.partition("| code | severity | what it is |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in table.splitlines()]
    assert rows == [(code, *known) for code, known in CODES.items()]


def test_the_page_names_the_codes_that_are_mended_and_the_sources_of_what_was_not_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    mended = page.partition("Mended are: ")[2].partition(".\n")[0]
    assert mended.replace("\n", " ") == ", ".join(f"`{code}`" for code in sorted(FIXES))
    for target in targets.TARGETS.values():
        assert f"`{target.name}`" in page
        assert [source for source in target.sources if f"]: {source}\n" not in page] == []
