"""pycaffe's solvers: Caffe's loop, on nets of ours and with the engine's updates.

Source: solver.cpp, Step, Solve, TestAll, Snapshot and Restore; sgd_solver.cpp, ApplyUpdate.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from netbuilder.engines.torch.solver import Solver as Update
from netbuilder.engines.torch.solver_state import load_state, save_state
from netbuilder.engines.torch.training import tested
from netbuilder.errors import ConfigError, EngineError, did_you_mean
from netbuilder.prototxt.reader import read_net
from netbuilder.prototxt.solver_file import parse_solver
from netbuilder.pycaffe.blob import Vector
from netbuilder.pycaffe.log import log
from netbuilder.pycaffe.modes import set_random_seed
from netbuilder.pycaffe.net import Net, check_file
from netbuilder.solvers.checks import solver_type
from netbuilder.solvers.policies import schedule_of
from netbuilder.storage.files import read_text
from netbuilder.training.snapshots import prefix_of

__all__ = [
    "AdaDeltaSolver", "AdaGradSolver", "AdamSolver", "NesterovSolver", "RMSPropSolver", "SGDSolver",
    "Solver", "SolverParameter", "get_solver",
]  # fmt: skip


class NetVec(Vector[Net]):
    """The test nets of a solver."""


class SolverParameter:
    """What pycaffe shows of a solver's fields."""

    def __init__(self, message: Any) -> None:
        self._message = message

    @property
    def max_iter(self) -> int:
        """The number of iterations of `solve`; it can be set."""
        return int(self._message.max_iter)

    @max_iter.setter
    def max_iter(self, value: int) -> None:
        self._message.max_iter = value

    @property
    def display(self) -> int:
        """How often a loss is logged."""
        return int(self._message.display)

    @property
    def base_lr(self) -> float:
        """The learning rate of the start; it can be set."""
        return float(self._message.base_lr)

    @base_lr.setter
    def base_lr(self, value: float) -> None:
        self._message.base_lr = value

    @property
    def layer_wise_reduce(self) -> bool:
        """How several GPUs would reduce; it changes nothing on one."""
        return bool(self._message.layer_wise_reduce)


