"""With conv_bias our nets are pynetbuilder's: the same layers, in the same order, of the same effect.

Trained weights are found by layer name, so names are an interface. `ancestor.py` states the ancestor's layout
a second time; nothing there comes from our legos.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import pytest

from netbuilder import Net
from netbuilder.networks import find_network
from tests.networks import ancestor
from tests.networks.ancestor import AncestorLayer


class Recipe(NamedTuple):
    branch: str
    n: int
    blocks: list[int]
    fc_layers: bool = False


# The folders of pynetbuilder's models/imagenet and the flags that regenerate them.
RECIPES = {
    "resnet_50": Recipe("bottleneck", 256, [3, 4, 6, 3]),
    "resnet_50_1by2": Recipe("bottleneck", 128, [3, 4, 6, 3]),
    "resnet_77_1by2": Recipe("bottleneck", 128, [3, 4, 15, 3]),
    "resnet_34_inception_trick": Recipe("inception_trick", 64, [2, 2, 2, 2]),
    "resnet_36_inception_trick_with4k": Recipe("inception_trick", 64, [2, 2, 2, 2], True),
    "resnet_66_1by2_inception_trick_bottleneck": Recipe("inception_trick_bottleneck", 128, [3, 4, 6, 3]),
    "resnet_68_1by2_inception_trick_bottleneck_with4k": Recipe(
        "inception_trick_bottleneck", 128, [3, 4, 6, 3], True
    ),
}

# What a layer of each type is compared by, set in the file or not; other fields only if a file sets them.
READ = {
    "MemoryData": ("memory_data_param", "batch_size", "channels", "height", "width"),
    "Convolution": (
        "convolution_param", "num_output", "bias_term", "group", "dilation", "axis",
        "kernel", "pad", "stride", "weight_filler", "bias_filler",
    ),
    "BatchNorm": ("batch_norm_param", "use_global_stats", "moving_average_fraction", "eps"),
    "Scale": ("scale_param", "bias_term", "axis", "num_axes"),
    "ReLU": ("relu_param", "negative_slope"),
    "Pooling": ("pooling_param", "pool", "kernel", "pad", "stride", "global_pooling", "round_mode"),
    "Eltwise": ("eltwise_param", "operation", "coeff"),
    "Dropout": ("dropout_param", "dropout_ratio"),
    "InnerProduct": (
        "inner_product_param", "num_output", "bias_term", "axis", "transpose", "weight_filler", "bias_filler",
    ),
    "SoftmaxWithLoss": ("softmax_param",),
    "Accuracy": ("accuracy_param", "top_k", "axis"),
}  # fmt: skip


def stitched(recipe: Recipe, phase: str) -> Net:
    entry = find_network("resnet")
    config = entry.config(
        main_branch=recipe.branch,
        num_output_stage1=recipe.n,
        blocks=tuple(recipe.blocks),
        fc_layers=recipe.fc_layers,
        conv_bias=True,
    )
    return entry.stitch(config, phase)


def stitched_cifar(branch: str, n: int, phase: str) -> Net:
    entry = find_network("cifar_resnet")
    return entry.stitch(entry.config(main_branch=branch, N=n, conv_bias=True), phase)


def effective(proto: Any) -> AncestorLayer:
    """A LayerParameter in the terms of `AncestorLayer`; nothing that the message sets is left out."""
    own, *names = READ[proto.type]
    left = {f.name: value for f, value in proto.ListFields()}
    fields: dict[str, Any] = {}
    if "param" in left:
        fields["param"] = tuple((p.lr_mult, p.decay_mult) for p in left.pop("param"))
    left.pop(own, None)
    message = getattr(proto, own)
    left |= {f.name: value for f, value in message.ListFields()}
    for name in names:
        fields[name] = _value(message, name, left)
    for name in ("name", "type", "bottom", "top"):
        left.pop(name, None)
    for name, value in left.items():
        is_message = hasattr(value, "ListFields")
        fields[name] = {f.name: v for f, v in value.ListFields()} if is_message else value
    return AncestorLayer(proto.name, proto.type, tuple(proto.bottom), tuple(proto.top), fields)


def _value(message: Any, name: str, left: dict[str, Any]) -> Any:
    if name in ("kernel", "pad", "stride"):
        return _window(message, name, left)
    left.pop(name, None)
    value = getattr(message, name)
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name
    if name.endswith("filler"):
        known = {"type": value.type, "value": value.value, "variance_norm": "FAN_IN"}
        return known | {f.name: v for f, v in value.ListFields()}
    if isinstance(value, float):
        return float(f"{value:.6g}")  # the schema's floats have 24 bits
    return value if isinstance(value, bool | int) else list(value)


def _window(message: Any, name: str, left: dict[str, Any]) -> tuple[int, ...]:
    """Kernel, pad or stride as (h, w), from whichever spelling the message has."""
    short = {"kernel": "kernel_size"}.get(name, name)
    both = left.pop(short, [])
    both = list(both) if not isinstance(both, int) else [both]
    pair = [left.pop(f"{name}_{axis}", None) for axis in "hw"]
    assert not (both and any(n is not None for n in pair)), f"{short} and {name}_h/_w in one layer"
    default = 1 if name == "stride" else 0
    if both:
        return (both[0], both[-1])
    return tuple(default if n is None else n for n in pair)


def assert_same_layers(net: Net, expected: list[AncestorLayer]) -> None:
    built = [effective(layer.proto) for layer in net.layers]
    assert [layer.name for layer in built] == [layer.name for layer in expected]
    differ = [
        f"{ours}\n{theirs} (pynetbuilder)"
        for ours, theirs in zip(built, expected, strict=True)
        if ours != theirs
    ]
    assert not differ, f"{len(differ)} layers differ:\n" + "\n\n".join(differ[:5])


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("name", RECIPES)
def test_an_imagenet_net_with_conv_bias_equals_the_ancestors_layer_by_layer(name: str, phase: str) -> None:
    recipe = RECIPES[name]
    assert_same_layers(stitched(recipe, phase), ancestor.imagenet(*recipe, phase))


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize(("branch", "n"), [("normal", 18), ("normal", 3), ("bottleneck", 36)])
def test_a_cifar_net_with_conv_bias_equals_the_ancestors_layer_by_layer(
    branch: str, n: int, phase: str
) -> None:
    assert_same_layers(stitched_cifar(branch, n, phase), ancestor.cifar(branch, n, phase))


@pytest.mark.parametrize("name", RECIPES)
def test_the_net_is_called_like_the_ancestors_model_folder(name: str) -> None:
    assert stitched(RECIPES[name], "train").name == name


def test_the_train_net_is_in_phase_train_and_the_others_in_phase_test() -> None:
    phases = {phase: stitched(RECIPES["resnet_50"], phase).phase for phase in ("train", "test", "deploy")}
    assert phases == {"train": "TRAIN", "test": "TEST", "deploy": "TEST"}


def test_resnet_50_has_228_layers_from_data_to_fc1000() -> None:
    names = [layer.name for layer in stitched(RECIPES["resnet_50"], "train").layers]
    assert names.index("data") == 0
    assert names.index("fc1000") == 227
    assert names[228:] == ["loss"]


def test_resnet_50_has_the_layers_of_each_type_that_its_53_convolutions_ask_for() -> None:
    # 16 blocks of three convolutions, four projections, the stem. ReLUs: one after the stem; three in each
    # block, after two of the convolutions and after the sum.
    assert Counter(layer.type for layer in stitched(RECIPES["resnet_50"], "train").layers) == {
        "MemoryData": 1,
        "Convolution": 53,
        "BatchNorm": 53,
        "Scale": 53,
        "ReLU": 49,
        "Eltwise": 16,
        "Pooling": 2,
        "InnerProduct": 1,
        "SoftmaxWithLoss": 1,
    }


def test_the_first_block_of_resnet_50_has_the_names_by_which_weights_are_found() -> None:
    names = [layer.name for layer in stitched(RECIPES["resnet_50"], "test").layers]
    assert names[:22] == [
        "data", "conv_1", "bn_1", "scale_1", "relu_1", "pool1",
        "conv_stage0_block0_proj_shortcut", "bn_stage0_block0_proj_shortcut",
        "scale_stage0_block0_proj_shortcut",
        "conv_stage0_block0_branch2a", "bn_stage0_block0_branch2a", "scale_stage0_block0_branch2a",
        "relu_stage0_block0_branch2a",
        "conv_stage0_block0_branch2b", "bn_stage0_block0_branch2b", "scale_stage0_block0_branch2b",
        "relu_stage0_block0_branch2b",
        "conv_stage0_block0_branch2c", "bn_stage0_block0_branch2c", "scale_stage0_block0_branch2c",
        "eltwise_stage0_block0", "relu_stage0_block0",
    ]  # fmt: skip
    assert names[-6:] == ["eltwise_stage3_block2", "relu_stage3_block2", "pool", "fc1000", "loss", "accuracy"]


@pytest.mark.parametrize(
    ("net", "convolution", "shape"),
    [
        ("resnet_34_inception_trick", "conv_stage1_block0_branch_3by1a", (1, 128, 56, 28)),
        ("resnet_34_inception_trick", "conv_stage1_block0_branch_1by3a", (1, 128, 28, 28)),
        ("resnet_50", "conv_1", (1, 64, 112, 112)),
        ("resnet_50", "pool1", (1, 64, 56, 56)),
        ("resnet_50", "conv_stage3_block0_branch2a", (1, 512, 7, 7)),
        ("resnet_50", "eltwise_stage3_block2", (1, 2048, 7, 7)),
        ("resnet_50", "pool", (1, 2048, 1, 1)),
        ("resnet_50", "fc1000", (1, 1000)),
        ("resnet_36_inception_trick_with4k", "conv_1by1_2048", (1, 2048, 7, 7)),
        ("resnet_36_inception_trick_with4k", "conv_1by1_1000", (1, 1000, 1, 1)),
    ],
)
def test_a_blob_has_the_size_of_the_ancestors(net: str, convolution: str, shape: tuple[int, ...]) -> None:
    assert stitched(RECIPES[net], "test")[convolution].tops[0].shape == shape


def test_a_rectangular_convolution_writes_both_halves_of_kernel_pad_and_stride() -> None:
    # The ancestor writes pad_w alone, which OpenCV drops; for Caffe the two mean the same.
    p = stitched(RECIPES["resnet_34_inception_trick"], "train")["conv_stage1_block0_branch_3by1a"].proto
    written = {f.name: v for f, v in p.convolution_param.ListFields() if not f.name.endswith("filler")}
    assert written == {
        "num_output": 128, "kernel_h": 1, "kernel_w": 3, "pad_h": 0, "pad_w": 1, "stride_h": 1, "stride_w": 2,
    }  # fmt: skip


def test_without_conv_bias_no_convolution_has_one_and_the_phase_decides_the_statistics() -> None:
    entry = find_network("resnet")
    net = entry.stitch(entry.config(main_branch="bottleneck", num_output_stage1=256), "test")
    convolutions = [layer.proto.convolution_param for layer in net.layers if layer.type == "Convolution"]
    assert [p.bias_term for p in convolutions] == [False] * 53
    assert not any(
        layer.proto.batch_norm_param.HasField("use_global_stats")
        for layer in net.layers
        if layer.type == "BatchNorm"
    )
