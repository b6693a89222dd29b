"""Inputs without a shape: a scalar's axes but no numbers, on which some layers abort. Real Caffe judges."""

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe, CaffeRefused
from netbuilder.errors import NetBuilderError, ShapeError

X = 'layer { name: "x" type: "Input" top: "x" }\n'
Y = 'layer { name: "y" type: "Input" top: "y" }\n'
SCALAR = 'layer { name: "x" type: "Input" top: "x" input_param { shape { } } }\n'
BOTH = 'layer { name: "x" type: "Input" top: "x" top: "y" }\n'


def layer(type: str, bottoms: str = "x", tops: str = "t", fields: str = "", name: str = "") -> str:
    blobs = [f'bottom: "{b}"' for b in bottoms] + [f'top: "{t}"' for t in tops]
    return f'layer {{ name: "{name or tops or "l"}" type: "{type}" {" ".join(blobs)} {fields} }}\n'


RESHAPE = "reshape_param {{ shape {{ {} }} }}"
EMBED = "embed_param { num_output: 3 input_dim: 4 %s }"
IN_PLACE = layer("ReLU", tops="x", name="relu")
NETS = {
    "one reader": X + layer("AbsVal"),
    "two readers": X + layer("AbsVal") + layer("AbsVal", tops="u"),
    "two readers of its scalar": X + layer("AbsVal") + layer("Exp", "t", "u") + layer("Exp", "t", "v"),
    "two readers of a scalar": SCALAR + layer("AbsVal") + layer("AbsVal", tops="u"),
    "two that give nothing": X + layer("Silence", tops="", name="a") + layer("Silence", tops="", name="b"),
    "one layer reads it twice": X + layer("Eltwise", "xx"),
    "one layer scales it by itself": X + layer("Scale", "xx"),
    "a reader and one in place": X + layer("AbsVal") + IN_PLACE,
    "in place": X + IN_PLACE,
    "two readers of what is made in place": X + IN_PLACE + layer("Exp", tops="u") + layer("Exp", tops="v"),
    "reshaped after in place": X + IN_PLACE + layer("Reshape", fields=RESHAPE.format("dim: 1")),
    "a Split": X + layer("Split", tops="tu"),
    "a Split of a scalar": SCALAR + layer("Split", tops="tu"),
    "Reshape": X + layer("Reshape", fields=RESHAPE.format("dim: 1")),
    "Reshape to a scalar": X + layer("Reshape", fields=RESHAPE.format("")),
    "Reshape to what there is": X + layer("Reshape", fields=RESHAPE.format("dim: -1")),
    "Reshape of a scalar": SCALAR + layer("Reshape", fields=RESHAPE.format("dim: -1")),
    "Embed": X + layer("Embed", fields=EMBED % ""),
    "Embed without bias": X + layer("Embed", fields=EMBED % "bias_term: false"),
    "two inputs": X + Y + layer("Eltwise", "xy"),
    "two inputs of one layer": BOTH + layer("Exp") + layer("Exp", "y", "u"),
    "one of two inputs twice": BOTH + layer("Exp") + layer("Exp", "x", "u") + layer("Exp", "y", "v"),
    "MVN": X + layer("MVN"),
    "Scale by another": X + Y + layer("Scale", "xy"),
    "no reader": X + Y + layer("Exp"),
}


@pytest.mark.parametrize("name", NETS)
def test_real_caffe_takes_and_refuses_the_same(name: str, real_caffe: Caffe) -> None:
    try:
        net = prototxt.parse(NETS[name])
    except NetBuilderError:
        with pytest.raises(CaffeRefused):
            real_caffe.load(NETS[name])
        return
    loaded = real_caffe.load(NETS[name]).layers_as_written()
    assert [x.top_shapes for x in loaded] == [tuple(top.shape for top in x.tops) for x in net]


def test_the_second_reader_is_named_with_its_line_and_the_fix() -> None:
    with pytest.raises(ShapeError) as caught:
        prototxt.parse(NETS["two readers"], path="net.prototxt")
    assert str(caught.value) == (
        "AbsVal 'u': bottom 'x' has no shape, and layer 't' reads it too: Caffe cannot split such a blob\n"
        "  where:   net.prototxt:3\n"
        "  bottoms: x () from x\n"
        "  hint:    give Input 'x' a shape: input_param { shape { dim: 1 ... } }"
    )
    shaped = prototxt.parse(NETS["two readers"], inputs={"x": (2, 3)})
    assert shaped["u"].tops[0].shape == (2, 3)
