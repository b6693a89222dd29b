"""Passes: with each one on and off a net gives the same outputs, gradients and statistics."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from netbuilder.engines.torch import module
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.operators.convolution import Convolution, Deconvolution
from netbuilder.engines.torch.passes import DEFAULT, PASSES
from netbuilder.engines.torch.passes.batch_norm import Normalisation
from netbuilder.engines.torch.passes.filters import Filter
from netbuilder.engines.torch.passes.fold import Folded
from netbuilder.engines.torch.passes.in_place import Rectified, Summed
from netbuilder.engines.torch.passes.sizes import Sized
from netbuilder.errors import EngineError
from netbuilder.prototxt import parse
from tests.engines.torch.passing import NETS, bn, conv, ended, relu, scale, text_of
from tests.engines.torch.test_module import layer, source

OUT, GRADIENT = 1e-5, 2e-6  # of the largest value
EAGER = tuple(name for name in PASSES if name != "compile")
EACH: list[tuple[str, ...]] = [*((name,) for name in EAGER), DEFAULT, ("batch_norm", "fold")]


def made(text: str, passes: Sequence[str] | None, phase: str = "TRAIN") -> NetModule:
    """The net with these passes; statistics are as after some training."""
    m = module(parse(text, phase, dialect="any"), seed=1, passes=passes)
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for op in m.operators().values():
            if op.proto.type == "BatchNorm":
                for blob, least in zip(op.blobs(), (-1.0, 0.5, 1.5), strict=True):
                    blob.copy_(torch.rand(blob.shape, generator=draw) + least)
    return m


def inputs(batch: int = 4) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(7)
    return {"data": torch.randn(batch, 3, 7, 6, generator=draw), "label": torch.arange(float(batch)) % 5}


def run(m: NetModule, keep: Sequence[str] = (), batch: int = 4) -> dict[str, Tensor]:
    """Outputs, gradients and parameter blobs after a pass and its gradients."""
    given = inputs(batch)
    if "extra" in m.inputs:
        given["extra"] = torch.randn(batch, 6, 7, 6, generator=torch.Generator().manual_seed(8))
    given["data"].requires_grad_()
    out = m(**given, keep=keep)
    assert out.loss is not None
    found = {f"output {name}": value.detach().clone() for name, value in out.items()}
    out.loss.backward()
    if given["data"].grad is not None:
        found["gradient of data"] = given["data"].grad
    for name, blobs in m.params.items():
        for i, blob in enumerate(blobs):
            found[f"blob {name}.{i}"] = blob.detach().clone()
            if blob.grad is not None:
                found[f"gradient of {name}.{i}"] = blob.grad.clone()
    return found


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    # The gradient of a bias that BatchNorm takes off again is 0 but for the rounding of the others.
    largest = max((float(v.abs().max()) for n, v in wanted.items() if n.startswith("gradient")), default=0.0)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        gradient = name.startswith("gradient")
        scale = max(1.0, largest if gradient else float(value.abs().max()))
        assert float((found[name] - value).abs().max()) <= (GRADIENT if gradient else OUT) * scale, name


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("name", NETS)
def test_each_pass_leaves_outputs_gradients_and_statistics(name: str, phase: str) -> None:
    plain = run(made(text_of(name), (), phase))
    for passes in EACH:
        m = made(text_of(name), passes, phase)
        assert_equal(run(m), plain)


@pytest.mark.parametrize("name", NETS)
def test_without_gradients_as_well(name: str) -> None:
    for phase, context in (("TEST", torch.no_grad), ("TEST", torch.inference_mode), ("TRAIN", torch.no_grad)):
        outs = []
        for passes in ((), *EACH):
            m = made(text_of(name), passes, phase)
            given = inputs()
            if "extra" in m.inputs:
                given["extra"] = torch.ones(4, 6, 7, 6)
            with context():
                outs.append([dict(m(**given)), {k: v.clone() for k, v in m.state_dict().items()}])
        for out in outs[1:]:
            for found, wanted in zip(out, outs[0], strict=True):
                assert_equal(found, wanted)


@pytest.mark.parametrize("name", NETS)
def test_any_blob_may_be_kept(name: str) -> None:
    names = list(made(text_of(name), ())._names)
    plain = {
        phase: run(made(text_of(name), (), phase), keep=names)
        for phase in ("TRAIN", "TEST")
    }  # fmt: skip
    assert_equal(run(made(text_of(name), DEFAULT), keep=names), plain["TRAIN"])
    m = made(text_of(name), DEFAULT, "TEST")
    for keep in [*((name,) for name in names), (names[1], names[-2])]:
        m.zero_grad()
        found = run(m, keep=keep)
        for blob in keep:
            assert_equal({blob: found[f"output {blob}"]}, {blob: plain["TEST"][f"output {blob}"]})


def test_a_batch_of_one_value_by_channel() -> None:
    text = (
        source(data=(1, 3), label=(1,))
        + bn("b1", "data")
        + scale("s1", "b1")
        + relu("r1", "s1")
        + ended("s1")
    )
    x = torch.randn(1, 3)
    outs = []
    for passes in ((), DEFAULT):
        m = made(text, passes)
        out = m(data=x, label=torch.zeros(1))
        out.loss.backward()
        outs.append([out.loss.detach(), *[b.grad for b in m.params["s1"]], *m.state_dict().values()])
    for ours, plain in zip(*outs, strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def kinds(m: NetModule, keep: Sequence[str] = ()) -> list[str]:
    return [type(step.operator).__name__ for step in m.steps(keep)]


UNPACKED = tuple(name for name in DEFAULT if name != "packed")


def test_what_is_merged() -> None:
    text = text_of("a residual block")
    train = kinds(made(text, DEFAULT))
    assert train == [
        "Input", "Input", "Convolution", "Normalisation", "Rectified", "Convolution", "Normalisation",
        "Summed", "Rectified", "InnerProduct", "SoftmaxWithLoss",
    ]  # fmt: skip
    assert kinds(made(text, DEFAULT, "TEST")) == [
        "Input", "Input", "Packed", "Rectified", "Packed", "Summed", "Rectified", "InnerProduct",
        "SoftmaxWithLoss",
    ]  # fmt: skip
    assert len(made(text, ()).steps()) == 13
    assert len({kind.__name__ for kind in (Normalisation, Rectified, Summed)} & set(train)) == 3


def test_what_is_not_merged() -> None:
    between = kinds(made(text_of("a blob read between"), UNPACKED, "TEST"))
    assert "Folded" not in between
    assert "Normalisation" not in between
    assert "Folded" not in kinds(made(text_of("a convolution read twice"), UNPACKED, "TEST"))
    assert kinds(made(text_of("cut"), DEFAULT)).count("Normalisation") == 1
    assert "Normalisation" not in kinds(made(text_of("losses in between"), DEFAULT))
    block = made(text_of("a projection"), UNPACKED, "TEST")
    assert kinds(block).count("Folded") == 2
    assert kinds(block, ["b1"]).count("Folded") == 2  # of one, the Scale is left
    assert kinds(block, ["c1", "c2"]).count("Folded") == 0


# ---- weights that change ---------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[NetModule], Any]] = {
    "weights": lambda m: m.params["c1"][0].mul_(2),
    "a bias": lambda m: m.params["c2"][1].add_(1),
    "the statistics": lambda m: m.params["b1"][1].mul_(3),
    "their factor": lambda m: m.params["b2"][2].fill_(2),
    "a scale": lambda m: m.params["s1"][0].neg_(),
    "through .data": lambda m: m.params["c1"][0].data.mul_(2),
    "through NumPy": lambda m: m.params["c2"][0].detach().numpy().__imul__(-1),
    "another tensor": lambda m: setattr(m.params["c1"][0], "data", torch.ones_like(m.params["c1"][0])),
    "the state": lambda m: m.load_state_dict({k: v + 0.5 for k, v in m.state_dict().items()}),
    "to float64": lambda m: m.double().float(),
}


@pytest.mark.parametrize("how", CHANGES)
def test_weights_that_change_after_the_first_run_count(how: str) -> None:
    ours, plain = (made(text_of("a residual block"), passes, "TEST") for passes in (DEFAULT, ()))
    given = inputs()
    with torch.no_grad():
        before = [m(**given, keep=("fc",))["fc"] for m in (ours, plain)]
        for m in (ours, plain):
            CHANGES[how](m)
        after = [m(**given, keep=("fc",))["fc"] for m in (ours, plain)]
        again = [m(**given, keep=("fc",))["fc"] for m in (ours, plain)]
    for a, b in (before, after, again):
        assert float((a - b).abs().max()) <= OUT * float(b.abs().max())
    assert how == "to float64" or float((before[0] - after[0]).abs().max()) > 1e-3


def test_other_parameters_by_functional_call() -> None:
    m, plain = (made(text_of("a residual block"), passes, "TEST") for passes in (DEFAULT, ()))
    with torch.no_grad():
        for times in (1.0, 2.0, 3.0):  # freed tensors give their addresses to the next
            given = {name: value * times for name, value in m.state_dict().items() if ".2" not in name}
            a, b = (torch.func.functional_call(n, given, (), inputs()).loss for n in (m, plain))
            assert torch.allclose(a, b, rtol=1e-5)


def test_gradients_are_those_of_the_layers_between_two_folded_passes() -> None:
    m, plain = (made(text_of("a residual block"), passes, "TEST") for passes in (DEFAULT, ()))
    with torch.no_grad():
        m(**inputs())
    assert_equal(run(m), run(plain))
    rate = 0.1
    for net in (m, plain):
        torch.optim.SGD(net.parameters(), lr=rate).step()
    with torch.no_grad():
        assert torch.allclose(m(**inputs()).loss, plain(**inputs()).loss, rtol=1e-5)


def test_a_folded_convolution_passes_a_gradient_to_its_input() -> None:
    texts = text_of("nothing learnt in the block")
    m = made(texts, DEFAULT)
    assert any(isinstance(step.operator, Folded) for step in m.steps())
    called: list[str] = []
    real = Folded.separate
    try:
        Folded.separate = lambda self, *b: called.append("separate") or real(self, *b)  # type: ignore
        found = run(m)
    finally:
        Folded.separate = real  # type: ignore[method-assign]
    assert not called  # folded, since nothing in it is learnt
    assert_equal(found, run(made(texts, ())))


# ---- what users do with modules --------------------------------------------------------------------------


def test_the_state_and_the_parameters_do_not_depend_on_the_passes() -> None:
    for name in NETS:
        states = [made(text_of(name), passes).state_dict() for passes in ((), DEFAULT)]
        assert list(states[0]) == list(states[1])
        modules = [[n for n, _ in made(text_of(name), passes).named_modules()] for passes in ((), DEFAULT)]
        assert modules[0] == modules[1]


def test_a_hook_on_a_layer_is_called() -> None:
    m = made(text_of("a residual block"), DEFAULT, "TEST")
    with torch.no_grad():
        wanted = m(**inputs()).loss
        for name in ("s1", "c2", "r2", "sum", "b1"):
            seen: list[Tensor] = []
            hook = m.get_submodule(name).register_forward_hook(lambda *call, to=seen: to.append(call[2]))
            assert torch.allclose(m(**inputs()).loss, wanted, rtol=1e-5)
            hook.remove()
            assert len(seen) == 1, name


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_it_is_copied_and_pickled(phase: str) -> None:
    m = made(text_of("a residual block"), DEFAULT, phase)
    with torch.no_grad():
        wanted = m(**inputs()).loss
    held = io.BytesIO()
    torch.save(m, held)
    held.seek(0)
    for twin in (copy.deepcopy(m), torch.load(held, weights_only=False)):
        assert kinds(twin) == kinds(m)
        with torch.no_grad():
            assert torch.allclose(twin(**inputs()).loss, wanted, rtol=1e-5)
            twin.params["c2"][0].mul_(2)  # its own, in both
            twin.params["fc"][0].mul_(2)
            assert not torch.allclose(twin(**inputs()).loss, wanted, rtol=1e-5)
            assert torch.allclose(m(**inputs()).loss, wanted, rtol=1e-5)


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_compiled_it_computes_the_same(phase: str) -> None:
    text = text_of("a residual block")
    wanted = run(made(text, (), phase))
    m = made(text, DEFAULT, phase)
    given = inputs()
    out = torch.compile(m, fullgraph=True, backend="aot_eager")(**given)
    out.loss.backward()
    assert torch.allclose(out.loss, wanted["output loss"], rtol=1e-5)
    grad = m.params["c1"][0].grad
    assert grad is not None
    assert float((grad - wanted["gradient of c1.0"]).abs().max()) <= 1e-5


def test_compiled_it_gives_inner_blobs() -> None:
    text = text_of("a projection")
    wanted = made(text, ())(**inputs(), keep=("b1",))["b1"]
    m = made(text, DEFAULT)
    found = torch.compile(m, fullgraph=True, backend="aot_eager")(**inputs(), keep=("b1",))["b1"]
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_compiling_pass_survives_a_copy() -> None:
    m = made(text_of("a residual block"), (*DEFAULT, "compile"))
    assert m._compiled_call_impl is not None
    held = io.BytesIO()
    torch.save(m, held)
    held.seek(0)
    assert torch.load(held, weights_only=False)._compiled_call_impl is not None
    assert list(m.state_dict()) == list(made(text_of("a residual block"), ()).state_dict())


def test_exported_it_computes_the_same() -> None:
    for phase in ("TEST", "TRAIN"):
        m = made(text_of("a residual block"), DEFAULT, phase)
        given = inputs()
        with torch.no_grad():
            exported = torch.export.export(m, (given["data"], given["label"])).module()
            wanted = made(text_of("a residual block"), (), phase)(**given).loss
            assert torch.allclose(exported(given["data"], given["label"]).loss, wanted, rtol=1e-5)


def test_an_unknown_pass_is_named() -> None:
    with pytest.raises(EngineError, match="there is no pass 'folds'") as error:
        made(text_of("a residual block"), ("folds",))
    assert error.value.hint == "did you mean 'fold'?"


def test_passes_run_in_one_order() -> None:
    m = made(text_of("a residual block"), ("fold", "batch_norm"), "TEST")
    assert m.passes == ("batch_norm", "fold")
    assert made(text_of("a residual block"), None).passes == DEFAULT


# ---- single passes ---------------------------------------------------------------------------------------

DEPTHWISE = "num_output: 3 group: 3 "
# The layer, the value of its weights, and whether PyTorch has an operation for them.
FILTERS: dict[str, tuple[str, str, float, bool]] = {
    "nearest": ("Deconvolution", DEPTHWISE + "kernel_size: 2 stride: 2", 1, True),
    "nearest of 3, times 2": ("Deconvolution", DEPTHWISE + "kernel_size: 3 stride: 3", 2, True),
    "kernel beyond the stride": ("Deconvolution", DEPTHWISE + "kernel_size: 4 stride: 2 pad: 1", 1, False),
    "not depthwise": ("Deconvolution", "num_output: 3 kernel_size: 2 stride: 2", 1, False),
    "an average": ("Convolution", DEPTHWISE + "kernel_size: 3 stride: 2 pad: 1", 1 / 9, True),
    "a sum": ("Convolution", DEPTHWISE + "kernel_size: 2", 1, True),
    "an average over much padding": ("Convolution", DEPTHWISE + "kernel_size: 3 pad: 2", 1 / 9, False),
    "dilated": ("Convolution", DEPTHWISE + "kernel_size: 2 dilation: 2", 0.25, False),
    "every other pixel": ("Convolution", DEPTHWISE + "kernel_size: 1 stride: 2", 1, True),
}  # fmt: skip


def slides(m: NetModule, x: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, bool]:
    """The blob f, and whether a convolution was computed for it."""
    called: list[object] = []
    with monkeypatch.context() as patch, torch.no_grad():
        packed = torch.ops.mkldnn, "_convolution_pointwise"
        for owner, name in ((Convolution, "_native"), (Deconvolution, "_native"), packed):
            patch.setattr(owner, name, _noted(getattr(owner, name), called))
        return m(x, keep=("f",))["f"], bool(called)


def _noted(real: Callable[..., Tensor], called: list[object]) -> Callable[..., Tensor]:
    def native(*args: Any) -> Tensor:
        called.append(args)
        return real(*args)

    return native


@pytest.mark.parametrize("bias", ["false", "true"])
@pytest.mark.parametrize("name", FILTERS)
def test_fixed_filters_by_the_loaded_weights(name: str, bias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    type, fields, value, known = FILTERS[name]
    given = f"convolution_param {{ {fields} bias_term: {bias} weight_filler {{ type: 'xavier' }} }}"
    text = source(data=(2, 3, 7, 6)) + layer(type, "f", "data", "f", given)
    x = torch.randn(2, 3, 7, 6)
    plain, m = (module(parse(text), seed=1, passes=p) for p in ((), DEFAULT))
    other = torch.randn(plain.params["f"][0].shape)
    for weights in (other, torch.full_like(other, value), other):
        for net in (plain, m):
            with torch.no_grad():
                net.params["f"][0].copy_(weights)
                for b in net.params["f"][1:]:
                    b.copy_(torch.arange(3.0))
        wanted, _ = slides(plain, x, monkeypatch)
        found, by_convolution = slides(m, x, monkeypatch)
        assert found.shape == wanted.shape
        assert float((found - wanted).abs().max()) <= OUT * float(wanted.abs().max())
        assert by_convolution == (weights is other or not known)


def test_a_shortcut_of_option_a_is_a_choice_of_pixels() -> None:
    text = source(data=(2, 3, 7, 6)) + conv(
        "f", "data", "num_output: 8 kernel_size: 1 stride: 2 bias_term: false"
    )
    x = torch.randn(2, 3, 7, 6)
    for first in (0, 2, 5):
        m, plain = (module(parse(text), passes=p) for p in (("fixed_filters",), ()))
        with torch.no_grad():
            for net in (m, plain):
                net.params["f"][0].zero_()[first : first + 3, :, 0, 0] = torch.eye(3)
            found = m(x)["f"]
            assert torch.equal(found, plain(x)["f"])
            assert torch.equal(found[:, first : first + 3], x[:, :, ::2, ::2])
        filter = next(step.operator for step in m.steps() if isinstance(step.operator, Filter))
        assert filter._native._held is not None
        assert filter._native._held[3][0] is not None  # computed without a convolution
        x.requires_grad_()
        m(x)["f"].sum().backward()  # through the weights too
        assert m.params["f"][0].grad is not None


def test_a_blob_of_which_only_the_size_is_read_is_not_computed() -> None:
    m = made(text_of("a crop"), DEFAULT)
    assert [isinstance(step.operator, Sized) for step in m.steps()].count(True) == 1
    assert not any(isinstance(step.operator, Sized) for step in m.steps(["p"]))


CROPS = {  # the pooling, what the size is that of, the Crop
    "as in a Big-Little net": ("AVE kernel_size: 3 stride: 2 pad: 1", "kernel_size: 2 stride: 2", "axis: 2"),
    "a maximum": ("MAX kernel_size: 3 stride: 2 pad: 1", "kernel_size: 2 stride: 2", "axis: 2"),
    "from elsewhere": ("AVE kernel_size: 3 stride: 2 pad: 1", "kernel_size: 2 stride: 2", "offset: 1"),
    "without padding": ("AVE kernel_size: 3 stride: 2", "kernel_size: 4 stride: 2", "axis: -2"),
    "of columns": ("AVE kernel_size: 3", "kernel_size: 4", "axis: 3"),
    "more than that": ("AVE kernel_size: 3 stride: 2 pad: 1", "kernel_size: 4 stride: 2", "axis: 2"),
}


@pytest.mark.parametrize("name", CROPS)
def test_windows_that_a_crop_cuts_off_are_not_averaged(name: str) -> None:
    window, size, crop = CROPS[name]
    text = (
        source(data=(2, 3, 8, 8))
        + conv("c", "data")
        + layer("Pooling", "p", "c", "p", f"pooling_param {{ pool: {window} }}")
        + layer("Pooling", "s", "c", "s", f"pooling_param {{ {size} }}")
        + f'layer {{ name: "cr" type: "Crop" bottom: "p" bottom: "s" top: "cr" crop_param {{ {crop} }} }}\n'
    )
    outs = []
    for passes in ((), ("sizes",), DEFAULT):
        m = module(parse(text, "TEST", dialect="any"), seed=1, passes=passes)
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2)).requires_grad_()
        out = m(data=x)["cr"]
        out.square().sum().backward()
        assert x.grad is not None
        outs.append((out.detach(), x.grad))
    merged = kinds(m)
    assert "Sized" in merged
    assert ("Cropped" in merged) == ("offset" not in crop and "axis: 3" not in crop)
    for found in outs[1:]:
        for ours, plain in zip(found, outs[0], strict=True):
            assert torch.allclose(ours, plain, atol=2e-6)
