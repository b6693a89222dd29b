"""`Peers`: the other processes of a training, and what the ranks tell each other.

Gradients are averaged by PyTorch's DistributedDataParallel: over gloo on the CPU, over NCCL on GPUs. All
other words between ranks are few and small, and go over gloo. Source: parallel.cpp of BVLC's Caffe, where the
gradient is the mean over the GPUs.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from netbuilder.engines.torch.network import Outputs
from netbuilder.engines.torch.operators.across import across_ranks
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule
    from netbuilder.training.ranks import Ranks

__all__ = ["Peers", "Replica"]

_LOST = ("gloo", "connection closed", "connection reset", "connection refused", "nccl", "broken pipe")


class Peers:
    """The ranks of a training. A rank that is alone answers itself, and nothing is joined.

    All ranks must call the same methods in the same order. Each raises EngineError if a rank is lost.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self.rank, self.size = ranks.rank, ranks.size
        self._posted: tuple[Tensor, Any] | None = None
        self._control: Any = None
        self._joined = False
        if self.size == 1:
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with self._lost():
            if not dist.is_initialized():
                dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
                self._joined = True
            if device.type == "cuda":
                self._control = dist.new_group(backend="gloo")

    def agree(self, flag: int) -> int:
        """The highest flag that any rank gave in the call before this one; of a rank alone, in this one.

        What is given travels while an update is computed, so that no rank waits for it.
        """
        if self.size == 1:
            return flag
        before, mine = self._posted, torch.tensor(flag)
        with self._lost():
            if before is not None:
                before[1].wait()
            self._posted = mine, dist.all_reduce(mine, dist.ReduceOp.MAX, self._control, async_op=True)
        return 0 if before is None else int(before[0])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return any(self.gather(flag))

    def gather(self, value: Any) -> list[Any]:
        """The small values of all ranks, on each rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with self._lost():
            dist.all_gather_object(values, value, group=self._control)
        return values

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all ranks the values of rank 0."""
        if self.size > 1:
            with self._lost():
                for tensor in tensors:
                    dist.broadcast(tensor, 0)

    def replica(self, net: NetModule, *, sync_bn: bool = False) -> Replica:
        """The net as this rank runs it: the gradients are the means over all ranks."""
        with self._lost():
            return Replica(net, self.size, sync_bn=sync_bn)

    def close(self) -> None:
        """Leave the other ranks, once all of them do.

        DDP must be gone: a process group that dies with it joins its threads while it holds the GIL, for
        which they may wait.
        """
        if self._joined:
            self._joined = False
            if self._posted is not None:
                self._posted[1].wait()
                self._posted = None
            self.gather(None)
            gc.collect()
            dist.destroy_process_group()

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            gone = lost(error)
            if gone is None:
                raise
            raise gone from error


def lost(error: BaseException) -> EngineError | None:
    """The error if one of PyTorch's means that another rank ended; None if it means anything else."""
    text = str(error).lower()
    if not isinstance(error, dist.DistError) and not any(word in text for word in _LOST):
        return None
    return EngineError(
        f"the connection to another rank is lost: {str(error).splitlines()[0]}",
        hint="see why that rank ended: its own error came before this one",
    )


class _Pass(nn.Module):
    """A pass whose only top with a gradient is the loss, so that DDP finds the parameters that it reaches."""

    def __init__(self, net: NetModule) -> None:
        super().__init__()
        self.net = net
        # DDP's search for parameters without a gradient warns on stderr if it finds none: here is one.
        self.none = nn.Parameter(torch.zeros((), device=next(net.parameters()).device))

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor | None, dict[str, Tensor]]:
        out: Outputs = self.net(**batch)
        return out.loss, {name: top.detach() for name, top in out.items()}


class Replica:
    """A training net on one rank. `net` alone computes the gradients of this rank's batch."""

    def __init__(self, net: NetModule, ranks: int, *, sync_bn: bool) -> None:
        self.net = net
        self._statistics = ranks if sync_bn else 1  # whose batches BatchNorm looks at
        self._ddp: nn.parallel.DistributedDataParallel | None = None
        if ranks > 1 and any(p.requires_grad for p in net.parameters()):
            # Those of 1x1 filters differ in name only.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer PyTorchs rename broadcast_buffers
                # A parameter that the loss does not reach, as behind propagate_down: false, gets no gradient.
                self._ddp = nn.parallel.DistributedDataParallel(
                    _Pass(net),
                    broadcast_buffers=False,
                    gradient_as_bucket_view=True,
                    find_unused_parameters=True,
                )

    @contextmanager
    def apart(self) -> Iterator[None]:
        """While it lasts, gradients are added up on this rank only."""
        if self._ddp is None:
            yield
        else:
            with self._ddp.no_sync():
                yield

    def close(self) -> None:
        """Let go of DDP."""
        self._ddp = None

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """A pass; gradients of its loss are the means over the ranks unless it is made `apart`."""
        with across_ranks(self._statistics):
            if self._ddp is None:
                alone: Outputs = self.net(**batch)
                return alone
            loss, tops = self._ddp(batch)
        out = Outputs(tops)
        out.loss = loss
        return out
