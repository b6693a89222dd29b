"""Small nets on which passes are tried, each with what a pass could get wrong."""

from __future__ import annotations

from tests.engines.torch.test_module import layer, source

__all__ = ["NETS", "bn", "conv", "ended", "plus", "relu", "scale", "text_of"]


def conv(name: str, bottom: str, fields: str = "", rest: str = "") -> str:
    fields = fields or "num_output: 6 kernel_size: 3 pad: 1"
    given = f"convolution_param {{ {fields} weight_filler {{ type: 'msra' }} }} {rest}"
    return layer("Convolution", name, bottom, name, given)


def bn(name: str, bottom: str, top: str = "", fields: str = "", rest: str = "") -> str:
    return layer("BatchNorm", name, bottom, top or name, f"batch_norm_param {{ {fields} }} {rest}")


def scale(name: str, bottom: str, top: str = "", fields: str = "bias_term: true", rest: str = "") -> str:
    filled = "filler { type: 'uniform' min: 0.5 max: 2 } bias_filler { type: 'uniform' }"
    return layer("Scale", name, bottom, top or name, f"scale_param {{ {fields} {filled} }} {rest}")


def relu(name: str, bottom: str, top: str = "", fields: str = "") -> str:
    return layer("ReLU", name, bottom, top or bottom, f"relu_param {{ {fields} }}")


def plus(name: str, *bottoms: str, fields: str = "") -> str:
    read = " ".join(f'bottom: "{b}"' for b in bottoms)
    return f'layer {{ name: "{name}" type: "Eltwise" {read} top: "{name}" eltwise_param {{ {fields} }} }}\n'


FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
FC = "inner_product_param { num_output: 5 weight_filler { type: 'msra' } }"


def ended(blob: str) -> str:
    return layer("InnerProduct", "fc", blob, "fc", FC) + LOSS


DATA = source(data=(4, 3, 7, 6), label=(4,))

