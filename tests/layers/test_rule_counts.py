"""Parameters, MACs and operations of single layers against small calculations of their own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from netbuilder import Net
from netbuilder.errors import FieldError, ShapeError
from netbuilder.layers import RULES
from netbuilder.net import Layer


def layer(type: str, *bottoms: tuple[int, ...], tops: int = 1, **fields: Any) -> Layer:
    net = Net("n", dialect="caffe-master")
    blobs = [net.add("Input", name=f"x{i}", shape={"dim": shape}) for i, shape in enumerate(bottoms)]
    net.add(type, *blobs, name="t", tops=[f"y{i}" for i in range(tops)], **fields)
    return net["t"]


def shapes(layer: Layer) -> list[tuple[int, ...]]:
    return [top.known_shape for top in layer.tops]


def params(layer: Layer) -> list[tuple[tuple[int, ...], str]]:
    return [(p.shape, p.role) for p in layer.params]


def count(*sizes: int) -> int:
    """How often the innermost statement of nested loops runs."""
    return sum(1 for _ in itertools.product(*(range(n) for n in sizes)))


def test_an_lstm_has_four_gates_of_inputs_and_states() -> None:
    steps, streams, inputs, hidden = 4, 2, 5, 3
    found = layer("LSTM", (steps, streams, inputs), (steps, streams), num_output=hidden)
    gate = count(hidden, inputs) + count(hidden, hidden)
    assert found.macs == 4 * count(steps, streams) * gate
    assert params(found) == [((12, 5), "weight"), ((12,), "bias"), ((12, 3), "weight")]
    # sigmoid(i), sigmoid(f), sigmoid(o), tanh(g), tanh(c) at 3 each; cont*f, f*c, i*g, o*tanh(c); one sum;
    # then the bias and the sum of the two products of each gate, and cont*h.
    per_element = 5 * 3 + 4 + 1 + 4 + 4 + 1
    assert found.ops == per_element * count(steps, streams, hidden)
    assert shapes(found) == [(4, 2, 3)]


def test_a_static_input_of_an_lstm_is_transformed_once_for_all_steps() -> None:
    plain = layer("LSTM", (4, 2, 5), (4, 2), num_output=3)
    static = layer("LSTM", (4, 2, 5), (4, 2), (2, 6, 1), num_output=3)
    assert static.macs - plain.macs == 4 * count(2, 3, 6)
    assert static.ops - plain.ops == 4 * count(4, 2, 3)
    assert params(static) == [((12, 5), "weight"), ((12,), "bias"), ((12, 6), "weight"), ((12, 3), "weight")]


def test_an_lstm_may_expose_its_states() -> None:
    state = (1, 2, 3)
    found = layer("LSTM", (4, 2, 5), (4, 2), state, state, tops=3, num_output=3, expose_hidden=True)
    assert shapes(found) == [(4, 2, 3), state, state]
    with pytest.raises(ShapeError, match=r"bottom 3, a state, must be \(1,2,3\), got \(1,2,4\)"):
        layer("LSTM", (4, 2, 5), (4, 2), state, (1, 2, 4), tops=3, num_output=3, expose_hidden=True)
    with pytest.raises(ShapeError, match="needs 4 or 5 bottoms, got 2"):
        layer("LSTM", (4, 2, 5), (4, 2), tops=3, num_output=3, expose_hidden=True)
    with pytest.raises(ShapeError, match="without expose_hidden it needs 1 tops, got 3"):
        layer("LSTM", (4, 2, 5), (4, 2), tops=3, num_output=3)


def test_an_rnn_transforms_inputs_states_and_outputs() -> None:
    steps, streams, inputs, hidden = 3, 2, 4, 5
    found = layer("RNN", (steps, streams, 2, 2), (steps, streams), (streams, 7), num_output=hidden)
    each = count(hidden, inputs) + 2 * count(hidden, hidden)
    assert found.macs == count(steps, streams) * each + count(streams, hidden, 7)
    # cont*h, bias, two sums (one is of the static input), tanh; bias, tanh
    assert found.ops == (1 + 1 + 2 + 3 + 1 + 3) * count(steps, streams, hidden)
    assert params(found) == [
        ((5, 4), "weight"), ((5,), "bias"), ((5, 7), "weight"), ((5, 5), "weight"), ((5, 5), "weight"),
        ((5,), "bias"),
    ]  # fmt: skip


def test_an_lstm_unit_computes_20_operations_per_element() -> None:
    found = layer("LSTMUnit", (1, 2, 3), (1, 2, 12), (1, 2), tops=2)
    assert (found.macs, found.ops, found.params) == (0, 20 * count(2, 3), ())


def test_looking_up_a_row_is_not_a_mac() -> None:
    found = layer("Embed", (4, 2), num_output=3, input_dim=6)
    assert (found.macs, found.ops) == (0, count(4, 2, 3))
    assert params(found) == [((6, 3), "weight"), ((3,), "bias")]
    assert shapes(found) == [(4, 2, 3)]
    bare = layer("Embed", (4, 2), num_output=3, input_dim=6, bias_term=False)
    assert (bare.ops, params(bare)) == (0, [((6, 3), "weight")])


def test_lrn_within_a_channel_adds_up_a_square_around_each_element() -> None:
    across = layer("LRN", (2, 4, 6, 5), local_size=3)
    within = layer("LRN", (2, 4, 6, 5), local_size=3, norm_region="WITHIN_CHANNEL")
    assert across.ops == 7 * count(2, 4, 6, 5)
    assert within.ops == count(2, 4, 6, 5, 3, 3) + 5 * count(2, 4, 6, 5)


def test_an_even_window_of_lrn_and_a_bottom_of_two_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match="local_size must be odd, got 4"):
        layer("LRN", (2, 4, 6, 5), local_size=4)
    with pytest.raises(ShapeError, match="4 axes"):
        layer("LRN", (2, 4))


def test_mvn_always_gives_four_axes() -> None:
    found = layer("MVN", (2, 3), across_channels=True)
    assert (shapes(found), found.ops) == ([(2, 3, 1, 1)], 5 * count(2, 3))
    assert layer("MVN", (2, 3, 4, 5), normalize_variance=False).ops == 2 * count(2, 3, 4, 5)


def test_spp_counts_the_windows_of_all_its_levels() -> None:
    found = layer("SPP", (2, 3, 9, 7), pyramid_height=2)
    # one window of 9x7, then 2x2 windows of 5x4
    assert (shapes(found), found.ops) == ([(2, 15)], count(2, 3) * (9 * 7 + 4 * 5 * 4))
    with pytest.raises(ShapeError, match="pyramid_height 3 does not fit 3x8: 4 bins a side"):
        layer("SPP", (2, 3, 3, 8), pyramid_height=3)


def test_im2col_only_copies() -> None:
    found = layer("Im2col", (2, 3, 8, 7), kernel_size=[2, 1], stride=[1, 2])
    assert (shapes(found), found.macs, found.ops, found.params) == ([(2, 6, 7, 4)], 0, 0, ())


def test_argmax_compares_each_element_once() -> None:
    assert layer("ArgMax", (2, 5, 4)).ops == count(2, 5, 4)
    assert shapes(layer("ArgMax", (2, 3, 2, 2), top_k=3)) == [(2, 1, 3, 1)]
    assert shapes(layer("ArgMax", (2, 3, 2, 2), top_k=2, axis=-3)) == [(2, 2, 2, 2)]


def test_a_filter_keeps_the_batch_until_the_net_runs() -> None:
    found = layer("Filter", (4, 3), (4, 2, 2), (4, 1), tops=2)
    assert (shapes(found), found.ops) == ([(4, 3), (4, 2, 2)], 4)
    with pytest.raises(ShapeError, match="one top less than bottoms, got 1 for 3"):
        layer("Filter", (4, 3), (4, 2, 2), (4, 1))


def test_the_losses_of_one_label_per_image() -> None:
    assert layer("HingeLoss", (3, 4), (3,)).ops == 3 * count(3, 4)
    assert layer("HingeLoss", (3, 4), (3,), norm="L2").ops == 4 * count(3, 4)
    assert layer("MultinomialLogisticLoss", (3, 4), (3, 1, 1, 1)).ops == 3 * 3
    assert layer("ContrastiveLoss", (4, 3), (4, 3), (4,)).ops == 3 * count(4, 3) + 3 * 4


def test_a_parameter_layer_is_one_weight() -> None:
    found = layer("Parameter", parameter_param={"shape": {"dim": [2, 3]}})
    assert (shapes(found), params(found)) == ([(2, 3)], [((2, 3), "weight")])


@pytest.mark.parametrize(
    ("type", "fields", "why"),
    [
        ("Python", {"module": "m", "layer": "L"}, "its shape depends on the Python class m.L"),
        ("HDF5Data", {"source": "l.txt"}, "its shape depends on the HDF5 files listed in 'l.txt'"),
        (
            "WindowData",
            {"window_data_param": {"source": "w.txt"}, "transform_param": {"crop_size": 8}},
            "its shape depends on the images of the window file 'w.txt'",
        ),
    ],
)
def test_a_shape_that_lives_elsewhere_is_unknown(type: str, fields: dict[str, Any], why: str) -> None:
    found = layer(type, tops=2, **fields)
    assert (found.unknown, [top.shape for top in found.tops]) == (why, [None, None])


def test_layers_that_compute_wrong_values_in_place_are_not_added_in_place() -> None:
    net = Net("n")
    x = net.add("Input", name="x", shape={"dim": [1, 3, 4, 4]})
    for name in ("LRN", "MVN"):
        assert RULES[name].in_place == "wrong"
        with pytest.raises(FieldError, match="in place"):
            net.add(name, x, name=name, in_place=True)
