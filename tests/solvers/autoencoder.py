"""Caffe's MNIST autoencoder, restated: three data layers, of which the state of the solver chooses one.

Source: BVLC's examples/mnist/mnist_autoencoder.prototxt and mnist_autoencoder_solver.prototxt, with 64 and 36
units in place of 1000, 500 and 250.
"""

from __future__ import annotations

from pathlib import Path

from tests.databases import noise, write_lmdb

RECORDS = {"train_lmdb": 40, "test_lmdb": 20}
_DATA = (
    'layer {{ name: "data" type: "Data" top: "data" include {{ {rule} }} '
    'transform_param {{ scale: 0.0039215684 }} data_param {{ source: "{source}" batch_size: {batch} '
    "backend: LMDB }} }}\n"
)


def _dense(name: str, bottom: str, units: int) -> str:
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}" '
        "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 1 decay_mult: 0 } inner_product_param { "
        f'num_output: {units} weight_filler {{ type: "gaussian" std: 1 sparse: 15 }} '
        'bias_filler { type: "constant" value: 0 } } }\n'
    )


def _sigmoid(name: str, blob: str) -> str:
    return f'layer {{ name: "{name}" type: "Sigmoid" bottom: "{blob}" top: "{name}" }}\n'


NET = (
    'name: "MNISTAutoencoder"\n'
    + _DATA.format(rule="phase: TRAIN", source="train_lmdb", batch=10)
    + _DATA.format(rule='phase: TEST stage: "test-on-train"', source="train_lmdb", batch=10)
    + _DATA.format(rule='phase: TEST stage: "test-on-test"', source="test_lmdb", batch=10)
    + 'layer { name: "flatdata" type: "Flatten" bottom: "data" top: "flatdata" }\n'
    + _dense("encode1", "data", 64)
    + _sigmoid("encode1neuron", "encode1")
    + _dense("encode2", "encode1neuron", 30)
    + _dense("decode2", "encode2", 64)
    + _sigmoid("decode2neuron", "decode2")
    + _dense("decode1", "decode2neuron", 36)
    + 'layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "decode1" bottom: "flatdata" '
    'top: "cross_entropy_loss" loss_weight: 1 }\n'
    + _sigmoid("decode1neuron", "decode1")
    + 'layer { name: "loss" type: "EuclideanLoss" bottom: "decode1neuron" bottom: "flatdata" '
    'top: "l2_error" loss_weight: 0 }\n'
)
SOLVER = """net: "mnist_autoencoder.prototxt"
test_state: { stage: 'test-on-train' }
test_iter: 4
test_state: { stage: 'test-on-test' }
test_iter: 2
test_interval: 10
test_compute_loss: true
base_lr: 0.01
lr_policy: "step"
gamma: 0.1
stepsize: 10000
display: 10
max_iter: 20
weight_decay: 0.0005
snapshot: 10000
snapshot_prefix: "snapshots/mnist_autoencoder"
momentum: 0.9
random_seed: 1
solver_mode: CPU
"""
# 36*64+64, 64*30+30, 30*64+64, 64*36+36: the arithmetic of four dense layers.
PARAMS = 36 * 64 + 64 + 64 * 30 + 30 + 30 * 64 + 64 + 64 * 36 + 36


def write(folder: Path) -> None:
    """The net, the solver and both databases."""
    (folder / "mnist_autoencoder.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER)
    for name, count in RECORDS.items():
        write_lmdb(folder / name, noise(count, 1, 6, 6), (k % 10 for k in range(count)))
