"""`Solver`: Caffe's update of the parameters of a net, as a `torch.optim.Optimizer`.

Source: solver.cpp, sgd_solver.cpp. The types are in `updates.py`, the learning rates in `netbuilder.solvers`,
Caffe's files of its state in `solver_state.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from netbuilder.engines.torch.muon import Muon
from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.operators.convolution import Convolution
from netbuilder.engines.torch.updates import UPDATES, Batch, Update
from netbuilder.errors import ConfigError
from netbuilder.schema import SolverParameter
from netbuilder.solvers import checks
from netbuilder.solvers.policies import float32, schedule_of

__all__ = ["Learnable", "Solver", "refuse"]

# Of what `netbuilder check` reports, what would fail here too. Caffe takes the other values.
_REFUSED = ("lr-policy", "momentum", "solver-type", "value", "warm-up")
_TAKEN = ("average_loss", "clip_gradients", "device_id", "display", "gamma", "snapshot", "weight_decay")
_NEEDED = ("max_iter", "stepsize")


class Learnable(NamedTuple):
    """A parameter blob as Caffe's solvers see it, statistics included: their multiplier of the rate is 0."""

    layer: str
    number: int
    blob: Tensor
    lr_mult: float
    decay_mult: float


def learnables(net: NetModule) -> Iterator[Learnable]:
    """The parameter blobs in Caffe's order, shared ones once. Source: net.cpp, AppendParam."""
    seen: set[int] = set()
    for operator in net.operators().values():
        for i in range(operator.number):
            blob = operator.blob(i)
            if operator.owns(i) and id(blob) not in seen:
                seen.add(id(blob))
                yield Learnable(operator.name, i, blob, operator.lr_mults[i], operator.decay_mults[i])


def _is_filter(net: NetModule, p: Learnable) -> bool:
    return p.number == 0 and isinstance(net.operators()[p.layer], Convolution)