NETS: dict[str, str] = {
    "a residual block": conv("c1", "data")
    + bn("b1", "c1", "c1")
    + scale("s1", "c1", "c1")
    + relu("r1", "c1")
    + conv("c2", "c1")
    + bn("b2", "c2", "c2")
    + scale("s2", "c2", "c2")
    + plus("sum", "c2", "c1")
    + relu("r2", "sum")
    + ended("sum"),
    "a projection": conv("c1", "data")
    + bn("b1", "c1")
    + scale("s1", "b1")
    + conv("c2", "data", "num_output: 6 kernel_size: 1 bias_term: false")
    + bn("b2", "c2")
    + scale("s2", "b2")
    + plus("sum", "s1", "s2")
    + relu("r", "sum", "r")
    + ended("r"),
    "before the activation": bn("b1", "data")
    + scale("s1", "b1")
    + relu("r1", "s1")
    + conv("c1", "s1")
    + bn("b2", "c1", "c1")
    + scale("s2", "c1", "c1")
    + relu("r2", "c1")
    + conv("c2", "c1")
    + plus("sum", "c2", "c1")
    + ended("sum"),
    "a blob read between": conv("c1", "data")
    + bn("b1", "c1", "b")
    + scale("s1", "b", "s")
    + relu("r1", "s")
    + plus("sum", "s", "b")
    + plus("more", "sum", "c1", fields="coeff: 2 coeff: -1")
    + relu("r2", "more")
    + ended("more"),
    "a convolution read twice": conv("c1", "data")
    + bn("b1", "c1")
    + scale("s1", "b1")
    + bn("b2", "c1")
    + scale("s2", "b2")
    + plus("sum", "s1", "s2")
    + ended("sum"),
    "a blob added to itself": conv("c1", "data")
    + bn("b1", "c1")
    + scale("s1", "b1")
    + plus("sum", "s1", "s1")
    + relu("r", "sum")
    + ended("sum"),
    "shared weights": conv("c1", "data", "num_output: 3 kernel_size: 3 pad: 1", "param { name: 'w' }")
    + bn("b1", "c1")
    + scale("s1", "b1", rest="param { name: 'g' }")
    + relu("r1", "s1")
    + conv("c2", "s1", "num_output: 3 kernel_size: 3 pad: 1", "param { name: 'w' }")
    + bn("b2", "c2")
    + scale("s2", "b2", rest="param { name: 'g' }")
    + ended("s2"),
    "shared statistics": conv("c1", "data")
    + bn("b1", "c1", rest="param { name: 'm' } param { name: 'v' } param { name: 'f' }")
    + scale("s1", "b1")
    + conv("c2", "s1")
    + bn("b2", "c2", rest="param { name: 'm' } param { name: 'v' } param { name: 'f' }")
    + scale("s2", "b2")
    + ended("s2"),
    "nothing learnt in the block": conv("c0", "data")
    + conv("c1", "c0", rest=FROZEN)
    + bn("b1", "c1", fields="use_global_stats: true")
    + scale("s1", "b1", rest=FROZEN)
    + relu("r1", "s1")
    + ended("s1"),
    "only the scale is learnt": conv("c0", "data")
    + conv("c1", "c0", rest=FROZEN)
    + bn("b1", "c1", fields="use_global_stats: true eps: 0.01")
    + scale("s1", "b1")
    + ended("s1"),
    "fractions": conv("c1", "data")
    + bn("b1", "c1", fields="moving_average_fraction: 1")
    + scale("s1", "b1")
    + conv("c2", "s1")
    + bn("b2", "c2", fields="moving_average_fraction: 0.5 eps: 0.1")
    + scale("s2", "b2")
    + conv("c3", "s2")
    + bn("b3", "c3", fields="moving_average_fraction: 0")
    + scale("s3", "b3", fields="")
    + ended("s3"),
    "without a scale": conv("c1", "data")
    + bn("b1", "c1")
    + relu("r1", "b1")
    + conv("c2", "b1")
    + scale("s2", "c2")
    + relu("r2", "s2", fields="negative_slope: 0.1")
    + conv("c3", "s2")
    + relu("r3", "c3", fields="negative_slope: -0.5")
    + ended("c3"),
    "scales of other axes": conv("c1", "data")
    + bn("b1", "c1")
    + scale("s1", "b1", fields="axis: 2 num_axes: 1")
    + conv("c2", "s1")
    + bn("b2", "c2")
    + scale("s2", "b2", fields="axis: 1 num_axes: -1")
    + conv("c3", "s2")
    + bn("b3", "c3")
    + scale("s3", "b3", fields="axis: -3 bias_term: true")
    + conv("c4", "s3")
    + bn("b4", "c4")
    + scale("s4", "b4", fields="axis: 0 num_axes: 0")
    + ended("s4"),
    "a scale by another blob": conv("c1", "data")
    + bn("b1", "c1")
    + conv("gate", "data", "num_output: 6 kernel_h: 7 kernel_w: 6")
    + layer("Flatten", "f", "gate", "f", "flatten_param { axis: 1 }")
    + 'layer { name: "s1" type: "Scale" bottom: "b1" bottom: "f" top: "s1" scale_param { axis: 0 } }\n'
    + ended("s1"),
    "cut": conv("c1", "data")
    + bn("b1", "c1")
    + scale("s1", "b1", rest="propagate_down: false")
    + relu("r1", "s1")
    + conv("c2", "s1")
    + bn("b2", "c2", rest="propagate_down: false")
    + scale("s2", "b2")
    + ended("s2"),
    "losses in between": conv("c1", "data")
    + bn("b1", "c1", rest="loss_weight: 0.3")
    + scale("s1", "b1")
    + conv("c2", "s1", rest="loss_weight: 0.2")
    + relu("r", "c2", "r")
    + ended("r"),
    "groups, strides and dilation": conv("c1", "data", "num_output: 6 kernel_size: 3 stride: 2 group: 3")
    + bn("b1", "c1")
    + scale("s1", "b1")
    + conv("c2", "s1", "num_output: 4 kernel_size: 1 pad: 2 dilation: 2")
    + bn("b2", "c2")
    + scale("s2", "b2")
    + ended("s2"),
    "other products": layer(
        "Deconvolution",
        "d",
        "data",
        "d",
        "convolution_param { num_output: 6 kernel_size: 3 "
        "stride: 2 group: 3 weight_filler { type: 'msra' } bias_filler { type: 'uniform' } }",
    )
    + bn("b1", "d")
    + scale("s1", "b1")
    + relu("r1", "s1")
    + layer("InnerProduct", "i", "s1", "i", FC)
    + bn("b2", "i", fields="eps: 1")
    + scale("s2", "b2")
    + relu("r2", "s2")
    + layer(
        "InnerProduct",
        "t",
        "s2",
        "t",
        "inner_product_param { num_output: 7 transpose: true bias_term: false "
        "weight_filler { type: 'msra' } }",
    )
    + bn("b3", "t", fields="eps: 1")
    + scale("s3", "b3")
    + ended("s3"),
    "aliases": conv("c1", "data")
    + layer("Split", "sp", "c1", "p1", 'top: "p2"')
    + relu("r1", "p1")
    + layer("Dropout", "d", "p2", "q", "dropout_param { dropout_ratio: 0.0 }")
    + relu("r2", "q", "q2")
    + layer("Reshape", "re", "q", "q3", "reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 } }")
    + relu("r3", "q3")
    + plus("sum", "p1", "q2")
    + plus("more", "sum", "q3")
    + plus("most", "more", "p2")
    + ended("most"),
    "sums": conv("c1", "data")
    + conv("c2", "data")
    + conv("c3", "data")
    + plus("a", "c1", "c2", fields="coeff: 0.5 coeff: 1")
    + plus("b", "a", "c3", fields="coeff: 2 coeff: 3")
    + plus("c", "b", "extra")
    + relu("r", "c")
    + ended("c"),
    "products and maxima": conv("c1", "data")
    + conv("c2", "data")
    + plus("a", "c1", "c2", fields="operation: PROD")
    + relu("r1", "a")
    + conv("c3", "a")
    + plus("b", "a", "c3", fields="operation: MAX")
    + relu("r2", "b")
    + ended("b"),
    "pools": conv("c1", "data")
    + layer("Pooling", "p", "c1", "p", "pooling_param { kernel_size: 3 stride: 2 }")
    + relu("r1", "p")
    + conv("c2", "p")
    + layer("Pooling", "a", "c2", "a", "pooling_param { pool: AVE kernel_size: 2 stride: 2 pad: 1 }")
    + relu("r2", "a")
    + layer("LRN", "l", "a", "l", "lrn_param { local_size: 3 alpha: 2 }")
    + relu("r3", "l")
    + layer("Pooling", "g", "l", "g", "pooling_param { pool: AVE global_pooling: true }")
    + ended("g"),
    "a crop": conv("c1", "data")
    + layer("Pooling", "p", "c1", "p", "pooling_param { kernel_h: 1 kernel_w: 2 stride: 1 }")
    + 'layer { name: "cr" type: "Crop" bottom: "c1" bottom: "p" top: "cr" '
    + "crop_param { axis: 2 offset: 0 offset: 1 } }\n"
    + layer("Pooling", "q", "cr", "q", "pooling_param { pool: AVE kernel_size: 1 stride: 2 }")
    + ended("q"),
}


def text_of(name: str) -> str:
    """The net with its inputs."""
    return DATA + (source(extra=(4, 6, 7, 6)) if name == "sums" else "") + NETS[name]
