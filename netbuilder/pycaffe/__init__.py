"""pycaffe without Caffe: `import netbuilder.pycaffe as caffe`, on the PyTorch engine. See docs/pycaffe.md."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError(
        "netbuilder.pycaffe needs PyTorch: pip install 'caffe-netbuilder[torch]'", name="torch"
    ) from None

from netbuilder.pycaffe import classifier, coord_map, detector, io, net_spec, proto
from netbuilder.pycaffe.classifier import Classifier
from netbuilder.pycaffe.detector import Detector
from netbuilder.pycaffe.installing import install
from netbuilder.pycaffe.layer import Layer
from netbuilder.pycaffe.log import init_log, log
from netbuilder.pycaffe.modes import set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from netbuilder.pycaffe.net import Net
from netbuilder.pycaffe.net_spec import NetSpec, layers, params, to_proto
from netbuilder.pycaffe.parallel import (
    NCCL,
    has_nccl,
    set_multiprocess,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
from netbuilder.pycaffe.solver import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from netbuilder.pycaffe.timer import Timer
from netbuilder.pycaffe.types import layer_type_list

__version__ = "1.0.0"  # of the Caffe that it stands for
TRAIN, TEST = 0, 1

__all__ = [
    "NCCL", "TEST", "TRAIN", "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "Classifier", "Detector",
    "Layer", "NesterovSolver", "Net", "NetSpec", "RMSPropSolver", "SGDSolver", "Timer", "__version__",
    "classifier", "coord_map", "detector", "get_solver", "has_nccl", "init_log", "install", "io",
    "layer_type_list", "layers", "log", "net_spec", "params", "proto", "set_device", "set_mode_cpu",
    "set_mode_gpu", "set_multiprocess", "set_random_seed", "set_solver_count", "set_solver_rank",
    "solver_count", "solver_rank", "to_proto",
]  # fmt: skip
