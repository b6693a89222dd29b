"""Published ResNets keep their logits in Caffe: torchvision's and timm's, stated in plain PyTorch.

At half of their width with fewer blocks, or with NETBUILDER_ALL=1 as published too (`make published`).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import Net, prototxt
from netbuilder.config.load import load
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.measure.counts import count
from netbuilder.weights.checkpoint import read_checkpoint
from netbuilder.weights.exporting import exported, map_for, write_checkpoint
from netbuilder.weights.importing import imported, write_imported
from netbuilder.weights.matching import match
from netbuilder.weights.tensors import Checkpoint, Tensor
from tests.command import Command
from tests.engines.torch.published import PUBLISHED, Design, ResNet, randomised

SMALL = (
    "torchvision_resnet_18", "torchvision_resnet_50", "torchvision_resnext_50_32x4d",
    "torchvision_wide_resnet_50_2", "timm_resnet_50_d", "timm_seresnet_50", "timm_seresnext_50_32x4d",
)  # fmt: skip
ALL = os.environ.get("NETBUILDER_ALL") == "1"
ODD = ("torchvision_resnet_50", "timm_resnet_50_d")  # whose pooling depends on it
CASES = [*((name, 64) for name in SMALL[1:]), *((name, 71) for name in (SMALL if ALL else ODD))]


def deploy(name: str, *sets: str) -> Net:
    return load(name, sets).stitch("deploy")


def small(name: str, size: int, *sets: str) -> tuple[Net, torch.nn.Module]:
    """A published net, smaller and with ten classes: ours, and the plain statement."""
    design = PUBLISHED[name]._replace(blocks=(2, 2, 1, 1))
    width = ["num_output_stage1=128"] if design.bottleneck else []
    ours = [*width, "blocks=[2, 2, 1, 1]", "classes=10", f"input_size={size}", *sets]
    return deploy(name, *ours), randomised(plain(design))


def plain(design: Design) -> ResNet:
    return ResNet(design, classes=10, width=32 if design.bottleneck else 64)


def stored(model: torch.nn.Module, path: Path) -> Checkpoint:
    torch.save(model.state_dict(), path)
    return read_checkpoint(path)


def macs_of(model: torch.nn.Module) -> int:
    """The multiply-accumulates of convolutions and inner products, for an image of 224x224."""
    found = []

    def record(layer: torch.nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(layer, torch.nn.Conv2d | torch.nn.Linear)
        found.append(layer.weight.numel() * output[0, 0].numel())

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            layer.register_forward_hook(record)
    model(torch.empty(1, 3, 224, 224))
    return sum(found)


def error(caffe: Caffe, net: Net, model: torch.nn.Module, checkpoint: Checkpoint, top: str) -> float:
    """The largest difference of real Caffe's logits to the model's."""
    found = match(net, checkpoint)
    assert not found.notes
    params: dict[str, Any] = {layer.name: arrays for layer, arrays in imported(net, found) if layer}
    image = np.random.default_rng(1).standard_normal(net.inputs[0].known_shape).astype(np.float32)
    ran = caffe.run(prototxt.dumps(net), inputs={"data": image}, params=params, outputs=[top])
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    assert abs(expected).max() > 0.1
    return float(abs(ran.outputs[top] - expected).max())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_net_has_its_published_count_and_every_tensor_its_layer(name: str) -> None:
    with torch.device("meta"):
        model = ResNet(PUBLISHED[name])
        macs = macs_of(model)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name].params
    loaded = load(name)
    net = loaded.stitch("deploy")
    assert count(net).learnable_params == PUBLISHED[name].params
    assert loaded.expect["macs"] == macs
    tensors = {
        key: Tensor(key, tuple(t.shape), str(t.dtype).removeprefix("torch."), lambda: np.empty(0, np.float32))
        for key, t in model.state_dict().items()
    }
    found = match(net, Checkpoint(name, tensors))
    assert found.map.name == ("timm_d" if PUBLISHED[name].averages else "torchvision")
    assert {p.tensor.name for p in found.pairs if p.tensor} == {
        key for key in tensors if not key.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize(("name", "size"), CASES)
def test_real_caffe_gives_the_published_logits(
    real_caffe: Caffe, name: str, size: int, tmp_path: Path
) -> None:
    net, model = small(name, size)
    assert error(real_caffe, net, model, stored(model, tmp_path / "net.pth"), "fc10") <= 1e-5


@pytest.mark.parametrize("name", ["torchvision_resnet_50", "timm_resnet_50_d"])
def test_a_caffe_that_rounds_down_gives_them_too(real_caffe: Caffe, name: str, tmp_path: Path) -> None:
    net, model = small(name, 64, "dialect=caffe-master")
    assert not any(layer.type == "Crop" for layer in net)
    assert error(real_caffe, net, model, stored(model, tmp_path / "net.pth"), "fc10") <= 1e-5


@pytest.mark.parametrize("name", SMALL if ALL else SMALL[:1])
def test_the_whole_published_net_keeps_its_logits(real_caffe: Caffe, name: str, tmp_path: Path) -> None:
    model = randomised(ResNet(PUBLISHED[name]))
    net = deploy(name, f"input_size={224 if ALL else 64}")
    assert error(real_caffe, net, model, stored(model, tmp_path / "net.pth"), "fc1000") <= 1e-5


def test_the_old_layout_gives_other_logits_and_it_is_said(real_caffe: Caffe, tmp_path: Path) -> None:
    """The negative control: every tensor fits, and the net is another."""
    _, model = small("torchvision_resnet_50", 64)
    net = deploy("resnet_50", "num_output_stage1=128", "blocks=[2, 2, 1, 1]", "classes=10", "input_size=64")
    checkpoint = stored(model, tmp_path / "net.pth")
    notes = match(net, checkpoint).notes
    assert notes[0] == (
        "not exactly the published net: layer 'pool1' has pad 0, where the weights were trained with 1"
    )
    assert any("branch2a' has stride 2, where the weights were trained with 1" in note for note in notes)
    params: dict[str, Any] = {x.name: a for x, a in imported(net, match(net, checkpoint)) if x}
    image = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    ran = real_caffe.run(prototxt.dumps(net), inputs={"data": image}, params=params, outputs=["fc10"])
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    assert abs(ran.outputs["fc10"] - expected).max() > 0.05


# ---- wrappers, precision, prefixes -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet() -> tuple[Net, torch.nn.Module]:
    return small("timm_seresnet_50", 64)


def same(net: Net, checkpoint: Checkpoint, model: torch.nn.Module, tolerance: float = 0) -> bool:
    """Whether an import gives the numbers of the model: of its first convolution, and of a mean."""
    arrays = {layer.name: blobs for layer, blobs in imported(net, match(net, checkpoint)) if layer}
    state = model.state_dict()
    differences = [
        abs(arrays["conv_1"][0] - state["conv1.weight"].numpy()).max(),
        abs(arrays["bn_stage3_block0_branch2c"][0] - state["layer4.0.bn3.running_mean"].numpy()).max(),
        abs(arrays["stage1_block0_se_fc1"][0] - state["layer2.0.se.fc1.weight"].numpy()[:, :, 0, 0]).max(),
    ]
    return max(differences) <= tolerance


def under(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


OPTIMIZER = {"state": {0: {"momentum": torch.ones(3)}}}
WRAPPERS: list[tuple[Any, str]] = [
    (lambda s: {"epoch": 3, "arch": "x", "state_dict": s, "optimizer": OPTIMIZER}, "those of 'state_dict'"),
    (lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)}, "those of 'model'"),
    (lambda s: {"net": {"weights": s}}, "those of 'net.weights'"),
    (lambda s: {"state_dict": s, "best": np.float64(76.1), "lr": np.float32(0.1), "all": np.arange(3)}, ""),
    (lambda s: {"state_dict": under("module.", s)}, "those of 'state_dict'"),
    (lambda s: under("_orig_mod.module.", s), ""),
    (lambda s: {"state_dict": s, "state_dict_ema": under("", s)}, "not read: 'state_dict_ema'"),
    (lambda s: {"n_averaged": torch.tensor(4), **under("module.", s)}, ""),
]


@pytest.mark.parametrize(("wrap", "note"), WRAPPERS)
def test_the_state_dict_is_found_in_what_was_saved(
    resnet: tuple[Net, torch.nn.Module], wrap: Any, note: str, tmp_path: Path
) -> None:
    net, model = resnet
    for old in (False, True):  # and in the format before 2020
        path = tmp_path / f"{old}.pt"
        torch.save(wrap(model.state_dict()), path, _use_new_zipfile_serialization=not old)
        checkpoint = read_checkpoint(path)
        assert same(net, checkpoint, model)
        assert note in "; ".join(checkpoint.notes)


def test_an_average_is_read_where_it_is_asked_for(
    resnet: tuple[Net, torch.nn.Module], tmp_path: Path
) -> None:
    net, model = resnet
    plain = {key: value + 1 for key, value in model.state_dict().items()}
    torch.save({"state_dict": plain, "state_dict_ema": model.state_dict()}, tmp_path / "net.pth")
    assert same(net, read_checkpoint(tmp_path / "net.pth", key="state_dict_ema"), model)
    assert not same(net, read_checkpoint(tmp_path / "net.pth"), model)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2), ("float64", 0)])
def test_other_precisions_become_single(
    resnet: tuple[Net, torch.nn.Module], dtype: str, tolerance: float, tmp_path: Path
) -> None:
    net, model = resnet
    state = {
        k: v.to(getattr(torch, dtype)) if v.is_floating_point() else v for k, v in model.state_dict().items()
    }
    torch.save(state, tmp_path / "net.pth")
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "net.safetensors")
    first, second = (read_checkpoint(tmp_path / f"net.{suffix}") for suffix in ("pth", "safetensors"))
    assert same(net, first, model, tolerance)
    assert same(net, second, model, tolerance)
    for key, tensor in first.tensors.items():
        assert second.tensors[key].kind == tensor.kind
        assert np.array_equal(second.tensors[key].read(), tensor.read())


# ---- export ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_an_export_is_loaded_by_the_published_model(
    resnet: tuple[Net, torch.nn.Module], suffix: str, tmp_path: Path
) -> None:
    net, model = resnet
    torch.save(model.state_dict(), tmp_path / "net.pth")
    write_imported(net, match(net, read_checkpoint(tmp_path / "net.pth")), tmp_path / "net.caffemodel")
    chosen = map_for(net)
    assert chosen.name == "torchvision"
    out = tmp_path / f"out{suffix}"
    write_checkpoint(out, exported(net, tmp_path / "net.caffemodel", chosen))
    if suffix == ".pth":
        state = torch.load(out, weights_only=True)
    elif suffix == ".npz":
        state = {key: torch.from_numpy(value) for key, value in np.load(out).items()}
    else:
        state = pytest.importorskip("safetensors.torch").load_file(out)
    fresh = plain(PUBLISHED["timm_seresnet_50"]._replace(blocks=(2, 2, 1, 1)))
    fresh.load_state_dict(state, strict=True)
    for key, value in model.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(fresh.state_dict()[key], value), key


def test_a_state_dict_of_our_engine_is_imported_and_exported(tmp_path: Path) -> None:
    net = deploy("cifar_resnet_20")
    run = module(net, seed=1)
    for name, value in run.named_buffers():
        value.copy_(torch.full_like(value, 2) if name.endswith("2") else torch.rand_like(value) + 1)
    torch.save(run.state_dict(), tmp_path / "net.pth")
    found = match(net, read_checkpoint(tmp_path / "net.pth"))
    assert found.map.name == "engine"
    write_imported(net, found, tmp_path / "net.caffemodel")
    again = module(net, seed=2)
    again.load_caffemodel(tmp_path / "net.caffemodel")
    image = torch.rand(net.inputs[0].known_shape)
    with torch.no_grad():
        (one,), (other,) = run(image).values(), again(image).values()
    assert torch.equal(one, other)
    out = tmp_path / "out.pth"
    write_checkpoint(out, exported(net, tmp_path / "net.caffemodel", found.map))
    back = torch.load(out, weights_only=True)
    assert all(
        torch.equal(back[key].reshape(v.shape), v) for key, v in run.state_dict().items() if key in back
    )


# ---- the command -------------------------------------------------------------------------------------------


def test_the_command_verifies_against_the_published_model(
    real_caffe: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with images of another kind, in a net that pads before the mean could be folded."""
    del real_caffe
    netbuilder = Command(capsys, "weights")
    net, model = small("torchvision_resnet_18", 64)
    torch.save({"model": model.state_dict()}, tmp_path / "net.pth")
    prototxt.write(net, tmp_path / "net.prototxt")
    (tmp_path / "own_model.py").write_text(
        "from tests.engines.torch.published import PUBLISHED, ResNet\n"
        "design = PUBLISHED['torchvision_resnet_18']._replace(blocks=(2, 2, 1, 1))\n"
        "def make():\n    return ResNet(design, classes=10)\n"
    )
    monkeypatch.chdir(tmp_path)
    files = ("net.prototxt", "net.pth", "-o", "out.caffemodel", "--force", "--json")
    for kind in (("--input", "bgr255-mean"), ("--input", "rgb01")):
        ran = netbuilder("import", *files, *kind, "--verify", "--source", "own_model:make")
        assert ran.code == 0, ran.err
        data = json.loads(ran.out)
        assert set(data["verified"]) == {
            "Caffe against the published model", "PyTorch against the published model"
        }  # fmt: skip
        assert max(data["verified"].values()) <= 1e-5
    assert data["net"] == "out.prototxt"
    assert "use the new net out.prototxt" in " ".join(data["notes"])
