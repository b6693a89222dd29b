"""Whether a model's weights fit a net: by name, as Caffe takes them (see test_checks_in_caffe.py)."""

from __future__ import annotations

from netbuilder import prototxt
from netbuilder.checks.weights import fits, unused
from netbuilder.weights.model import Model, ModelLayer
from tests.checks.gallery import INPUT, conv, one

NET = prototxt.parse(
    INPUT
    + conv("kernel_size: 3").replace('"t"', '"conv1"')
    + one("ReLU", bottom="conv1", top="conv1").replace('"t"', '"relu1"')
    + one("InnerProduct", "inner_product_param { num_output: 2 }", bottom="conv1", top="fc").replace(
        '"t"', '"fc"'
    )
)
CONV = ((4, 3, 3, 3), (4,))
FC = ((2, 144), (2,))


def model(**layers: tuple[tuple[int, ...], ...]) -> Model:
    return Model("m", tuple(ModelLayer(name, "", blobs) for name, blobs in layers.items()))


def test_a_model_of_the_net_fits_with_nothing_to_say() -> None:
    whole = model(x=(), conv1=CONV, relu1=(), fc=FC)
    assert fits(NET, whole) == []
    assert unused([NET], whole, "net.prototxt") == []


def test_blobs_of_before_2015_have_four_axes_and_fit() -> None:
    old = model(conv1=((4, 3, 3, 3), (1, 1, 1, 4)), fc=((1, 1, 2, 144), (1, 1, 1, 2)))
    legacy = old._replace(layers=tuple(x._replace(legacy=frozenset({0, 1})) for x in old.layers))
    assert fits(NET, legacy) == []
    # Today's shapes are compared as they are.
    assert [(f.code, f.layer, f.text) for f in fits(NET, old)] == [
        (
            "weights-shape",
            name,
            f"its parameters are {own}, those of the model {its}: Caffe aborts, for it fills up with ones "
            "only where a blob gives num, channels, height and width",
        )
        for name, own, its in (
            ("conv1", "(4,3,3,3) (4)", "(4,3,3,3) (1,1,1,4)"),
            ("fc", "(2,144) (2)", "(1,1,2,144) (1,1,1,2)"),
        )
    ]


def test_a_layer_without_weights_gets_the_nearest_name_of_the_same_shape() -> None:
    almost = model(conv_2=((9, 9),), conv_1=CONV, fc=FC)
    (missing,) = fits(NET, almost)
    assert str(missing) == (
        "warning: conv1: the model has no layer of this name: its parameters stay as they are filled "
        "[weights-missing]\n  fix: did you mean 'conv_1'?"
    )
    assert missing.line == 2
    left = unused([NET], almost, "net.prototxt")
    assert [(f.severity, f.code, f.layer) for f in left] == [
        ("info", "weights-unused", "conv_2"),
        ("info", "weights-unused", "conv_1"),
    ]
    assert left[1].text == "no layer has this name: 112 parameters of the model are not used"


def test_other_shapes_and_numbers_of_parameters_are_errors() -> None:
    found = fits(NET, model(conv1=((4, 3, 3, 3),), relu1=((4,),), fc=((3, 144), (3,))))
    assert [(f.code, f.layer, f.text) for f in found] == [
        (
            "weights-shape",
            "conv1",
            "its parameters are (4,3,3,3) (4), those of the model (4,3,3,3): Caffe aborts",
        ),
        ("weights-shape", "relu1", "its parameters are none, those of the model (4): Caffe aborts"),
        (
            "weights-shape",
            "fc",
            "its parameters are (2,144) (2), those of the model (3,144) (3): Caffe aborts",
        ),
    ]


def test_the_second_layer_of_a_name_gets_nothing() -> None:
    twice = prototxt.parse(INPUT + conv("kernel_size: 3") + conv("kernel_size: 3", top="u"))
    (found,) = fits(twice, model(t=CONV))
    assert (found.code, found.line) == ("weights-missing", 3)
    assert found.text == "another layer of this name comes first, and takes the weights"
