"""The rules about solvers, each judged by real Caffe: it solves them, for three iterations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.prototxt.solver_file import parse_solver
from netbuilder.solvers.checks import check_file
from tests.solvers.in_caffe import solve

NET = (
    'layer { name: "x" type: "DummyData" top: "x" top: "t" dummy_data_param { shape { dim: 4 dim: 3 } '
    'shape { dim: 4 dim: 2 } data_filler { type: "gaussian" std: 1 } '
    'data_filler { type: "gaussian" std: 1 } } }\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }\n'
    'layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }\n'
)
V1 = 'layers { name: "x" type: DUMMY_DATA top: "x" dummy_data_param { num: 4 channels: 3 } }\n'
OLD_BATCHNORM = NET + (
    'layer { name: "bn" type: "BatchNorm" bottom: "y" top: "b" param { } param { } param { } }\n'
)
GOOD = 'net: "n.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 3\nsnapshot_after_train: true\n'
FILES = {"n.prototxt": NET}

# A line for each case: fields left out of GOOD, then fields added. Caffe refuses these.
REFUSED = """
-lr_policy
-lr_policy lr_policy: "step"
-lr_policy lr_policy: "step" stepsize: 0 gamma: 0.1
-lr_policy lr_policy: "step" stepsize: -2 gamma: 0.1
-lr_policy lr_policy: "step" stepsize: 2 gamma: -0.1
-lr_policy lr_policy: "sigmoid" gamma: 0.1
-lr_policy lr_policy: "sigmoid" gamma: 0.1 stepsize: 0
-lr_policy lr_policy: "Fixed"
-lr_policy lr_policy: "plateau"
type: "nesterov"
type: "NESTEROV"
type: "adam"
type: ""
solver_type: NESTEROV type: "SGD"
solver_type: 7
type: "AdaGrad" momentum: 0.5
type: "RMSProp" momentum: 0.5
type: "RMSProp" rms_decay: 1
type: "RMSProp" rms_decay: -0.1
solver_type: ADAGRAD momentum: 0.9
regularization_type: "L3" weight_decay: 0.1
regularization_type: "l1" weight_decay: 0.1
average_loss: 0
average_loss: -1
test_iter: 1
test_iter: 1 test_interval: 0
test_iter: 1 test_interval: -1
test_iter: 1 test_interval: 1 test_state { } test_state { }
test_iter: 1 test_iter: 1 test_interval: 1 test_state { stage: "a" }
test_state { stage: "a" }
-max_iter max_iter: 0 test_iter: 1
-max_iter max_iter: 0 type: "sgd"
train_net: "n.prototxt"
net_param { }
-net
-net net: "nosuch.prototxt"
-net train_net: "n.prototxt" test_iter: 1 test_interval: 1
-net train_net: "n.prototxt" test_net: "n.prototxt" test_interval: 1
-net train_net: "n.prototxt" test_net: "nosuch.prototxt" test_iter: 1 test_interval: 1
test_net: "n.prototxt" test_net: "n.prototxt" test_iter: 1 test_interval: 1
foo: 3
momentun: 0.9
larc_policy: "clip"
device_id: [0, 1]
base_lr: 0.2
max_iter: 3.5
lr_policy: fixed
-max_iter max_iter: "3"
-net net_param { LAYERS_V1 }
-net net_param { OLD_BATCHNORM }
-net train_net_param { OLD_BATCHNORM }
-net net_param { input: "t" input_dim: 4 input_dim: 2 input_dim: 1 input_dim: 1 READS_T }
"""

# Caffe takes these, and so do we.
TAKEN = """

