"""Small nets, one for each thing that OpenCV or MNN may not do; tests/checks/test_consumers.py runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netbuilder import Blob, Net
from netbuilder.schema import LayerParameter

Build = Callable[[Net, Blob], Any]
CHANNELS, SIZE = 4, 6
DEPTHWISE = {"num_output": CHANNELS, "group": CHANNELS, "kernel_size": 3}
PAIRS = {"kernel_h": 3, "kernel_w": 3, "stride_h": 2, "stride_w": 2}


def one(type: str, **fields: Any) -> Build:
    """One layer of this type."""
    return lambda net, x: net.add(type, x, name="t", **fields)


def two(type: str, **fields: Any) -> Build:
    """One layer of this type with two bottoms of one shape."""
    return lambda net, x: net.add(type, x, net.add("Sigmoid", x, name="s"), name="t", **fields)


def gate(**fields: Any) -> Build:
    """Scale by a factor per channel that the net computes."""

    def build(net: Net, x: Blob) -> Any:
        g = net.add("Pooling", x, name="mean", pool="AVE", global_pooling=True)
        return net.add("Scale", x, net.add("Flatten", g, name="flat"), name="t", axis=0, **fields)

    return build


def sliced(**fields: Any) -> Build:
    """Two pieces, the second brought to the size of the first, and their sum."""

    def build(net: Net, x: Blob) -> Any:
        first, second = net.add_many("Slice", x, name="t", tops=["half_a", "half_b"], **fields)
        channels = first.known_shape[1]
        second = net.add("Convolution", second, name="fit", num_output=channels, kernel_size=1)
        return net.add("Eltwise", first, second, name="sum")

    return build


def shared(net: Net, x: Blob, type: str = "Convolution") -> Any:
    """One convolution of two bottoms."""
    tops = net.add_many(
        type,
        x,
        net.add("Sigmoid", x, name="s"),
        name="t",
        tops=["a", "b"],
        num_output=2,
        kernel_size=1,
    )
    return net.add("Eltwise", *tops, name="sum")


def half(net: Net, x: Blob) -> Blob:
    """An image of half the size."""
    top: Blob = net.add("Pooling", x, name="half", kernel_size=2, stride=2)
    return top


def crop(net: Net, x: Blob) -> Any:
    """The middle of the image."""
    return net.add("Crop", x, half(net, x), name="t", axis=2, offset=1)


def crop_offsets(net: Net, x: Blob) -> Any:
    """A piece that is not in the middle."""
    return net.add("Crop", x, half(net, x), name="t", axis=2, offset=[1, 3])


def pieces(**fields: Any) -> Build:
    """Two equal pieces and their sum."""

    def build(net: Net, x: Blob) -> Any:
        return net.add("Eltwise", *net.add_many("Slice", x, name="t", tops=["p", "q"], **fields), name="sum")

    return build


def first_piece(**fields: Any) -> Build:
    """Two pieces, of which only the first is read."""

    def build(net: Net, x: Blob) -> Any:
        return net.add("Sigmoid", net.add_many("Slice", x, name="t", tops=["p", "q"], **fields)[0], name="s")

    return build


def folded(*dims: int, kernel_size: Any = 1, **fields: Any) -> Build:
    """A convolution over another number of axes than two."""

    def build(net: Net, x: Blob) -> Any:
        x = net.add("Reshape", x, name="fold", shape={"dim": [1, CHANNELS, *dims]})
        return net.add("Convolution", x, name="t", num_output=2, kernel_size=kernel_size, **fields)

    return build


def log(net: Net, x: Blob) -> Any:
    """The logarithm of something positive."""
    return net.add("Log", net.add("Sigmoid", x, name="s"), name="t")


def split(net: Net, x: Blob) -> Any:
    """A Split that stands in the file, and both its tops used."""
    first, second = net.add_many("Split", x, name="t", tops=["one", "two"])
    return net.add("Eltwise", first, net.add("Sigmoid", second, name="s"), name="sum")


def silenced(net: Net, x: Blob) -> Any:
    """A blob that a Silence reads, too."""
    net.add_many("Silence", x, name="quiet")
    return net.add("Sigmoid", x, name="t")


def unread_convolutions(net: Net, x: Blob) -> Any:
    """One convolution of two bottoms, whose tops are outputs of the net."""
    s = net.add("Sigmoid", x, name="s")
    return net.add_many("Convolution", x, s, name="t", tops=["a", "b"], num_output=2, kernel_size=1)


def flat(net: Net, x: Blob) -> Any:
    """A matrix."""
    return net.add("Flatten", x, name="flat")


def rows(net: Net, x: Blob) -> Any:
    """Three axes: the channels and one over the image."""
    return net.add("Reshape", x, name="rows", shape={"dim": [0, 0, -1]})


def vector(net: Net, x: Blob) -> Any:
    """One axis."""
    return net.add("Reshape", x, name="vector", shape={"dim": [-1]})


def column(net: Net) -> Any:
    """A computed factor for each column of the image."""
    mean = net.add("Pooling", net["first"].tops[0], name="mean", pool="AVE", kernel_h=SIZE, kernel_w=1)
    one = net.add("Convolution", mean, name="fit", num_output=1, kernel_size=1)
    return net.add("Reshape", one, name="column", shape={"dim": [SIZE]})


def middle_unread(net: Net, x: Blob) -> Any:
    """Three pieces, of which the second is an output of the net."""
    p, _, r = net.add_many("Slice", x, name="t", tops=["p", "q", "r"], axis=2, slice_point=[1, 2])
    net.add("TanH", p, name="one")
    return net.add("Sigmoid", r, name="two")


def fitted(net: Net, x: Blob) -> Any:
    """An image of fewer channels."""
    return net.add("Convolution", x, name="fit", num_output=2, kernel_size=1)


def products(net: Net, x: Blob) -> Any:
    """A fully connected layer over the rows of each channel."""
    return net.add("InnerProduct", x, name="ip", num_output=5, axis=2)


def centred(net: Net, x: Blob) -> Any:
    """Rows without their mean."""
    return net.add("MVN", rows(net, x), name="m", normalize_variance=False, across_channels=True)


def scaled(net: Net, x: Blob) -> Any:
    """The same, scaled."""
    return net.add("Scale", centred(net, x), name="s")


def scaled_vector(net: Net, x: Blob) -> Any:
    """A scaled vector, and another output."""
    net.add("TanH", x, name="other")
    two = net.add("Input", name="two", shape={"dim": [3]})
    return net.add("Scale", two, name="t", axis=0)


def single(net: Net, x: Blob) -> Any:
    """One number."""
    return net.add("InnerProduct", x, name="one", num_output=1)


def twins(type: str, *readers: str, **fields: Any) -> Build:
    """Two equal layers that read the same blob, and what reads them."""

    def build(net: Net, x: Blob) -> Any:
        tops = [net.add(type, x, name=name, **fields) for name in ("t", "u")]
        for i, (reader, top) in enumerate(zip(readers, tops, strict=False)):
            net.add(reader, top, name=f"r{i}")

    return build


def flattened_beside_product(net: Net, x: Blob) -> Any:
    """A matrix that a fully connected layer needs as well."""
    net.add("InnerProduct", x, name="ip", num_output=2)
    return flat(net, x)


def unread_input(net: Net, x: Blob) -> Any:
    """An input beside that of the net, which no layer reads."""
    net.add("Input", name="other", shape={"dim": [1, 2]})
    return net.add("Sigmoid", x, name="t")


def two_inputs(net: Net, x: Blob) -> Any:
    """An Input layer with two tops."""
    shapes = [{"dim": [1, CHANNELS, SIZE, SIZE]}, {"dim": [1, CHANNELS, SIZE, SIZE]}]
    tops = net.add_many("Input", name="pair", tops=["left", "right"], shape=shapes)
    return net.add("Eltwise", x, *tops, name="t")


def recurrent(net: Net, x: Blob) -> Any:
    """Four steps of an LSTM."""
    steps = net.add("Reshape", x, name="steps", shape={"dim": [CHANNELS, 1, SIZE * SIZE]})
    marks = net.add(
        "Power", net.add("Reduction", steps, name="sum", axis=2), name="marks", scale=0.0, shift=1.0
    )
    return net.add("LSTM", steps, marks, name="t", num_output=3)


def looked_up(net: Net, x: Blob) -> Any:
    """The rows of a table."""
    mark = net.add("Threshold", vector(net, x), name="mark", threshold=0.0)
    return net.add("Embed", mark, name="t", num_output=2, input_dim=2)


def then(first: Build, *others: tuple[str, dict[str, Any]]) -> Build:
    """A net and layers after it, one after another."""

    def build(net: Net, x: Blob) -> Any:
        x = first(net, x)
        for i, (type, fields) in enumerate(others):
            x = net.add(type, x, name=f"after{i}", **fields)
        return x

    return build


def sum_of(first: Build, second: Build, type: str = "Eltwise", **fields: Any) -> Build:
    """Two blobs, added up or joined otherwise."""
    return lambda net, x: net.add(type, first(net, x), second(net, x), name="joined", **fields)


def doubled(first: Build, type: str = "Eltwise", **fields: Any) -> Build:
    """A blob and the same through a Sigmoid, added up or joined otherwise."""

    def build(net: Net, x: Blob) -> Any:
        x = first(net, x)
        return net.add(type, x, net.add("Sigmoid", x, name="s"), name="joined", **fields)

    return build


def other_input(*dims: int, name: str = "other") -> Build:
    """Another input, beside that of the net."""
    return lambda net, x: net.add("Input", name=name, shape={"dim": list(dims)})


def silenced_beside(first: Build) -> Build:
    """A blob that only a Silence reads, together with another blob."""

    def build(net: Net, x: Blob) -> Any:
        other = net.add("Input", name="other", shape={"dim": [2, 5]})
        net.add_many("Silence", first(net, x), other, name="quiet")
        return net.add("TanH", other, name="last")

    return build


def product_in_place(net: Net, x: Blob) -> Any:
    """A product that takes the place of its first factor, which a file may do."""
    second = net.add("Input", name="other", shape={"dim": list(x.known_shape)})
    layer = LayerParameter(name="t", type="Eltwise", bottom=[x.name, second.name], top=[x.name])
    layer.eltwise_param.operation = 0
    return net.append(layer)


def other_matrix(net: Net, x: Blob) -> Any:
    """A matrix of fewer columns."""
    return net.add("Reshape", fitted(net, x), name="narrower", shape={"dim": [0, -1]})


def other_vector(net: Net, x: Blob) -> Any:
    """A shorter vector."""
    return net.add("Reshape", fitted(net, x), name="shorter", shape={"dim": [-1]})


def flat_vector(net: Net, x: Blob) -> Any:
    """One axis, by a Flatten."""
    return net.add("Flatten", x, name="flat", axis=0)


def cube(net: Net, x: Blob) -> Any:
    """As many rows and columns as channels."""
    return net.add("Convolution", x, name="cube", num_output=CHANNELS, kernel_size=SIZE - CHANNELS + 1)


def normalised(net: Net, x: Blob) -> Any:
    """The same, normalised, and not within the convolution."""
    return net.add("BatchNorm", net.add("ReLU", cube(net, x), name="r"), name="b")


def images_column(net: Net, x: Blob) -> Any:
    """The image of each channel as a column."""
    return net.add("Reshape", x, name="column", shape={"dim": [0, 0, -1, 1]})


def grouped(kernel: int, out: int, **fields: Any) -> Build:
    """A Deconvolution in groups."""
    return one("Deconvolution", num_output=out, group=CHANNELS, kernel_size=kernel, **fields)


def some_axes(axis: int, number: int, *dims: int, pooled: bool = False) -> Build:
    """A Reshape of some axes, of one number per channel if `pooled`."""

    def build(net: Net, x: Blob) -> Blob:
        if pooled:
            x = net.add("Pooling", x, name="pooled", pool="AVE", global_pooling=True)
        return net.add("Reshape", x, name="axes", axis=axis, num_axes=number, shape={"dim": list(dims)})

    return build


def pair(net: Net, x: Blob) -> Blob:
    """A vector of two."""
    two = net.add("InnerProduct", x, name="two", num_output=2)
    return net.add("Reshape", two, name="pair", shape={"dim": [2]})


def reshape(*dims: int, name: str = "t") -> Build:
    return lambda net, x: net.add("Reshape", x, name=name, shape={"dim": list(dims)})


CASES: dict[str, Build] = {
    "conv": one("Convolution", num_output=3, kernel_size=3, pad=1, stride=2),
    "conv_group": one("Convolution", num_output=4, kernel_size=3, group=2),
    "conv_depthwise": one("Convolution", num_output=4, kernel_size=3, group=4),
    "conv_dilation": one("Convolution", num_output=3, kernel_size=3, dilation=2, pad=2),
    "conv_pairs": one(
        "Convolution", num_output=3, kernel_h=1, kernel_w=3, pad_h=0, pad_w=1, stride_h=1, stride_w=2
    ),
    "conv_lone_pad": one("Convolution", num_output=3, kernel_h=1, kernel_w=3, pad_w=1),
    "conv_repeated": one("Convolution", num_output=3, kernel_size=[3, 1], pad=[1, 0]),
    "conv_two_bottoms": shared,
    "conv_repeated_lone_pad": one("Convolution", num_output=3, kernel_size=[3, 3], pad_w=1),
    "conv_even_lone_pad": one("Convolution", num_output=3, kernel_size=3, pad_h=1),
    "conv_repeated_dilation": one("Convolution", num_output=3, kernel_size=2, dilation=[2, 1]),
    "conv_large_kernel": one("Convolution", num_output=3, kernel_size=7, stride=2),
    "conv_axis": one("Convolution", num_output=3, kernel_size=1, axis=-3),
    "deconv": one("Deconvolution", num_output=3, kernel_size=4, stride=2, pad=1),
    "deconv_depthwise": one("Deconvolution", num_output=4, group=4, kernel_size=2, stride=2, bias_term=False),
    "deconv_pairs": one("Deconvolution", num_output=3, kernel_h=1, kernel_w=3, stride_h=1, stride_w=2),
    "deconv_repeated": one("Deconvolution", num_output=3, kernel_size=[3, 1]),
    "deconv_dilation": one("Deconvolution", num_output=3, kernel_size=2, dilation=2),
    "deconv_repeated_dilation": one("Deconvolution", num_output=3, kernel_size=2, dilation=[2, 1]),
    "deconv_group": one("Deconvolution", num_output=4, group=2, kernel_size=3, stride=2),
    "pool_larger_than_image": one("Pooling", pool="AVE", kernel_size=7, stride=2),
    "pool_max": one("Pooling", pool="MAX", kernel_size=3, stride=2),
    "pool_max_pad": one("Pooling", pool="MAX", kernel_size=3, stride=2, pad=1),
    "pool_average": one("Pooling", pool="AVE", kernel_size=3, stride=2),
    "pool_average_pad": one("Pooling", pool="AVE", kernel_size=3, stride=2, pad=1),
    "pool_global": one("Pooling", pool="AVE", global_pooling=True),
    "pool_floor": one("Pooling", pool="MAX", kernel_size=3, stride=2, round_mode="FLOOR"),
    "pool_pairs": one("Pooling", kernel_h=1, kernel_w=3, stride_h=1, stride_w=2, pad_h=0, pad_w=1),
    "inner_product": one("InnerProduct", num_output=5),
    "inner_product_transpose": one("InnerProduct", num_output=5, transpose=True),
    "inner_product_axis": one("InnerProduct", num_output=5, axis=2),
    "batch_norm": one("BatchNorm"),
    "batch_norm_eps": one("BatchNorm", eps=0.1, use_global_stats=True),
    "batch_norm_of_the_batch": one("BatchNorm", use_global_stats=False),
    "scale": one("Scale"),
    "scale_more_axes": one("Scale", axis=1, num_axes=-1),
    "scale_rows": one("Scale", axis=2),
    "bias_rows": one("Bias", axis=2),
    "scale_bias": one("Scale", bias_term=True),
    "scale_negative_axis": one("Scale", axis=-3),
    "scale_scalar": one("Scale", num_axes=0),
    "scale_two_bottoms": gate(),
    "scale_two_bottoms_bias": gate(bias_term=True, bias_filler={"type": "constant", "value": 1}),
    "bias": one("Bias"),
    "relu": one("ReLU"),
    "relu_slope": one("ReLU", negative_slope=0.1),
    "prelu": one("PReLU"),
    "prelu_shared": one("PReLU", channel_shared=True),
    "elu": one("ELU", alpha=0.5),
    "sigmoid": one("Sigmoid"),
    "tanh": one("TanH"),
    "absval": one("AbsVal"),
    "bnll": one("BNLL"),
    "exp": one("Exp", base=2.0, scale=0.5, shift=0.1),
    "log_shift": one("Log", shift=50.0),
    "power": one("Power", power=2.0, scale=0.5, shift=3.0),
    "threshold": one("Threshold", threshold=0.2),
    "swish": one("Swish"),
    "swish_beta": one("Swish", beta=2.0),
    "clip": one("Clip", min=0.0, max=0.5),
    "dropout": one("Dropout"),
    "softmax": one("Softmax"),
    "softmax_axis": one("Softmax", axis=2),
    "lrn": one("LRN", lrn_param={"local_size": 3, "alpha": 0.1, "beta": 0.75}),
    "lrn_no_beta": one("LRN", lrn_param={"local_size": 3, "alpha": 0.1}),
    "lrn_no_alpha": one("LRN", lrn_param={"local_size": 3, "beta": 0.75}),
    "lrn_k": one("LRN", lrn_param={"local_size": 3, "alpha": 0.1, "beta": 0.75, "k": 2.0}),
    "lrn_within": one(
        "LRN", lrn_param={"local_size": 3, "alpha": 0.1, "beta": 0.75, "norm_region": "WITHIN_CHANNEL"}
    ),
    "sum": two("Eltwise"),
    "product": two("Eltwise", operation="PROD"),
    "maximum": two("Eltwise", operation="MAX"),
    "sum_coeff": two("Eltwise", coeff=[1.0, -2.0]),
    "maximum_difference": two("Eltwise", operation="MAX", coeff=[1.0, -1.0]),
    "difference": two("Eltwise", coeff=[1.0, -1.0]),
    "concat": two("Concat"),
    "concat_axis": two("Concat", axis=2),
    "slice": sliced(),
    "slice_points": sliced(slice_point=[1]),
    "slice_rows": pieces(axis=2),
    "slice_rows_points": pieces(axis=-2, slice_point=[3]),
    "slice_unread": first_piece(axis=2),
    "slice_unread_points": first_piece(axis=2, slice_point=[2]),
    "crop_no_offset": lambda net, x: net.add("Crop", x, half(net, x), name="t"),
    "crop": crop,
    "reshape": reshape(0, 2, -1, SIZE),
    "reshape_to_matrix": reshape(0, -1),
    "flatten": one("Flatten"),
    "tile": one("Tile", axis=2, tiles=2),
    "reduction": one("Reduction", axis=1, operation="MEAN"),
    "reduction_coeff": one("Reduction", axis=1, coeff=2.0),
    "argmax": one("ArgMax", argmax_param={"axis": 1}),
    "mvn": one("MVN"),
    "mvn_across": one("MVN", across_channels=True),
    "mvn_mean_only": one("MVN", normalize_variance=False),
    "mvn_eps": one("MVN", eps=0.1),
    "exp_default": one("Exp"),
    "log_default": log,
    "power_default": one("Power"),
    "split": split,
    "reshape_axis": one("Reshape", axis=1, num_axes=1, shape={"dim": [2, 2]}),
    "flatten_axis": one("Flatten", axis=2),
    "flatten_end": one("Flatten", axis=1, end_axis=2),
    "crop_two_offsets": crop_offsets,
    "concat_negative_axis": two("Concat", axis=-3),
    "softmax_negative_axis": one("Softmax", axis=-1),
    "inner_product_negative_axis": one("InnerProduct", num_output=5, axis=-3),
    "conv_one_axis": folded(36, kernel_size=3),
    "conv_three_axes": folded(6, 6, 1),
    "conv_three_axes_written": folded(6, 6, 1, kernel_size=[3, 3, 1]),
    "mvn_two_axes": lambda net, x: net.add("MVN", net.add("Flatten", x, name="flat"), name="t"),
    "silence": silenced,
    "conv_two_bottoms_unread": unread_convolutions,
    "conv_channels_last": one("Convolution", num_output=3, kernel_size=1, axis=0),
    "conv_channels_rows": one("Convolution", num_output=3, kernel_size=2, axis=2),
    "conv_dilation_zero": one("Convolution", num_output=3, kernel_size=2, dilation=0),
    "conv_without_axes": lambda net, x: net.add("Convolution", flat(net, x), name="t", num_output=3),
    "conv_three_axes_once": folded(3, 3, 4, kernel_size=[2, 2, 2], stride=2),
    "deconv_one_axis": lambda net, x: net.add(
        "Deconvolution", rows(net, x), name="t", num_output=3, kernel_size=2
    ),
    "deconv_dilated_point": one("Deconvolution", num_output=3, kernel_size=1, dilation=2),
    "pool_global_maximum_default": one("Pooling", global_pooling=True),
    "pool_two_tops": lambda net, x: net.add_many("Pooling", x, name="t", tops=["t", "mask"], kernel_size=2),
    "pool_ceil_pairs": one("Pooling", pool="MAX", **PAIRS, round_mode="CEIL"),
    "pool_ceil": one("Pooling", pool="MAX", kernel_size=3, stride=2, round_mode="CEIL"),
    "pool_floor_pairs": one("Pooling", pool="MAX", **PAIRS, round_mode="FLOOR"),
    "pool_floor_without_effect": one("Pooling", pool="MAX", kernel_size=2, stride=2, round_mode="FLOOR"),
    "pool_clipped": one("Pooling", pool="MAX", kernel_size=3, stride=3, pad=2),
    "batch_norm_phase": one("BatchNorm", phase="TRAIN"),
    "batch_norm_of_the_batch_eps": one("BatchNorm", use_global_stats=False, eps=0.1),
    "scale_rows_behind_relu": lambda net, x: net.add("Scale", net.add("ReLU", x, name="r"), name="t", axis=2),
    "scale_all_behind_relu": lambda net, x: net.add(
        "Scale", net.add("ReLU", x, name="r"), name="t", axis=0, num_axes=-1
    ),
    "scale_negative_behind_relu": lambda net, x: net.add(
        "Scale", net.add("ReLU", x, name="r"), name="t", axis=-3
    ),
    "scale_rows_behind_dropout": lambda net, x: net.add(
        "Scale", net.add("Dropout", x, name="d"), name="t", axis=2
    ),
    "scale_two_bottoms_negative": lambda net, x: net.add("Scale", x, column(net), name="t", axis=-1),
    "bias_matrix": lambda net, x: net.add("Bias", reshape(0, -1, name="flat")(net, x), name="t"),
    "bias_flat": lambda net, x: net.add("Bias", flat(net, x), name="t"),
    "bias_negative_axis": one("Bias", axis=-3),
    "lrn_within_k": one(
        "LRN",
        lrn_param={"local_size": 3, "alpha": 0.1, "beta": 0.75, "k": 2.0, "norm_region": "WITHIN_CHANNEL"},
    ),
    "maximum_coeff": two("Eltwise", operation="MAX", coeff=[0.5, 0.5]),
    "concat_old_axis": two("Concat", concat_dim=2),
    "slice_old_axis": pieces(slice_dim=2, slice_point=[3]),
    "concat_single": one("Concat"),
    "concat_single_input_read_twice": lambda net, x: net.add("Concat", net.blobs["data"], name="t", axis=0),
    "slice_single": lambda net, x: net.add_many("Slice", x, name="t", tops=["p"])[0],
    "slice_last_unread": first_piece(axis=2, slice_point=[2]),
    "split_unread": lambda net, x: net.add(
        "Sigmoid", net.add_many("Split", x, name="t", tops=["p", "q"])[0], name="s"
    ),
    "split_first_unread": lambda net, x: net.add(
        "Sigmoid", net.add_many("Split", x, name="t", tops=["p", "q"])[1], name="s"
    ),
    "reshape_negative_axis": one("Reshape", axis=-1, shape={"dim": [1]}),
    "reshape_inserts": one("Reshape", axis=1, num_axes=0, shape={"dim": [1]}),
    "reshape_behind_batch": one("Reshape", axis=1, shape={"dim": [-1]}),
    "flatten_backwards": one("Flatten", axis=2, end_axis=1),
    "flatten_negative_axis": lambda net, x: net.add("Flatten", x, name="t", axis=-2),
    "reduction_negative_axis": lambda net, x: net.add("Reduction", flat(net, x), name="t", axis=-1),
    "softmax_one_axis": lambda net, x: net.add("Softmax", vector(net, x), name="t", axis=0),
    "softmax_one_axis_negative": lambda net, x: net.add("Softmax", vector(net, x), name="t", axis=-1),
    "mvn_three_axes": lambda net, x: net.add("MVN", rows(net, x), name="t"),
    "input_unread": unread_input,
    "inputs_of_one_layer": two_inputs,
    "input_to_output": lambda net, x: net.add("Dropout", net.blobs["data"], name="t"),
    "mvn_then_power": lambda net, x: net.add("Power", net.add("MVN", x, name="m"), name="t", scale=2.0),
    "mvn_then_square": lambda net, x: net.add("Power", net.add("MVN", x, name="m"), name="t", power=2.0),
    "deconv_point_pad": one("Deconvolution", num_output=3, kernel_size=1, pad=1),
    "crop_in_place": lambda net, x: net.add(
        "Crop", x, half(net, net.add("Sigmoid", x, name="s")), name="t", offset=1
    ),
    "conv_depthwise_dilation": one(
        "Convolution", num_output=CHANNELS, group=CHANNELS, kernel_size=3, dilation=2, pad=1
    ),
    "conv_depthwise_dilation_padded": one(
        "Convolution", num_output=CHANNELS, group=CHANNELS, kernel_size=3, dilation=2, pad=2
    ),
    "conv_depthwise_dilation_strided": one(
        "Convolution", num_output=CHANNELS, group=CHANNELS, kernel_size=3, dilation=2, pad=1, stride=2
    ),
    "conv_depthwise_dilation_down": one(
        "Convolution", num_output=CHANNELS, group=CHANNELS, kernel_size=3, dilation=[2, 1], pad=1
    ),
    "conv_grouped_dilation": one(
        "Convolution", num_output=2 * CHANNELS, group=CHANNELS, kernel_size=3, dilation=2, pad=1
    ),
    "conv_of_matrix_window": lambda net, x: net.add(
        "Convolution", flat(net, x), name="t", num_output=3, kernel_size=2
    ),
    "conv_of_matrix_point": lambda net, x: net.add(
        "Convolution", flat(net, x), name="t", num_output=3, kernel_size=1
    ),
    "conv_of_matrix_group": lambda net, x: net.add(
        "Convolution", flat(net, x), name="t", num_output=4, kernel_size=1, group=4
    ),
    "conv_of_rows_group": lambda net, x: net.add(
        "Convolution", rows(net, x), name="t", num_output=2, kernel_size=1, group=2
    ),
    "conv_of_rows_groups": lambda net, x: net.add(
        "Convolution", rows(net, x), name="t", num_output=4, kernel_size=1, group=4
    ),
    "deconv_of_matrix_point": lambda net, x: net.add(
        "Deconvolution", flat(net, x), name="t", num_output=3, kernel_size=1
    ),
    "deconv_dilated_point_pad": one("Deconvolution", num_output=3, kernel_size=1, dilation=2, pad=1),
    "rows_then_batch_norm": lambda net, x: net.add("BatchNorm", products(net, x), name="t"),
    "rows_then_prelu": lambda net, x: net.add("PReLU", products(net, x), name="t"),
    "rows_then_scale": lambda net, x: net.add("Scale", products(net, x), name="t"),
    "rows_then_dropout": lambda net, x: net.add(
        "BatchNorm", net.add("Dropout", products(net, x), name="d"), name="t"
    ),
    "product_then_batch_norm": lambda net, x: net.add(
        "BatchNorm", net.add("InnerProduct", x, name="ip", num_output=CHANNELS), name="t"
    ),
    "mvn_of_rows_convolved": lambda net, x: net.add(
        "Convolution", scaled(net, x), name="t", num_output=2, kernel_size=1, pad=1
    ),
    "mvn_of_rows_scaled": lambda net, x: net.add("Scale", centred(net, x), name="t"),
    "scale_scalar_of_one_channel": lambda net, x: net.add(
        "Scale", net.add("Convolution", x, name="c", num_output=1, kernel_size=1), name="t", num_axes=0
    ),
    "scale_number_negative": lambda net, x: net.add(
        "Scale", net.add("Pooling", x, name="p", kernel_h=1, kernel_w=SIZE), name="t", axis=-1
    ),
    "crop_of_nothing": lambda net, x: net.add("TanH", net.add("Crop", x, x, name="c"), name="t"),
    "flatten_end_before_product": lambda net, x: net.add(
        "InnerProduct", net.add("Flatten", x, name="flat", axis=-2), name="t", num_output=2
    ),
    "flatten_images_before_product": lambda net, x: net.add(
        "InnerProduct", net.add("Flatten", x, name="flat", axis=0, end_axis=1), name="t", num_output=2
    ),
    "scale_vector": scaled_vector,
    "bias_number": lambda net, x: net.add(
        "Bias", net.add("Reshape", single(net, x), name="r", shape={"dim": [1]}), name="t", axis=0
    ),
    "conv_of_matrix_pad": lambda net, x: net.add(
        "Convolution", flat(net, x), name="t", num_output=3, kernel_size=1, pad=1
    ),
    "conv_of_matrix_pad_stride": lambda net, x: net.add(
        "Convolution", flat(net, x), name="t", num_output=3, kernel_size=1, pad=1, stride=2
    ),
    "conv_lone_zero_pad": one("Convolution", num_output=3, kernel_size=1, pad_w=0),
    "deconv_two_bottoms": lambda net, x: shared(net, x, "Deconvolution"),
    "slice_middle_unread": middle_unread,
    "crop_negative_axis": lambda net, x: net.add("Crop", x, half(net, x), name="t", axis=-2, offset=1),
    "crop_negative_axis_other_channels": lambda net, x: net.add(
        "Crop", x, half(net, fitted(net, x)), name="t", axis=-2, offset=1
    ),
    "argmax_of_one": lambda net, x: net.add("ArgMax", single(net, x), name="t"),
    "inner_product_whole_negative": one("InnerProduct", num_output=5, axis=-4),
    "inner_product_whole": one("InnerProduct", num_output=5, axis=0),
    "inner_product_whole_softmax": lambda net, x: net.add(
        "Softmax", net.add("InnerProduct", x, name="ip", num_output=5, axis=0), name="t", axis=0
    ),
    "inner_product_whole_scaled": lambda net, x: net.add(
        "Scale", net.add("InnerProduct", x, name="ip", num_output=20, axis=0), name="t", axis=0
    ),
    "inner_product_whole_negative_softmax": lambda net, x: net.add(
        "Softmax", net.add("InnerProduct", x, name="ip", num_output=5, axis=-4), name="t", axis=0
    ),
    "flatten_negative_read": lambda net, x: net.add(
        "Softmax", net.add("Flatten", x, name="flat", axis=-4), name="t", axis=-1
    ),
    "twice": twins("ReLU"),
    "twice_read": twins("ReLU", "TanH", "Sigmoid"),
    "twice_read_alike": twins("ReLU", "TanH", "TanH"),
    "twice_first_read": twins("ReLU", "TanH"),
    "twice_softmax": twins("Softmax"),
    "twice_pooled": twins("Pooling", global_pooling=True, pool="AVE"),
    "twice_powers": twins("Power", scale=2.0),
    "twice_flattened": flattened_beside_product,
    "sum_of_rows_then_batch_norm": then(doubled(rows), ("BatchNorm", {})),
    "sum_of_rows_then_prelu": then(doubled(rows), ("PReLU", {})),
    "sum_of_rows_then_elu": then(doubled(rows), ("ELU", {})),
    "sum_of_rows_then_dropout": then(doubled(rows), ("Dropout", {}), ("BatchNorm", {})),
    "sum_of_matrices_then_prelu": then(doubled(reshape(0, -1)), ("PReLU", {})),
    "sum_of_images_then_batch_norm": then(two("Eltwise"), ("BatchNorm", {})),
    "deconv_group_then_batch_norm": then(grouped(2, CHANNELS), ("BatchNorm", {})),
    "deconv_group_then_scale": then(grouped(2, CHANNELS), ("Scale", {})),
    "deconv_group_then_dropout": then(grouped(2, CHANNELS), ("Dropout", {}), ("Scale", {})),
    "deconv_group_then_number": then(grouped(2, CHANNELS), ("Scale", {"axis": 0, "num_axes": 1})),
    "deconv_group_then_relu": then(grouped(2, CHANNELS), ("ReLU", {}), ("Scale", {})),
    "deconv_group_then_prelu": then(grouped(2, CHANNELS), ("PReLU", {})),
    "deconv_points_then_scale": then(grouped(1, CHANNELS), ("Scale", {})),
    "deconv_point_pairs_then_scale": then(grouped(1, 2 * CHANNELS), ("Scale", {})),
    "deconv_then_batch_norm": then(
        one("Deconvolution", num_output=CHANNELS, kernel_size=2), ("BatchNorm", {})
    ),
    "batch_norm_then_rows": then(normalised, ("Scale", {"axis": 2, "num_axes": 1})),
    "batch_norm_then_scaled_rows": then(normalised, ("Scale", {}), ("Scale", {"axis": 2, "num_axes": 1})),
    "batch_norm_relu_then_rows": then(normalised, ("ReLU", {}), ("Scale", {"axis": 2, "num_axes": 1})),
    "batch_norm_then_all": then(normalised, ("Scale", {"axis": 1, "num_axes": -1})),
    "sum_of_vectors": doubled(vector),
    "sum_of_inputs_of_one_axis": doubled(other_input(5)),
    "sum_of_vector_and_input": sum_of(vector, other_input(CHANNELS * SIZE * SIZE)),
    "sum_of_vector_and_flat": sum_of(vector, flat_vector),
    "sum_of_flat_vectors": doubled(flat_vector),
    "concat_of_vectors": doubled(vector, "Concat", axis=0),
    "concat_of_inputs_of_one_axis": doubled(other_input(5), "Concat", axis=0),
    "concat_of_vector_and_input": sum_of(vector, other_input(5), "Concat", axis=0),
    "concat_of_vector_and_flat": sum_of(vector, flat_vector, "Concat", axis=0),
    "concat_of_flat_and_vector": sum_of(flat_vector, vector, "Concat", axis=0),
    "concat_of_matrix_and_flat": sum_of(reshape(0, -1), flat, "Concat"),
    "concat_of_flat_and_matrix": sum_of(flat, reshape(0, -1), "Concat"),
    "concat_of_numbers_from_end": sum_of(other_input(1, name="n"), other_input(5), "Concat", axis=-1),
    "crop_vector": sum_of(vector, other_vector, "Crop", axis=0, offset=1),
    "crop_vector_start": sum_of(vector, other_vector, "Crop", axis=0, offset=0),
    "crop_vector_from_end": sum_of(vector, other_vector, "Crop", axis=-1, offset=1),
    "crop_inputs_of_one_axis": sum_of(other_input(5), other_input(3, name="n"), "Crop", axis=0, offset=2),
    "centred_rows_joined": sum_of(centred, images_column, "Concat"),
    "centred_rows_shifted": then(centred, ("Bias", {})),
    "flat_softmax_from_end": then(flat, ("Softmax", {"axis": -1})),
    "flat_relu_softmax_from_end": then(flat, ("ReLU", {}), ("Softmax", {"axis": -1})),
    "flat_rows_softmax_from_end": then(one("Flatten", axis=2), ("Softmax", {"axis": -1})),
    "flat_rows_softmax": then(one("Flatten", axis=2), ("Softmax", {"axis": 2})),
    "flat_concat_from_end": doubled(flat, "Concat", axis=-1),
    "flat_crop_from_end": sum_of(flat, other_matrix, "Crop", axis=-1, offset=3),
    "flat_slice_from_end": lambda net, x: net.add_many(
        "Slice", flat(net, x), name="t", tops=["p", "q"], axis=-1, slice_point=[3]
    ),
    "matrix_softmax_from_end": then(reshape(0, -1), ("Softmax", {"axis": -1})),
    "flat_product_softmax_from_end": then(
        flat, ("InnerProduct", {"num_output": 5}), ("Softmax", {"axis": -1})
    ),
    "one_image_left_out_then_softmax": then(some_axes(1, 3, -1), ("Softmax", {})),
    "one_image_left_out_then_relu": then(some_axes(1, 3, -1), ("ReLU", {})),
    "one_image_left_out_then_scale": then(some_axes(1, 3, CHANNELS, -1), ("Scale", {})),
    "one_image_left_out_then_flatten": then(some_axes(1, 3, CHANNELS, -1), ("Flatten", {})),
    "column_then_softmax": then(some_axes(0, 3, -1, pooled=True), ("Softmax", {"axis": 0})),
    "column_then_scale": then(some_axes(0, 3, -1, pooled=True), ("Scale", {"num_axes": 1})),
    "column_then_reduction": then(some_axes(0, 3, -1, pooled=True), ("Reduction", {})),
    "column_at_the_end_then_softmax": then(some_axes(0, 3, 1, -1, pooled=True), ("Softmax", {})),
    "pair_scaled": then(pair, ("Scale", {"axis": 0})),
    "concat_single_input_of_two": lambda net, x: (
        net.add("Concat", net.add("Input", name="other", shape={"dim": [2, 3]}), name="t", axis=0),
        net.add("TanH", x, name="u"),
    ),
    "other_images_then_product": then(reshape(2, -1), ("InnerProduct", {"num_output": 3})),
    "other_images_then_products": then(
        reshape(2, -1), ("Dropout", {}), ("InnerProduct", {"num_output": 3}), ("ReLU", {})
    ),
    "other_images_relu_then_product": then(reshape(2, -1), ("ReLU", {}), ("InnerProduct", {"num_output": 3})),
    "other_rows_then_product": then(reshape(0, 2, 2, -1), ("InnerProduct", {"num_output": 3})),
    "other_rows_then_product_of_axis": then(
        reshape(0, 2, 2, -1), ("InnerProduct", {"num_output": 3, "axis": 2})
    ),
    "pool_clipped_without_pad": one("Pooling", kernel_h=1, kernel_w=3, stride=2, pad_h=0, pad_w=1),
    "pool_pad_of_one_axis": one("Pooling", kernel_h=2, kernel_w=3, stride=2, pad_h=0, pad_w=1),
    "conv_depthwise_column": then(
        one("Pooling", kernel_h=1, kernel_w=SIZE), ("Convolution", {**DEPTHWISE, "pad": 1})
    ),
    "conv_depthwise_column_padded": then(
        one("Pooling", kernel_h=1, kernel_w=SIZE), ("Convolution", {**DEPTHWISE, "pad": 2})
    ),
    "product_in_place": product_in_place,
    "product_of_the_fifth_axis": then(reshape(0, 2, 2, 6, 6), ("InnerProduct", {"num_output": 3, "axis": 4})),
    "product_of_the_fourth_axis": then(
        reshape(0, 2, 2, 6, 6), ("InnerProduct", {"num_output": 3, "axis": 3})
    ),
    "conv_silenced_beside_another": silenced_beside(fitted),
    "conv_relu_silenced_beside_another": silenced_beside(then(fitted, ("ReLU", {}))),
    "deconv_silenced_beside_another": silenced_beside(one("Deconvolution", num_output=2, kernel_size=2)),
    "product_silenced_beside_another": silenced_beside(one("InnerProduct", num_output=2)),
    "sum_silenced_beside_another": silenced_beside(two("Eltwise")),
    "pool_silenced_beside_another": silenced_beside(half),
    "batch_norm_silenced_beside_another": silenced_beside(normalised),
    "mvn_silenced_beside_another": silenced_beside(one("MVN", normalize_variance=False)),
    "scale_silenced_beside_another": silenced_beside(then(half, ("Scale", {}))),
    "conv_silenced_alone": lambda net, x: (
        net.add_many("Silence", fitted(net, x), name="quiet"),
        net.add("TanH", x, name="t"),
    ),
    "conv_strides_of_one_window": one("Convolution", num_output=3, kernel_size=SIZE, stride=[2, 3]),
    "lstm": recurrent,
    "embed": looked_up,
}
