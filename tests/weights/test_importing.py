"""A checkpoint becomes the model of a net: by names, shapes or order, exactly, or it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder import Net, prototxt
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError, FileError
from netbuilder.weights import importing
from netbuilder.weights.arrays import read_arrays
from netbuilder.weights.checkpoint import read_checkpoint
from netbuilder.weights.exporting import exported, write_checkpoint
from netbuilder.weights.importing import first_convolution, imported, shifted_net, write_imported
from netbuilder.weights.maps import find_map
from netbuilder.weights.matching import Match, match
from netbuilder.weights.write import write_model
from tests.command import Command
from tests.weights.checkpoints import chain, fed, saved, state_of


def arrays(net: Net, found: Match, first: Any = None) -> dict[str, Any]:
    return {layer.name if layer else "input_shift": blobs for layer, blobs in imported(net, found, first)}


def run(caffe: Caffe, net: Net, params: dict[str, Any], image: Any, top: str = "fc") -> Any:
    return caffe.run(prototxt.dumps(net), inputs={"data": image}, params=params, outputs=[top]).outputs[top]


@pytest.fixture
def net() -> Net:
    return chain()


@pytest.fixture
def state(net: Net) -> dict[str, Any]:
    return state_of(net)


def test_every_blob_gets_its_tensor(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state)))
    assert found.map.name == "layers"
    got = arrays(net, found)
    assert list(got) == ["one", "one_bn", "one_scale", "act", "two", "fc"]
    mean, variance, factor = got["one_bn"]
    assert np.array_equal(mean, state["one_bn.running_mean"])
    assert np.array_equal(variance, state["one_bn.running_var"])
    assert factor == [1]
    assert np.array_equal(got["one_scale"][0], state["one_bn.weight"])
    assert np.array_equal(got["fc"][0], state["fc.weight"])


def test_the_model_is_written_with_names_and_types(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state)))
    write_imported(net, found, tmp_path / "x.caffemodel")
    read = list(read_arrays(tmp_path / "x.caffemodel"))
    assert [(x.layer.name, x.layer.type) for x in read][:3] == [
        ("one", "Convolution"), ("one_bn", "BatchNorm"), ("one_scale", "Scale")
    ]  # fmt: skip
    assert np.array_equal(read[-1].arrays[0], state["fc.weight"])
    with pytest.raises(FileError, match="exists already"):
        write_imported(net, found, tmp_path / "x.caffemodel")


# ---- maps --------------------------------------------------------------------------------------------------


RENAMED = {
    "one": "features.0",
    "one_bn": "features.1",
    "act": "features.2",
    "two": "features.3",
    "fc": "classifier.6",
}


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    return {RENAMED[key.rpartition(".")[0]] + "." + key.rpartition(".")[2]: x for key, x in state.items()}


def test_shapes_that_leave_no_choice_need_no_map(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", renamed(state))))
    assert dict(zip([u.name for u in found.units], found.modules, strict=True)) == RENAMED


def twins() -> Net:
    """A net of three convolutions of one shape."""
    layers = "".join(
        f'layer {{ name: "c{i}" type: "Convolution" bottom: "{bottom}" top: "c{i}" '
        "convolution_param { num_output: 3 kernel_size: 1 } }\n"
        for i, bottom in enumerate(("data", "c0", "c1"))
    )
    return fed(3, 2, layers)


def test_equal_shapes_are_refused_and_their_order_is_taken_only_when_asked_for(tmp_path: Path) -> None:
    net = twins()
    state = {f"x{7 - i}.{role}": np.full((3, 3, 1, 1) if role == "weight" else 3, i, np.float32)
             for i in range(3) for role in ("weight", "bias")}  # fmt: skip
    checkpoint = read_checkpoint(saved(tmp_path / "x.npz", state))
    with pytest.raises(
        ConfigError, match=r"shapes do not tell 3 of 3 layers: 'c0' takes \(3,3,1,1\), and 3 modules"
    ):
        match(net, checkpoint)
    got = arrays(net, match(net, checkpoint, "order"))
    assert [got[f"c{i}"][1][0] for i in range(3)] == [0, 1, 2]


def test_names_tell_equal_shapes_apart(tmp_path: Path) -> None:
    state = {f"enc/C_{i}/{word}": np.full(shape, i, np.float32)
             for i in (2, 0, 1) for word, shape in (("kernel", (1, 1, 3, 3)), ("bias", (3,)))}  # fmt: skip
    state = {name.removeprefix("enc/"): x for name, x in state.items()}
    got = arrays(twins(), match(twins(), read_checkpoint(saved(tmp_path / "x.npz", state))))
    assert [got[f"c{i}"][1][0] for i in range(3)] == [0, 1, 2]


def test_another_order_than_the_nets_is_refused(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    turned = dict(reversed(renamed(state).items()))
    with pytest.raises(ConfigError, match=r"its turn is that of 'classifier\.6'"):
        match(net, read_checkpoint(saved(tmp_path / "x.npz", turned)), "order")


def test_a_map_of_ones_own_is_a_file(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    pairs = "".join(f"  {ours}: {theirs}\n" for ours, theirs in RENAMED.items())
    (tmp_path / "own.yaml").write_text(f"about: mine\nmodules:\n{pairs}")
    checkpoint = read_checkpoint(saved(tmp_path / "x.npz", renamed(state)))
    assert match(net, checkpoint, str(tmp_path / "own.yaml")).map.about == "mine"
    (tmp_path / "own.yaml").write_text("modules:\n  one: features.0\n")
    with pytest.raises(ConfigError, match="does not know layer 'one_bn'"):
        match(net, checkpoint, str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modules: 3\n", "is not a naming map"),
        ("[", "is not YAML"),
        ("modules:\n  a: b\nmodule: x\n", "unknown key 'module'"),
        ("modules:\n  conv{n}: a{m}\n", "needs {m}, which 'conv{n}' does not have"),
    ],
)
def test_a_wrong_map_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_map(str(tmp_path / "own.yaml"))


def test_an_unknown_map_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no naming map 'torchvison'") as error:
        find_map("torchvison")
    assert "torchvision" in error.value.hint


# ---- what is refused, and what is made up for --------------------------------------------------------------


def test_missing_left_over_and_misshapen_tensors_are_refused(
    net: Net, state: dict[str, Any], tmp_path: Path
) -> None:
    def message(changed: dict[str, Any], **options: Any) -> str:
        with pytest.raises(ConfigError) as error:
            match(net, read_checkpoint(saved(tmp_path / "x.npz", changed)), **options)
        return error.value.text

    for name in state:
        without = {key: value for key, value in state.items() if key != name}
        assert f"lacks tensor '{name}'" in message(without), name
    assert "has tensor 'aux.weight' for which the net has no layer" in message(
        {**state, "aux.weight": np.ones((2, 2), np.float32)}
    )
    wrong = {**state, "fc.weight": np.ones((7, 54), np.float32), "fc.bias": np.ones(7, np.float32)}
    assert "tensor 'fc.weight' is (7,54), and layer 'fc' takes (5,54), and 1 more do not fit" in message(
        wrong
    )
    assert "has no tensors of real numbers" in message({"a": np.arange(3)})


def test_tensors_and_layers_can_be_left_out(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    more = {**state, "aux.weight": np.ones((2, 2), np.float32), "fc.weight": np.ones((7, 54), np.float32)}
    checkpoint = read_checkpoint(saved(tmp_path / "x.npz", more))
    found = match(net, checkpoint, skip=["fc"], ignore=["aux.*"])
    assert "fc" not in arrays(net, found)
    assert sorted(found.ignored) == ["aux.weight", "fc.bias", "fc.weight"]


def test_a_prefix_is_found_and_two_are_refused(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    def under(prefix: str) -> dict[str, Any]:
        return {prefix + key: value for key, value in state.items()}

    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", under("module.encoder."))))
    assert found.prefix == "module.encoder."
    both = read_checkpoint(saved(tmp_path / "x.npz", {**under("student."), **under("teacher.")}))
    with pytest.raises(ConfigError, match=r"weights more than once, under 'student\.' and 'teacher\.'"):
        match(net, both)
    assert match(net, both, prefix="teacher.").prefix == "teacher."


def test_counters_and_optimizer_slots_are_no_weights(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    more = {
        **state, "one_bn.num_batches_tracked": np.array(3), "global_step": np.array(7.0),
        "one/kernel/Momentum": np.ones((4, 3, 3, 3), np.float32),
    }  # fmt: skip
    assert len(match(net, read_checkpoint(saved(tmp_path / "x.npz", more))).ignored) == 3


def test_biases_before_batch_norm_go_into_its_means(
    real_caffe: Caffe, net: Net, state: dict[str, Any], tmp_path: Path
) -> None:
    bias = np.array([0.5, -1, 2, 0.25], np.float32)
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", {**state, "one.bias": bias})))
    assert "1 biases before BatchNorm are in its means" in found.notes[0]
    other = prototxt.parse(prototxt.dumps(net).replace("bias_term: false", "bias_term: true"))
    params = arrays(net, match(net, read_checkpoint(saved(tmp_path / "y.npz", state))))
    params["one"].append(bias)
    image = np.random.default_rng(1).standard_normal((1, 3, 9, 9)).astype(np.float32)
    expected = run(real_caffe, other, params, image)
    assert abs(run(real_caffe, net, arrays(net, found), image) - expected).max() <= 1e-5


def test_a_net_with_biases_before_batch_norm_gets_zeros(state: dict[str, Any], tmp_path: Path) -> None:
    net = prototxt.parse(prototxt.dumps(chain()).replace("bias_term: false", "bias_term: true"))
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state)))
    assert (arrays(net, found)["one"][1] == 0).all()


def test_a_batch_norm_without_gammas_has_gammas_of_1(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    plain = {key: x for key, x in state.items() if key not in ("one_bn.weight", "one_bn.bias")}
    del plain["act.weight"]  # so that no map but the names fits
    with pytest.raises(ConfigError, match=r"lacks tensor 'act\.weight'"):
        match(net, read_checkpoint(saved(tmp_path / "x.npz", plain)))
    plain["act.weight"] = state["act.weight"]
    gamma, beta = arrays(net, match(net, read_checkpoint(saved(tmp_path / "x.npz", plain))))["one_scale"]
    assert (gamma == 1).all()
    assert (beta == 0).all()


def test_negative_variances_are_refused(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    state["one_bn.running_var"][1] = -1
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state)))
    with pytest.raises(ConfigError, match="variances below 0"):
        write_imported(net, found, tmp_path / "x.caffemodel")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.npz"]


def test_a_model_that_caffe_cannot_read_is_refused_before_it_is_written(
    net: Net, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "LIMIT", 1000)
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state)))
    with pytest.raises(FileError, match=r"would have \d+ bytes, and Caffe reads up to"):
        write_imported(net, found, tmp_path / "x.caffemodel")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.npz"]


# ---- TensorFlow's layout -----------------------------------------------------------------------------------


def as_tensorflow(state: dict[str, Any]) -> dict[str, Any]:
    """The same net in TensorFlow: channels last, also where the image is flattened."""
    words = {"running_mean": "moving_mean", "running_var": "moving_variance"}
    norm = {"weight": "gamma", "bias": "beta"}
    new = {}
    for key, value in state.items():
        module, _, role = key.rpartition(".")
        name = words.get(role) or (norm if module == "one_bn" else {"weight": "kernel"}).get(role, role)
        if name == "kernel" and value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        elif key == "fc.weight":
            value = value.reshape(5, 6, 3, 3).transpose(2, 3, 1, 0).reshape(54, 5)
        new[f"{module}/{name}:0"] = value
    return new


def test_tensorflows_layout_is_found_by_the_shapes(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", as_tensorflow(state))))
    assert found.layout == "tensorflow"
    expected = arrays(net, match(net, read_checkpoint(saved(tmp_path / "y.npz", state))))
    got = arrays(net, found)
    assert all(
        np.array_equal(a, b) for name in expected for a, b in zip(got[name], expected[name], strict=True)
    )


def test_a_depthwise_kernel_of_tensorflow_is_turned(tmp_path: Path) -> None:
    net = fed(
        3, 4,
        'layer { name: "dw" type: "Convolution" bottom: "data" top: "dw" convolution_param { num_output: 6 '
        "group: 3 kernel_size: 3 bias_term: false } }",
    )  # fmt: skip
    kernel = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)  # height, width, inputs, times
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", {"dw/depthwise_kernel": kernel})))
    (weight,) = arrays(net, found)["dw"]
    assert all(weight[2 * c + k, 0, y, x] == kernel[y, x, c, k]
               for c in range(3) for k in range(2) for y in range(3) for x in range(3))  # fmt: skip


# ---- what the net is fed -----------------------------------------------------------------------------------

MAP = """
modules: {one: one, one_bn: one_bn, act: act, two: two, fc: fc}
input: {order: rgb, range: 1, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}
"""
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize("first", ["", "pad: 1", "pad: 1 bias_term: true", "bias_term: true"])
@pytest.mark.parametrize("kind", ["rgb01", "bgr01", "rgb255", "bgr255", "rgb01-mean", "bgr255-mean"])
def test_a_net_fed_another_kind_of_image_gives_the_same_scores(
    real_caffe: Caffe, kind: str, first: str, tmp_path: Path
) -> None:
    text = prototxt.dumps(chain(first.replace("bias_term: true", "")))
    net = prototxt.parse(text.replace("bias_term: false", "bias_term: true") if "bias" in first else text)
    (tmp_path / "map.yaml").write_text(MAP)
    found = match(net, read_checkpoint(saved(tmp_path / "x.npz", state_of(net))), str(tmp_path / "map.yaml"))
    pixels = np.random.default_rng(1).uniform(0, 1, (1, 3, 9, 9))  # red, green, blue from 0 to 1
    published = ((pixels - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)
    expected = run(real_caffe, net, arrays(net, found), published)

    change = first_convolution(net, found, kind)
    assert change.apart == ("pad" in first and not kind.endswith("-mean"))
    given = pixels - MEAN[:, None, None] if kind.endswith("-mean") else pixels
    given = given[:, ::-1] if kind.startswith("bgr") else given
    given = given * 255 if "255" in kind else given
    other = shifted_net(net, change) if change.apart else net
    got = run(real_caffe, other, arrays(net, found, change), given.astype(np.float32))
    assert abs(got - expected).max() <= 1e-5 * max(1, abs(expected).max())


def test_an_input_that_cannot_be_changed_is_refused(net: Net, state: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "x.npz", state))
    with pytest.raises(ConfigError, match="map 'layers' does not say what the published net is fed"):
        first_convolution(net, match(net, checkpoint), "rgb01")
    (tmp_path / "map.yaml").write_text(MAP)
    found = match(net, checkpoint, str(tmp_path / "map.yaml"))
    with pytest.raises(ConfigError, match="--input must be one of rgb01, rgb255"):
        first_convolution(net, found, "rgb02")


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def folder(net: Net, state: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    prototxt.write(net, "net.prototxt")
    saved(tmp_path / "x.npz", state)
    return tmp_path


@pytest.fixture
def weights(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys, "weights")


def test_the_command_imports_and_shows_the_pairs(weights: Command, folder: Path) -> None:
    ran = weights("import", "net.prototxt", "x.npz", "-o", "x.caffemodel")
    assert ran.code == 0
    assert ran.out.splitlines()[:4] == [
        "layer   module  shape", "------  ------  -------", "one     one     4x3x3x3", "one_bn  one_bn  4"
    ]  # fmt: skip
    assert ran.err == "wrote x.caffemodel\n"
    assert "exists already" in weights("import", "net.prototxt", "x.npz", "-o", "x.caffemodel").err
    data = json.loads(weights("import", "net.prototxt", "x.npz", "-o", "y.caffemodel", "--json").out)
    assert data["pairs"][0] == {
        "layer": "one", "blob": 0, "shape": [4, 3, 3, 3], "tensor": "one.weight", "fill": None
    }  # fmt: skip
    assert weights("diff", "x.caffemodel", "y.caffemodel").out == "10 of 10 tensors equal\n"


def test_a_refused_import_writes_nothing(weights: Command, folder: Path, state: dict[str, Any]) -> None:
    del state["fc.bias"]
    saved(folder / "x.npz", state)
    ran = weights("import", "net.prototxt", "x.npz", "-o", "x.caffemodel")
    assert ran.code == 2
    assert "ConfigError: 'x.npz' lacks tensor 'fc.bias' (by map 'layers')" in ran.err
    assert not (folder / "x.caffemodel").exists()


def test_the_command_exports_shows_and_compares(weights: Command, folder: Path) -> None:
    assert weights("import", "net.prototxt", "x.npz", "-o", "x.caffemodel").code == 0
    for name in ("y.npz", "y.safetensors"):
        assert weights("export", "net.prototxt", "x.caffemodel", "-o", name, "--map", "layers").code == 0
        assert weights("diff", name, "x.npz").out == "10 of 10 tensors equal\n"
        assert weights("diff", "x.caffemodel", name, "--net", "net.prototxt").code == 0
    shown = weights("show", "y.npz").out.splitlines()
    assert shown[2].split() == ["one.weight", "4x3x3x3", "float32"]
    assert shown[-1] == "10 tensors, 625 numbers"
    assert json.loads(weights("show", "x.caffemodel", "--json", "--stats").out)["tensors"][3]["mean"] == 1
    assert "no naming map is made for such a net" in weights(
        "export", "net.prototxt", "x.caffemodel", "-o", "z.npz"
    ).err  # fmt: skip
    assert "suffix" in weights("export", "net.prototxt", "x.caffemodel", "-o", "z.h5", "--map", "layers").err


def test_the_command_says_what_differs(weights: Command, folder: Path, state: dict[str, Any]) -> None:
    state["fc.bias"] = state["fc.bias"] + np.float32(0.5)
    del state["two.bias"]
    saved(folder / "y.npz", state)
    ran = weights("diff", "x.npz", "y.npz")
    assert ran.code == 1
    assert ran.out.splitlines()[2:] == [
        "two.bias  only in x.npz", "fc.bias   values differ                 0.5", "", "8 of 10 tensors equal"
    ]  # fmt: skip
    assert weights("diff", "x.npz", "x.npz", "--json").code == 0


def test_statistics_are_compared_by_what_caffe_makes_of_them(
    weights: Command, folder: Path, net: Net, state: dict[str, Any]
) -> None:
    params = arrays(net, match(net, read_checkpoint(folder / "x.npz")))
    write_model(folder / "a.caffemodel", params)
    write_model(folder / "b.caffemodel", {**params, "one_bn": [4 * x for x in params["one_bn"]]})
    assert weights("diff", "a.caffemodel", "b.caffemodel").code == 0
    tensors = exported(net, folder / "b.caffemodel", find_map("layers"))
    write_checkpoint(folder / "b.npz", tensors)
    assert weights("diff", "x.npz", "b.npz").code == 0


def test_the_command_fills_fixed_filters(weights: Command, folder: Path) -> None:
    net = fed(
        1, 2,
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" '
        "convolution_param { num_output: 1 kernel_size: 1 bias_term: false } }\n"
        'layer { name: "up" type: "Deconvolution" bottom: "c" top: "up" param { lr_mult: 0 } '
        "convolution_param { num_output: 1 kernel_size: 2 stride: 2 bias_term: false "
        'weight_filler { type: "constant" value: 1 } } }',
    )  # fmt: skip
    prototxt.write(net, folder / "up.prototxt")
    write_model(folder / "c.caffemodel", {"c": [np.ones((1, 1, 1, 1), np.float32)]})
    assert weights("fill", "up.prototxt", "c.caffemodel", "-o", "d.caffemodel").err == (
        "wrote d.caffemodel: up filled in\n"
    )
    saved(folder / "c.npz", {"c.weight": np.ones((1, 1, 1, 1), np.float32)})
    assert weights("import", "up.prototxt", "c.npz", "-o", "e.caffemodel").code == 0
    assert weights("diff", "d.caffemodel", "e.caffemodel").code == 0
