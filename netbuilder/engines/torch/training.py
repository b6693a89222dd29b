"""`Training`: the nets, the data and the solver of a plan on their device; one update, a test, a snapshot.

Source: solver.cpp, Step, Test and Snapshot; net.cpp, ShareTrainedLayersWith. Their order is in `train.py`.
"""

from __future__ import annotations

import importlib.util
import resource
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from netbuilder.engines.torch import module
from netbuilder.engines.torch.averaging import Average, Lookahead
from netbuilder.engines.torch.devices import device_of
from netbuilder.engines.torch.feed import Deal, Feed
from netbuilder.engines.torch.feed.memory import limit
from netbuilder.engines.torch.freezing import Freezing
from netbuilder.engines.torch.memory import out_of_memory, too_large
from netbuilder.engines.torch.network import NetModule, Outputs
from netbuilder.engines.torch.passes import DEFAULT
from netbuilder.engines.torch.peers import Peers, Replica, lost
from netbuilder.engines.torch.recipe_extras import TrainingExtras
from netbuilder.engines.torch.runs import Means, Sums, means, sums
from netbuilder.engines.torch.snapshots import digest, read_rest, save_model, write_snapshot
from netbuilder.engines.torch.solver import Solver
from netbuilder.engines.torch.solver_state import load_state
from netbuilder.engines.torch.teacher import Teacher
from netbuilder.errors import ConfigError, EngineError, shape_text
from netbuilder.layers import is_source, source_of
from netbuilder.layers.traits import Form
from netbuilder.net import Net
from netbuilder.training.events import Testing
from netbuilder.training.plan import solver_models
from netbuilder.training.sharing import arithmetic

if TYPE_CHECKING:
    from netbuilder.schema import SolverParameter
    from netbuilder.training.plan import TrainingPlan

__all__ = ["Training", "tested"]

_ALL = Deal(1)  # passes, on this rank
_FAILURES = (RuntimeError, IndexError, MemoryError)  # of a pass, as PyTorch reports them


@dataclass
class _Fed:
    """A net with its data; `zeros` are the blobs of Input layers, which Caffe leaves at zero."""

    net: NetModule
    feed: Feed
    zeros: Mapping[str, Tensor]
    passes: int = 0
    deal: Deal = _ALL
    _first: tuple[dict[str, Any], dict[str, Tensor]] | None = None  # the state before it, and the batch

    def prepare(self) -> None:
        """Read the first batch, so that data which cannot be read is reported before anything is written."""
        if not self.deal.share:
            return  # all of its tests are made by other ranks
        state = self.feed.state_dict()
        self._first = state, {**self.zeros, **next(self.feed)}
        for operator in self.net.operators().values():
            tops = operator.proto.top
            if not operator.proto.bottom and tops and tops[0] not in self._first[1]:
                operator()  # a source that reads by itself, or raises EngineError

    def batch(self) -> dict[str, Tensor]:
        """The blobs of the next pass."""
        if self._first is not None:
            _, batch = self._first
            self._first = None
            return batch
        return {**self.zeros, **next(self.feed)}

    def state(self) -> dict[str, Any]:
        """The state of the data before the next pass; of tests that several ranks make, after whole ones."""
        state = self.feed.state_dict() if self._first is None else self._first[0]
        if self.deal.ranks > 1:
            state["passes"] += -state["passes"] % self.deal.round
        return state


