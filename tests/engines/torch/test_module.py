"""`NetModule`: parameters, sharing, losses, gradients, and what PyTorch's own tools make of it."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from netbuilder import prototxt
from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule, Outputs
from netbuilder.errors import EngineError
from netbuilder.net import Net


def source(**shapes: tuple[int, ...]) -> str:
    return "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" '
        f"input_param {{ shape {{ {' '.join(f'dim: {d}' for d in shape)} }} }} }}\n"
        for name, shape in shapes.items()
    )


def layer(type: str, name: str, bottom: str, top: str, fields: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{type}" bottom: "{bottom}" top: "{top}" {fields} }}\n'


def parameter(name: str, dims: str, fields: str = "") -> str:
    shape = " ".join(f"dim: {d}" for d in dims.split())
    return (
        f'layer {{ name: "{name}" type: "Parameter" top: "{name}" {fields} '
        f"parameter_param {{ shape {{ {shape} }} }} }}\n"
    )


def made(text: str, phase: str = "TEST", **options: Any) -> NetModule:
    return module(prototxt.parse(text, phase), **options)


SMALL = (
    source(data=(4, 6), label=(4,))
    + layer("PReLU", "p", "data", "p", "prelu_param { filler { type: 'uniform' } }")
    + layer("ReLU", "r", "p", "p", "relu_param { negative_slope: 0.1 }")
    + layer("Reshape", "re", "p", "re", "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }")
    + 'layer { name: "s" type: "Slice" bottom: "re" top: "a" top: "b" slice_param { slice_point: 1 } }'
    + layer("Flatten", "f", "b", "f")
    + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "f" bottom: "label" top: "loss" }'
    + 'layer { name: "accuracy" type: "Accuracy" bottom: "f" bottom: "label" top: "accuracy" }'
)
X = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
LABEL = torch.tensor([0.0, 1, 2, 0])


def gradient(m: NetModule, out: Outputs) -> torch.Tensor:
    assert out.loss is not None
    out.loss.backward()
    found = m.params["p"][0].grad
    assert found is not None
    return found


# ---- parameters ------------------------------------------------------------------------------------------


def test_the_keys_of_the_state_are_the_blobs_of_the_layers() -> None:
    m = made(SMALL, seed=1)
    assert list(m.state_dict()) == ["p.0"]
    assert list(m.params) == ["p"]
    twin = made(SMALL, seed=2)
    assert not torch.equal(twin.params["p"][0], m.params["p"][0])
    twin.load_state_dict(m.state_dict())
    assert torch.equal(twin.params["p"][0], m.params["p"][0])


def test_a_seed_fixes_what_the_fillers_draw() -> None:
    assert torch.equal(made(SMALL, seed=1).params["p"][0], made(SMALL, seed=1).params["p"][0])
    assert not torch.equal(made(SMALL).params["p"][0], made(SMALL).params["p"][0])


def test_a_file_without_a_filler_gets_caffes_own() -> None:
    m = made(source(x=(2, 3)) + layer("PReLU", "p", "x", "y"))
    assert m.params["p"][0].tolist() == [0.25] * 3


def test_blobs_in_the_file_replace_the_filler() -> None:
    m = made(
        source(x=(2, 3))
        + layer("PReLU", "p", "x", "y", "blobs { shape { dim: 3 } data: 1 data: 2 data: 3 }")
        + layer("PReLU", "q", "y", "z", "blobs { shape { dim: 3 } double_data: [4, 5, 6] }")
    )
    assert m.params["p"][0].tolist() == [1, 2, 3]
    assert m.params["q"][0].tolist() == [4, 5, 6]


def test_multipliers_stay_with_each_blob() -> None:
    m = made(
        source(x=(2, 3))
        + layer("PReLU", "p", "x", "y", "param { lr_mult: 2 decay_mult: 0 }")
        + layer("PReLU", "q", "y", "z", "param { lr_mult: 0 }")
        + layer("PReLU", "r", "z", "w")
    )
    ops = m.operators()
    assert [ops[name].lr_mults for name in "pqr"] == [[2], [0], [1]]
    assert [ops[name].decay_mults for name in "pqr"] == [[0], [1], [1]]
    assert [ops[name].blob(0).requires_grad for name in "pqr"] == [True, False, True]


def test_layers_may_have_dots_or_equal_names_or_those_of_module() -> None:
    m = made(
        source(x=(2, 3))
        + layer("PReLU", "a.b", "x", "y")
        + layer("PReLU", "forward", "y", "z")
        + layer("PReLU", "same", "z", "w")
        + layer("PReLU", "same", "w", "v")
    )
    assert list(m.state_dict()) == ["a.b.0", "forward.0", "same.0", "same#2.0"]
    with torch.no_grad():
        for blobs in m.params.values():
            blobs[0].fill_(0.5)
    again = copy.deepcopy(m)
    again.load_state_dict(m.state_dict())
    out = again(x=-torch.ones(2, 3))
    assert out["v"].tolist() == [[-0.0625] * 3] * 2
    wrong = {**m.state_dict(), "a.c.0": torch.ones(3)}
    del wrong["forward.0"]
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*: \"forward.0\"..*Unexpected.*: \"a.c.0\"."):
        m.load_state_dict(wrong)
    m.load_state_dict(wrong, strict=False)


# ---- sharing ---------------------------------------------------------------------------------------------


SHARED = "param { name: 'w' }"


def test_shared_blobs_are_one_parameter_whose_gradients_add() -> None:
    m = made(
        source(x=(2, 3))
        + layer("PReLU", "p", "x", "y", SHARED)
        + layer("PReLU", "q", "y", "z", SHARED + " loss_weight: 1")
    )
    assert len(list(m.parameters())) == 1
    out = m(x=-torch.ones(2, 3))
    assert out.loss is not None
    assert float(out.loss.detach()) == pytest.approx(-6 / 16)
    assert gradient(m, out).tolist() == [-1.0] * 3  # d(-2 w^2)/dw at w = 1/4


def test_a_blob_shared_in_another_shape_shows_the_same_gradient() -> None:
    m = made(
        source(x=(2, 6))
        + parameter("v", "2 3", SHARED)
        + layer("PReLU", "p", "x", "y", "param { name: 'w' share_mode: PERMISSIVE } loss_weight: 1")
    )
    out = m(x=-torch.arange(12.0).view(2, 6))
    wanted = torch.tensor([-6.0, -8, -10, -12, -14, -16])
    assert torch.equal(gradient(m, out), wanted)
    grad = m.params["v"][0].grad
    assert grad is not None
    assert torch.equal(grad.flatten(), wanted)


def test_one_layer_may_give_the_multipliers_of_a_shared_blob() -> None:
    m = made(
        source(x=(2, 3))
        + layer("PReLU", "p", "x", "y", "param { name: 'w' decay_mult: 0 }")
        + layer("PReLU", "q", "y", "z", "param { name: 'w' lr_mult: 3 }")
    )
    p, q = m.operators()["p"], m.operators()["q"]
    assert p.lr_mults == q.lr_mults == [3]
    assert p.decay_mults == q.decay_mults == [0]


@pytest.mark.parametrize("way", ["deepcopy", "save", "to"])
def test_shared_blobs_stay_shared(way: str) -> None:
    text = (
        source(x=(2, 6))
        + parameter("v", "2 3", SHARED)
        + layer("PReLU", "p", "x", "y", "param { name: 'w' share_mode: PERMISSIVE }")
        + layer("PReLU", "q", "y", "z", "param { name: 'w' share_mode: PERMISSIVE }")
    )
    m = made(text)
    if way == "deepcopy":
        m = copy.deepcopy(m)
    elif way == "save":
        held = io.BytesIO()
        torch.save(m, held)
        held.seek(0)
        m = torch.load(held, weights_only=False)
    else:
        m = m.double()
    assert [tuple(m.params[name][0].shape) for name in "vpq"] == [(2, 3), (6,), (6,)]
    with torch.no_grad():
        m.params["v"][0].copy_(torch.arange(6).view(2, 3))
    assert m.params["p"][0].tolist() == m.params["q"][0].tolist() == list(range(6))
    assert len(list(m.parameters())) == 1


# ---- losses and gradients --------------------------------------------------------------------------------


def test_a_loss_weight_counts_on_any_top() -> None:
    m = made(
        source(x=(2, 3))
        + layer("ReLU", "r", "x", "y", "loss_weight: 2")
        + layer("Power", "p", "y", "z", "power_param { scale: 3 } loss_weight: 0.5")
    )
    x = torch.ones(2, 3, requires_grad=True)
    out = m(x=x)
    assert out.loss is not None
    assert float(out.loss.detach()) == 12 + 9
    out.loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3.5] * 3] * 2


def test_several_losses_add_up_and_a_top_that_the_file_omits_counts() -> None:
    m = made(
        source(x=(2, 3), y=(2, 3))
        + 'layer { name: "a" type: "EuclideanLoss" bottom: "x" bottom: "y" }'
        + 'layer { name: "b" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "b" loss_weight: 0.25 }'
        + 'layer { name: "c" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "c" loss_weight: 0 }'
    )
    out = m(x=torch.full((2, 3), 2.0), y=torch.zeros(2, 3))
    assert sorted(out) == ["b", "c"]
    assert [float(out[name]) for name in "bc"] == [6, 6]
    assert out.loss is not None
    assert float(out.loss) == 7.5


def test_a_net_without_a_loss_has_none() -> None:
    assert made(source(x=(2, 3)) + layer("ReLU", "r", "x", "y"))(x=X[:2, :3]).loss is None


def test_propagate_down_cuts_the_gradient_of_a_bottom() -> None:
    text = source(x=(2, 3), y=(2, 3)) + (
        'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "y" top: "z" loss_weight: 1 '
        "propagate_down: %s propagate_down: true }"
    )
    for flag in ("true", "false"):
        x, y = torch.ones(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
        out = made(text % flag)(x=x, y=y)
        assert out.loss is not None
        out.loss.backward()
        assert y.grad is not None
        assert (x.grad is not None) == (flag == "true")


def test_force_backward_gives_frozen_blobs_a_gradient() -> None:
    text = source(x=(2, 3)) + layer("PReLU", "p", "x", "y", "param { lr_mult: 0 } loss_weight: 1")
    x = -torch.ones(2, 3)
    assert not made(text)(x=x)["y"].requires_grad
    m = made("force_backward: true\n" + text)
    assert gradient(m, m(x=x)).tolist() == [-2] * 3


def test_a_layer_in_place_leaves_what_others_read_before_it() -> None:
    m = made(
        source(x=(1, 2))
        + layer("Power", "double", "x", "d", "power_param { scale: 2 }")
        + layer("ReLU", "r", "d", "d")
        + layer("Power", "next", "d", "e", "power_param { shift: 1 }")
    )
    x = torch.tensor([[-1.0, 1.0]], requires_grad=True)
    out = m(x=x, keep=("d",))
    assert out["d"].tolist() == [[0, 2]]
    assert out["e"].tolist() == [[1, 3]]
    out["e"].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 2]]
    assert x.tolist() == [[-1, 1]]


# ---- inputs and outputs ----------------------------------------------------------------------------------


def test_inputs_are_taken_by_name_or_in_order() -> None:
    m = made(SMALL, seed=0)
    assert m.inputs == ("data", "label")
    named, ordered = m(data=X, label=LABEL), m(X, LABEL)
    assert named.keys() == ordered.keys() == {"loss", "accuracy", "a"}
    assert all(torch.equal(named[name], ordered[name]) for name in named)


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"data": X}, "no value for 'label'"),
        ({"data": X, "lable": LABEL}, "'lable' is not an input of the net"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, torch.Tensor], text: str) -> None:
    with pytest.raises(EngineError, match=text):
        made(SMALL)(**inputs)


def test_a_blob_that_does_not_exist_cannot_be_kept() -> None:
    with pytest.raises(EngineError, match="no blob 'lost'"):
        made(SMALL)(X, LABEL, keep=("lost",))


def test_other_batch_sizes_work() -> None:
    m = made(SMALL, seed=0)
    assert m(X[:2], LABEL[:2], keep=("re",))["re"].shape == (2, 3, 2)
    assert m(X.repeat(3, 1), LABEL.repeat(3), keep=("re",))["re"].shape == (12, 3, 2)


def test_a_net_from_python_and_a_path_work_too(tmp_path: Path) -> None:
    net = Net("n")
    x = net.add("Input", name="data", shape={"dim": [2, 3]})
    net.add("ReLU", x, name="r")
    assert module(net)(data=-torch.ones(2, 3))["r"].sum() == 0
    path = tmp_path / "net.prototxt"
    path.write_text(SMALL)
    assert module(path, phase="TRAIN").phase == "TRAIN"


def test_train_and_eval_leave_the_phase_alone() -> None:
    text = source(x=(50, 50)) + layer("Dropout", "d", "x", "y", "dropout_param { dropout_ratio: 0.5 }")
    x = torch.ones(50, 50)
    assert (made(text, "TRAIN").eval()(x=x)["y"] == 0).any()
    assert torch.equal(made(text, "TEST").train()(x=x)["y"], x)


# ---- PyTorch's tools -------------------------------------------------------------------------------------


def test_a_module_is_saved_and_copied_whole() -> None:
    m = made(SMALL, seed=0)
    expected = m(X, LABEL)
    held = io.BytesIO()
    torch.save(m, held)
    held.seek(0)
    for twin in (copy.deepcopy(m), torch.load(held, weights_only=False)):
        out = twin(X, LABEL)
        assert all(torch.equal(out[name], expected[name]) for name in expected)
        assert twin(X[:1], LABEL[:1])["a"].shape == (1, 1, 2)  # its rules came along


def test_compiled_it_computes_the_same() -> None:
    m = made(SMALL, seed=0)
    eager = m(X, LABEL)
    wanted = gradient(m, eager).clone()
    m.zero_grad()
    out = torch.compile(m, fullgraph=True, backend="aot_eager")(X, LABEL)
    assert isinstance(out, Outputs)
    torch.testing.assert_close(dict(out), dict(eager))
    torch.testing.assert_close(gradient(m, out), wanted)


def test_exported_it_computes_the_same() -> None:
    m = made(SMALL, seed=0)
    exported = torch.export.export(m, (X, LABEL)).module()
    out, eager = exported(X, LABEL), m(X, LABEL)
    assert isinstance(out, Outputs)
    torch.testing.assert_close(dict(out), dict(eager))
    torch.testing.assert_close(out.loss, eager.loss)


def test_distributed_data_parallel_takes_it(tmp_path: Path) -> None:
    import torch.distributed as dist

    m = made(SMALL, seed=0)
    wanted = gradient(m, m(X, LABEL)).clone()
    m.zero_grad()
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        parallel = torch.nn.parallel.DistributedDataParallel(m)
        out = parallel(X, LABEL)
        assert isinstance(out, Outputs)
        torch.testing.assert_close(gradient(m, out), wanted)
    finally:
        dist.destroy_process_group()