class Solver(torch.optim.Optimizer):
    """The update that a solver file asks for: SGD, Nesterov, AdaGrad, RMSProp, AdaDelta, Adam.

    `solver` is a SolverParameter, `max_iter` replaces its own. Made after the net is on its device. `fused`
    allows PyTorch's kernels that compute a whole update at once. `muon` updates the filters of convolutions
    that learn, instead. Raises ConfigError as `refuse` does.

    >>> import torch, netbuilder.engines.torch as engine
    >>> from netbuilder import Net
    >>> from netbuilder.schema import SolverParameter
    >>> net = Net("line", "TRAIN")
    >>> x, t = (net.add("Input", name=n, input_param={"shape": {"dim": [4, 2]}}) for n in "xt")
    >>> y = net.add("InnerProduct", x, name="y", num_output=2, weight_filler={"type": "xavier"})
    >>> loss = net.add("EuclideanLoss", y, t, name="loss")
    >>> m = engine.module(net, seed=1)
    >>> solver = Solver(m, SolverParameter(base_lr=0.1, lr_policy="fixed", momentum=0.9))
    >>> def loss_of_a_pass():
    ...     solver.zero_grad()
    ...     loss = m(x=torch.ones(4, 2), t=torch.zeros(4, 2)).loss
    ...     loss.backward()
    ...     solver.step()
    ...     return loss.item()
    >>> loss_of_a_pass() > loss_of_a_pass()
    True
    >>> solver.iteration
    2
    """

    # Without the wrapper that keeps them from being compiled: it imports the compiler, seconds of each start.
    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(
        self,
        net: NetModule,
        solver: SolverParameter,
        *,
        max_iter: int | None = None,
        fused: bool = True,
        muon: Muon | None = None,
    ) -> None:
        message = SolverParameter()
        message.CopyFrom(solver)
        if max_iter is not None:
            message.max_iter = max_iter
        refuse(message)
        self.type = checks.solver_type(message)
        self.schedule = schedule_of(message)
        self.iteration = 0
        self.current_step = 0
        self.learnable = list(learnables(net))
        self._update = UPDATES[self.type](message, fused=fused)
        self._muon = muon
        self._frozen: set[int] = set()
        if muon is not None and self.type not in ("SGD", "Nesterov"):
            raise ConfigError(
                f"muon needs a solver of type SGD or Nesterov, whose history it takes, not {self.type}",
                key="muon",
            )
        self._decay: float = message.weight_decay
        self._clip: float = message.clip_gradients
        self._iter_size: int = message.iter_size
        groups: dict[tuple[float, float, bool], dict[str, Any]] = {}
        for p in self.learnable:
            own = muon is not None and bool(p.lr_mult) and _is_filter(net, p)
            group = {"params": [], "lr_mult": p.lr_mult, "decay_mult": p.decay_mult, "muon": own}
            groups.setdefault((p.lr_mult, p.decay_mult, own), group)["params"].append(p.blob)
        super().__init__(list(groups.values()) or [{"params": []}], {"lr": message.base_lr})
        for p in self.learnable:
            for name in self._names:
                self.state[p.blob][name] = torch.zeros_like(p.blob, requires_grad=False)
        self._wake()

    @property
    def rate(self) -> float:
        """The learning rate of the iteration to come, before the multipliers of the parameters."""
        return self.schedule.rate(self.iteration, self._coming_step())

    @property
    def history(self) -> list[Tensor]:
        """The histories in the order of Caffe's solver states: all first ones, then all second ones."""
        return [self.state[p.blob][name] for name in self._names for p in self.learnable]

    @property
    def _names(self) -> tuple[str, ...]:
        return ("history", "history2")[: self._update.number]

    def _coming_step(self) -> int:
        return self.schedule.step(self.iteration, self.current_step)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update the parameters from their gradients, the sums over `iter_size` passes, and use these up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        rate = self.rate
        scale = self._scale()
        for group in self.param_groups:
            group["lr"] = local = float32(rate * group["lr_mult"])
            batch = self._batch(group)
            if batch.weights:
                decay = float32(self._decay * group["decay_mult"])
                self._update_of(group).apply(batch, local, decay, scale, self.iteration)
        self.current_step = self._coming_step()
        self.iteration += 1
        return loss

    @torch.no_grad()
    def values(self) -> None:
        """Turn the gradients into what `step` would subtract from the parameters.

        The histories and the iteration change as in `step`, the parameters do not.
        """
        rate = self.rate
        scale = self._scale()
        for group in self.param_groups:
            local = float32(rate * group["lr_mult"])
            batch = self._batch(group)
            decay = float32(self._decay * group["decay_mult"])
            if batch.weights:
                self._update.values(batch, local, decay, scale, self.iteration)
            left = {id(p) for p in group["params"]} - {id(p) for p in batch.weights}
            for p in group["params"]:
                if id(p) in left and p.grad is not None:
                    p.grad.zero_()
        self.current_step = self._coming_step()
        self.iteration += 1

    def _batch(self, group: dict[str, Any]) -> Batch:
        """The parameters that the update may change, or their histories."""
        params: list[Tensor] = [p for p in group["params"] if id(p) not in self._frozen]
        if group["asleep"]:
            params = [p for p in params if p.grad is not None] if self._squares else []
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        return Batch(params, grads, tuple([self.state[p][name] for p in params] for name in self._names))

    def _update_of(self, group: dict[str, Any]) -> Update:
        return self._muon if self._muon is not None and group["muon"] else self._update

    def freeze(self, blobs: Iterable[Tensor]) -> None:
        """Leave these parameters as they are from now on: no gradient, no momentum, no decay."""
        for blob in blobs:
            blob.requires_grad_(False)
            blob.grad = None
            self._frozen.add(id(blob))

    @property
    def _squares(self) -> bool:
        """Whether the history is one of gradients, so that it also changes at a rate of 0."""
        return self.type not in ("SGD", "Nesterov")

    def _wake(self) -> None:
        """Mark the groups in which an update without gradients changes nothing: frozen, without history."""
        for group in self.param_groups:
            decays = self._squares and bool(self._decay * group["decay_mult"])
            histories = [self.state[p][name] for p in group["params"] for name in self._names]
            still = not group["lr_mult"] and not decays
            group["asleep"] = still and not any(bool(h.any()) for h in histories)

    def _scale(self) -> float | Tensor:
        """What the gradients are multiplied by. Source: sgd_solver.cpp, ClipGradients and Normalize."""
        part = float32(1 / self._iter_size)
        if self._clip < 0:
            return part
        grads = [p.blob.grad for p in self.learnable if p.blob.grad is not None]
        if not grads:
            return part
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        if norm.device.type == "cpu":
            size = norm.item()
            return part * float32(self._clip / size) if size > self._clip else part
        return torch.where(norm > self._clip, self._clip / norm, 1.0) * part

    def state_dict(self) -> dict[str, Any]:
        """As of PyTorch's optimizers, with the iteration and the step of multistep."""
        counts = {"iteration": self.iteration, "current_step": self.current_step}
        return {**super().state_dict(), **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self.resume(state_dict["iteration"], state_dict["current_step"])

    def resume(self, iteration: int, current_step: int) -> None:
        """Go on from an iteration, after the histories have been replaced."""
        self.iteration, self.current_step = iteration, current_step
        self._wake()


def refuse(solver: SolverParameter) -> None:
    """Raise ConfigError for the first field about the update that cannot be honoured, by its name."""
    for f in checks.check(solver):
        missing = f.code == "policy-field" and f.field in _NEEDED
        if f.severity == "error" and (missing or (f.code in _REFUSED and f.field not in _TAKEN)):
            raise ConfigError(f.text, key=f.field, hint=f.fix)
