"""Nets as they are published, in our own words: AlexNet of BVLC, and a deploy net in the way of ResNet's authors."""

# ruff: noqa: E501 (a line of a net is a line)

from __future__ import annotations

__all__ = ["ALEXNET", "RESIDUAL"]

_CONV = """
layer {{
  name: "conv{i}" type: "Convolution" bottom: "{bottom}" top: "conv{i}"
  param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  convolution_param {{
    num_output: {n} {window}
    weight_filler {{ type: "gaussian" std: 0.01 }} bias_filler {{ type: "constant" value: 0.1 }}
  }}
}}
layer {{ name: "relu{i}" type: "ReLU" bottom: "conv{i}" top: "conv{i}" }}
"""
_NORM = """
layer {{ name: "norm{i}" type: "LRN" bottom: "conv{i}" top: "norm{i}" lrn_param {{ local_size: 5 alpha: 0.0001 beta: 0.75 }} }}
"""
_POOL = """
layer {{ name: "pool{i}" type: "Pooling" bottom: "{bottom}" top: "pool{i}" pooling_param {{ pool: MAX kernel_size: 3 stride: 2 }} }}
"""
_FC = """
layer {{
  name: "fc{i}" type: "InnerProduct" bottom: "{bottom}" top: "fc{i}"
  param {{ lr_mult: 1 decay_mult: 1 }} param {{ lr_mult: 2 decay_mult: 0 }}
  inner_product_param {{ num_output: {n} weight_filler {{ type: "gaussian" std: 0.005 }} }}
}}
"""
_DROP = """
layer {{ name: "relu{i}" type: "ReLU" bottom: "fc{i}" top: "fc{i}" }}
layer {{ name: "drop{i}" type: "Dropout" bottom: "fc{i}" top: "fc{i}" dropout_param {{ dropout_ratio: 0.5 }} }}
"""
_DATA = """
layer {{
  name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ mirror: {mirror} crop_size: 227 mean_file: "imagenet_mean.binaryproto" }}
  data_param {{ source: "ilsvrc12_{phase}_lmdb" batch_size: {batch} backend: LMDB }}
}}
"""
ALEXNET = "".join(
    (
        'name: "AlexNet"\n',
        _DATA.format(phase="TRAIN", mirror="true", batch=256),
        _DATA.format(phase="TEST", mirror="false", batch=50),
        _CONV.format(i=1, bottom="data", n=96, window="kernel_size: 11 stride: 4"),
        _NORM.format(i=1),
        _POOL.format(i=1, bottom="norm1"),
        _CONV.format(i=2, bottom="pool1", n=256, window="pad: 2 kernel_size: 5 group: 2"),
        _NORM.format(i=2),
        _POOL.format(i=2, bottom="norm2"),
        _CONV.format(i=3, bottom="pool2", n=384, window="pad: 1 kernel_size: 3"),
        _CONV.format(i=4, bottom="conv3", n=384, window="pad: 1 kernel_size: 3 group: 2"),
        _CONV.format(i=5, bottom="conv4", n=256, window="pad: 1 kernel_size: 3 group: 2"),
        _POOL.format(i=5, bottom="conv5"),
        _FC.format(i=6, bottom="pool5", n=4096),
        _DROP.format(i=6),
        _FC.format(i=7, bottom="fc6", n=4096),
        _DROP.format(i=7),
        _FC.format(i=8, bottom="fc7", n=1000),
        'layer { name: "accuracy" type: "Accuracy" bottom: "fc8" bottom: "label" top: "accuracy" include { phase: TEST } }\n',
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8" bottom: "label" top: "loss" }\n',
    )
)

_UNIT = """
layer {{ bottom: "{bottom}" top: "{top}" name: "{top}" type: "Convolution"
  convolution_param {{ num_output: 16 kernel_size: {k} pad: {pad} stride: 1 bias_term: false }} }}
layer {{ bottom: "{top}" top: "{top}" name: "bn{top}" type: "BatchNorm" batch_norm_param {{ use_global_stats: true }} }}
layer {{ bottom: "{top}" top: "{top}" name: "scale{top}" type: "Scale" scale_param {{ bias_term: true }} }}
"""
RESIDUAL = (
    'name: "residual"\ninput: "data" input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32\n'
    + _UNIT.format(bottom="data", top="conv1", k=7, pad=3)
    + 'layer { bottom: "conv1" top: "conv1" name: "conv1_relu" type: "ReLU" }\n'
    + _POOL.format(i=1, bottom="conv1")
    + _UNIT.format(bottom="pool1", top="res2a_branch1", k=1, pad=0)
    + _UNIT.format(bottom="pool1", top="res2a_branch2a", k=3, pad=1)
    + 'layer { bottom: "res2a_branch1" bottom: "res2a_branch2a" top: "res2a" name: "res2a" type: "Eltwise" }\n'
    'layer { bottom: "res2a" top: "res2a" name: "res2a_relu" type: "ReLU" }\n'
    'layer { bottom: "res2a" top: "pool5" name: "pool5" type: "Pooling" '
    "pooling_param { kernel_size: 7 stride: 1 pool: AVE } }\n"
    'layer { bottom: "pool5" top: "fc1000" name: "fc1000" type: "InnerProduct" inner_product_param { num_output: 1000 } }\n'
    'layer { bottom: "fc1000" top: "prob" name: "prob" type: "Softmax" }\n'
)