class Training:
    """A training between two iterations. Raises ConfigError, EngineError or FileError if it cannot be."""

    def __init__(self, plan: TrainingPlan) -> None:
        refuse(plan)
        self.plan, ranks = plan, plan.ranks
        self.device = device_of(plan.devices, ranks)
        rest = read_rest(plan.state) if plan.state is not None else None
        self.peers = Peers(ranks, self.device)
        agree_on_state(plan, self.peers)
        seed = plan.solver.random_seed if plan.solver.random_seed >= 0 else torch.seed() % 2**31
        seed = self.peers.gather(seed)[0]
        self.warnings = warnings_of(plan)
        self.extras = TrainingExtras.of(plan.extras)
        self.notes = [f"extra {line}" for line in self.extras.lines()]
        torch.manual_seed(seed + ranks.rank)
        (_, net), *tests = plan.nets
        self._train = self._fed(net, seed, rest["feeds"][0] if rest else None, None)
        self.net = self._train.net
        models = [*solver_models(plan.solver), *plan.weights] if plan.model is None else [plan.model]
        for path in models:
            self.net.load_caffemodel(path)
        self.solver = Solver(self.net, plan.solver, muon=self.extras.muon_of(plan.solver))
        self._freezing = Freezing(self.net, self.solver, self.extras.freeze, plan.solver.max_iter)
        if plan.state is not None:
            load_state(plan.state, self.solver)
        self._tests = [
            self._fed(test, seed, rest["feeds"][1 + i] if rest else None, plan.solver.test_iter[i])
            for i, (_, test) in enumerate(tests)
        ]
        for test in self._tests:
            share(test.net, self.net)
        self._scaler = torch.amp.GradScaler(self.device.type) if plan.dtype == "float16" else None
        self._average = Average.of(self.net, self.extras.ema)
        ahead = self.extras.lookahead
        self._ahead = Lookahead(self.net, ahead, self.extras.lookahead_share) if ahead else None
        teaches = bool(self.extras.teacher)
        self._teacher = Teacher(self.extras, net, self.net, self.device) if teaches else None
        if rest is not None:
            self._load_rest(rest)
        elif plan.state is not None:
            self._without_rest()
        for fed in (self._train, *self._tests):
            fed.prepare()
        self._replica = self.peers.replica(self.net, sync_bn=plan.sync_bn)
        if ranks.size > 1:
            self.notes += arithmetic(
                plan.solver, batch=self.images // (plan.solver.iter_size * ranks.size), ranks=ranks.size,
                images=self._train.feed.records, file_batch=plan.file_batch,
            )  # fmt: skip

    def _fed(self, net: Net, seed: int, state: dict[str, Any] | None, test_iter: int | None) -> _Fed:
        for layer in net:
            if is_source(layer.proto) and layer.unknown:
                raise EngineError(
                    f"the data of {layer.type} '{layer.name}' cannot be used: {layer.unknown}",
                    where=str(layer.origin),
                )
            if layer.type == "MemoryData" and not layer.proto.source_class:
                raise EngineError(
                    f"MemoryData '{layer.name}' gets its rows from a program: a training has none",
                    where=str(layer.origin),
                    hint="read a database instead, or train by a loop of your own (docs/pytorch.md)",
                )
        passes = (*DEFAULT, "compile") if self.plan.compile and test_iter is None else None
        made = module(net, seed=seed, dtype=self.plan.dtype, passes=passes).to(self.device)
        extras = self.extras.data if test_iter is None else None
        ranks = self.plan.ranks
        # To train, the records are dealt to the ranks; of tests, the passes are.
        rank, size = (ranks.rank, ranks.size) if test_iter is None else (0, 1)
        deal = Deal(test_iter, ranks.rank, ranks.size) if test_iter else _ALL
        feed = Feed(
            made, device=self.device, seed=state["seed"] if state else seed, extras=extras, deal=deal,
            rank=rank, ranks=size, hold=limit(self.device, ranks.local_size),
        )  # fmt: skip
        zeros = {
            top.name: torch.zeros(top.known_shape, device=self.device)
            for layer in net
            if (source := source_of(layer.type)) is not None and source.form is Form.FED
            for top in layer.tops
        }
        return _Fed(made, feed, zeros, test_iter or 0, deal)

    # -- one update ----------------------------------------------------------------------------------------

    @property
    def iteration(self) -> int:
        """The updates that are done."""
        return self.solver.iteration

    @property
    def images(self) -> int:
        """The images of an update, of all ranks."""
        given = next((len(blob) for blob in self._train.zeros.values() if blob.dim()), 0)
        return (self._train.feed.batch or given) * self.plan.solver.iter_size * self.peers.size

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the net's outputs."""
        return self.net.outputs

    def batch(self) -> dict[str, Tensor]:
        """The blobs of the training data for the next pass."""
        return self._train.batch()

    def step(self) -> tuple[Tensor, Outputs] | None:
        """One update: the mean loss of its passes, and the outputs of the last one, all on the device.

        None if float16 overflowed, so that nothing was updated. Raises EngineError.
        """
        return self.update(self._train.batch() for _ in range(self.plan.solver.iter_size))

    def update(self, batches: Iterable[Mapping[str, Tensor]]) -> tuple[Tensor, Outputs] | None:
        """One update by the gradients of these batches; see `step`."""
        self._freezing.update(self.iteration)
        losses: list[Tensor] = []
        last = self.plan.solver.iter_size
        for number, batch in enumerate(batches, 1):
            try:
                with nullcontext() if number == last else self._replica.apart():
                    out = self._pass(self._replica, batch)
            except _FAILURES as error:
                raise self._failed(error, batch, partial(self._pass, self.net)) from error
            losses.append(torch.zeros((), device=self.device) if out.loss is None else out.loss.detach())
        loss = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        before = self.iteration
        if self._scaler is None:
            self.solver.step()
        else:
            self._scaler.step(self.solver)
            self._scaler.update()
        self.solver.zero_grad(set_to_none=True)
        if self.iteration == before:
            return None
        if self._ahead is not None:
            self._ahead.update(self.iteration)
        if self._average is not None:
            self._average.update()
        return loss, out

    def _failed(
        self, error: BaseException, batch: Mapping[str, Tensor], run: Callable[[Mapping[str, Tensor]], object]
    ) -> EngineError:
        """What a pass that failed means to the user."""
        if self.peers.size > 1 and (gone := lost(error)) is not None:
            return gone
        if out_of_memory(error):
            error.__traceback__ = None  # it holds the blobs of the pass
            self.solver.zero_grad(set_to_none=True)
            return too_large(batch, self.device, run)
        return EngineError(
            f"PyTorch failed in iteration {self.iteration}: {str(error).splitlines()[0]}",
            hint="--debug shows where",
        )

    def _pass(self, net: Replica | NetModule, batch: Mapping[str, Tensor]) -> Outputs:
        if self._teacher is not None:
            self._teacher.look(batch)
        out: Outputs = net(batch) if isinstance(net, Replica) else net(**batch)
        if out.loss is not None and out.loss.requires_grad:
            torch.autograd.backward(out.loss if self._scaler is None else self._scaler.scale(out.loss))
        return out

    @property
    def sound(self) -> bool:
        """Whether all parameters are numbers, on all ranks."""
        sums = [blob.detach().sum() for blobs in self.net.params.values() for blob in blobs]
        return not self.peers.any(bool(sums) and not torch.stack(sums).isfinite().all())

    @property
    def memory(self) -> int:
        """The most bytes that were in use: of the device, or of the process."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    # -- tests ---------------------------------------------------------------------------------------------

    def tests(self, stopped: Callable[[], bool]) -> Iterator[Testing | tuple[int, int, Means]]:
        """Run all test nets: their progress, and number, passes and means of each one that is done."""
        with self._average.applied() if self._average is not None else nullcontext():
            self.peers.share(self._statistics())
            for i, test in enumerate(self._tests):
                if not test.passes:
                    continue
                found = yield from sums(test.deal.share, partial(self._test, test), stopped)
                every = self.peers.gather(found)
                parts = [part for part in every if isinstance(part, Sums)]
                if len(parts) < len(every):  # a rank was asked to stop
                    return
                yield i, test.passes, means(parts, test.passes)

    def _statistics(self) -> list[Tensor]:
        """The blobs that differ between ranks, which are BatchNorm's."""
        blobs = (p.blob for p in self.solver.learnable)
        return [blob for blob in blobs if not isinstance(blob, nn.Parameter)]

    def _test(self, test: _Fed) -> Outputs:
        batch = test.batch()
        try:
            out: Outputs = test.net(**batch)
        except _FAILURES as error:
            raise self._failed(error, batch, lambda part: test.net(**part)) from error
        return out

    # -- snapshots -----------------------------------------------------------------------------------------

    def snapshot(self) -> tuple[str, str]:
        """Write a snapshot on rank 0; returns the names of model and state. Raises FileError."""
        average, randoms = self._average, self.peers.gather(self._random())
        if not self.plan.ranks.first:
            return "", ""

        def averaged(path: Any) -> None:
            assert average is not None
            with average.applied():
                save_model(self.net, str(path))

        rest = {
            "feeds": [fed.state() for fed in (self._train, *self._tests)],
            **randoms[0],
            **({"random of all ranks": randoms} if len(randoms) > 1 else {}),
            "scaler": None if self._scaler is None else self._scaler.state_dict(),
            "average": None if average is None else average.state(),
            "lookahead": None if self._ahead is None else self._ahead.state(),
        }
        return write_snapshot(self.plan, self.net, self.solver, rest, averaged if average else None)

    def _random(self) -> dict[str, Tensor | None]:
        """The random numbers of this rank."""
        gpu = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {"random": torch.get_rng_state(), "random of the GPU": gpu}

    def _load_rest(self, rest: Mapping[str, Any]) -> None:
        feeds = [fed.feed for fed in (self._train, *self._tests)]
        if len(feeds) != len(rest["feeds"]):
            raise EngineError(
                f"the snapshot is of {len(rest['feeds'])} nets, and the solver has {len(feeds)}"
            )
        if self.plan.replay:
            for feed, state in zip(feeds, rest["feeds"], strict=True):
                try:
                    feed.load_state_dict(state)
                except EngineError as error:
                    error.hint += " by --no-replay" if error.hint.endswith("begin the data anew") else ""
                    raise
        every = rest.get("random of all ranks", [rest])
        if len(every) == self.peers.size:
            random = every[self.peers.rank]
            torch.set_rng_state(random["random"])
            if self.device.type == "cuda" and random["random of the GPU"] is not None:
                torch.cuda.set_rng_state(random["random of the GPU"], self.device)
        if self._scaler is not None and rest["scaler"] is not None:
            self._scaler.load_state_dict(rest["scaler"])
        if self._average is not None and rest["average"] is not None:
            self._average.load(rest["average"])
        if self._ahead is not None and rest.get("lookahead") is not None:
            self._ahead.load(rest["lookahead"])

    def _without_rest(self) -> None:
        """Go on from a state of Caffe's: the data at the same record, other random numbers."""
        done, solver = self.iteration, self.plan.solver
        self.notes.append(
            f"{self.plan.state} has no .runstate of PyTorch's beside it: the data goes on at its record, the "
            "random numbers are new"
        )
        if not self.plan.replay:
            return
        tests = sum(tested(solver, i) for i in range(done))
        for fed, passes in [
            (self._train, done * solver.iter_size),
            *((t, tests * t.passes) for t in self._tests),
        ]:
            fed.feed.load_state_dict({**fed.feed.state_dict(), "passes": passes})

    def close(self, *, failed: bool = False) -> None:
        """End the threads and the processes of the data, and leave the other ranks unless this one failed."""
        for fed in (self._train, *self._tests):
            fed.feed.close()
        self._replica.close()
        if not failed:
            self.peers.close()


