"""Losses and recurrent layers beside real Caffe, forward and backward, over combinations of their fields.

`NETBUILDER_ALL=1` runs all combinations, else a sample of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.engines.torch.operators import FAMILIES, OPERATORS
from netbuilder.layers import RULES
from tests.engines.torch.cases import difference

Values = Mapping[str, np.ndarray[Any, Any]]
Combination = tuple[str, Values]
MOST = 5e-6
NORMALIZATIONS = [
    "", "normalization: FULL", "normalization: VALID", "normalization: BATCH_SIZE", "normalization: NONE",
    "normalize: true", "normalize: false",
]  # fmt: skip
IGNORED = ["", "ignore_label: 1", "ignore_label: 255"]


def net(values: Values, type: str, fields: str, tops: int = 1, learnt: tuple[str, ...] = ()) -> Combination:
    """A layer over inputs; those in `learnt` are Parameter layers, which alone get gradients."""
    text = "" if learnt else "force_backward: true\n"
    for name, value in values.items():
        shape = f"shape {{ {' '.join(f'dim: {d}' for d in value.shape)} }}"
        kind, field = ("Parameter", "parameter_param") if name in learnt else ("Input", "input_param")
        text += f'layer {{ name: "{name}" type: "{kind}" top: "{name}" {field} {{ {shape} }} }}\n'
    bottoms = " ".join(f'bottom: "{name}"' for name in values)
    named = " ".join(f'top: "y{i}"' for i in range(tops))
    return f'{text}layer {{ name: "t" type: "{type}" {bottoms} {named} {fields} }}', values


def labels_of(rng: np.random.Generator, shape: tuple[int, ...], axis: int, ignored: str) -> Any:
    found = rng.integers(0, shape[axis], [d for i, d in enumerate(shape) if i != axis % len(shape)])
    if "255" in ignored:
        found[rng.random(found.shape) < 0.3] = 255
    return found + (0.4 if rng.random() < 0.3 else 0)  # Caffe cuts the label


def softmax_losses() -> Iterator[Combination]:
    rng = np.random.default_rng(0)
    shapes: list[tuple[tuple[int, ...], int]] = [((5, 4), 1), ((3, 4, 2, 3), 1), ((4, 3, 5), 2), ((3, 5), -1)]
    for normalization, ignored, (shape, axis) in product(NORMALIZATIONS, IGNORED, shapes):
        scores = rng.normal(size=shape) * rng.choice([1, 30, 100])  # probabilities below FLT_MIN too
        fields = (
            f"loss_weight: {rng.choice([1, 0.3, -2])} softmax_param {{ axis: {axis} }} "
            f"loss_param {{ {normalization} {ignored} }}"
        )
        values = {"x": scores, "l": labels_of(rng, shape, axis, ignored)}
        yield net(values, "SoftmaxWithLoss", fields)


def cross_entropies() -> Iterator[Combination]:
    rng = np.random.default_rng(1)
    for normalization, ignored, size in product(NORMALIZATIONS, IGNORED, [1, 30]):
        targets = rng.choice([0, 1, 0.3, 255 if "255" in ignored else 1], size=(4, 6))
        values = {"x": rng.normal(size=(4, 3, 2)) * size, "l": targets}
        fields = f"loss_weight: 0.7 loss_param {{ {normalization} {ignored} }}"
        yield net(values, "SigmoidCrossEntropyLoss", fields)


def infogains() -> Iterator[Combination]:
    rng = np.random.default_rng(2)
    axes = [(1, 1), (2, 1), (2, 2), (1, 2), (1, 7)]  # Caffe never reads the second, softmax_param's
    for normalization, ignored, (axis, inner), tops in product(NORMALIZATIONS[:5], IGNORED, axes, (1, 2)):
        shape = (3, 4, 5)
        classes = shape[axis]
        values = {
            "x": rng.normal(size=shape) * 5,
            "l": labels_of(rng, shape, axis, ignored),
            "h": rng.random((1, 1, classes, classes)),
        }
        weights = "loss_weight: 1.5 loss_weight: 0.4" if tops == 2 else ""
        fields = (
            f"{weights} infogain_loss_param {{ axis: {axis} }} softmax_param {{ axis: {inner} }} "
            f"loss_param {{ {normalization} {ignored} }}"
        )
        yield net(values, "InfogainLoss", fields, tops, ("x",))


def other_losses() -> Iterator[Combination]:
    rng = np.random.default_rng(3)
    for shape, whole in product([(5, 4), (3, 2, 2, 3), (4, 6, 1)], (False, True)):
        scores = rng.normal(size=shape)
        scores = np.round(scores) if whole else scores  # margins of 0
        labels = rng.integers(0, 4, shape[0])
        for norm in ("L1", "L2"):
            fields = f"loss_weight: 0.7 hinge_loss_param {{ norm: {norm} }}"
            yield net({"x": scores, "l": labels}, "HingeLoss", fields)
        p = np.where(rng.random(shape) < 0.3, 0, rng.random(shape))
        yield net({"x": p, "l": labels}, "MultinomialLogisticLoss", "loss_weight: 0.7")
        other = rng.normal(size=(shape[0], scores.size // shape[0]))
        yield net({"x": scores, "l": other}, "EuclideanLoss", "loss_weight: 0.7")
    for legacy, shape, far, margin in product(("true", "false"), [(5, 4), (4, 3, 1, 1)], (0.1, 1), (0.5, 2)):
        a = rng.normal(size=shape)
        b = a + rng.normal(size=shape) * far
        b[0] = a[0]  # a distance of 0
        similar = rng.choice([0, 1, 0.5, 1.5], shape[0])
        fields = f"contrastive_loss_param {{ margin: {margin} legacy_version: {legacy} }} loss_weight: 0.7"
        yield net({"a": a, "b": b, "s": similar}, "ContrastiveLoss", fields)


def accuracies() -> Iterator[Combination]:
    rng = np.random.default_rng(4)
    shapes: list[tuple[tuple[int, ...], int]] = [((5, 4), 1), ((3, 4, 2, 3), 1), ((4, 3, 5), 2), ((6, 3), -1)]
    for (shape, axis), k, ignored, tops, ties in product(shapes, (1, 2), IGNORED, (1, 2), (False, True)):
        scores = rng.normal(size=shape)
        values = {"x": np.round(scores) if ties else scores, "l": labels_of(rng, shape, axis, ignored)}
        text, _ = net(values, "Accuracy", f"accuracy_param {{ axis: {axis} top_k: {k} {ignored} }}", tops)
        yield text.replace("force_backward: true", ""), values


def recurrent() -> Iterator[Combination]:
    rng = np.random.default_rng(5)
    n, h = 2, 3
    for flags in product((False, True), repeat=5):
        exposed, static, whole, weighted, lstm = flags
        type = "LSTM" if lstm else "RNN"
        values: dict[str, Any] = {"x": rng.normal(size=(4, n, 5)), "c": rng.random((4, n))}
        if whole:
            values["c"] = np.round(values["c"])
        if static:
            values["s"] = rng.normal(size=(n, 2))
        states = (2 if type == "LSTM" else 1) if exposed else 0
        values |= {f"h{i}": rng.normal(size=(1, n, h)) for i in range(states)}
        weights = " ".join(f"loss_weight: {i + 1}" for i in range(1 + states)) if weighted else ""
        fields = (
            f"{weights} recurrent_param {{ num_output: {h} expose_hidden: {str(exposed).lower()} "
            "weight_filler { type: 'uniform' min: -1 } bias_filler { type: 'uniform' } }"
        )
        yield net(values, type, fields, 1 + states)
    for cont in ([0, 1, 1], [0.5, 1.5, -1]):
        step = {"c": rng.normal(size=(1, 3, 2)), "g": rng.normal(size=(1, 3, 8)), "k": np.array([cont])}
        yield net(step, "LSTMUnit", "loss_weight: 1 loss_weight: 2", 2)


def sample(combinations: list[Combination]) -> list[Combination]:
    """Every tenth; all of them on request."""
    return combinations if os.environ.get("NETBUILDER_ALL") == "1" else combinations[::10]


COMBINATIONS = {
    make.__name__: sample(list(make()))
    for make in (softmax_losses, cross_entropies, infogains, other_losses, accuracies, recurrent)
}


@pytest.mark.parametrize(
    ("text", "values"),
    [pytest.param(*c, id=f"{name}-{i}") for name, cs in COMBINATIONS.items() for i, c in enumerate(cs)],
)
def test_a_layer_computes_what_caffe_computes(real_caffe: Caffe, text: str, values: Values) -> None:
    m = module(prototxt.parse(text, "TRAIN", dialect="caffe-master"), seed=0)
    for op in m.operators().values():
        if op.proto.type == "Parameter":
            with torch.no_grad():
                op.blob(0).copy_(torch.from_numpy(values[op.name]))
    given = {n: torch.tensor(values[n], dtype=torch.float32, requires_grad=True) for n in m.inputs}
    theirs = real_caffe.run(
        text,
        phase="TRAIN",
        inputs={name: values[name] for name in m.inputs},
        params={name: [blob.detach().numpy() for blob in blobs] for name, blobs in m.params.items()},
        outputs=[*m.inputs, *m.outputs],
        backward="loss_weight" in text or "InfogainLoss" in text,
    )
    out = m(**given)
    for name, blob in out.items():
        assert difference(blob, theirs.outputs[name]) <= MOST, name
    if not theirs.diffs:
        return
    assert out.loss is not None
    assert float(out.loss.detach()) == pytest.approx(theirs.loss, rel=MOST)
    out.loss.backward()
    for name, tensor in given.items():
        assert difference(_grad(tensor), theirs.diffs[name]) <= MOST, name
    for name, blobs in m.params.items():
        for blob, diff in zip(blobs, theirs.param_diffs[name], strict=True):
            assert difference(_grad(blob), diff) <= MOST, name


def _grad(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_the_state_goes_on_from_pass_to_pass_as_within_one(type: str) -> None:
    """Two passes of three steps are one of six, but for gradients; real Caffe judges the one."""
    rng = np.random.default_rng(6)
    values = {
        "x": rng.normal(size=(6, 2, 4)),
        "c": np.array([[0, 0], [1, 1], [1, 0], [1, 1], [0, 1], [1, 1]]),
    }
    fields = "recurrent_param { num_output: 3 weight_filler { type: 'uniform' min: -1 } }"
    whole = module(prototxt.parse(net(values, type, fields)[0]), seed=0)
    halves = module(prototxt.parse(net({n: v[:3] for n, v in values.items()}, type, fields)[0]), seed=0)
    assert (
        list(halves.state_dict())
        == list(whole.state_dict())
        == [f"t.{i}" for i in range(len(whole.params["t"]))]
    )
    x, c = (torch.tensor(values[name], dtype=torch.float32) for name in "xc")
    expected = whole(x=x, c=c)["y0"]
    found = torch.cat([halves(x=x[i : i + 3], c=c[i : i + 3])["y0"] for i in (0, 3)])
    torch.testing.assert_close(found, expected)
    halves.operators()["t"].reset()  # type: ignore[operator]
    again = halves(x=x[3:], c=torch.ones(3, 2))["y0"]
    assert not torch.equal(again, halves(x=x[3:], c=torch.ones(3, 2))["y0"])


@pytest.mark.parametrize("type", ["LSTM", "RNN"])
def test_the_state_goes_on_under_autocast(type: str) -> None:
    values = {"x": np.random.default_rng(6).normal(size=(3, 2, 4)), "c": np.ones((3, 2))}
    fields = "recurrent_param { num_output: 3 weight_filler { type: 'uniform' min: -1 } }"
    m = module(prototxt.parse(net(values, type, fields)[0]), seed=0)
    x, c = (torch.tensor(values[name], dtype=torch.float32) for name in "xc")
    wanted = [m(x=x, c=c)["y0"] for _ in range(2)][1]
    half = module(prototxt.parse(net(values, type, fields)[0]), seed=0)
    with torch.autocast("cpu", torch.bfloat16):
        found = [half(x=x, c=c)["y0"] for _ in range(2)][1]
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "combinations", [c for n, c in COMBINATIONS.items() if n.endswith(("losses", "ies"))]
)
def test_losses_of_half_precision_are_computed_in_single(combinations: list[Combination]) -> None:
    for text, values in combinations:
        m = module(prototxt.parse(text, "TRAIN", dialect="caffe-master"))
        whole = {n: torch.tensor(v, dtype=torch.bfloat16).float() for n, v in values.items()}
        labels = {n for n in whole if n in "ls"}
        half = {n: v if n in labels else v.bfloat16().requires_grad_() for n, v in whole.items()}
        out = m(**half)
        assert out.loss is not None or "Accuracy" in text
        for name, blob in m(**whole).items():
            assert out[name].dtype == torch.float32
            torch.testing.assert_close(out[name], blob)
        if out.loss is not None:
            out.loss.backward()
            grad = half[next(iter(half))].grad
            assert grad is not None
            assert grad.dtype == torch.bfloat16


def test_an_infogain_matrix_comes_from_a_file(tmp_path: Any) -> None:
    from netbuilder.schema import message

    h = np.random.default_rng(7).random((3, 3)).astype(np.float32)
    blob = message("BlobProto")(num=1, channels=1, height=3, width=3, data=h.ravel().tolist())
    (tmp_path / "h.binaryproto").write_bytes(blob.SerializeToString())
    values = {"x": np.random.default_rng(8).normal(size=(4, 3)), "l": np.array([0, 2, 1, 1])}
    text, _ = net(values, "InfogainLoss", "infogain_loss_param { source: 'h.binaryproto' }")
    (tmp_path / "net.prototxt").write_text(text)
    from_file = module(tmp_path / "net.prototxt")
    third, _ = net({**values, "h": h}, "InfogainLoss", "")
    given = {name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()}
    from_bottom = module(prototxt.parse(third))(**given, h=torch.from_numpy(h))
    assert torch.equal(from_file(**given)["y0"], from_bottom["y0"])


def test_every_type_of_a_family_is_computed_or_refused_with_the_reason() -> None:
    named = {family.__name__.rpartition(".")[2] for family in FAMILIES}
    types = {t for t, rule in RULES.items() if rule.infer.__module__.rpartition(".")[2] in named}
    assert types <= OPERATORS.covered.keys() | OPERATORS.refused.keys()
    assert not [line for line in OPERATORS.gaps() if "does not say" not in line]
