"""What is refused in a solver is what Caffe aborts on, or what would learn nothing; the texts in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from netbuilder.errors import ConfigError, PrototxtError
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter
from netbuilder.solvers import CODES, check, read_solver, require

GOOD = 'net: "n.prototxt"\nbase_lr: 0.1\nlr_policy: "fixed"\nmax_iter: 100\n'


def faults(text: str, dialect: str = "caffe-master") -> list[str]:
    solver = text_format.parse(text, SolverParameter).message
    return [f"{p.severity}: {p.text}" for p in check(solver, dialect=dialect)]


def test_a_plain_solver_has_no_fault() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('train_net: "t"', "exactly one of net, net_param, train_net, train_net_param gives the net to "
         "train, got net and train_net"),
        ("test_iter: 10", "test_interval must be above 0 where there is a test net"),
        ('test_net: "a" test_interval: 5',
         "test_iter must be given once for each test net: 1 nets, 0 test_iter"),
        ("test_iter: 1 test_interval: 5 test_state { } test_state { }",
         "there are 2 test_state for 1 test nets"),
        ("average_loss: 0", "average_loss must be at least 1, got 0"),
        ("iter_size: 0", "iter_size must be at least 1, got 0"),
        ('type: "sgd"', "unknown type 'sgd': Caffe has SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam"),
        ('type: "SGD" solver_type: SGD', "type and solver_type are both given"),
        ('type: "AdaGrad" momentum: 0.9', "AdaGrad takes no momentum, got 0.9"),
        ('type: "RMSProp" rms_decay: 1', "rms_decay must be at least 0 and below 1, got 1"),
        ("momentum: 1", "momentum must be at least 0 and below 1, got 1"),
        ('regularization_type: "L3"', "regularization_type must be L1 or L2, got 'L3'"),
        ("clip_gradients: 0", "clip_gradients 0 makes every gradient 0"),
        ("weight_decay: -1", "weight_decay must be at least 0, got -1"),
    ],
)  # fmt: skip
def test_a_fault_is_an_error(more: str, fault: str) -> None:
    assert faults(GOOD + more) == [f"error: {fault}"]


MULTISTEP = GOOD.replace("fixed", "multistep") + "gamma: 1 stepvalue: "


@pytest.mark.parametrize(
    ("text", "code", "field", "severity"),
    [
        ('base_lr: 1 lr_policy: "fixed" max_iter: 9', "net", "net", "error"),
        (GOOD + "test_iter: -1 test_interval: 5", "test-iter", "test_iter", "error"),
        (GOOD + "test_iter: 10", "test-interval", "test_interval", "error"),
        (GOOD + "test_iter: 1 test_interval: 5 test_state { } test_state { }", "test-state", "test_state",
         "error"),
        (GOOD.replace("max_iter: 100", "max_iter: -1"), "max-iter", "max_iter", "error"),
        (GOOD.replace("max_iter: 100", ""), "max-iter", "max_iter", "error"),
        (GOOD.replace("max_iter: 100", "max_iter: 0"), "no-tests", "max_iter", "warning"),
        (GOOD + "test_interval: 5", "no-tests", "test_interval", "warning"),
        (GOOD + "snapshot_after_train: false", "no-snapshot", "snapshot", "warning"),
        (GOOD + "snapshot_after_train: false snapshot: 200", "no-snapshot", "snapshot", "warning"),
        (GOOD + "solver_mode: GPU device_id: -1", "value", "device_id", "error"),
        (GOOD.replace("fixed", "fixd"), "lr-policy", "lr_policy", "error"),
        (GOOD.replace("fixed", "warmup 100 from 0.01, fixed"), "warm-up", "lr_policy", "error"),
        (GOOD.replace("base_lr: 0.1", "base_lr: 0"), "base-lr", "base_lr", "error"),
        (GOOD.replace("fixed", "exp"), "policy-field", "gamma", "error"),
        (GOOD + "clip_gradients: 0", "value", "clip_gradients", "error"),
        (GOOD + "average_loss: 0", "value", "average_loss", "error"),
        (GOOD + 'type: "sgd"', "solver-type", "type", "error"),
        (GOOD + "momentum: 1", "momentum", "momentum", "error"),
        (GOOD + 'weights: "a"', "newer-field", "weights", "error"),
        (MULTISTEP + "2 stepvalue: 1", "stepvalue-order", "stepvalue", "warning"),
        (MULTISTEP + "200", "stepvalue-late", "stepvalue", "warning"),
    ],
)  # fmt: skip
def test_a_finding_has_a_code_and_names_its_field(text: str, code: str, field: str, severity: str) -> None:
    solver = text_format.parse(text, SolverParameter).message
    (finding,) = check(solver, dialect="caffe-1.0")
    assert (finding.code, finding.field, finding.severity) == (code, field, severity)


def test_the_page_lists_exactly_the_codes_of_solvers() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checking.md").read_text(encoding="utf-8")
    head = "| solver code | severity | what it is |\n|---|---|---|\n"
    table = page.partition(head)[2].partition("\n\n")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in table.splitlines()]
    assert rows == [(f"`{code}`", c.severity, c.title) for code, c in CODES.items()]


@pytest.mark.parametrize(
    ("policy", "needs"),
    [
        ("step", ["gamma", "stepsize"]),
        ("exp", ["gamma"]),
        ("inv", ["gamma", "power"]),
        ("multistep", ["gamma", "stepvalue"]),
        ("poly", ["power"]),
        ("sigmoid", ["gamma", "stepsize"]),
        ("cosine", []),
    ],
)
def test_a_policy_needs_its_fields(policy: str, needs: list[str]) -> None:
    expected = [f"error: lr_policy '{policy}' needs {name}, which is not set" for name in needs]
    assert faults(GOOD.replace("fixed", policy)) == expected


def test_steps_that_are_late_or_never_are_warned_of() -> None:
    late = GOOD.replace("fixed", "multistep") + "gamma: 0.1 stepvalue: 40 stepvalue: 20 stepvalue: 200"
    assert faults(late) == [
        "warning: stepvalues that do not rise take effect late: one at each update",
        "warning: a stepvalue at or after max_iter has no effect",
    ]


def test_a_field_that_is_newer_than_the_dialect_is_refused() -> None:
    text = GOOD + 'weights: "a.caffemodel"'
    assert faults(text) == []
    assert faults(text, "caffe-1.0") == ["error: dialect caffe-1.0 has no field weights in SolverParameter"]
    assert faults(GOOD + "layer_wise_reduce: false", "caffeonspark") == [
        "error: dialect caffeonspark has no field layer_wise_reduce in SolverParameter"
    ]


def test_the_first_error_is_raised_with_its_hint() -> None:
    solver = text_format.parse(GOOD + 'type: "Nestrov"', SolverParameter).message
    with pytest.raises(ConfigError) as caught:
        require(solver, where="solver.prototxt")
    assert str(caught.value) == (
        "unknown type 'Nestrov': Caffe has SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam\n"
        "  where:   solver.prototxt\n  hint:    did you mean 'Nesterov'?"
    )


def test_an_unknown_field_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text(GOOD + "momentun: 0.9\n")
    with pytest.raises(PrototxtError) as caught:
        read_solver(path)
    assert f"{path}:5:1" in str(caught.value)
    assert "did you mean 'momentum'?" in str(caught.value)
