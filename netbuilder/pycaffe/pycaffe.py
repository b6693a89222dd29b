"""The module of pycaffe that has the nets and the solvers, for `from caffe.pycaffe import Net`."""

from __future__ import annotations

from netbuilder.pycaffe import TEST, TRAIN
from netbuilder.pycaffe.layer import Layer
from netbuilder.pycaffe.modes import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from netbuilder.pycaffe.net import Net
from netbuilder.pycaffe.solver import SGDSolver, get_solver
from netbuilder.pycaffe.types import layer_type_list

__all__ = [
    "TEST", "TRAIN", "Layer", "Net", "SGDSolver", "get_solver", "layer_type_list", "set_device",
    "set_mode_cpu", "set_mode_gpu", "set_random_seed",
]  # fmt: skip
