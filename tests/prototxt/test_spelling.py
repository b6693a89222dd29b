"""How a prototxt may be spelt: our reader and real Caffe's must give the same verdict."""

from __future__ import annotations

import pytest

from netbuilder import prototxt
from netbuilder.engines.caffe import Caffe, CaffeRefused
from netbuilder.errors import NetBuilderError

INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'
POOL = INPUT + 'layer { name: "r" type: "Pooling" bottom: "x" top: "r" pooling_param { %s } }'
CONV = INPUT + (
    'layer { name: "r" type: "Convolution" bottom: "x" top: "r" '
    "convolution_param { num_output: 2 kernel_size: 1 bias_term: %s } }"
)
RELU = INPUT + 'layer { name: "r" type: "ReLU" bottom: "x" top: "r" relu_param { negative_slope: %s } }'
NAME = INPUT + 'layer { name: %s type: "ReLU" bottom: "x" top: "r" }'
FLAT = INPUT + 'layer { name: "r" type: "Flatten" bottom: "x" top: "r" flatten_param { axis: %s } }'

FLOATS = (
    "010",
    "0x10",
    "1.5f",
    "inf",
    "nan",
    "-inf",
    "-infinity",
    "1e3",
    ".5",
    "5.",
    "1e400",
    "- 1",
    "--1",
    '"1"',
)
BOOLS = ("01", "0x1", "True", "t", "TRUE", "2", "yes", '"true"', "-1")
STRINGS = (
    r'"\X41"',
    r'"\x41"',
    r'"\101"',
    r'"\u0041"',
    '"a\nb"',
    r'"\q"',
    r'"\8"',
    "\"a\" 'b'",
    "bare",
    '"é"',
)
FIELDS = (
    "kernel_size: 3stride: 2",
    "kernel_size: 3,stride: 2;",
    "kernel_size: 3,,stride: 2",
    "kernel_size: 03",
    "kernel_size: 08",
    "kernel_size: 0x3",
    "kernel_size: -0",
    "kernel_size: 3.0",
    "kernel_size: 4294967296",
    "kernel_size 3",
    "kernel_size: [3]",
    "kernel_size: 3 pool: 1",
    "kernel_size: 3 pool: 7",
    'kernel_size: 3 pool: "MAX"',
    "kernel_size: 3 pool: Max",
    "kernel_size: 3 kernel_size: 3",
    "kernel_size: 3 # a comment",
    "KERNEL_SIZE: 3",
)
WHOLE = (
    "",
    "\ufeff" + INPUT,
    INPUT + "\0",
    INPUT + "\f\v",
    INPUT + ";",
    INPUT + "// no comment",
    INPUT + "[foo.bar]: 3",
    INPUT + "Layer { }",
    INPUT + "layer { ",
    INPUT + "}",
    INPUT.replace("{", "<").replace("}", ">"),
    INPUT.replace("{", "<", 1),
    INPUT.replace("layer {", "layer: {"),
    INPUT.replace("\n", "\r\n"),
    'layer: [{ name: "x" type: "Input" top: "x" }]',
    'layer { name: "x" type: "Input" top: ["x", "y"] }',
    'layer { name: "x" type: "Input" top: ["x" "y"] }',
    'layer { name: "x" type: "Input" top: ["x", ] }',
    'layer { name: "x" type: "Input" top: "x" bottom: [] }',
    'layer { name: "x" type: Input top: "x" }',
    'name: "a" name: "b"',
    "force_backward: true, debug_info: false",
)
TEXTS = [
    *(RELU % v for v in FLOATS),
    *(CONV % v for v in BOOLS),
    *(NAME % v for v in STRINGS),
    *(POOL % v for v in FIELDS),
    *(FLAT % v for v in ("- 3", "-3", "0x1", "-0x1", "+1")),
    *WHOLE,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_we_read_what_caffe_reads_and_refuse_what_it_refuses(real_caffe: Caffe, text: str) -> None:
    try:
        real_caffe.load(text)
    except CaffeRefused:
        with pytest.raises(NetBuilderError):
            prototxt.parse(text)
    else:
        prototxt.parse(text)