def tested(solver: SolverParameter, iteration: int) -> bool:
    """Whether Caffe tests before this iteration. Source: solver.cpp, Step."""
    interval = solver.test_interval if solver.test_iter else 0
    return bool(interval) and iteration % interval == 0 and (iteration > 0 or solver.test_initialization)


def agree_on_state(plan: TrainingPlan, peers: Peers) -> None:
    """Raise EngineError unless all ranks begin with the same snapshot, or all without one."""
    if peers.size == 1:
        return
    mine = (plan.begin, "" if plan.state is None else digest(plan.state), socket.gethostname(), plan.prefix)
    every = peers.gather(mine)
    for rank, theirs in enumerate(every):
        if theirs[:2] != every[0][:2]:
            raise EngineError(
                f"rank 0 on {every[0][2]} goes on from iteration {every[0][0]}, and rank {rank} on "
                f"{theirs[2]} from {theirs[0]}: they see other snapshots '{theirs[3]}_iter_*'",
                hint="give the solver a snapshot_prefix on storage that all machines share",
            )


def share(net: NetModule, other: NetModule) -> None:
    """Let the layers of a test net use the parameters of the layers of that name in the other net.

    Raises EngineError if the two have other shapes. Source: net.cpp, ShareTrainedLayersWith.
    """
    targets, _ = net.by_name()
    for source in other.operators().values():
        target = targets.get(source.name)
        if target is None or not source.number:
            continue
        theirs, ours = ([tuple(blob.shape) for blob in op.blobs()] for op in (source, target))
        if theirs != ours:
            raise EngineError(
                f"layer '{source.name}' has other parameters in the test net: {_shapes(ours)}, and "
                f"{_shapes(theirs)} in the training net",
                hint="give the layers other names, or the same shape",
            )
        target.use(source)


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " ".join(map(shape_text, shapes)) or "none"