-lr_policy lr_policy: "step" stepsize: 2 gamma: 0.5
-lr_policy lr_policy: "poly" power: 1
-lr_policy lr_policy: "inv" power: 0.75 gamma: 0.1
-lr_policy lr_policy: "exp" gamma: 0.9
-lr_policy lr_policy: "sigmoid" gamma: 1 stepsize: 3
-lr_policy lr_policy: "multistep" gamma: 0.1 stepvalue: 1 stepvalue: 2
-lr_policy lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 1
-lr_policy lr_policy: "multistep" gamma: 0.1 stepvalue: 0 stepvalue: 1
solver_type: NESTEROV momentum: 0.9
type: "Nesterov" momentum: 0.9 weight_decay: 0.05
weight_decay: 0.05 regularization_type: "L1"
clip_gradients: 0.5
iter_size: 3 momentum: 0.9 weight_decay: 0.1
type: "AdaGrad" weight_decay: 0.05 delta: 0.0001
type: "RMSProp"
type: "Adam" momentum: 0.9 momentum2: 0.99 weight_decay: 0.05
type: "Adam"
type: "AdaDelta" momentum: 0.9 delta: 1e-6
test_iter: 0 test_interval: 1
test_iter: 1 test_interval: 1
test_iter: 1 test_iter: 2 test_interval: 1 test_state { stage: "a" } test_state { stage: "b" }
test_iter: 1 test_interval: 1 test_initialization: false
test_interval: 1
-max_iter max_iter: 0
-max_iter,lr_policy,base_lr max_iter: 0
-max_iter,lr_policy max_iter: 0 test_iter: 1 test_interval: 1 lr_policy: "none"
-net train_net: "n.prototxt"
-net train_net: "n.prototxt" test_net: "n.prototxt" test_iter: 1 test_interval: 1
test_net: "n.prototxt" test_iter: 1 test_interval: 1
test_net: "n.prototxt" test_iter: 1 test_iter: 1 test_interval: 1
-net net_param { NET }
-net train_net_param { NET }
-net train_net_param { NET } test_net_param { NET } test_iter: 2 test_interval: 1
-net net_param { NET } test_net_param { NET } test_iter: 1 test_iter: 2 test_interval: 1
snapshot: 2 snapshot_prefix: "s"
snapshot: 2 snapshot_prefix: "s" snapshot_format: HDF5
layer_wise_reduce: false
solver_mode: CPU device_id: 0 random_seed: 3 debug_info: true display: 2 average_loss: 2
train_state { level: 1 stage: "a" }
"""

# Caffe takes these, and computes nothing, or nonsense: no rate, no gradient, a division by 0, no iteration.
NONSENSE = """
-base_lr
-base_lr base_lr: 0
-base_lr base_lr: -0.1
-lr_policy lr_policy: "exp"
-lr_policy lr_policy: "poly"
-lr_policy lr_policy: "multistep" gamma: 0.1
-max_iter
-max_iter max_iter: -1
momentum: 1.5
momentum: -1
type: "Adam" momentum: 1
type: "Adam" momentum2: 1
weight_decay: -1
clip_gradients: 0
iter_size: 0
iter_size: -1
test_iter: -1 test_interval: 1
"""


def solvers(lines: str) -> list[str]:
    found = []
    for line in lines.strip("\n").splitlines():
        left_out = re.match(r"-([\w,]+) ?", line)
        text = GOOD
        for name in left_out[1].split(",") if left_out else ():
            text = re.sub(rf"(?m)^{name}: .*\n", "", text)
        more = line[left_out.end() :] if left_out else line
        for word, net in (
            ("LAYERS_V1", V1), ("OLD_BATCHNORM", OLD_BATCHNORM), ("READS_T", NET.replace('top: "t" ', "")),
            ("{ NET }", f"{{\n{NET}}}"),
        ):  # fmt: skip
            more = more.replace(word, net)
        found.append(text + more + "\n")
    return found


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        Path(name).write_text(text)


def errors(text: str) -> list[str]:
    return [f.code for f in check_file(parse_solver(text, "solver.prototxt")) if f.severity == "error"]


@pytest.mark.parametrize("text", solvers(REFUSED))
def test_what_caffe_refuses_is_an_error_with_line_and_hint(text: str) -> None:
    found = [f for f in check_file(parse_solver(text, "solver.prototxt")) if f.severity == "error"]
    assert found
    for finding in found:
        assert finding.file == "solver.prototxt"
        assert finding.line > 0
        assert finding.fix


@pytest.mark.parametrize("text", solvers(TAKEN))
def test_what_caffe_takes_is_not_an_error(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize("text", solvers(NONSENSE))
def test_what_learns_nothing_is_an_error(text: str) -> None:
    assert len(errors(text)) == 1


def test_real_caffe_gives_these_verdicts(real_caffe: Caffe) -> None:
    refused, taken = solvers(REFUSED), [*solvers(TAKEN), *solvers(NONSENSE)]
    texts = [*refused, *taken]
    verdicts = dict(zip(texts, solve(real_caffe, [(text, FILES) for text in texts]), strict=True))
    assert [text for text in refused if not verdicts[text].refused] == []
    assert [text for text in taken if verdicts[text].refused] == []