class Solver:
    """A solver of a file. `net` is the net that it trains, `test_nets` those that it tests.

    Raises RuntimeError if the file cannot be opened, ConfigError for what the solver cannot do, and whatever
    making the nets raises.
    """

    TYPE = ""

    def __init__(self, param_file: str) -> None:
        check_file(param_file)
        file = parse_solver(read_text(param_file), os.fspath(param_file))
        if file.faults:
            raise file.faults[0]
        self._message = file.solver
        if self.TYPE:  # as pycaffe's class says, whatever the file has
            self._message.ClearField("solver_type")
            self._message.type = self.TYPE
        self._path = os.fspath(param_file)
        if self._message.random_seed >= 0:
            set_random_seed(self._message.random_seed)
        nets = [net for net in file.nets() if net.used]
        train = [net for net in nets if net.phase == "TRAIN"]
        if not train:
            raise ConfigError("the solver names no net to train", key="net")
        self._net = Net.of(read_net(train[0], dialect="any"))
        for weights in self._message.weights:
            for name in weights.split(","):
                self._net.copy_from(name.strip())
        self._tests = [Net.of(read_net(net, dialect="any")) for net in nets if net.phase == "TEST"]
        self._update = Update(self._net.module, self._message)
        self._callbacks: list[tuple[Callable[[], object], Callable[[], object]]] = []
        self._losses: deque[float] = deque(maxlen=max(1, self._message.average_loss))

    # -- what it consists of -------------------------------------------------------------------------------

    @property
    def net(self) -> Net:
        """The net that it trains."""
        return self._net

    @property
    def test_nets(self) -> NetVec:
        """The nets that it tests."""
        return NetVec(self._tests)

    @property
    def iter(self) -> int:
        """The number of updates of `step` and `solve`."""
        return self._update.iteration

    @property
    def param(self) -> SolverParameter:
        """Some fields of the solver."""
        return SolverParameter(self._message)

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        self._schedule()
        return self._update.rate

    def add_callback(self, on_start: Callable[[], object], on_gradients_ready: Callable[[], object]) -> None:
        """Call one function before the passes of each iteration, and one before its update."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Let a net use the parameters of the net that is trained."""
        net.share_with(self._net)

    # -- training ------------------------------------------------------------------------------------------

    def step(self, iterations: int) -> None:
        """Train for some iterations, with the tests, the log and the snapshots that the solver asks for."""
        solver, end = self._message, self.iter + iterations
        while self.iter < end:
            iteration = self.iter
            self._net.clear_param_diffs()
            if tested(solver, iteration):
                self._test_all()
            for on_start, _ in self._callbacks:
                on_start()
            passes = max(1, solver.iter_size)
            self._losses.append(sum(self._net.forward_backward() for _ in range(passes)) / passes)
            if solver.display and iteration % solver.display == 0:
                self._display(iteration)
            for _, on_gradients_ready in self._callbacks:
                on_gradients_ready()
            self.apply_update()
            if solver.snapshot and self.iter % solver.snapshot == 0:
                self.snapshot()

    def solve(self, resume_file: str | None = None) -> None:
        """Train up to `max_iter`, from a state if one is given, and test and save at the end."""
        solver = self._message
        log(f"Solving {self._net.name}")
        if resume_file is not None:
            self.restore(resume_file)
        begin = self.iter
        self.step(solver.max_iter - self.iter)
        saved = solver.snapshot and self.iter % solver.snapshot == 0 and self.iter > begin
        if solver.snapshot_after_train and not saved:
            self.snapshot()
        if solver.display and self.iter % solver.display == 0:
            log(f"Iteration {self.iter}, loss = {self._net._forward(0, len(self._net.layers) - 1):.6g}")
        if solver.test_interval and self.iter % solver.test_interval == 0:
            self._test_all()
        log("Optimization Done.")

    def apply_update(self) -> None:
        """Update the parameters from their diffs, which become what is subtracted; `iter` counts it."""
        self._schedule()
        self._net.change_params()
        diffs = self._net.param_diffs()
        learnable = [(p.blob, diffs[id(p.blob)].tensor(tuple(p.blob.shape))) for p in self._update.learnable]
        for blob, diff in learnable:
            blob.grad = diff
        self._update.values()
        for blob, diff in learnable:
            blob.data.sub_(diff)
            blob.grad = None

    def _schedule(self) -> None:
        """Take over what the program has changed of the fields."""
        self._update.schedule = schedule_of(self._message)

    def _display(self, iteration: int) -> None:
        loss = sum(self._losses) / len(self._losses)
        log(f"Iteration {iteration}, loss = {loss:.6g}")
        log_outputs(self._net, "Train", {name: blob.data for name, blob in self._net.output_blobs().items()})
        log(f"Iteration {iteration}, lr = {self._update.rate:.6g}")

    # -- tests, snapshots ----------------------------------------------------------------------------------

    def _test_all(self) -> None:
        for number, (net, passes) in enumerate(zip(self._tests, self._message.test_iter, strict=False)):
            log(f"Iteration {self.iter}, Testing net (#{number})")
            net.share_with(self._net)
            sums: dict[str, Any] = {}
            for _ in range(passes):
                for name, values in net.forward().items():
                    sums[name] = sums.get(name, 0) + values
            log_outputs(net, "Test", {name: total / passes for name, total in sums.items()})

    def snapshot(self) -> None:
        """Write the model and the state, as `<snapshot_prefix>_iter_<iter>` with Caffe's endings."""
        hdf5 = self._message.snapshot_format == 0
        name = f"{prefix_of(self._path, self._message)}_iter_{self.iter}"
        model, state = (
            f"{name}{ending}{'.h5' if hdf5 else ''}" for ending in (".caffemodel", ".solverstate")
        )
        if self._message.snapshot_diff:
            raise EngineError("netbuilder.pycaffe saves no diffs", hint="leave snapshot_diff out")
        log(f"Snapshotting to {'HDF5' if hdf5 else 'binary proto'} file {model}")
        self._net.save_hdf5(model) if hdf5 else self._net.save(model)
        save_state(state, self._update, model, hdf5=hdf5)

    def restore(self, state_file: str) -> None:
        """Go on from a state and the model that belongs to it.

        Raises FileError if one of them cannot be read, EngineError if it is that of another net or solver.
        """
        model = load_state(os.fspath(state_file), self._update)
        if model:
            self._net.copy_from(model)


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum."""

    TYPE = "SGD"


class NesterovSolver(Solver):
    """Nesterov's accelerated gradient."""

    TYPE = "Nesterov"


class AdaGradSolver(Solver):
    """AdaGrad."""

    TYPE = "AdaGrad"


class RMSPropSolver(Solver):
    """RMSProp."""

    TYPE = "RMSProp"


class AdaDeltaSolver(Solver):
    """AdaDelta."""

    TYPE = "AdaDelta"


class AdamSolver(Solver):
    """Adam."""

    TYPE = "Adam"


_SOLVERS = {kind.TYPE: kind for kind in Solver.__subclasses__()}


def get_solver(param_file: str) -> Solver:
    """The solver that a file asks for, by its `type`."""
    check_file(param_file)
    message = parse_solver(read_text(param_file), os.fspath(param_file)).solver
    kind = solver_type(message)
    if kind not in _SOLVERS:
        raise ConfigError(
            f"there is no solver of type '{kind}'", key="type", hint=did_you_mean(kind, _SOLVERS)
        )
    return _SOLVERS[kind](param_file)


def log_outputs(net: Net, phase: str, outputs: Mapping[str, Any]) -> None:
    """Log the outputs of a net, a line for each of their values."""
    values = [(name, value) for name in net.outputs for value in outputs[name].ravel().tolist()]
    weights = net.blob_loss_weights
    for number, (name, value) in enumerate(values):
        weight = weights[name]
        loss = f" (* {weight:.6g} = {weight * value:.6g} loss)" if weight else ""
        log(f"    {phase} net output #{number}: {name} = {value:.6g}{loss}")
