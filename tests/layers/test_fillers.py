"""Fillers that abort, in every layer that has one: our verdict, and real Caffe's."""

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe, CaffeRefused
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.layers.fillers import not_finite

IMAGES = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }\n'
SERIES = (
    'layer { name: "x" type: "Input" top: "x" top: "c" '
    "input_param { shape { dim: 2 dim: 3 dim: 4 } shape { dim: 2 dim: 3 } } }\n"
)
INDICES = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }\n'
# Every place of stock Caffe that takes a filler; % stands for the filler's fields.
PLACES = {
    "Convolution": (IMAGES, "convolution_param { num_output: 4 kernel_size: 3 weight_filler { % } }"),
    "Convolution bias": (IMAGES, "convolution_param { num_output: 4 kernel_size: 3 bias_filler { % } }"),
    "Deconvolution": (IMAGES, "convolution_param { num_output: 4 kernel_size: 3 weight_filler { % } }"),
    "Deconvolution bias": (IMAGES, "convolution_param { num_output: 4 kernel_size: 3 bias_filler { % } }"),
    "InnerProduct": (IMAGES, "inner_product_param { num_output: 4 weight_filler { % } }"),
    "InnerProduct bias": (IMAGES, "inner_product_param { num_output: 4 bias_filler { % } }"),
    "Embed": (INDICES, "embed_param { num_output: 4 input_dim: 5 weight_filler { % } }"),
    "Embed bias": (INDICES, "embed_param { num_output: 4 input_dim: 5 bias_filler { % } }"),
    "Scale": (IMAGES, "scale_param { filler { % } }"),
    "Scale bias": (IMAGES, "scale_param { bias_term: true bias_filler { % } }"),
    "Bias": (IMAGES, "bias_param { filler { % } }"),
    "PReLU": (IMAGES, "prelu_param { filler { % } }"),
    "LSTM": (SERIES, "recurrent_param { num_output: 4 weight_filler { % } }"),
    "LSTM bias": (SERIES, "recurrent_param { num_output: 4 bias_filler { % } }"),
    "RNN": (SERIES, "recurrent_param { num_output: 4 weight_filler { % } }"),
    "RNN bias": (SERIES, "recurrent_param { num_output: 4 bias_filler { % } }"),
}
GAUSSIAN, UNIFORM = 'type: "gaussian"', 'type: "uniform"'
REFUSED = [
    f"{GAUSSIAN} std: 0",
    f"{GAUSSIAN} std: -1",
    f"{GAUSSIAN} std: nan",
    f"{GAUSSIAN} std: -inf",
    f"{GAUSSIAN} std: 1e-46",  # 0 in single precision
    f"{GAUSSIAN} sparse: -2",
    f"{UNIFORM} min: 2",  # max is 1
    f"{UNIFORM} max: -1",  # min is 0
    f"{UNIFORM} min: nan",
    f"{UNIFORM} max: nan",
    f"{UNIFORM} min: inf max: 3e38",
    f"{UNIFORM} max: -inf",
]
ENDLESS = [f"{UNIFORM} min: -inf max: 1", f"{UNIFORM} min: inf max: inf"]
TAKEN = [
    f"{GAUSSIAN} std: 1e-30",
    f"{GAUSSIAN} std: 3e38",
    f"{GAUSSIAN} min: 2 max: 1",
    f"{UNIFORM} min: 0.5 max: 0.5",
    f"{UNIFORM} min: -3e38 max: 3e38",
    f"{UNIFORM} std: 0",
    'type: "xavier" std: 0',
    'type: "msra" min: 2 max: 1',
    'type: "constant" std: -1',
]


def net(place: str, filler: str) -> str:
    """A net with one layer that has this filler."""
    first, fields = PLACES[place]
    bottoms = 'bottom: "x" bottom: "c"' if first == SERIES else 'bottom: "x"'
    layer = f'type: "{place.split()[0]}" {bottoms} top: "t" {fields.replace("%", filler)}'
    return f'{first}layer {{ name: "t" {layer} }}\n'


@pytest.mark.parametrize("filler", [*REFUSED, *ENDLESS])
@pytest.mark.parametrize("place", PLACES)
def test_a_filler_on_which_caffe_aborts_is_refused(place: str, filler: str) -> None:
    with pytest.raises(NetBuilderError, match="filler: ") as error:
        prototxt.parse(net(place, filler))
    assert error.value.where.endswith(":2")


@pytest.mark.parametrize("filler", TAKEN)
@pytest.mark.parametrize("place", PLACES)
def test_a_filler_that_caffe_takes_is_taken(place: str, filler: str) -> None:
    assert prototxt.parse(net(place, filler))["t"].params


def test_caffe_says_the_same(real_caffe: Caffe) -> None:
    places = list(PLACES)
    for i, filler in enumerate(REFUSED):  # each with two of the places
        for place in (places[i % len(places)], places[(3 * i + 5) % len(places)]):
            with pytest.raises(CaffeRefused, match="Check failed"):
                real_caffe.load(net(place, filler))
    for place in places:
        for filler in TAKEN:
            real_caffe.load(net(place, filler))


@pytest.mark.parametrize("filler", ENDLESS)
def test_caffe_hangs_or_crashes_where_a_range_begins_at_infinity(filler: str, real_caffe: Caffe) -> None:
    with pytest.raises(EngineError), Caffe(real_caffe.install, timeout=5) as caffe:
        caffe.load(net("InnerProduct", filler))


def test_inline_weights_make_a_filler_idle(real_caffe: Caffe) -> None:
    text = (
        f'{INDICES}layer {{ name: "t" type: "InnerProduct" bottom: "x" top: "t" '
        "inner_product_param { axis: 0 num_output: 1 bias_term: false "
        f"weight_filler {{ {GAUSSIAN} std: 0 }} }} "
        "blobs { shape { dim: 1 dim: 2 } data: 1 data: 2 } }\n"
    )
    assert prototxt.parse(text)["t"].params
    real_caffe.load(text)


@pytest.mark.parametrize(
    ("type", "field", "value"),
    [
        *(("constant", "value", value) for value in ("nan", "inf", "-inf", "1e39")),
        *(("gaussian", "mean", value) for value in ("nan", "inf", "-inf", "1e39")),
        *(("gaussian", "std", value) for value in ("inf", "1e39")),
        *(("uniform", "max", value) for value in ("inf", "1e39")),
    ],
)
def test_values_that_are_not_finite_are_found(type: str, field: str, value: str) -> None:
    filler = prototxt.parse(net("Bias", f'type: "{type}" {field}: {value}'))["t"].proto.bias_param.filler
    assert not_finite(filler).startswith(f"{field}: ")
