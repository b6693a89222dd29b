"""PyTorch as an engine: nets trained, tested and timed in this process, with Caffe's numerics.

PyTorch is imported only when the engine is used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

from netbuilder.errors import EngineError
from netbuilder.training.events import Job, Run
from netbuilder.training.plan import NetPlan, TrainingPlan
from netbuilder.training.snapshots import SNAPSHOTS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from netbuilder.engines.torch.network import NetModule

    Array = npt.NDArray[np.float32]

__all__ = ["DTYPES", "TorchEngine", "TorchJob"]

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class TorchJob:
    """A net on its device, with its weights, ready to be tested or timed."""

    do: str
    plan: NetPlan
    module: NetModule
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def start(self, log: IO[bytes] | None = None) -> Run:
        """Start the run; PyTorch writes no log."""
        from netbuilder.engines.torch.runs import TestRun, TimeRun

        make = TestRun if self.do == "test" else TimeRun
        return make(self.module, self.plan)


class TorchEngine:
    """The installed PyTorch."""

    snapshots = SNAPSHOTS

    def describe(self) -> str:
        """Which PyTorch is used. Raises EngineError if there is none."""
        if importlib.util.find_spec("torch") is None:
            raise EngineError(
                "PyTorch is not installed",
                hint="pip install 'caffe-netbuilder[torch]', or use --engine caffe",
            )
        import torch

        return f"PyTorch {torch.__version__}"

    def train(self, plan: TrainingPlan) -> Job:
        """A training that is ready: its nets, data and solver are loaded.

        Raises ConfigError, EngineError or FileError for what cannot be done, before any file is written.
        """
        from netbuilder.engines.torch.train import TrainJob
        from netbuilder.engines.torch.training import Training

        self.describe()
        training = Training(plan)
        return TrainJob(training=training, warnings=training.warnings, notes=tuple(training.notes))

    def test(self, plan: NetPlan) -> TorchJob:
        """The job for a test. Raises ConfigError or EngineError for what this PyTorch cannot do."""
        return self._job("test", plan)

    def time(self, plan: NetPlan) -> TorchJob:
        """The job for a timing. Raises ConfigError or EngineError for what this PyTorch cannot do."""
        return self._job("time", plan)

    def compute(
        self, plan: NetPlan, inputs: Iterable[Mapping[str, Array]], blobs: Sequence[str]
    ) -> Iterator[dict[str, Array]]:
        """The values of these blobs after each pass."""
        from netbuilder.engines.torch.runs import compute

        return compute(self._job("run", plan).module, plan, inputs, blobs)

    def _job(self, do: str, plan: NetPlan) -> TorchJob:
        from netbuilder.engines.torch import module
        from netbuilder.engines.torch.devices import device_of

        self.describe()
        device = device_of(plan.devices)
        net = module(plan.net, dtype=plan.dtype)
        for path in plan.weights:
            net.load_caffemodel(path)
        return TorchJob(do=do, plan=plan, module=net.to(device))