def warnings_of(plan: TrainingPlan) -> tuple[str, ...]:
    """What the files ask for that this engine leaves out or does differently."""
    debug = ("debug_info prints nothing here",) if plan.solver.debug_info else ()
    half = {
        field.name
        for _, net in plan.nets
        for message in (net.proto, *(layer.proto for layer in net))
        for field, value in message.ListFields()
        if field.name.endswith(("forward_type", "backward_type"))
        and field.enum_type is not None
        and field.enum_type.values_by_number[value].name == "FLOAT16"
    }
    if not half:
        return debug
    return (*debug, f"{', '.join(sorted(half))}: FLOAT16 is left out; --dtype says the precision here")


def refuse(plan: TrainingPlan) -> None:
    """Raise ConfigError or EngineError for what this engine cannot do, by its name."""
    if plan.ranks.local_size == 1 and (len(plan.devices) > 1 or "all" in plan.devices):
        raise ConfigError(
            "the PyTorch engine trains on one device", key="gpu",
            hint="--nproc 2 --gpu 0,1 trains on two: a process has one GPU",
        )  # fmt: skip
    if plan.sync_bn and plan.compile:
        raise ConfigError(
            "--sync-bn and --compile exclude each other", key="sync_bn", hint="leave one of them out"
        )
    solver = plan.solver
    if solver.snapshot_diff:
        raise ConfigError(
            "the PyTorch engine keeps no gradients for snapshot_diff", key="snapshot_diff",
            hint="leave it out: no program reads them from a snapshot",
        )  # fmt: skip
    if solver.snapshot_format == 0 and importlib.util.find_spec("h5py") is None:
        raise ConfigError(
            "snapshots in HDF5 need h5py", key="snapshot_format",
            hint="pip install 'caffe-netbuilder[data]', or snapshot_format: BINARYPROTO, the default",
        )  # fmt: skip
