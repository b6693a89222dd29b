"""The graph: what `Net.add` accepts, gives and refuses; the texts of the likeliest mistakes, in full."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from legos import BottleneckBranch, EltwiseReLULego, ShortcutLego
from netbuilder import Blob, Net
from netbuilder.errors import FieldError, NetBuilderError, ShapeError, StaleBlob
from netbuilder.layers import RULES, Facts


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    """Errors give paths relative to the working directory."""
    monkeypatch.chdir(pytestconfig.rootpath)


def image(net: Net, shape: tuple[int, ...] = (1, 3, 8, 8)) -> Blob:
    """An Input of this shape."""
    blob = net.add("Input", name="data", shape={"dim": list(shape)})
    assert isinstance(blob, Blob)
    return blob


def text_of(net: Net, *args: Any, **fields: Any) -> str:
    """What the refusal of this layer says, with its type."""
    with pytest.raises(NetBuilderError) as caught:
        net.add(*args, **fields)
    return f"{type(caught.value).__name__}: {caught.value}"


# Where `text_of` calls `add`: the caller's line in the texts below.
WHERE = f"tests/test_net.py:{inspect.getsourcelines(text_of)[1] + 3}"


def test_a_layer_has_its_shape_parameters_and_macs_when_it_is_added() -> None:
    net = Net("n")
    x = net.add("Convolution", image(net), name="c", num_output=4, kernel_size=3)
    layer = net["c"]
    assert x.shape == (1, 4, 6, 6)
    assert [(p.shape, p.role, p.learnable) for p in layer.params] == [
        ((4, 3, 3, 3), "weight", True),
        ((4,), "bias", True),
    ]
    assert layer.macs == 6 * 6 * 4 * 3 * 3 * 3
    assert repr(layer) == "Layer(Convolution 'c': data -> c)"
    assert repr(x) == "Blob('c' (1,4,6,6) of 'c')"


def test_several_tops_come_as_a_tuple_and_none_as_an_empty_one() -> None:
    net = Net("n")
    a, b = net.add_many("Slice", image(net, (1, 4, 2, 2)), name="s", tops=["a", "b"])
    assert (a.shape, b.shape) == ((1, 2, 2, 2), (1, 2, 2, 2))
    assert net.add("Silence", a, b, name="quiet") == ()


def test_in_place_gives_a_new_version_of_the_same_blob() -> None:
    net = Net("n")
    x = image(net)
    y = net.add("ReLU", x, name="r", in_place=True)
    assert (x.version, y.version, y.name) == (0, 1, "data")
    assert net["r"].in_place


def test_short_names_whole_messages_and_layer_fields_are_all_accepted() -> None:
    net = Net("n")
    x = image(net)
    short = net.add(
        "Convolution", x, name="a", num_output=4, kernel_size=3, pad=1, weight_filler={"type": "xavier"}
    )
    whole = net.add(
        "Convolution",
        short,
        name="b",
        convolution_param={
            "num_output": 4,
            "kernel_size": [3],
            "pad": [1],
            "weight_filler": {"type": "xavier"},
        },
        param=[{"lr_mult": 0}, {"lr_mult": 2}],
    )
    assert net["a"].proto.convolution_param == net["b"].proto.convolution_param
    assert [p.learnable for p in net["b"].params] == [False, True]
    assert whole.shape == (1, 4, 8, 8)


def test_the_call_comes_before_the_nets_defaults_and_they_before_the_projects() -> None:
    net = Net("n", defaults={"Convolution": {"weight_filler": {"type": "xavier"}, "bias_term": False}})
    x = image(net)
    net.add("Convolution", x, name="a", num_output=1, kernel_size=1)
    net.add(
        "Convolution",
        x,
        name="b",
        num_output=1,
        kernel_size=1,
        weight_filler={"type": "gaussian"},
        bias_term=True,
    )
    net.add("Convolution", x, name="c", num_output=1, kernel_size=1, weight_filler=None)
    net.add("InnerProduct", x, name="d", num_output=1)
    a, b, c = (net[name].proto.convolution_param for name in "abc")
    assert (a.weight_filler.type, a.bias_term) == ("xavier", False)
    assert (b.weight_filler.type, b.bias_term) == ("gaussian", True)
    assert not c.HasField("weight_filler")
    assert net["d"].proto.inner_product_param.weight_filler.type == "msra"


def test_defaults_are_not_changed_by_a_net_that_uses_them() -> None:
    defaults = {"Convolution": {"weight_filler": {"type": "xavier"}}}
    net = Net("n", defaults=defaults)
    net.add("Convolution", image(net), name="a", num_output=1, kernel_size=1, weight_filler={"type": "msra"})
    assert defaults == {"Convolution": {"weight_filler": {"type": "xavier"}}}


def test_an_unknown_layer_type_offers_the_nearest() -> None:
    net = Net("n")
    x = image(net)
    assert text_of(net, "Convolutoin", x, name="c", num_output=4) == (
        "FieldError: Convolutoin 'c': unknown layer type 'Convolutoin'\n"
        f"  where:   {WHERE}\n"
        "  hint:    did you mean 'Convolution'?"
    )


def test_an_unknown_field_offers_the_nearest() -> None:
    net = Net("n")
    assert text_of(net, "Convolution", image(net), name="c", num_output=4, kernal_size=3) == (
        "FieldError: Convolution 'c': no field 'kernal_size' in layer type Convolution\n"
        f"  where:   {WHERE}\n"
        "  hint:    did you mean 'kernel_size'?"
    )


def test_a_wrong_value_says_what_is_wanted() -> None:
    net = Net("n")
    x = image(net)
    assert text_of(net, "Convolution", x, name="c", num_output="many", kernel_size=3) == (
        "FieldError: Convolution 'c': num_output must be an integer of at least 0, got 'many'\n"
        f"  where:   {WHERE}"
    )
    assert text_of(net, "Pooling", x, name="p", pool="max", kernel_size=2) == (
        "FieldError: Pooling 'p': pool must be one of MAX, AVE, STOCHASTIC, got 'max'\n"
        f"  where:   {WHERE}\n"
        "  hint:    did you mean 'MAX'?"
    )
    assert text_of(net, "InnerProduct", x, name="f", num_output=[1, 2]) == (
        f"FieldError: InnerProduct 'f': num_output takes one value, got [1, 2]\n  where:   {WHERE}"
    )
    assert text_of(net, "InnerProduct", x, name="f", num_output=1, weight_filler="msra") == (
        "FieldError: InnerProduct 'f': weight_filler takes a dict of FillerParameter's fields, got 'msra'\n"
        f"  where:   {WHERE}"
    )


def test_shapes_that_do_not_fit_at_a_merge_name_both_and_their_producers() -> None:
    net = Net("n")
    x = image(net, (1, 8, 16, 16))
    main = BottleneckBranch(name="b0", num_output=16, stride=2)
    with pytest.raises(ShapeError) as caught:
        ShortcutLego(name="b0", main=main, merge=EltwiseReLULego(name="b0")).attach(net, x)
    line = inspect.getsourcelines(test_shapes_that_do_not_fit_at_a_merge_name_both_and_their_producers)[1] + 5
    assert str(caught.value) == (
        "Eltwise 'eltwise_b0': bottoms 0 and 1 must have equal shapes, got (1,8,16,16) and (1,16,8,8)\n"
        f"  where:   tests/test_net.py:{line}, ShortcutLego(b0)/EltwiseReLULego(b0)\n"
        "  bottoms: data (1,8,16,16) from data; conv_b0_branch2c (1,16,8,8) from "
        "ShortcutLego(b0)/BottleneckBranch(b0)/ConvBNLego(b0_branch2c)"
    )


def test_a_duplicate_layer_name_is_refused() -> None:
    net = Net("n")
    image(net)
    assert text_of(net, "ReLU", net.blobs["data"], name="data") == (
        f"NameClash: ReLU 'data': there is already a layer 'data' (from {net['data'].origin})\n"
        f"  where:   {WHERE}\n"
        "  hint:    layer names must differ: trained weights are stored by layer name"
    )


def test_a_top_that_is_already_produced_is_refused() -> None:
    net = Net("n")
    x = image(net)
    net.add("ReLU", x, name="r")
    assert text_of(net, "Sigmoid", x, name="s", tops=["r"]) == (
        f"NameClash: Sigmoid 's': top 'r' is already produced by layer 'r'\n  where:   {WHERE}"
    )


def test_reading_a_blob_after_an_in_place_write_is_refused() -> None:
    net = Net("n")
    x = image(net)
    net.add("ReLU", x, name="relu1", in_place=True)
    assert text_of(net, "Convolution", x, name="c", num_output=4, kernel_size=1) == (
        "StaleBlob: Convolution 'c': blob 'data' was overwritten in place by 'relu1'\n"
        f"  where:   {WHERE}\n"
        "  hint:    use the blob that 'relu1' returned, or make that layer without in_place"
    )


def test_writing_in_place_over_a_blob_that_another_layer_reads_is_refused() -> None:
    net = Net("n")
    x = image(net)
    net.add("Pooling", x, name="p", kernel_size=2)
    assert text_of(net, "ReLU", x, name="r", in_place=True) == (
        "ShapeError: ReLU 'r': cannot write over blob 'data' in place: layer 'p' reads it too\n"
        f"  where:   {WHERE}\n"
        "  bottoms: data (1,3,8,8) from data\n"
        "  hint:    Caffe splits a blob with two readers, and then refuses the in-place layer: "
        "give the top a name of its own"
    )


def test_in_place_is_refused_where_caffe_computes_wrong_values() -> None:
    net = Net("n")
    assert text_of(net, "Power", image(net), name="p", in_place=True, scale=3) == (
        "FieldError: Power 'p': Power computes wrong values in place: give the top a name of its own\n"
        f"  where:   {WHERE}"
    )


def test_a_blob_of_another_net_is_refused() -> None:
    net, other = Net("n"), Net("other")
    assert text_of(net, "ReLU", image(other), name="r") == (
        "StaleBlob: ReLU 'r': blob 'data' belongs to another net, Net('other', TEST, 1 layer)\n"
        f"  where:   {WHERE}"
    )


def test_a_refused_layer_leaves_the_net_as_it_was() -> None:
    net = Net("n")
    x = image(net)
    none: dict[str, Any] = {"num_output": 0, "kernel_size": 3}
    for bad in (none, {"num_output": 4}, {"num_output": 4, "kernel_size": 99}):
        with pytest.raises(ShapeError):
            net.add("Convolution", x, name="c", **bad)
    assert len(net) == 1
    assert net.add("Convolution", x, name="c", num_output=4, kernel_size=3).shape == (1, 4, 6, 6)


def test_a_type_or_field_that_the_dialect_lacks_is_refused_and_its_home_named() -> None:
    net = Net("n")
    x = image(net)
    assert text_of(net, "Swish", x, name="s") == (
        "FieldError: Swish 's': dialect caffe-1.0 has no layer type Swish\n"
        f"  where:   {WHERE}\n"
        "  hint:    it is in caffe-master, caffe-cudnn"
    )
    assert text_of(net, "Pooling", x, name="p", kernel_size=2, round_mode="FLOOR") == (
        "FieldError: Pooling 'p': dialect caffe-1.0 has no field round_mode\n"
        f"  where:   {WHERE}\n"
        "  hint:    leave it out, or use caffe-master, caffe-cudnn"
    )
    assert text_of(net, "Pooling", x, name="p", kernel_size=2, engine="CUDNN") == (
        "FieldError: Pooling 'p': a Caffe without cuDNN aborts on engine: CUDNN\n"
        f"  where:   {WHERE}\n"
        "  hint:    leave engine out: Caffe takes cuDNN where it has it; or use dialect caffe-cudnn"
    )
    newer = Net("n", dialect="caffe-cudnn")
    newer.add("Swish", image(newer), name="s")
    pooled = newer.add(
        "Pooling", newer.blobs["s"], name="p", kernel_size=3, stride=2, round_mode="FLOOR", engine="CUDNN"
    )
    assert pooled.shape == (1, 3, 3, 3)


def test_a_layer_type_of_ones_own_is_taken_with_its_shapes() -> None:
    net = Net("n")
    x = net.add("MyWarp", image(net), name="w", top_shapes=[(1, 5, 4, 4)])
    assert x.shape == (1, 5, 4, 4)
    assert net["w"].unknown == "no rule for layer type MyWarp"
    assert net.add("Convolution", x, name="c", num_output=2, kernel_size=1).shape == (1, 2, 4, 4)


def test_a_database_needs_its_shape_from_the_caller() -> None:
    net = Net("n")
    fields: dict[str, Any] = {"source": "train_lmdb", "batch_size": 2, "backend": "LMDB"}
    data, label = net.add_many("Data", name="data", tops=["data", "label"], **fields)
    assert (data.shape, label.shape) == (None, (2,))
    assert net["data"].unknown == "its shape depends on the records of the database 'train_lmdb'"
    given = Net("n")
    shapes = [(2, 3, 5, 5), (2,)]
    data, label = given.add_many("Data", name="data", tops=["data", "label"], top_shapes=shapes, **fields)
    assert (data.shape, label.shape) == ((2, 3, 5, 5), (2,))


def test_shared_parameters_name_their_owner_and_must_agree() -> None:
    net = Net("n")
    x = image(net)
    shared: dict[str, Any] = {
        "num_output": 4,
        "kernel_size": 1,
        "bias_term": False,
        "param": [{"name": "w", "lr_mult": 2}],
    }
    net.add("Convolution", x, name="a", **shared)
    net.add("Convolution", x, name="b", **shared)
    assert [net[n].params[0].shared_with for n in "ab"] == [None, "a"]
    assert text_of(net, "Convolution", x, name="c", **{**shared, "num_output": 5}).startswith(
        "ShapeError: Convolution 'c': parameter 'w' is shared with layer 'a' and needs its shape (4,3,1,1)"
    )
    assert "where lr_mult is 2, not 3" in text_of(
        net, "Convolution", x, name="c", **{**shared, "param": [{"name": "w", "lr_mult": 3}]}
    )


def test_a_thousand_blocks_are_built_and_counted_without_recursion() -> None:
    from netbuilder import counts

    net = Net("chain")
    x = image(net, (1, 4, 8, 8))
    for i in range(1000):
        name = f"block{i}"
        lego = ShortcutLego(
            name=name, main=BottleneckBranch(name=name, num_output=4), merge=EltwiseReLULego(name=name)
        )
        x = lego.attach(net, x)
    assert len(net) == 1 + 1000 * 13
    # Each block: 1x1 4->1, 3x3 1->1, 1x1 1->4 over 8x8 pixels.
    assert counts.count(net).macs == 1000 * 64 * (4 + 9 + 4)


def test_replaying_a_net_gives_the_same_net() -> None:
    net = Net("n")
    x = image(net)
    x = net.add("Convolution", x, name="c", num_output=4, kernel_size=3)
    net.add("ReLU", x, name="r", in_place=True)
    copy = Net("n")
    for layer in net:
        copy.append(layer.proto)
    assert [(a.proto, [t.shape for t in a.tops]) for a in net] == [
        (b.proto, [t.shape for t in b.tops]) for b in copy
    ]


def test_inputs_and_outputs() -> None:
    net = Net("n")
    x = net.add("ReLU", image(net), name="r")
    net.add("Pooling", x, name="p", kernel_size=2)
    net.add("Sigmoid", x, name="s")
    assert [b.name for b in net.inputs] == ["data"]
    assert [b.name for b in net.outputs] == ["p", "s"]


def test_an_unknown_layer_name_offers_the_nearest() -> None:
    net = Net("n")
    image(net)
    with pytest.raises(
        StaleBlob, match=r"no layer 'date' in Net\('n', TEST, 1 layer\)\n  hint:    did you mean 'data'\?"
    ):
        net["date"]


def test_a_phase_or_dialect_that_does_not_exist_is_refused() -> None:
    with pytest.raises(FieldError, match="phase must be TRAIN or TEST, got 'train'"):
        Net("n", phase="train")  # type: ignore[arg-type]
    with pytest.raises(
        NetBuilderError, match=r"unknown dialect .caffe1\.0.: there are caffe-1\.0, caffe-master"
    ):
        Net("n", dialect="caffe1.0")


def test_layers_with_equal_fields_that_share_a_parameter_name_its_owner() -> None:
    """What is known of a layer is remembered by its fields; who owns its parameters is not."""
    net = Net("shared")
    x = net.add("Input", name="data", shape=[{"dim": [1, 8]}])
    for name in "first", "second":
        net.add("InnerProduct", x, name=name, num_output=8, param={"name": "w"})
    assert [layer.params[0].shared_with for layer in net.layers[1:]] == [None, "first"]


@pytest.mark.parametrize("other", [True, "1"])
def test_a_value_of_another_type_is_refused_after_an_equal_one(other: object) -> None:
    net = Net("types")
    x = image(net)
    net.add("InnerProduct", x, name="ip", num_output=8, axis=1)
    assert "axis must be an integer" in text_of(net, "InnerProduct", x, name="ip_2", num_output=8, axis=other)


def test_a_rule_that_replaces_another_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def blob(rule_of: str) -> Blob:
        net = Net(rule_of)
        x = net.add("Input", name="data", shape=[{"dim": [1, 8, 4, 4]}])
        return net.add("Softmax", x, name="prob")

    assert blob("before").shape == (1, 8, 4, 4)
    flat = RULES["Softmax"]._replace(infer=lambda layer, bottoms: Facts(((1, 8),)))
    monkeypatch.setitem(RULES, "Softmax", flat)
    assert blob("after").shape == (1, 8)
