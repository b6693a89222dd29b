"""`Peers`: the other processes of a training, and what the ranks tell each other.

Gradients are averaged over gloo on the CPU, over NCCL on GPUs. All other words between ranks are few and
small, and go over gloo. Source: parallel.cpp of BVLC's Caffe, where the gradient is the mean over the GPUs.

PyTorch's DistributedDataParallel would do the same, but it imports the compiler: seconds in each process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from netbuilder.engines.torch.operators.across import across_ranks
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    from netbuilder.engines.torch.network import NetModule, Outputs
    from netbuilder.training.ranks import Ranks

__all__ = ["Peers", "Replica"]

_BUCKET = 25 * 2**20  # bytes of gradients that travel together

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
        """The net as this rank runs it, with the parameters of rank 0."""
        shapes = [tuple(blob.shape) for blob in net.parameters()]
        for rank, theirs in enumerate(self.gather(shapes)):
            if theirs != shapes:
                raise EngineError(
                    f"rank {rank} trains another net: its parameters have other shapes",
                    hint="give all machines the same files",
                )
        self.share(blob.detach() for blob in net.parameters())
        return Replica(net, self, sync_bn=sync_bn)

    def mean(self, tensor: Tensor) -> dist.Work:
        """Begin to make a tensor the mean over all ranks; it is once the result has been waited for."""
        with self._lost():
            found: dist.Work = dist.all_reduce(tensor.div_(self.size), async_op=True)
        return found

    def close(self) -> None:
        """Leave the other ranks, once all of them do."""
        if self._joined:
            self._joined = False
            if self._posted is not None:
                self._posted[1].wait()
                self._posted = None
            self.gather(None)
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


class Replica:
    """A training net on one rank."""

    def __init__(self, net: NetModule, peers: Peers, *, sync_bn: bool) -> None:
        self.net, self._peers = net, peers
        self._statistics = peers.size if sync_bn else 1  # whose batches BatchNorm looks at
        self._buckets = _buckets(net) if peers.size > 1 else []
        self._waiting: list[_Bucket] = []  # to be sent, in this order on every rank
        self._sent: list[dist.Work] = []
        for bucket in self._buckets:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    partial(self._arrived, bucket)
                )

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """A pass over the batch of this rank."""
        with across_ranks(self._statistics):
            out: Outputs = self.net(**batch)
            return out

    @contextmanager
    def averaging(self) -> Iterator[None]:
        """At its end gradients are the means over the ranks; they travel while the backward pass goes on."""
        for bucket in self._buckets:
            bucket.missing = sum(parameter.requires_grad for parameter in bucket.parameters)
        self._waiting = list(self._buckets)
        try:
            yield
            # The loss does not reach some parameters, as those behind propagate_down: false.
            self._send(len(self._waiting))
            for work in self._sent:
                work.wait()
        finally:
            self._waiting, self._sent = [], []

    def _arrived(self, bucket: _Bucket, parameter: Tensor) -> None:
        if self._waiting:
            bucket.missing -= 1
            self._send(next((i for i, one in enumerate(self._waiting) if one.missing), len(self._waiting)))

    def _send(self, number: int) -> None:
        for bucket in self._waiting[:number]:
            if (gradients := bucket.gradients()) is not None:
                self._sent.append(self._peers.mean(gradients))
        del self._waiting[:number]


class _Bucket:
    """Parameters whose gradients travel together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.missing = 0  # gradients that the pass has still to give

    def gradients(self) -> Tensor | None:
        """The gradients as one tensor, of which they are views from now on; None if there are none."""
        learning = [parameter for parameter in self.parameters if parameter.grad is not None]
        if not learning:
            return None
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in learning])  # type: ignore[union-attr]
        begin = 0
        for parameter in learning:
            parameter.grad = flat[begin : begin + parameter.numel()].view_as(parameter)
            begin += parameter.numel()
        return flat


def _buckets(net: NetModule) -> list[_Bucket]:
    """The parameters from the last to the first, as a backward pass gives their gradients."""
    found: list[list[nn.Parameter]] = []
    room = 0
    for parameter in reversed([parameter for parameter in net.parameters() if parameter.requires_grad]):
        if parameter.nbytes > room:
            found.append([])
            room = _BUCKET
        found[-1].append(parameter)
        room -= parameter.nbytes
    return [_Bucket(parameters) for parameters in found]
