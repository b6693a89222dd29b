"""A training that takes a second: a small net with BatchNorm, over 24 images of noise."""

from __future__ import annotations

from pathlib import Path

from tests.databases import noise, write_lmdb

__all__ = ["ITERATIONS", "make_job"]

ITERATIONS = 20
_NET = """
name: "tiny"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  data_param { source: "train_lmdb" batch_size: 4 backend: LMDB }
  transform_param { mirror: true scale: 0.01 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "train_lmdb" batch_size: 4 backend: LMDB } transform_param { scale: 0.01 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "msra" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv"
  param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
_SOLVER = """
net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9 max_iter: {iterations} display: 10
test_iter: 2 test_interval: {iterations} snapshot: 10 snapshot_prefix: "out/tiny" random_seed: 3
solver_mode: CPU
"""


def make_job(folder: Path, iterations: int = ITERATIONS) -> None:
    """Write solver.prototxt, net.prototxt and train_lmdb."""
    (folder / "net.prototxt").write_text(_NET)
    (folder / "solver.prototxt").write_text(_SOLVER.format(iterations=iterations))
    write_lmdb(folder / "train_lmdb", noise(24, 3, 8, 8), [i % 3 for i in range(24)])
